//! Sinks: encode on the worker, hand over to the coordinator, close epochs.

use std::rc::Rc;

use millpond_state::{Data, Timestamp};
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use super::chain::Chain;
use super::graph::{DrawnSink, Graph, step_node};
use super::time::Time;
use crate::plan::{Node, Role};
use crate::run::local::{Part, entering};
use crate::sink::{Outgoing, Outlet, Room, Sink};

/// Draws a sink that ends `chain`.
pub(super) fn draw<'s, T: Data>(
    graph: &Rc<Graph<'s>>,
    from: u32,
    name: &str,
    chain: Box<dyn Chain<'s, T> + 's>,
    settled: bool,
    sink: impl Sink<T>,
) {
    let plan = sink.plan();
    let settings = vec![("to".to_owned(), format!("{} {}", plan.kind, plan.to))];
    let node = graph.add(Node { role: Role::Sink, settings, ..step_node(name.to_owned(), "sink", vec![from]) });
    let outlet = Outlet { sink: node, to: plan.to, upsert: sink.upsert() };
    graph.sinks.borrow_mut().push(DrawnSink { uid: name.to_owned(), outlet, settled, system: sink.system() });
    let name = name.to_owned();
    graph.lower_with(move |lowering| {
        let mut operator = OperatorBuilder::new(name.clone(), lowering.scope);
        let mut drive = chain.open(&mut operator, lowering);
        // Nothing is ever sent here: a chain headed by its source keeps its capability on this output.
        let (_, _silent) = operator.new_output::<Vec<()>>();
        let mut encode = sink.encoder(lowering.resume.partitions.get(&node).copied().unwrap_or(1));
        let local = Rc::clone(&lowering.local);
        local.join_sink();
        let mut open = lowering.resume.open();
        let mut ended = false;
        let mut room = Room::default();
        operator.build(move |mut own| {
            for capability in &mut own {
                capability.downgrade(&Time { epoch: open, watermark: Timestamp::MIN });
            }
            move |frontiers| {
                local.guard(|| {
                    let promised = drive(&mut own, frontiers, &mut |held, batch| {
                        if local.muted.get() {
                            return;
                        }
                        entering(node);
                        let mut outgoing = Outgoing::after(&room, node, held.epoch());
                        match encode.encode(batch, &mut outgoing) {
                            Ok(()) => {
                                room = outgoing.room();
                                local.send(outgoing);
                            }
                            Err(fault) => local.fail(fault),
                        }
                    });
                    let Some(promised) = promised else { return };
                    while open < promised.epoch && local.running() {
                        local.close(open, Part::Sink(node, name.clone(), promised.watermark));
                        open += 1;
                    }
                    if promised.watermark == Timestamp::MAX && !ended && local.running() {
                        ended = true;
                        local.sink_ended();
                    }
                });
            }
        });
        Ok(())
    });
}
