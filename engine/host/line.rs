//! A line: a stream while a job is drawn. It is a port, or a chain of steps that has not met a boundary yet.

use std::cell::RefCell;
use std::rc::Rc;

use millpond_state::{Data, Key};

use super::bad::{Refusals, TryThen};
use super::chain::{Chain, Then, Union};
use super::graph::{Ask, Graph, Port};
use super::keying::{KeyStep, KeyedLine};
use super::{fan, intake, outlet};
use crate::Batch;
use crate::savepoint::Upgrade;
use crate::sink::Sink;
use crate::source::Source;

/// A stream of `T` while the job is drawn.
#[must_use = "a stream that goes nowhere computes nothing: end it with a sink"]
pub struct Line<'s, T> {
    head: Head<'s>,
    chain: RefCell<Option<Box<dyn Chain<'s, T> + 's>>>,
}

/// What is known of a line, whatever its records are.
#[derive(Clone)]
pub(crate) struct Head<'s> {
    pub(crate) graph: Rc<Graph<'s>>,
    pub(crate) node: u32,
    /// The nearest named ancestor.
    pub(crate) below: String,
    pub(crate) asks: Vec<Ask>,
    pub(crate) timing: Timing,
    /// Whether each record is all that was made of one record of a source.
    pub(crate) whole: bool,
}

impl std::fmt::Debug for Head<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Head").field("node", &self.node).field("below", &self.below).finish_non_exhaustive()
    }
}

/// What the event times of a line's records are to the watermark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timing {
    /// Nothing.
    Untimed,
    /// The watermark follows them, and some may come after it.
    Followed,
    /// None comes below a watermark that has been promised.
    Settled,
}

impl<T> std::fmt::Debug for Line<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line").field("head", &self.head).finish_non_exhaustive()
    }
}

/// What a stateful step is in the plan.
#[derive(Clone, Debug)]
pub struct Stateful {
    /// The kind: `window`, `reduce`, ...
    pub kind: String,
    /// The name given with `.named(..)`.
    pub name: Option<String>,
    /// Settings that decide results.
    pub settings: Vec<(String, String)>,
    /// Shapes of key and state.
    pub shapes: Vec<(String, serde_json::Value)>,
    /// What to know about its results.
    pub notes: Vec<String>,
    /// Whether it needs the position of each record.
    pub positions: bool,
    /// Whether it needs event time.
    pub time: bool,
    /// What it takes the state of other shapes with, when a version starts from a savepoint.
    pub upgrades: Vec<Upgrade>,
    /// How long its windows of event time are, in microseconds, where a result is of the records of one window alone. None: a result may be
    /// made of records however far before it.
    pub size: Option<i64>,
}

impl<'s, T: Data> Line<'s, T> {
    /// A new line that begins with a source.
    pub fn source<S: Source<Item = T>>(graph: &Rc<Graph<'s>>, name: &str, source: S) -> Self {
        let timing = if source.pace().timed { Timing::Followed } else { Timing::Untimed };
        let source = Rc::new(source);
        let node = graph.add_source(name, Rc::clone(&source));
        let ask = Ask::default();
        let chain = intake::Intake { node, uid: name.to_owned(), source, ask: Rc::clone(&ask) };
        let head = Head { graph: Rc::clone(graph), node, below: name.to_owned(), asks: vec![ask], timing, whole: true };
        Line::new(head, Box::new(chain))
    }

    pub(crate) fn new(head: Head<'s>, chain: Box<dyn Chain<'s, T> + 's>) -> Self {
        Line { head, chain: RefCell::new(Some(chain)) }
    }

    /// The same line, said to hold several records made of one.
    pub fn spread(mut self) -> Self {
        self.head.whole = false;
        self
    }

    fn take(self) -> (Head<'s>, Box<dyn Chain<'s, T> + 's>) {
        (self.head, self.chain.into_inner().expect("a line has a chain until it is used"))
    }

