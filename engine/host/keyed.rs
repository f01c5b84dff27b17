//! Hosting a keyed operator: the shuffle's sending half, and the operator itself behind one capability an output.
//!
//! In one activation: apply the open epoch's rows and stash later ones; the watermark is the least of the frontier and of what waits;
//! advance, in budgets, while there is credit; downgrade; when nothing of the open epoch can come any more, close it: changes, snapshot,
//! roll to the next epoch, apply what waited, and again. Closing and applying what waited are cut into slices, one an activation, so that
//! sources go on reading however much an epoch touched; meanwhile rows wait, and count as in flight. The inputs are declared disconnected
//! from the outputs, so that the capability held here is the whole promise downstream.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use millpond_state::{Data, Entry, Key, KeyGroup, Section, Timestamp};
use timely::container::NoopBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::DistributorPact;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::Antichain;
use timely::progress::frontier::MutableAntichain;
use timely::scheduling::activate::Activator;

use super::chain::promise;
use super::graph::{Ask, Lowering};
use super::keying::{KeyChain, Scatter};
use super::pact::ToWorker;
use super::time::Time;
use crate::metrics::Counter;
use crate::operator::{Context, Firing, Operator};
use crate::run::local::{Local, Part, entering, reading};
use crate::source::Waker;
use crate::{Batch, Exit, Fault, Shipment};

/// Records a call of `advance` may emit, and how many calls one activation makes before others get their turn.
const BUDGET: usize = 2048;
const TURN: usize = 16;
/// Changes that leave, and entries of a snapshot that are written, in one activation: two or three milliseconds. Less would let sources read
/// more meanwhile than may be in flight, when an epoch touched a million keys.
const SLICE: usize = 16_384;
/// Rows that had to wait for a snapshot and are applied in one activation, at least: more than a source reads meanwhile.
const CATCH_UP: usize = 16_384;

/// How many emptied shipments wait to be filled again.
const SPARE: usize = 16;

/// Emptied shipments of this worker's two halves. Memory that was just read is still near, and goes back to nobody: filling fresh memory
/// each time cost a small program with the same steps up to a fifth.
type Spare<K, V> = Rc<RefCell<Vec<Shipment<K, V>>>>;

/// A drawn keyed operator.
pub(crate) struct Keyed<'s, K, T> {
    pub(crate) node: u32,
    pub(crate) uid: String,
    pub(crate) chain: Box<dyn KeyChain<'s, K, T> + 's>,
    pub(crate) ask: Ask,
}

type Out<'s, T> = Stream<'s, Time, Batch<T>>;

impl<'s, K: Key, T: Data> Keyed<'s, K, T> {
    pub(crate) fn lower<O: Operator<Key = K, In = T>>(
        self,
        lowering: &Lowering<'s>,
        mut operator: O,
    ) -> Result<(Out<'s, O::Out>, Out<'s, O::Side>), Fault> {
        restore(&self.uid, &mut operator, lowering)?;
        let Keyed { node, uid, chain, ask } = self;
        let spare = Spare::default();
        let keyed = send(node, &uid, chain, &spare, lowering);
        Ok(host(node, uid, keyed, operator, ask.get(), spare, lowering))
    }
}

/// Gives the operator what the checkpoint holds of the key groups this worker owns.
fn restore<O: Operator>(uid: &str, operator: &mut O, lowering: &Lowering<'_>) -> Result<(), Fault> {
    let resume = &lowering.resume;
    let (from, to) = lowering.local.groups();
    if let Some(fires) = resume.manifest.fired.get(uid) {
        operator.restore_fired(from..to, &fires.iter().map(|run| (run.from, run.to, run.watermark)).collect());
    }
    let lost = |error: &dyn std::error::Error| {
        Fault::new(
            Exit::Restore,
            format!("the state of {uid:?} in checkpoint {} cannot be restored: {error}", resume.manifest.id),
        )
    };
    let mut entries = resume.store.restore(&resume.manifest, from..to, Some(uid)).map_err(|error| lost(&error))?;
    while let Some(entry) = entries.next_entry().map_err(|error| lost(&error))? {
        let (group, key) = (entry.group, entry.key);
        operator.restore(Entry { group, key, value: Some(entry.value) }).map_err(|error| lost(&error))?;
    }
    Ok(())
}

