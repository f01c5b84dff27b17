//! Where a chain ends so that several others can begin: fan-out and split.

use std::rc::Rc;

use timely::container::NoopBuilder;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use super::chain::Chain;
use super::graph::{Graph, Port};
use crate::Batch;
use crate::run::local::entering;
use millpond_state::Data;

/// Ends `chain` in an operator of its own, so that several consumers can share what it gives.
pub(super) fn out<'s, T: Data>(graph: &Graph<'s>, below: &str, chain: Box<dyn Chain<'s, T> + 's>) -> Rc<Port<'s, T>> {
    let port = Port::new();
    let (name, to) = (format!("{below}/fan-out"), Rc::clone(&port));
    graph.lower_with(move |lowering| {
        let mut operator = OperatorBuilder::new(name, lowering.scope);
        let mut drive = chain.open(&mut operator, lowering);
        let (output, stream) = operator.new_output::<Batch<T>>();
        let mut output = OutputBuilder::<_, NoopBuilder<Batch<T>>>::from(output);
        let local = Rc::clone(&lowering.local);
        operator.build(move |mut own| {
            move |frontiers| {
                local.guard(|| {
                    let mut output = output.activate();
                    drive(&mut own, frontiers, &mut |held, batch| {
                        if !local.muted.get() {
                            output.session_with_builder(&held.at(0)).give_container(batch);
                        }
                    });
                });
            }
        });
        to.set(stream);
        Ok(())
    });
    port
}

/// The two sides of a split.
type Sides<'s, T> = (Rc<Port<'s, T>>, Rc<Port<'s, T>>);

/// Ends `chain` in an operator that deals its records to two outputs.
pub(super) fn split<'s, T: Data>(
    graph: &Graph<'s>,
    node: u32,
    below: &str,
    chain: Box<dyn Chain<'s, T> + 's>,
    mut which: impl FnMut(&T) -> bool + 'static,
) -> Sides<'s, T> {
    let (yes, no) = (Port::new(), Port::new());
    let (name, to_yes, to_no) = (format!("{below}/split"), Rc::clone(&yes), Rc::clone(&no));
    graph.lower_with(move |lowering| {
        let mut operator = OperatorBuilder::new(name, lowering.scope);
        let mut drive = chain.open(&mut operator, lowering);
        let (first, matching) = operator.new_output::<Batch<T>>();
        let (second, others) = operator.new_output::<Batch<T>>();
        let mut first = OutputBuilder::<_, NoopBuilder<Batch<T>>>::from(first);
        let mut second = OutputBuilder::<_, NoopBuilder<Batch<T>>>::from(second);
        let local = Rc::clone(&lowering.local);
        let (mut left, mut right) = (Batch::default(), Batch::default());
        operator.build(move |mut own| {
            move |frontiers| {
                local.guard(|| {
                    let (mut first, mut second) = (first.activate(), second.activate());
                    drive(&mut own, frontiers, &mut |held, batch| {
                        entering(node);
                        deal(batch, &mut left, &mut right, &mut which);
                        if local.muted.get() {
                            return;
                        }
                        for (output, session, side) in [(0, &mut first, &mut left), (1, &mut second, &mut right)] {
                            if !side.rows.is_empty() {
                                session.session_with_builder(&held.at(output)).give_container(side);
                            }
                        }
                    });
                });
            }
        });
        to_yes.set(matching);
        to_no.set(others);
        Ok(())
    });
    (yes, no)
}

fn deal<T>(batch: &mut Batch<T>, left: &mut Batch<T>, right: &mut Batch<T>, which: &mut impl FnMut(&T) -> bool) {
    left.clear();
    right.clear();
    left.follow(batch);
    right.follow(batch);
    let mut positions = batch.positions.iter();
    for row in batch.rows.drain(..) {
        let side = if which(&row.value) { &mut *left } else { &mut *right };
        side.rows.push(row);
        side.positions.extend(positions.next());
    }
}