    /// The graph it is drawn in.
    #[must_use]
    pub fn graph(&self) -> &Rc<Graph<'s>> {
        &self.head.graph
    }

    /// Adds to what the plan says of the step that the line comes from.
    pub fn note(&self, note: String) {
        self.head.graph.note(self.head.node, note);
    }

    /// Whether its records have event times that the watermark follows.
    #[must_use]
    pub fn timed(&self) -> bool {
        self.head.timing > Timing::Untimed
    }

    /// The same line, declared to have no event time: late records, for one.
    pub fn untimed(mut self) -> Self {
        self.head.timing = Timing::Untimed;
        self
    }

    /// Every record gets its position, because a step asks for it.
    pub fn ask_positions(&self) {
        self.head.asks.iter().for_each(|ask| ask.set(true));
    }

    /// A stateless step. It moves rows from one batch to the next, one position for each row where positions travel.
    pub fn step<U: Data>(self, kind: &str, step: impl FnMut(&mut Batch<T>, &mut Batch<U>) + 'static) -> Line<'s, U> {
        let (head, before) = self.take();
        let node = head.graph.add_step(kind, &head.below, vec![head.node]);
        Line::new(Head { node, ..head }, Box::new(Then { node, before, step: Box::new(step) }))
    }

    /// A stateless step that may refuse records; what becomes of those is the job's policy.
    pub fn try_step<U: Data>(
        self,
        kind: &str,
        step: impl FnMut(&mut Batch<T>, &mut Batch<U>, &mut Refusals<T>) + 'static,
    ) -> Line<'s, U> {
        self.ask_positions();
        let (head, before) = self.take();
        let (node, whole) = (head.graph.add_step(kind, &head.below, vec![head.node]), head.whole);
        Line::new(Head { node, ..head }, Box::new(TryThen { node, before, step: Box::new(step), whole }))
    }

    /// Another reader of the same records. Ends the chain in an operator of its own.
    pub fn share(&self) -> Self {
        let port = self.port();
        Line::new(Head { whole: false, ..self.head.clone() }, Box::new(port))
    }

    fn port(&self) -> Rc<Port<'s, T>> {
        let chain = self.chain.borrow_mut().take().expect("a line has a chain until it is used");
        let port = fan::out(&self.head.graph, &self.head.below, chain);
        *self.chain.borrow_mut() = Some(Box::new(Rc::clone(&port)));
        port
    }

    /// Records of several lines in one.
    pub fn union(self, others: impl IntoIterator<Item = Self>) -> Self {
        let lines: Vec<Self> = std::iter::once(self).chain(others).collect();
        let ports = lines.iter().map(Line::port).collect();
        let inputs = lines.iter().map(|line| line.head.node).collect();
        let asks = lines.iter().flat_map(|line| line.head.asks.iter().cloned()).collect();
        let timing = lines.iter().map(|line| line.head.timing).min().unwrap_or(Timing::Untimed);
        let first = &lines[0].head;
        let node = first.graph.add_step("union", &first.below, inputs);
        let below = format!("{}/union", first.below);
        let graph = Rc::clone(&first.graph);
        Line::new(Head { graph, node, below, asks, timing, whole: false }, Box::new(Union(ports)))
    }

    /// Two lines: records for which `which` answers true, and the others.
    pub fn split(self, which: impl FnMut(&T) -> bool + 'static) -> (Self, Self) {
        let (head, chain) = self.take();
        let node = head.graph.add_step("split", &head.below, vec![head.node]);
        let (yes, no) = fan::split(&head.graph, node, &head.below, chain, which);
        let line = |port, side: &str| {
            Line::new(Head { node, below: format!("{}/{side}", head.below), ..head.clone() }, Box::new(port))
        };
        (line(yes, "matching"), line(no, "other"))
    }

    /// The line by a key: `key` makes rows of a batch, `value` what the rows hold beside their key.
    pub fn key<K: Key, V: Data>(
        self,
        key: KeyStep<T, K, V>,
        value: impl FnMut(&mut Batch<T>, &mut Batch<V>) + 'static,
    ) -> KeyedLine<'s, K, V> {
        let (head, chain) = self.take();
        KeyedLine::new(head, chain, key, Box::new(value))
    }

    /// Ends the line in a sink.
    pub fn sink(self, name: &str, sink: impl Sink<T>) {
        let (head, chain) = self.take();
        outlet::draw(&head.graph, head.node, name, chain, head.timing == Timing::Settled, sink);
    }
}