/// The sending half: the chain, keying and partitioning, in one operator.
fn send<'s, K: Key, T: Data>(
    node: u32,
    uid: &str,
    chain: Box<dyn KeyChain<'s, K, T> + 's>,
    spare: &Spare<K, T>,
    lowering: &Lowering<'s>,
) -> Stream<'s, Time, Shipment<K, T>> {
    let mut operator = OperatorBuilder::new(format!("{uid}/send"), lowering.scope);
    let mut drive = chain.open(node, &mut operator, lowering);
    let (output, keyed) = operator.new_output::<Shipment<K, T>>();
    let mut output = OutputBuilder::<_, NoopBuilder<Shipment<K, T>>>::from(output);
    let local = Rc::clone(&lowering.local);
    let mut scatter = Scatter::new(local.shared.workers);
    let spare = Rc::clone(spare);
    operator.build(move |mut own| {
        move |frontiers| {
            local.guard(|| {
                let mut output = output.activate();
                drive(&mut own, frontiers, &mut scatter, &mut |held, came, scatter| {
                    for (worker, shipment) in scatter.shipments.iter_mut().enumerate() {
                        if local.muted.get() {
                            shipment.rows.clear();
                            shipment.positions.clear();
                        }
                        if shipment.rows.is_empty() {
                            continue;
                        }
                        shipment.origin = came.origin;
                        shipment.worker = worker as u32;
                        shipment.weight = came.weight * shipment.rows.len() as u64 / came.rows.max(1);
                        local.shared.credits.take(shipment.weight);
                        output.session_with_builder(&held.at(0)).give_container(shipment);
                        *shipment = spare.borrow_mut().pop().unwrap_or_default();
                    }
                });
            });
        }
    });
    keyed
}

/// The receiving half.
fn host<'s, O: Operator>(
    node: u32,
    uid: String,
    keyed: Stream<'s, Time, Shipment<O::Key, O::In>>,
    operator: O,
    positions: bool,
    spare: Spare<O::Key, O::In>,
    lowering: &Lowering<'s>,
) -> (Out<'s, O::Out>, Out<'s, O::Side>) {
    let none: [(usize, Antichain<()>); 0] = [];
    let mut builder = OperatorBuilder::new(uid.clone(), lowering.scope);
    let mut input = builder.new_input_connection(keyed, DistributorPact(|_| ToWorker), none.clone());
    let (out, results) = builder.new_output_connection::<Batch<O::Out>, _>(none.clone());
    let (side, late) = builder.new_output_connection::<Batch<O::Side>, _>(none);
    let mut out = OutputBuilder::<_, NoopBuilder<Batch<O::Out>>>::from(out);
    let mut side = OutputBuilder::<_, NoopBuilder<Batch<O::Side>>>::from(side);
    let local = Rc::clone(&lowering.local);
    local.join();
    let address = builder.operator_info().address;
    let worker = lowering.scope.worker();
    let sync = worker.sync_activator_for(address.to_vec());
    // A worker that has gone needs no waking.
    local.shared.add_waker(Waker::new(move || sync.activate().unwrap_or(())));
    let metrics = local.shared.metrics.clone();
    let labels = [("uid", uid.as_str())];
    let mut hosted = Hosted {
        late: metrics.counter("millpond_late_records_total", "records that came after their window was final", &labels),
        unassigned: metrics.counter("millpond_unassigned_records_total", "records that belong to no window", &labels),
        emitted: metrics.counter("millpond_results_total", "records made by stateful steps", &labels),
        activator: worker.activator_for(address),
        context: Context::new(positions),
        open: lowering.resume.open(),
        spare,
        closing: None,
        catching_up: false,
        watermark: Timestamp::MIN,
        waiting: VecDeque::new(),
        node,
        uid,
        operator,
        local,
    };
    builder.build(move |mut capabilities| {
        let start = Time { epoch: hosted.open, watermark: Timestamp::MIN };
        capabilities.iter_mut().for_each(|capability| capability.downgrade(&start));
        move |frontiers| {
            let local = Rc::clone(&hosted.local);
            local.guard(|| {
                input.for_each(|capability, shipment| hosted.take(capability.time(), shipment));
                let (mut out, mut side) = (out.activate(), side.activate());
                let mut leave = |context: &mut Context<O::Out, O::Side>, held: &[Capability<Time>]| {
                    if !context.out.rows.is_empty() {
                        out.session_with_builder(&held[0]).give_container(&mut context.out);
                        context.out.clear();
                    }
                    if !context.side.rows.is_empty() {
                        side.session_with_builder(&held[1]).give_container(&mut context.side);
                        context.side.clear();
                    }
                };
                hosted.run(&mut capabilities, &frontiers[0], &mut leave);
            });
        }
    });
    (results, late)
}

type Leave<'a, O> = &'a mut dyn FnMut(&mut Context<<O as Operator>::Out, <O as Operator>::Side>, &[Capability<Time>]);

/// How far closing an epoch has come.
struct Closing {
    /// Whether all changes have left.
    emitted: bool,
    section: Section,
}

struct Hosted<O: Operator> {
    node: u32,
    uid: String,
    operator: O,
    context: Context<O::Out, O::Side>,
    local: Rc<Local>,
    activator: Activator,
    spare: Spare<O::Key, O::In>,
    open: u64,
    /// While the open epoch closes: what has been written of its snapshot.
    closing: Option<Closing>,
    /// Whether rows of the open epoch may wait.
    catching_up: bool,
    /// What has been promised downstream as watermark of the input: everything due at it has left.
    watermark: Timestamp,
    waiting: VecDeque<(Time, Shipment<O::Key, O::In>)>,
    late: Counter,
    unassigned: Counter,
    emitted: Counter,
}

