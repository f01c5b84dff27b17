//! The logical graph: nodes as data (the plan) beside closures that lower them. Typed ports connect producer and consumer, so nothing is
//! downcast; `'s` is the lifetime of the timely scope the graph will be lowered into, and free when it never is.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use millpond_state::store::{Manifest, PartitionState, Store};
use timely::dataflow::{Scope, Stream};

use super::bad::{BadDesk, DeadLetter, OnBad};
use super::time::Time;
use crate::plan::{Node, Plan, Role};
use crate::redrive;
use crate::run::local::Local;
use crate::savepoint::Upgrade;
use crate::sink::{Outlet, Sink, System};
use crate::source::{Env, From, Partition, Source, SourcePlan};
use crate::{Batch, Fault};

/// What a node needs to become an operator of one worker.
pub(crate) struct Lowering<'s> {
    pub(crate) scope: Scope<'s, Time>,
    pub(crate) local: Rc<Local>,
    pub(crate) bad: Rc<BadDesk>,
    pub(crate) resume: Arc<Resume>,
}

/// What a run goes on from.
pub(crate) struct Resume {
    pub(crate) env: Env,
    pub(crate) manifest: Manifest,
    pub(crate) store: Arc<Store>,
    /// Partitions of each sink's outlet, by node.
    pub(crate) partitions: BTreeMap<u32, u32>,
    /// Whether the run ends when its sources have.
    pub(crate) until_end: bool,
}

impl Resume {
    /// The partitions of a source, by the checkpoint.
    pub(crate) fn partitions_of(&self, source: &str) -> &[PartitionState] {
        self.manifest.sources.get(source).map(|state| state.partitions.as_slice()).unwrap_or_default()
    }

    /// The first epoch of this run.
    pub(crate) fn open(&self) -> u64 {
        self.manifest.id.epoch + 1
    }
}

type Lower<'s> = Box<dyn FnOnce(&Lowering<'s>) -> Result<(), Fault> + 's>;
type Connect = Box<dyn Fn(&Env, &From) -> Result<Vec<Partition>, Fault>>;
type Taken = Box<dyn Fn(Duration) -> Result<Vec<(u32, u64)>, Fault>>;

/// A source as the leader needs it.
pub(crate) struct DrawnSource {
    pub(crate) uid: String,
    /// What it reads, by its plan.
    pub(crate) from: String,
    /// The system it reads from.
    pub(crate) system: Option<String>,
    pub(crate) bounded: bool,
    /// Whether partitions may be added to it.
    pub(crate) grows: bool,
    pub(crate) connect: Connect,
    /// What retention may take within so long; nothing is known of sources whose records stay.
    pub(crate) taken: Option<Taken>,
    /// Whose requests these are, when they are no source's own partitions.
    pub(crate) asked_of: Option<String>,
}

/// A sink as the leader needs it.
pub(crate) struct DrawnSink {
    pub(crate) uid: String,
    pub(crate) outlet: Outlet,
    /// Whether its records keep to the watermark: none comes below an event time that has been promised. Results of windows do; late
    /// records, dead letters and records that met no window do not.
    pub(crate) settled: bool,
    pub(crate) system: Rc<dyn System>,
}

/// Where a job is drawn: nodes, and how each becomes an operator.
#[derive(Default)]
pub struct Graph<'s> {
    nodes: RefCell<Vec<Node>>,
    lowering: RefCell<Vec<Lower<'s>>>,
    pub(crate) sources: RefCell<Vec<Rc<DrawnSource>>>,
    /// Where each source that can reads what is asked for again.
    requests: RefCell<Vec<Rc<DrawnSource>>>,
    pub(crate) sinks: RefCell<Vec<DrawnSink>>,
    refusals: RefCell<Vec<String>>,
    /// What steps take the state of other shapes with, by uid.
    pub(crate) upgrades: RefCell<BTreeMap<String, Vec<Upgrade>>>,
    /// How long the windows of steps are, by uid, in microseconds; not of those that have no such bound.
    pub(crate) sizes: RefCell<BTreeMap<String, i64>>,
    pub(crate) on_bad: RefCell<OnBad>,
}

