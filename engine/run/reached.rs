//! How far each output has come, as checkpoints keep it: what the registry of versions and the readers of a live line go by.
//!
//! A sink closes an epoch with the event time below which nothing more comes to it. The least of all workers, never less than before,
//! is the output's `complete`. Kept in the manifest, so that it is known of a job that does not run.

use std::collections::BTreeMap;

use millpond_state::Timestamp;
use millpond_state::store::{Manifest, PartitionState};

use super::shared::Vote;
use crate::sink::Outgoing;
use crate::status::{OutputReached, Reached};

/// Where in a manifest an output's times stand, before its name.
const EXTRA: &str = "output ";
/// Where in a manifest the savepoint stands that the version began with.
const SAVEPOINT: &str = "savepoint";

/// Gathers while epochs are open.
#[derive(Debug, Default)]
pub(crate) struct Reaching {
    /// By sink node: one beyond the greatest event time handed over.
    beyond: BTreeMap<u32, Timestamp>,
}

impl Reaching {
    pub(crate) fn output(&mut self, outgoing: &Outgoing) {
        let beyond = self.beyond.entry(outgoing.sink).or_insert(Timestamp::MIN);
        *beyond = outgoing.beyond().max(*beyond);
    }

    /// Writes what the votes of an epoch say into its manifest.
    pub(crate) fn note(&self, manifest: &mut Manifest, votes: &[Vote]) {
        let mut closed: BTreeMap<&str, OutputReached> = BTreeMap::new();
        for (node, uid, complete) in votes.iter().flat_map(|vote| &vote.closed.sinks) {
            let beyond = self.beyond.get(node).copied().unwrap_or(Timestamp::MIN);
            let output =
                closed.entry(uid).or_insert(OutputReached { complete: *complete, beyond, ..OutputReached::default() });
            output.complete = output.complete.min(*complete);
        }
        for (uid, now) in closed {
            let before = output(manifest, uid);
            // After a restart sinks promise little until their sources stand where they stood.
            let (complete, beyond) = (now.complete.max(before.complete), now.beyond.max(before.beyond));
            write(manifest, uid, &OutputReached { complete, beyond, ..before });
        }
    }
}

fn write(manifest: &mut Manifest, uid: &str, output: &OutputReached) {
    let OutputReached { since, complete, beyond, .. } = *output;
    let mut text = format!("{} {}", complete.micros(), beyond.micros());
    if since > Timestamp::MIN {
        text.push_str(&format!(" {}", since.micros()));
    }
    manifest.extra.insert(format!("{EXTRA}{uid}"), text);
}

/// Writes into a version's first manifest which savepoint it begins with, and how its outputs stand.
pub(crate) fn begin_with(manifest: &mut Manifest, savepoint: &str, outputs: &BTreeMap<String, OutputReached>) {
    manifest.extra.insert(SAVEPOINT.to_owned(), savepoint.to_owned());
    outputs.iter().for_each(|(uid, output)| write(manifest, uid, output));
}

/// The savepoint that a version began with.
pub(crate) fn savepoint(manifest: &Manifest) -> Option<&str> {
    manifest.extra.get(SAVEPOINT).map(String::as_str)
}

fn output(manifest: &Manifest, uid: &str) -> OutputReached {
    let read = || {
        let mut times = manifest.extra.get(&format!("{EXTRA}{uid}"))?.split(' ');
        let mut time = || Some(Timestamp::from_micros(times.next()?.parse().ok()?));
        let (complete, beyond) = (time()?, time()?);
        let since = time().unwrap_or(Timestamp::MIN);
        Some(OutputReached { since, complete, beyond, ..OutputReached::default() })
    };
    read().unwrap_or_default()
}

/// What a checkpoint knows of event time.
pub(crate) fn reached(manifest: &Manifest) -> Reached {
    let partitions = || manifest.sources.values().flat_map(|source| &source.partitions);
    let holding = partitions().filter(|partition| !partition.finished && !partition.idle);
    let least = holding.map(|partition| partition.watermark).min();
    // Idle partitions follow the others; with none to follow, the final watermark or the best of them stands.
    let watermark = least.or_else(|| partitions().map(|partition| partition.watermark).max());
    let names = manifest.extra.keys().filter_map(|name| name.strip_prefix(EXTRA));
    Reached {
        watermark: watermark.unwrap_or(Timestamp::MIN),
        newest: partitions().map(|partition: &PartitionState| partition.newest).max().unwrap_or(Timestamp::MIN),
        outputs: names.map(|uid| (uid.to_owned(), output(manifest, uid))).collect(),
        ..Reached::default()
    }
}

#[cfg(test)]
mod tests {
    use millpond_state::Delta;
    use millpond_state::store::{CheckpointId, RunId};

    use super::*;
    use crate::run::shared::Closed;

    fn vote(worker: usize, complete: i64) -> Vote {
        let sinks = vec![(3, "views".to_owned(), Timestamp::from_secs(complete))];
        let closed = Closed {
            epoch: 1,
            worker,
            delta: Delta::default(),
            groups: (0, 1),
            sources: Vec::new(),
            sinks,
            fired: Vec::new(),
            sent: 0,
        };
        Vote { closed, file: None }
    }

    #[test]
    fn an_output_is_complete_up_to_its_slowest_worker_and_never_goes_back() {
        let mut manifest = Manifest::new(CheckpointId { run: RunId::new(1), epoch: 1 });
        let (mut reaching, second) = (Reaching::default(), Timestamp::from_secs);
        let mut outgoing = Outgoing::new(3, 1);
        outgoing.push(second(7), |_| Ok::<_, ()>(false), |_| Ok(true), |_, _| 0).unwrap();
        reaching.output(&outgoing);
        reaching.note(&mut manifest, &[vote(0, 9), vote(1, 8)]);
        let views = |manifest: &Manifest| reached(manifest).outputs["views"].clone();
        let at = |since| OutputReached {
            since,
            complete: second(8),
            beyond: second(7).plus_micros(1),
            ..Default::default()
        };
        assert_eq!(views(&manifest), at(Timestamp::MIN));
        Reaching::default().note(&mut manifest, &[vote(0, 3), vote(1, 3)]);
        assert_eq!(views(&manifest), at(Timestamp::MIN));
        begin_with(&mut manifest, "views@1", &BTreeMap::from([("views".to_owned(), at(second(5)))]));
        Reaching::default().note(&mut manifest, &[vote(0, 3)]);
        assert_eq!((views(&manifest), savepoint(&manifest)), (at(second(5)), Some("views@1")));
    }
}
