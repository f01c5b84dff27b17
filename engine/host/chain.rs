//! Chains of stateless steps. A chain is boxed per step and batch: a loop over a batch, monomorphic in the user's closure, called through
//! one pointer for some thousand records. It runs inside whatever timely operator ends it, headed by its source where there is one, so
//! that reading, decoding and all steps up to the first shuffle are a single operator.

use std::cell::RefCell;
use std::rc::Rc;

use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::{Capability, CapabilityTrait, InputCapability};
use timely::progress::ChangeBatch;
use timely::progress::frontier::MutableAntichain;

use super::graph::{Lowering, Port};
use super::time::Time;
use crate::Batch;
use crate::run::local::{entering, reading};

/// What a batch travels under: the capability it came with, or, when the chain begins with a source, the operator's own.
pub(crate) enum Held<'a> {
    Came(&'a InputCapability<Time>),
    Own(&'a [Capability<Time>]),
}

impl Held<'_> {
    pub(crate) fn epoch(&self) -> u64 {
        match self {
            Held::Came(capability) => capability.time().epoch,
            Held::Own(capabilities) => capabilities[0].time().epoch,
        }
    }
    /// As a capability for one output.
    pub(crate) fn at(&self, output: usize) -> At<'_> {
        match self {
            Held::Came(capability) => At::Came(capability),
            Held::Own(capabilities) => At::Own(&capabilities[output]),
        }
    }
}

/// A [`Held`] for one output.
pub(crate) enum At<'a> {
    Came(&'a InputCapability<Time>),
    Own(&'a Capability<Time>),
}

impl CapabilityTrait<Time> for At<'_> {
    fn time(&self) -> &Time {
        match self {
            At::Came(capability) => capability.time(),
            At::Own(capability) => capability.time(),
        }
    }
    fn valid_for_output(&self, buffer: &Rc<RefCell<ChangeBatch<Time>>>, port: usize) -> bool {
        match self {
            At::Came(capability) => capability.valid_for_output(buffer, port),
            At::Own(capability) => capability.valid_for_output(buffer, port),
        }
    }
}

/// Receives each batch a chain has finished.
pub(crate) type Emit<'a, T> = &'a mut dyn FnMut(Held<'_>, &mut Batch<T>);

/// Drives a chain: pulls what is queued, runs all steps, hands batches to the receiver, and answers with what is promised: nothing of an
/// earlier epoch or below the watermark will come. `None` is an empty frontier without a final watermark: poison.
///
/// The capabilities are the ending operator's, one an output: a chain that begins with a source moves them along, any other lets them go.
pub(crate) type Drive<T> =
    Box<dyn FnMut(&mut Vec<Capability<Time>>, &[MutableAntichain<Time>], Emit<'_, T>) -> Option<Time>>;

/// A chain with its input's type erased. Opening it adds the input to the operator that ends it.
pub(crate) trait Chain<'s, T> {
    fn open(self: Box<Self>, operator: &mut OperatorBuilder<'s, Time>, lowering: &Lowering<'s>) -> Drive<T>;
}

/// The promise of a frontier: its least epoch and its least watermark.
pub(crate) fn promise(frontier: &MutableAntichain<Time>) -> Option<Time> {
    frontier.frontier().iter().copied().reduce(Time::meet)
}

impl<'s, T: Clone + 'static> Chain<'s, T> for Rc<Port<'s, T>> {
    fn open(self: Box<Self>, operator: &mut OperatorBuilder<'s, Time>, lowering: &Lowering<'s>) -> Drive<T> {
        let index = operator.shape().inputs();
        let mut input = operator.new_input(self.get(), Pipeline);
        let bad = Rc::clone(&lowering.bad);
        Box::new(move |own, frontiers, emit| {
            own.clear();
            input.for_each(|capability, batch| {
                let source = batch.origin.source;
                reading(Some(batch.origin));
                emit(Held::Came(&capability), batch);
                bad.settle(capability.time().epoch, source, |_| None);
                batch.clear();
            });
            promise(&frontiers[index])
        })
    }
}

/// Several ports read as one.
pub(crate) struct Union<'s, T>(pub(crate) Vec<Rc<Port<'s, T>>>);

impl<'s, T: Clone + 'static> Chain<'s, T> for Union<'s, T> {
    fn open(self: Box<Self>, operator: &mut OperatorBuilder<'s, Time>, lowering: &Lowering<'s>) -> Drive<T> {
        let mut drives: Vec<_> = self.0.into_iter().map(|port| Box::new(port).open(operator, lowering)).collect();
        Box::new(move |own, frontiers, emit| {
            let mut least: Option<Time> = None;
            let mut poisoned = false;
            for drive in &mut drives {
                match drive(own, frontiers, emit) {
                    Some(promised) => least = Some(least.map_or(promised, |least| least.meet(promised))),
                    None => poisoned = true,
                }
            }
            if poisoned { None } else { least }
        })
    }
}

/// One step after a chain.
pub(crate) struct Then<'s, T, U> {
    pub(crate) node: u32,
    pub(crate) before: Box<dyn Chain<'s, T> + 's>,
    pub(crate) step: Box<dyn FnMut(&mut Batch<T>, &mut Batch<U>)>,
}

impl<'s, T: 'static, U: 'static> Chain<'s, U> for Then<'s, T, U> {
    fn open(self: Box<Self>, operator: &mut OperatorBuilder<'s, Time>, lowering: &Lowering<'s>) -> Drive<U> {
        let Then { node, before, mut step } = *self;
        let mut before = before.open(operator, lowering);
        let mut done = Batch::default();
        Box::new(move |own, frontiers, emit| {
            before(own, frontiers, &mut |held, batch| {
                entering(node);
                done.clear();
                done.follow(batch);
                step(batch, &mut done);
                if !done.rows.is_empty() {
                    emit(held, &mut done);
                }
            })
        })
    }
}
