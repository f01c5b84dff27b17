//! A line: a stream while a job is drawn. It is a port, or a chain of steps that has not met a boundary yet.

use std::cell::RefCell;
use std::rc::Rc;

use millpond_state::Data;

use super::bad::{Refusals, TryThen};
use super::chain::{Chain, Then, Union};
use super::graph::{Ask, Graph, Port};
use super::{fan, intake, keyed, outlet};
use crate::operator::Operator;
use crate::plan::{Node, Role};
use crate::sink::Sink;
use crate::source::Source;
use crate::{Batch, Row, Shipment};

/// A stream of `T` while the job is drawn.
#[must_use = "a stream that goes nowhere computes nothing: end it with a sink"]
pub struct Line<'s, T> {
    graph: Rc<Graph<'s>>,
    node: u32,
    /// The nearest named ancestor.
    below: String,
    chain: RefCell<Option<Box<dyn Chain<'s, T> + 's>>>,
    asks: Vec<Ask>,
    timing: Timing,
    /// Whether each record is all that was made of one record of a source.
    whole: bool,
}

/// What the event times of a line's records are to the watermark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timing {
    /// Nothing.
    Untimed,
    /// The watermark follows them, and some may come after it.
    Followed,
    /// None comes below a watermark that has been promised.
    Settled,
}

impl<T> std::fmt::Debug for Line<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line").field("node", &self.node).field("below", &self.below).finish_non_exhaustive()
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
}

/// Turns a batch into keyed rows: made where the key's closure is known, so that no call per record is virtual.
pub type KeyStep<K, T> = Box<dyn FnMut(&mut Batch<T>, &mut Scatter<K, T>)>;

/// Keyed rows on their way to the workers that own their key groups.
#[derive(Debug)]
pub struct Scatter<K, V> {
    pub(crate) shipments: Vec<Shipment<K, V>>,
}

impl<K, V> Scatter<K, V> {
    pub(crate) fn new(workers: usize) -> Self {
        let shipments = (0..workers as u32).map(|worker| Shipment { worker, ..Shipment::default() }).collect();
        Scatter { shipments }
    }

    /// Adds one row, with its position where positions travel.
    #[inline]
    pub fn push(&mut self, row: Row<K, V>, position: Option<millpond_state::Position>) {
        let workers = self.shipments.len();
        let worker = if workers == 1 { 0 } else { millpond_state::KeyGroup::of(row.hash).worker(workers) };
        let shipment = &mut self.shipments[worker];
        shipment.rows.push(row);
        if let Some(position) = position {
            shipment.positions.push(position);
        }
    }

    /// Adds rows without positions.
    #[inline]
    pub fn extend(&mut self, rows: impl Iterator<Item = Row<K, V>>) {
        match self.shipments.as_mut_slice() {
            // All go to the one worker there is.
            [shipment] => shipment.rows.extend(rows),
            _ => rows.for_each(|row| self.push(row, None)),
        }
    }

    /// Makes room for about `rows` rows in all.
    pub fn reserve(&mut self, rows: usize) {
        let each = rows / self.shipments.len() + rows / (8 * self.shipments.len()) + 1;
        for shipment in &mut self.shipments {
            shipment.rows.reserve(each.min(rows));
        }
    }
}

impl<'s, T: Data> Line<'s, T> {
    /// A new line that begins with a source.
    pub fn source<S: Source<Item = T>>(graph: &Rc<Graph<'s>>, name: &str, source: S) -> Self {
        let timing = if source.pace().timed { Timing::Followed } else { Timing::Untimed };
        let source = Rc::new(source);
        let node = graph.add_source(name, Rc::clone(&source));
        let ask = Ask::default();
        let chain = intake::Intake { node, uid: name.to_owned(), source, ask: Rc::clone(&ask) };
        Line::new(Rc::clone(graph), node, name.to_owned(), Box::new(chain), vec![ask], timing)
    }

    fn new(
        graph: Rc<Graph<'s>>,
        node: u32,
        below: String,
        chain: Box<dyn Chain<'s, T> + 's>,
        asks: Vec<Ask>,
        timing: Timing,
    ) -> Self {
        Line { graph, node, below, chain: RefCell::new(Some(chain)), asks, timing, whole: true }
    }

    /// The same line, said to hold several records made of one.
    pub fn spread(self) -> Self {
        Line { whole: false, ..self }
    }

    fn take(self) -> (Rc<Graph<'s>>, u32, String, Box<dyn Chain<'s, T> + 's>, Vec<Ask>, Timing) {
        let chain = self.chain.into_inner().expect("a line has a chain until it is used");
        (self.graph, self.node, self.below, chain, self.asks, self.timing)
    }

