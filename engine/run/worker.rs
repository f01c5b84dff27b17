//! Worker threads: each draws the job again, lowers what it drew, and steps until the run is over.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::local::Local;
use super::shared::Shared;
use super::start::{Draw, drawn};
use crate::host::bad::BadDesk;
use crate::host::graph::{Lowering, Resume};
use crate::host::time::Time;
use crate::plan::Plan;
use crate::source::Waker;
use crate::{Exit, Fault};

/// A parked worker looks around at least this often.
const PARK: Duration = Duration::from_secs(5);

/// Runs all workers of the process; returns when they have left.
pub(crate) fn work(
    shared: &Arc<Shared>,
    resume: &Arc<Resume>,
    plan: &Arc<Plan>,
    draw: &Arc<Draw>,
) -> Result<(), Fault> {
    let (shared, resume) = (Arc::clone(shared), Arc::clone(resume));
    let (plan, draw) = (Arc::clone(plan), Arc::clone(draw));
    let config = timely::Config::process(shared.workers);
    let guards = timely::execute(config, move |worker| {
        let index = worker.index();
        let next = worker.next_dataflow_index();
        let names = plan.nodes.iter().map(|node| node.uid.clone()).collect();
        let local = Rc::new(Local::new(Arc::clone(&shared), index, names));
        let lowered = local.caught(|| {
            worker.dataflow::<Time, _, _>(|scope| -> Result<(), Fault> {
                let graph = drawn(&*draw, &resume.env)?;
                let same = graph.plan().is_ok_and(|own| own == *plan);
                if !same {
                    return Err(Fault::new(
                        Exit::FixJob,
                        format!("job {}: its closure draws another graph each time it is called", shared.job),
                    ));
                }
                let partitions: BTreeMap<u32, u32> = resume.partitions.clone();
                let policy = graph.on_bad.borrow().clone();
                let desk = BadDesk::new(Rc::clone(&local), policy, |node| partitions.get(&node).copied().unwrap_or(1));
                let lowering =
                    Lowering { scope, local: Rc::clone(&local), bad: Rc::new(desk), resume: Arc::clone(&resume) };
                graph.lower(&lowering)
            })
        });
        match lowered {
            Ok(Ok(())) => {}
            Ok(Err(fault)) => local.fail(fault),
            Err(text) => {
                local.fail(Fault::new(Exit::FixJob, format!("job {}: drawing it panicked: {text}", shared.job)));
            }
        }
        // So that a parked worker leaves at once when the run is over.
        let sync = worker.sync_activator_for(vec![next]);
        shared.add_waker(Waker::new(move || sync.activate().unwrap_or(())));
        while !shared.aborted() {
            worker.step_or_park(Some(PARK));
        }
        // Capabilities go with the dataflow, never before it: nobody may take their end for a promise.
        for dataflow in worker.installed_dataflows() {
            worker.drop_dataflow(dataflow);
        }
    });
    let guards = guards.map_err(|text| Fault::new(Exit::Retry, format!("workers cannot be started: {text}")))?;
    for joined in guards.join() {
        joined.map_err(|text| Fault::new(Exit::FixJob, format!("a worker ended early: {text}")))?;
    }
    Ok(())
}