impl<O: Operator> Hosted<O> {
    fn take(&mut self, time: &Time, shipment: &mut Shipment<O::Key, O::In>) {
        // Rows of one partition stay in order, so none may overtake those that wait.
        if time.epoch == self.open && !self.catching_up {
            assert!(self.closing.is_none(), "nothing of an epoch that closes can come any more");
            self.apply(shipment);
        } else {
            self.waiting.push_back((*time, std::mem::take(shipment)));
        }
    }

    fn apply(&mut self, shipment: &mut Shipment<O::Key, O::In>) {
        entering(self.node);
        reading(Some(shipment.origin));
        self.operator.apply(shipment, &mut self.context);
        self.local.shared.give(shipment.weight);
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE {
            shipment.rows.clear();
            shipment.positions.clear();
            spare.push(std::mem::take(shipment));
        }
    }

    fn run(&mut self, held: &mut [Capability<Time>], frontier: &MutableAntichain<Time>, leave: Leave<'_, O>) {
        loop {
            let whole = (self.closing.is_none() || self.close(held, leave)) && (!self.catching_up || self.catch_up());
            self.flush(held, leave);
            if !whole {
                self.activator.activate();
                return;
            }
            // An empty frontier promises nothing: it also comes from a source that went away.
            let Some(promised) = promise(frontier) else { return };
            let waits = self.waiting.iter().map(|(time, _)| time.watermark).min();
            let watermark = waits.map_or(promised.watermark, |waits| waits.min(promised.watermark));
            let fired = self.fire(watermark, held, leave);
            if fired {
                self.watermark = self.watermark.max(watermark);
                let epoch = self.open;
                // An operator may hold its promise back, never take it back.
                let promise = self.operator.output_watermark(self.watermark).max(held[0].time().watermark);
                downgrade(held, Time { epoch, watermark: promise });
            }
            if promised.epoch <= self.open || !self.local.running() {
                return;
            }
            self.closing = Some(Closing { emitted: false, section: Section::new(&self.uid) });
        }
    }

    /// Emits what is due. False when the budget of this activation or the credit ran out: more is due, and the promise stays.
    fn fire(&mut self, watermark: Timestamp, held: &[Capability<Time>], leave: Leave<'_, O>) -> bool {
        entering(self.node);
        reading(None);
        for _ in 0..TURN {
            let budget = if self.local.shared.credits.available() { BUDGET } else { 0 };
            let firing = self.operator.advance(watermark, budget, &mut self.context);
            self.flush(held, leave);
            if firing == Firing::Done {
                return true;
            }
            if budget == 0 {
                // Woken when bytes are given back.
                return false;
            }
        }
        self.activator.activate();
        false
    }

    /// A slice of closing the epoch: changes, snapshot, roll. Whether that was the last one.
    fn close(&mut self, held: &mut [Capability<Time>], leave: Leave<'_, O>) -> bool {
        entering(self.node);
        reading(None);
        let Closing { emitted, mut section } = self.closing.take().expect("an epoch closes");
        if !emitted {
            let firing = self.operator.close(SLICE, &mut self.context);
            self.flush(held, leave);
            if firing == Firing::More {
                self.closing = Some(Closing { emitted, section });
                return false;
            }
        }
        match self.operator.snapshot(&mut { SLICE }, &mut section) {
            Ok(true) => {}
            Ok(false) => {
                self.closing = Some(Closing { emitted: true, section });
                return false;
            }
            Err(error) => {
                let what = format!("job {}: the state of {:?} cannot be encoded", self.local.shared.job, self.uid);
                self.local.fail(Fault::new(Exit::FixJob, what).because(error));
                return false;
            }
        }
        let (from, to) = self.local.groups();
        let fires = self.operator.fired(from..to);
        self.local.close(self.open, Part::State(section, fires));
        self.open += 1;
        self.catching_up = true;
        downgrade(held, Time { epoch: self.open, watermark: held[0].time().watermark });
        true
    }

    /// Applies rows of the open epoch that had to wait. Whether those were all.
    fn catch_up(&mut self) -> bool {
        let mut applied = 0;
        for _ in 0..self.waiting.len() {
            let (time, mut shipment) = self.waiting.pop_front().expect("as many as there were");
            if time.epoch == self.open && applied < CATCH_UP {
                applied += shipment.rows.len();
                self.apply(&mut shipment);
            } else {
                self.waiting.push_back((time, shipment));
            }
        }
        self.catching_up = self.waiting.iter().any(|(time, _)| time.epoch == self.open);
        !self.catching_up
    }

    fn flush(&mut self, held: &[Capability<Time>], leave: Leave<'_, O>) {
        let context = &mut self.context;
        self.late.add(std::mem::take(&mut context.late));
        self.unassigned.add(std::mem::take(&mut context.unassigned));
        self.emitted.add(context.out.rows.len() as u64);
        leave(context, held);
    }
}

fn downgrade(held: &mut [Capability<Time>], to: Time) {
    for capability in held {
        capability.downgrade(&to);
    }
}

const _: () = assert!(KeyGroup::COUNT <= u16::MAX as usize, "runs of key groups are written as u16");