    /// The graph it is drawn in.
    #[must_use]
    pub fn graph(&self) -> &Rc<Graph<'s>> {
        &self.graph
    }

    /// Adds to what the plan says of the step that the line comes from.
    pub fn note(&self, note: String) {
        self.graph.note(self.node, note);
    }

    /// Whether its records have event times that the watermark follows.
    #[must_use]
    pub fn timed(&self) -> bool {
        self.timing > Timing::Untimed
    }

    /// The same line, declared to have no event time: late records, for one.
    pub fn untimed(mut self) -> Self {
        self.timing = Timing::Untimed;
        self
    }

    /// Every record gets its position, because a step asks for it.
    pub fn ask_positions(&self) {
        self.asks.iter().for_each(|ask| ask.set(true));
    }

    /// A stateless step. It moves rows from one batch to the next, one position for each row where positions travel.
    pub fn step<U: Data>(self, kind: &str, step: impl FnMut(&mut Batch<T>, &mut Batch<U>) + 'static) -> Line<'s, U> {
        let whole = self.whole;
        let (graph, from, below, before, asks, timing) = self.take();
        let node = graph.add_step(kind, &below, vec![from]);
        let chain = Box::new(Then { node, before, step: Box::new(step) });
        Line { whole, ..Line::new(graph, node, below, chain, asks, timing) }
    }

    /// A stateless step that may refuse records; what becomes of those is the job's policy.
    pub fn try_step<U: Data>(
        self,
        kind: &str,
        step: impl FnMut(&mut Batch<T>, &mut Batch<U>, &mut Refusals<T>) + 'static,
    ) -> Line<'s, U> {
        self.ask_positions();
        let whole = self.whole;
        let (graph, from, below, before, asks, timing) = self.take();
        let node = graph.add_step(kind, &below, vec![from]);
        let chain = Box::new(TryThen { node, before, step: Box::new(step), whole });
        Line { whole, ..Line::new(graph, node, below, chain, asks, timing) }
    }

    /// Another reader of the same records. Ends the chain in an operator of its own.
    pub fn share(&self) -> Self {
        let port = self.port();
        Line::new(Rc::clone(&self.graph), self.node, self.below.clone(), Box::new(port), self.asks.clone(), self.timing)
    }

    fn port(&self) -> Rc<Port<'s, T>> {
        let chain = self.chain.borrow_mut().take().expect("a line has a chain until it is used");
        let port = fan::out(&self.graph, &self.below, chain);
        *self.chain.borrow_mut() = Some(Box::new(Rc::clone(&port)));
        port
    }

    /// Records of several lines in one.
    pub fn union(self, others: impl IntoIterator<Item = Self>) -> Self {
        let lines: Vec<Self> = std::iter::once(self).chain(others).collect();
        let ports = lines.iter().map(Line::port).collect();
        let inputs = lines.iter().map(|line| line.node).collect();
        let asks = lines.iter().flat_map(|line| line.asks.iter().cloned()).collect();
        let timing = lines.iter().map(|line| line.timing).min().unwrap_or(Timing::Untimed);
        let first = &lines[0];
        let (graph, below) = (Rc::clone(&first.graph), first.below.clone());
        let node = graph.add_step("union", &below, inputs);
        let below = below + "/union";
        Line::new(graph, node, below, Box::new(Union(ports)), asks, timing)
    }

    /// Two lines: records for which `which` answers true, and the others.
    pub fn split(self, which: impl FnMut(&T) -> bool + 'static) -> (Self, Self) {
        let (graph, from, below, chain, asks, timing) = self.take();
        let node = graph.add_step("split", &below, vec![from]);
        let (yes, no) = fan::split(&graph, node, &below, chain, which);
        let line = |port, side: &str| {
            Line::new(Rc::clone(&graph), node, format!("{below}/{side}"), Box::new(port), asks.clone(), timing)
        };
        (line(yes, "matching"), line(no, "other"))
    }

    /// Shuffles by key and runs `operator`: its results, and its side output.
    pub fn keyed<O: Operator<In = T>>(
        self,
        what: Stateful,
        key: KeyStep<O::Key, T>,
        operator: impl FnOnce() -> O + 's,
    ) -> (Line<'s, O::Out>, Line<'s, O::Side>) {
        if what.time && !self.timed() {
            self.graph.refuse(format!(
                "{} below {:?} needs event time, and its input has none: call `.event_time(|record| ..)` on the source",
                what.kind, self.below
            ));
        }
        if what.positions {
            self.ask_positions();
        }
        let (graph, from, below, chain, asks, timing) = self.take();
        let uid = what.name.unwrap_or_else(|| format!("{below}/{}", what.kind));
        let node = graph.add(Node {
            id: 0,
            uid: uid.clone(),
            kind: what.kind,
            role: Role::Stateful,
            inputs: vec![from],
            settings: what.settings,
            shapes: what.shapes,
            notes: what.notes,
        });
        let own = Ask::default();
        let (out, side) = (Port::new(), Port::new());
        let lowered = keyed::Keyed { node, uid: uid.clone(), chain, key, ask: Rc::clone(&own) };
        let (out_port, side_port) = (Rc::clone(&out), Rc::clone(&side));
        graph.lower_with(move |lowering| {
            let (results, late) = lowered.lower(lowering, operator())?;
            out_port.set(results);
            side_port.set(late);
            Ok(())
        });
        let side_asks = asks.into_iter().chain([Rc::clone(&own)]).collect();
        let late =
            Line::new(Rc::clone(&graph), node, format!("{uid}/late"), Box::new(side), side_asks, Timing::Untimed);
        let timing = if timing == Timing::Untimed { timing } else { Timing::Settled };
        (Line::new(graph, node, uid, Box::new(out), vec![own], timing), late)
    }

    /// Ends the line in a sink.
    pub fn sink(self, name: &str, sink: impl Sink<T>) {
        let (graph, from, _, chain, _, timing) = self.take();
        outlet::draw(&graph, from, name, chain, timing == Timing::Settled, sink);
    }
}
