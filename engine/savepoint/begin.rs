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
/// that ends. Its files are not filled in.
///
/// # Errors
/// A sentence, when the savepoint can be gone on with only by a run that ends.
pub(crate) fn begin(
    from: &Description,
    fit: &Fit,
    plan: &Plan,
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
    begin_with(manifest, &from.name(), &outputs(&from.reached, fit, plan));
    Ok(())
}

/// How each output stands at the beginning. Below `since` its rows are the saved version's.
fn outputs(was: &Reached, fit: &Fit, plan: &Plan) -> BTreeMap<String, OutputReached> {
    let sinks = plan.nodes.iter().filter(|node| node.role == Role::Sink);
    // One worker may have fired further than another, so that some rows beyond what was complete have been written.
    let all = |output: &OutputReached| {
        if output.complete == Timestamp::MAX { output.beyond } else { output.complete.max(output.beyond) }
    };
    let begins = |uid: &str, id: u32| {
        let saved = was.outputs.get(uid).filter(|_| fit.verdict(uid) == Some(Verdict::Kept));
        if is_cold(fit, plan, id) {
            // Windows that were open lack what had been read by then.
            let read = was.newest.plus_micros(1).max(was.watermark.min(Timestamp::LAST));
            return OutputReached {
                since: was.outputs.values().map(all).fold(read, Timestamp::max),
                ..OutputReached::default()
            };
        }
        match saved {
            Some(saved) => OutputReached { since: all(saved), complete: saved.complete, beyond: Timestamp::MIN },
            None => {
                let since = was.outputs.values().map(all).max().unwrap_or(Timestamp::MIN);
                OutputReached { since, ..OutputReached::default() }
            }
        }
    };
    sinks.map(|sink| (sink.uid.clone(), begins(&sink.uid, sink.id))).collect()
}

/// Whether a node gets anything from a step that begins with nothing.
fn is_cold(fit: &Fit, plan: &Plan, node: u32) -> bool {
    let mut ahead = vec![node];
    let mut seen = BTreeSet::new();
    while let Some(id) = ahead.pop() {
        let Some(node) = plan.nodes.get(id as usize).filter(|_| seen.insert(id)) else { continue };
        if node.role == Role::Stateful && !fit.goes_on(&node.uid) {
            return true;
        }
        ahead.extend(&node.inputs);
    }
    false
}

#[cfg(test)]
#[path = "begin_tests.rs"]
mod tests;
