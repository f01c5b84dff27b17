//! From records to keyed rows: the step that keys a batch, the rows on their way to their workers, and a line that knows its key.

use std::rc::Rc;

use millpond_state::{Data, Key, KeyGroup, Position};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::frontier::MutableAntichain;

use super::chain::{Chain, Held, Then};
use super::graph::{Ask, Graph, Lowering, Port};
use super::keyed;
use super::line::{Head, Line, Stateful, Timing};
use super::time::Time;
use crate::operator::Operator;
use crate::plan::{Node, Role};
use crate::{Batch, Origin, Row, Shipment};

/// Turns a batch into keyed rows: made where the key's closure is known, so that no call per record is virtual.
pub type KeyStep<T, K, V> = Box<dyn FnMut(&mut Batch<T>, &mut Scatter<K, V>)>;

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
    pub fn push(&mut self, row: Row<K, V>, position: Option<Position>) {
        let workers = self.shipments.len();
        let worker = if workers == 1 { 0 } else { KeyGroup::of(row.hash).worker(workers) };
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

/// A batch that was keyed: where it came from, and what it weighs.
#[derive(Clone, Copy)]
pub(crate) struct Came {
    pub(crate) origin: Origin,
    pub(crate) weight: u64,
    pub(crate) rows: u64,
}

/// Receives the rows of each batch, under what the batch came with.
pub(crate) type Ship<'a, K, V> = &'a mut dyn FnMut(Held<'_>, Came, &mut Scatter<K, V>);

/// Drives a keyed chain, as [`Drive`](super::chain::Drive) does a chain.
pub(crate) type KeyDrive<K, V> = Box<
    dyn FnMut(
        &mut Vec<Capability<Time>>,
        &[MutableAntichain<Time>],
        &mut Scatter<K, V>,
        Ship<'_, K, V>,
    ) -> Option<Time>,
>;

/// A chain that ends in keyed rows, with the type of its records erased.
pub(crate) trait KeyChain<'s, K, V> {
    fn open(
        self: Box<Self>,
        node: u32,
        operator: &mut OperatorBuilder<'s, Time>,
        lowering: &Lowering<'s>,
    ) -> KeyDrive<K, V>;
    /// The chain without its keys.
    fn values(self: Box<Self>, node: u32) -> Box<dyn Chain<'s, V> + 's>;
}

struct Keying<'s, T, K, V> {
    chain: Box<dyn Chain<'s, T> + 's>,
    key: KeyStep<T, K, V>,
    value: Box<dyn FnMut(&mut Batch<T>, &mut Batch<V>)>,
}

impl<'s, T: 'static, K: 'static, V: 'static> KeyChain<'s, K, V> for Keying<'s, T, K, V> {
    fn open(
        self: Box<Self>,
        node: u32,
        operator: &mut OperatorBuilder<'s, Time>,
        lowering: &Lowering<'s>,
    ) -> KeyDrive<K, V> {
        let Keying { chain, mut key, .. } = *self;
        let mut drive = chain.open(operator, lowering);
        Box::new(move |own, frontiers, scatter, ship| {
            drive(own, frontiers, &mut |held, batch| {
                crate::run::local::entering(node);
                let came = Came { origin: batch.origin, weight: batch.weight(), rows: batch.rows.len() as u64 };
                scatter.reserve(batch.rows.len());
                key(batch, scatter);
                ship(held, came, scatter);
            })
        })
    }

    fn values(self: Box<Self>, node: u32) -> Box<dyn Chain<'s, V> + 's> {
        let Keying { chain, value, .. } = *self;
        Box::new(Then { node, before: chain, step: value })
    }
}

/// A stream of `V` by the key `K` while the job is drawn. Nothing is shuffled yet.
#[must_use = "a keyed line does nothing until an operator takes it"]
pub struct KeyedLine<'s, K, V> {
    head: Head<'s>,
    chain: Box<dyn KeyChain<'s, K, V> + 's>,
}

impl<K, V> std::fmt::Debug for KeyedLine<'_, K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyedLine").field("head", &self.head).finish_non_exhaustive()
    }
}

impl<'s, K: Key, V: Data> KeyedLine<'s, K, V> {
    pub(super) fn new<T: Data>(
        head: Head<'s>,
        chain: Box<dyn Chain<'s, T> + 's>,
        key: KeyStep<T, K, V>,
        value: Box<dyn FnMut(&mut Batch<T>, &mut Batch<V>)>,
    ) -> Self {
        KeyedLine { head, chain: Box::new(Keying { chain, key, value }) }
    }

    /// The graph it is drawn in.
    #[must_use]
    pub fn graph(&self) -> &Rc<Graph<'s>> {
        &self.head.graph
    }

    /// The line without its keys.
    pub fn values(self) -> Line<'s, V> {
        let KeyedLine { head, chain } = self;
        let chain = chain.values(head.node);
        Line::new(head, chain)
    }

    /// Shuffles by key and runs `operator`: its results, and its side output.
    pub fn operate<O: Operator<Key = K, In = V>>(
        self,
        what: Stateful,
        operator: impl FnOnce() -> O + 's,
    ) -> (Line<'s, O::Out>, Line<'s, O::Side>) {
        let KeyedLine { head: Head { graph, node: from, below, asks, timing, .. }, chain } = self;
        if what.time && timing == Timing::Untimed {
            graph.refuse(format!(
                "{} below {:?} needs event time, and its input has none: call `.event_time(|record| ..)` on the source",
                what.kind, below
            ));
        }
        if what.positions {
            asks.iter().for_each(|ask| ask.set(true));
        }
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
        if !what.upgrades.is_empty() {
            graph.upgrades.borrow_mut().insert(uid.clone(), what.upgrades);
        }
        if let Some(size) = what.size {
            graph.sizes.borrow_mut().insert(uid.clone(), size);
        }
        let own = Ask::default();
        let (out, side) = (Port::new(), Port::new());
        let lowered = keyed::Keyed { node, uid: uid.clone(), chain, ask: Rc::clone(&own) };
        let (out_port, side_port) = (Rc::clone(&out), Rc::clone(&side));
        graph.lower_with(move |lowering| {
            let (results, late) = lowered.lower(lowering, operator())?;
            out_port.set(results);
            side_port.set(late);
            Ok(())
        });
        let asks = asks.into_iter().chain([Rc::clone(&own)]).collect();
        let below = format!("{uid}/late");
        let late = Head { graph: Rc::clone(&graph), node, below, asks, timing: Timing::Untimed, whole: false };
        let timing = if timing == Timing::Untimed { timing } else { Timing::Settled };
        let results = Head { graph, node, below: uid, asks: vec![own], timing, whole: false };
        (Line::new(results, Box::new(out)), Line::new(late, Box::new(side)))
    }
}