impl std::fmt::Debug for Graph<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Graph").field("nodes", &self.nodes).finish_non_exhaustive()
    }
}

/// Whether somebody downstream asks for positions; read by whatever makes the records once everything is drawn.
pub(crate) type Ask = Rc<Cell<bool>>;

/// Where a lowered producer leaves its stream for its consumers.
pub(crate) struct Port<'s, T> {
    stream: RefCell<Option<Stream<'s, Time, Batch<T>>>>,
}

impl<'s, T: Clone + 'static> Port<'s, T> {
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Port { stream: RefCell::new(None) })
    }
    pub(crate) fn set(&self, stream: Stream<'s, Time, Batch<T>>) {
        assert!(self.stream.replace(Some(stream)).is_none(), "a node is lowered once");
    }
    pub(crate) fn get(&self) -> Stream<'s, Time, Batch<T>> {
        self.stream.borrow().clone().expect("producers are lowered before their consumers")
    }
}

impl<'s> Graph<'s> {
    /// An empty graph.
    #[must_use]
    pub fn new() -> Rc<Self> {
        Rc::new(Graph::default())
    }

    /// Adds a node and returns its number. Streams are values, so nodes are drawn in topological order.
    pub(crate) fn add(&self, node: Node) -> u32 {
        let mut nodes = self.nodes.borrow_mut();
        let id = u32::try_from(nodes.len()).expect("a job has less than four billion nodes");
        nodes.push(Node { id, ..node });
        id
    }

    /// Adds a stateless step below `input`; its name is its nearest named ancestor's and its kind, numbered where that is needed.
    pub(crate) fn add_step(&self, kind: &str, below: &str, inputs: Vec<u32>) -> u32 {
        let mut uid = format!("{below}/{kind}");
        let nodes = self.nodes.borrow();
        let same =
            nodes.iter().filter(|node| node.role == Role::Step && node.uid.split(" #").next() == Some(&uid)).count();
        drop(nodes);
        if same > 0 {
            uid = format!("{uid} #{}", same + 1);
        }
        self.add(step_node(uid, kind, inputs))
    }

    pub(crate) fn note(&self, node: u32, note: String) {
        self.nodes.borrow_mut()[node as usize].notes.push(note);
    }

