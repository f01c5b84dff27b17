//! What the first checkpoint of a version knows that begins with a savepoint: positions and fired windows of what goes on, and from which
//! event time on its outputs are whole.

use std::collections::{BTreeMap, BTreeSet};

use millpond_state::Timestamp;
use millpond_state::store::Manifest;

use super::{Description, Fit, Verdict};
use crate::plan::{Plan, Role};
use crate::run::reached::begin_with;
use crate::{OutputReached, Reached};

/// Fills in `manifest`, the first one of a version whose sources have not read anything. `endless` are the sources that end only in a run
/// that ends, `sizes` how long the windows of steps are. Its files are not filled in.
///
/// # Errors
/// A sentence, when the savepoint can be gone on with only by a run that ends.
pub(crate) fn begin(
    from: &Description,
    fit: &Fit,
    plan: &Plan,
    sizes: &BTreeMap<String, i64>,
    endless: &BTreeSet<String>,
    until_end: bool,
    manifest: &mut Manifest,
) -> Result<(), String> {
    for (uid, saved) in from.sources.iter().filter(|(uid, _)| fit.goes_on(uid)) {
        let mut saved = saved.clone();
        saved.policy = format!("savepoint {}", from.name());
        let ended = saved.partitions.iter().find(|partition| partition.finished && endless.contains(uid));
        match ended {
            // It has promised that nothing follows, and windows have fired by that.
            Some(partition) if !until_end => {
                return Err(format!(
                    "partition {} of {uid} had reached its end in a run that ends; start it with --until-end, or replay",
                    partition.partition
                ));
            }
            Some(_) => {}
            // Where it ends is settled by the first start of each version.
            None => saved.partitions.iter_mut().for_each(|partition| partition.end = None),
        }
        manifest.sources.insert(uid.clone(), saved);
    }
    let fired = from.fired.iter().filter(|(uid, _)| fit.goes_on(uid));
    manifest.fired = fired.map(|(uid, runs)| (uid.clone(), runs.clone())).collect();
    begin_with(manifest, &from.name(), &outputs(&from.reached, fit, plan, sizes));
    Ok(())
}

/// How each output stands at the beginning. Below `since` its rows are the saved version's.
fn outputs(was: &Reached, fit: &Fit, plan: &Plan, sizes: &BTreeMap<String, i64>) -> BTreeMap<String, OutputReached> {
    let sinks = plan.nodes.iter().filter(|node| node.role == Role::Sink);
    // One worker may have fired further than another, so that some rows beyond what was complete have been written.
    let all = |output: &OutputReached| {
        if output.complete == Timestamp::MAX { output.beyond } else { output.complete.max(output.beyond) }
    };
    // Behind all that was read, and all that was made of it.
    let read = was.newest.plus_micros(1).max(was.watermark.min(Timestamp::LAST));
    let read = was.outputs.values().map(all).fold(read, Timestamp::max);
    let whole = whole(fit, plan, sizes, read);
    let begins = |uid: &str, id: u32| {
        let saved = was.outputs.get(uid).filter(|_| fit.verdict(uid) == Some(Verdict::Kept));
        match (whole[id as usize], saved) {
            (Timestamp::MIN, Some(saved)) => {
                OutputReached { since: all(saved), complete: saved.complete, ..OutputReached::default() }
            }
            (whole, _) => OutputReached { since: whole.max(read), ..OutputReached::default() },
        }
    };
    sinks.map(|sink| (sink.uid.clone(), begins(&sink.uid, sink.id))).collect()
}

/// By node: from which event time on it gives what it would give if it knew all that was read before the savepoint. The least time where nothing
/// above it begins with nothing, the greatest where what it lacks shows for ever. `read` is behind everything that was read.
fn whole(fit: &Fit, plan: &Plan, sizes: &BTreeMap<String, i64>, read: Timestamp) -> Vec<Timestamp> {
    let mut whole: Vec<Timestamp> = Vec::with_capacity(plan.nodes.len());
    for node in &plan.nodes {
        let above = node.inputs.iter().map(|id| whole[*id as usize]).max().unwrap_or(Timestamp::MIN);
        let cold = node.role == Role::Stateful && !fit.goes_on(&node.uid);
        let lacks = if cold { above.max(read) } else { above };
        whole.push(match sizes.get(&node.uid) {
            _ if node.role != Role::Stateful || lacks == Timestamp::MIN => lacks,
            // The last record that is missing may be the first one of a window, whose row is of the window's last microsecond.
            Some(size) => lacks.plus_micros(size - 1),
            // A session may go on for ever, a count or a total does.
            None => Timestamp::MAX,
        });
    }
    whole
}

#[cfg(test)]
#[path = "begin_tests.rs"]
mod tests;