    pub(crate) fn lower_with(&self, lower: impl FnOnce(&Lowering<'s>) -> Result<(), Fault> + 's) {
        self.lowering.borrow_mut().push(Box::new(lower));
    }

    /// Notes a reason why the job cannot run.
    pub fn refuse(&self, reason: impl Into<String>) {
        self.refusals.borrow_mut().push(reason.into());
    }

    /// Records that cannot be used are skipped and counted.
    pub fn skip_bad(&self) {
        *self.on_bad.borrow_mut() = OnBad::Skip;
    }

    /// Records that cannot be used are written to `sink`, committed with the rest.
    pub fn dead_letters(&self, name: &str, sink: impl Sink<DeadLetter>) {
        let plan = sink.plan();
        let settings = vec![("to".to_owned(), format!("{} {}", plan.kind, plan.to))];
        let role = Role::Sink;
        let kind = "dead letters".to_owned();
        let inputs = Vec::new();
        let node = self.add(Node { settings, role, kind, ..step_node(name.to_owned(), "", inputs) });
        self.sinks.borrow_mut().push(DrawnSink {
            uid: name.to_owned(),
            settled: false,
            outlet: Outlet { sink: node, to: plan.to, upsert: sink.upsert() },
            system: sink.system(),
        });
        *self.on_bad.borrow_mut() = OnBad::DeadLetter(node, Rc::new(sink));
    }

    /// The plan, or every reason why there is none. Needs no worker and no dataflow.
    ///
    /// # Errors
    /// A sentence for each thing that is wrong.
    pub fn plan(&self) -> Result<Plan, Vec<String>> {
        let plan = Plan { nodes: self.nodes.borrow().clone() };
        let mut refusals = self.refusals.borrow().clone();
        refusals.extend(plan.refusals());
        if refusals.is_empty() { Ok(plan) } else { Err(refusals) }
    }

    pub(crate) fn add_source<S: Source>(&self, name: &str, source: Rc<S>) -> u32 {
        let plan = source.plan();
        let pace = source.pace();
        let time = if pace.timed { format!("{} behind", micros(pace.bound_micros)) } else { "none".to_owned() };
        let mut settings =
            vec![("from".to_owned(), format!("{} {}", plan.kind, plan.from)), ("event time".to_owned(), time)];
        if let Some(idle) = pace.idle_after {
            settings.push(("idle after".to_owned(), format!("{idle:?}")));
        }
        if pace.guard_micros != crate::source::Pace::default().guard_micros {
            settings.push(("future guard".to_owned(), micros(pace.guard_micros)));
        }
        let node = Node { role: Role::Source, settings, ..step_node(name.to_owned(), "source", Vec::new()) };
        let id = self.add(node);
        let (system, grows) = (source.system(), source.grows());
        if redrive::is_requests(name) {
            self.refuse(format!(
                "a source is called {name:?}, and names with that ending are kept for records that are redriven"
            ));
        }
        if source.redriven(name, name).is_some() {
            let (source, of, opened) = (Rc::clone(&source), name.to_owned(), OnceCell::new());
            let connect = move |env: &Env, from: &From| {
                let again = || source.redriven(&of, &env.redrive()).expect("it could a moment ago");
                opened.get_or_init(again).connect(env, from)
            };
            self.requests.borrow_mut().push(Rc::new(DrawnSource {
                uid: redrive::requests_of(name),
                from: plan.from.clone(),
                system: system.clone(),
                bounded: false,
                grows: true,
                connect: Box::new(connect),
                taken: None,
                asked_of: Some(name.to_owned()),
            }));
        }
        let asked = Rc::clone(&source);
        let taken: Option<Taken> = Some(Box::new(move |within| asked.taken(within)));
        let connect = Box::new(move |env: &Env, from: &From| source.connect(env, from));
        let uid = name.to_owned();
        let SourcePlan { from, bounded, .. } = plan;
        let drawn = DrawnSource { uid, from, system, bounded, grows, connect, taken, asked_of: None };
        self.sources.borrow_mut().push(Rc::new(drawn));
        id
    }

    /// The sink of dead letters, when that is the policy: where it writes, and the system that does.
    pub(crate) fn dead(&self) -> Option<(String, Rc<dyn System>)> {
        let OnBad::DeadLetter(node, _) = &*self.on_bad.borrow() else { return None };
        let sinks = self.sinks.borrow();
        let sink = sinks.iter().find(|sink| sink.outlet.sink == *node)?;
        Some((sink.outlet.to.clone(), Rc::clone(&sink.system)))
    }

    /// Everything that is read: the sources, each with what is asked for again of it. Requests lie beside the dead letters, so only a source
    /// of that same system has some.
    pub(crate) fn inputs(&self) -> Vec<Rc<DrawnSource>> {
        let dead = self.dead().map(|(_, system)| system.identity());
        let requests = self.requests.borrow();
        let mut inputs = Vec::new();
        for source in self.sources.borrow().iter() {
            inputs.push(Rc::clone(source));
            let asked = requests.iter().find(|asked| asked.asked_of.as_ref() == Some(&source.uid));
            inputs.extend(asked.filter(|asked| dead.is_some() && asked.system == dead).map(Rc::clone));
        }
        inputs
    }

    /// Instantiates the operators of one worker.
    pub(crate) fn lower(&self, lowering: &Lowering<'s>) -> Result<(), Fault> {
        self.lowering.take().into_iter().try_for_each(|lower| lower(lowering))
    }
}

/// Microseconds for people.
pub(crate) fn micros(micros: i64) -> String {
    let span = std::time::Duration::from_micros(micros.unsigned_abs());
    format!("{}{}", if micros < 0 { "-" } else { "" }, humantime::format_duration(span))
}

pub(crate) fn step_node(uid: String, kind: &str, inputs: Vec<u32>) -> Node {
    Node {
        id: 0,
        uid,
        kind: kind.to_owned(),
        role: Role::Step,
        inputs,
        settings: Vec::new(),
        shapes: Vec::new(),
        notes: Vec::new(),
    }
}
