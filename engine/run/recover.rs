//! What a start goes on from: the checkpoint that the newest commit record names, or the beginning. Nothing is guessed.

use std::collections::BTreeMap;

use millpond_state::Timestamp;
use millpond_state::store::{CheckpointId, Manifest, PartitionState, RunId, SourceState, Store};

use super::Run;
use super::growth::requested;
use super::reached::savepoint;
use super::writer::store_fault;
use crate::host::graph::{DrawnSource, Graph};
use crate::plan::{Node, Plan};
use crate::protocol::CommitRecord;
use crate::sink::Decider;
use crate::source::{Env, From, Partition};
use crate::{Exit, Fault, clock};

/// What a start found.
pub(super) enum Found {
    /// Go on from this checkpoint.
    Goes(Box<Manifest>),
    /// Begin, with this epoch as the first.
    Begins(u64),
}

/// Decides what a start goes on from, by the commit record, and refuses whatever is not whole.
pub(super) fn recover(
    run: &Run,
    plan: &Plan,
    store: &Store,
    record: Option<&CommitRecord>,
    decider: &mut dyn Decider,
) -> Result<Found, Fault> {
    let job = run.env.identity();
    let Some(record) = record else {
        let manifests = store.manifests().map_err(|error| store_fault("the checkpoints cannot be listed", &error))?;
        // A genesis that was never committed is no checkpoint.
        if !run.new
            && let Some(newest) = manifests.iter().find(|id| id.epoch > 0)
        {
            return Err(Fault::new(
                Exit::Restore,
                format!(
                    "job {job}: checkpoint {newest} is in {}, but the output holds no commit record of it",
                    run.env.home().display()
                ),
            ));
        }
        if !run.new
            && let Some(evidence) = decider.evidence()?
        {
            return Err(Fault::new(
                Exit::New,
                format!(
                    "job {job} has no commit record and no checkpoint, but {evidence}: starting from {} would write it again",
                    if run.savepoint.is_some() { "a savepoint" } else { "the beginning" }
                ),
            ));
        }
        return Ok(Found::Begins(0));
    };
    if record.job != run.env.job || record.version != run.env.version {
        let owner = format!("{}@{}", record.job, record.version);
        return Err(Fault::new(Exit::Restore, format!("the commit record found for {job} is of {owner}")));
    }
    if run.new {
        return Ok(Found::Begins(record.id.epoch + 1));
    }
    let manifest = store.manifest_checked(record.id, record.checksum).map_err(|error| {
        store_fault(&format!("job {job}: checkpoint {} was committed and cannot be loaded", record.id), &error)
    })?;
    let old: BTreeMap<String, Node> = manifest
        .shapes
        .iter()
        .map(|(uid, node)| Ok((uid.clone(), serde_json::from_value(node.clone())?)))
        .collect::<Result<_, serde_json::Error>>()
        .map_err(|error| {
            Fault::new(Exit::NewVersion, "the plan in the checkpoint was written by another release").because(error)
        })?;
    if let Some(conflict) = plan.conflict(&old) {
        return Err(Fault::new(
            Exit::NewVersion,
            format!("job {job} is not the one that wrote checkpoint {}: {conflict}", manifest.id),
        ));
    }
    Ok(Found::Goes(Box::new(manifest)))
}

/// Epoch 0: starting positions as numbers, with the policy beside them; in a bounded run also the ends.
pub(super) fn genesis(run: &Run, graph: &Graph<'_>, plan: &Plan, id: RunId, epoch: u64) -> Result<Manifest, Fault> {
    let mut manifest = Manifest::new(CheckpointId { run: id, epoch });
    manifest.job.clone_from(&run.env.job);
    manifest.job_version = run.env.version;
    manifest.plan = plan.hash();
    manifest.created = clock::wall();
    for (uid, node) in plan.stateful() {
        let node = serde_json::to_value(node).map_err(|error| {
            Fault::new(Exit::FixJob, format!("the plan of {uid:?} cannot be written")).because(error)
        })?;
        manifest.shapes.push((uid, node));
    }
    for source in &graph.inputs() {
        let asked = source.asked_of.is_some();
        // What was asked of an earlier life of the job is not asked of this one.
        let found = found(source, &run.env, if asked { &From::Latest } else { &run.from }, false)?;
        if asked && found.is_empty() {
            continue;
        }
        let partitions = found.into_iter().map(|partition| PartitionState {
            partition: partition.partition,
            next: partition.start,
            watermark: Timestamp::MIN,
            newest: Timestamp::MIN,
            idle: asked && !run.until_end,
            finished: false,
            end: (run.until_end && !source.bounded).then_some(partition.end),
            fingerprint: partition.fingerprint,
        });
        let policy = run.from.to_string();
        manifest.sources.insert(source.uid.clone(), SourceState { partitions: partitions.collect(), policy });
    }
    if let From::Offsets(named) = &run.from {
        let there = |partition: u32| {
            let mut sources = manifest.sources.values();
            sources.any(|source| source.partitions.iter().any(|found| found.partition == partition))
        };
        if let Some((partition, offset)) = named.iter().find(|(partition, _)| !there(*partition)) {
            let text = format!(
                "job {}: --from names offset {offset} of partition {partition}, and no input has such a partition",
                run.env.identity()
            );
            return Err(Fault::new(Exit::Usage, text));
        }
    }
    crate::redrive::begin(&mut manifest);
    Ok(manifest)
}

/// The partitions of an input. Before the first request there is no topic of requests.
fn found(source: &DrawnSource, env: &Env, from: &From, known: bool) -> Result<Vec<Partition>, Fault> {
    match (source.connect)(env, from) {
        Err(fault) if source.asked_of.is_some() && fault.is_missing() => {
            if !known {
                return Ok(Vec::new());
            }
            let (job, topic) = (env.identity(), env.redrive());
            let what = format!(
                "job {job} has taken records from topic {topic} ({}), and that is no longer there: restore it, or start a new version",
                source.uid
            );
            Err(Fault::new(Exit::Restore, what).because(fault))
        }
        found => found,
    }
}

/// The partitions must be the ones the checkpoint speaks of. Those that were added since join in, read from their oldest record, unless the
/// job has an end: that was settled by the first start that asked for one.
///
/// As long as nothing has been committed since the first start, or since the start with `--new`, what retention takes was never read: such a partition, and no other, is read
/// from its oldest record.
pub(super) fn check_sources(run: &Run, graph: &Graph<'_>, manifest: &mut Manifest) -> Result<(), Fault> {
    let env = &run.env;
    let CheckpointId { run: began, epoch } = manifest.id;
    let first = epoch == 0 || crate::redrive::Life::of(manifest).name == format!("{epoch} {began}");
    let unread = first && savepoint(manifest).is_none();
    let ends = |state: &SourceState| state.partitions.iter().any(|partition| partition.end.is_some());
    let ending = manifest.sources.iter().filter(|(_, state)| run.until_end && ends(state));
    let ending: Vec<String> = ending.map(|(uid, _)| uid.clone()).collect();
    for source in &graph.inputs() {
        let begun = manifest.sources.get(&source.uid).is_some_and(|state| !state.partitions.is_empty());
        let found = found(source, env, &From::Earliest, begun)?;
        if let (Some(of), false) = (&source.asked_of, begun) {
            // Who ends where its input ended once takes no requests made after that.
            if found.is_empty() || run.until_end && ending.contains(of) {
                continue;
            }
            manifest.sources.entry(source.uid.clone()).or_default().policy = From::Earliest.to_string();
        }
        let Some(saved) = manifest.sources.get_mut(&source.uid) else { continue };
        if source.asked_of.is_some() && !run.until_end {
            // Read up to an end that a run before had: it is read on, and holds nobody up.
            for partition in &mut saved.partitions {
                (partition.end, partition.finished, partition.idle) = (None, false, true);
                partition.watermark = Timestamp::MIN;
            }
        }
        let known = saved.partitions.iter().map(|partition| (partition.partition, partition.fingerprint.as_str()));
        same_input(env, source, known, &found)?;
        if !run.until_end && !source.bounded {
            forget_ends(saved, source.asked_of.is_some()).map_err(|partition| read_out(env, source, partition))?;
        }
        for partition in &mut saved.partitions {
            let place = place(env, source, partition.partition);
            let now = found.iter().find(|now| now.partition == partition.partition);
            let now = now.expect("that it is there was looked at above");
            if partition.finished {
                continue;
            }
            if partition.next < now.start && unread {
                tracing::warn!(
                    committed = partition.next,
                    oldest = now.start,
                    "{place} is read from its oldest record: retention took what the first start was to read"
                );
                partition.next = now.start;
                partition.end = partition.end.map(|end| end.max(now.start));
            }
            if partition.next < now.start {
                return Err(Fault::new(
                    Exit::Restore,
                    format!(
                        "{place} begins at offset {} and the job stands at {}: retention took what is between",
                        now.start, partition.next
                    ),
                ));
            }
            if partition.next > now.end && !source.bounded {
                return Err(Fault::new(
                    Exit::Restore,
                    format!(
                        "{place} ends at offset {} and the job stands at {}: the log has lost records",
                        now.end, partition.next
                    ),
                ));
            }
        }
        let endless = saved.partitions.iter().all(|partition| partition.end.is_none());
        if source.asked_of.is_some() && !begun {
            saved.partitions.extend(found.first().map(requested));
        } else if source.asked_of.is_none() && source.grows && endless {
            join(saved, &found);
        }
        // A job that has run without an end so far ends where its input ends now, and at every start after this one.
        if run.until_end && !source.bounded && endless {
            for partition in &mut saved.partitions {
                partition.idle &= source.asked_of.is_none();
                partition.end = found.iter().find(|now| now.partition == partition.partition).map(|now| now.end);
            }
        }
    }
    Ok(())
}

/// A job that was to end, and is started without an end before it did: it goes on beyond. Not where a partition has reached its end, since it
/// has promised the end of time there, and what follows would all be late; answers which. Requests promise nothing: from now on they are
/// idle, as in every run without an end, and read on wherever they stand.
fn forget_ends(saved: &mut SourceState, asked: bool) -> Result<(), u32> {
    for partition in &mut saved.partitions {
        let ended = partition.end.take().is_some() && partition.finished;
        if asked {
            (partition.idle, partition.finished, partition.watermark) = (true, false, Timestamp::MIN);
        } else if ended {
            return Err(partition.partition);
        }
    }
    Ok(())
}

fn read_out(env: &Env, source: &DrawnSource, partition: u32) -> Fault {
    let place = place(env, source, partition);
    Fault::new(
        Exit::Usage,
        format!(
            "{place} was read up to the end that --until-end gave it, and cannot be read on: start the job with --until-end to finish it; \
             what came since is for a new version"
        ),
    )
}

fn place(env: &Env, source: &DrawnSource, partition: u32) -> String {
    // Requests lie in a topic of their own, not in what their source reads.
    let from = if source.asked_of.is_some() { env.redrive() } else { source.from.clone() };
    format!("job {}: source {:?}, {from} partition {partition}", env.identity(), source.uid)
}

/// What is there must be what was there, by the fingerprints of its partitions. One that is not known proves nothing.
pub(super) fn same_input<'a>(
    env: &Env,
    source: &DrawnSource,
    known: impl Iterator<Item = (u32, &'a str)>,
    found: &[Partition],
) -> Result<(), Fault> {
    for (partition, fingerprint) in known {
        let place = place(env, source, partition);
        let Some(now) = found.iter().find(|now| now.partition == partition) else {
            return Err(Fault::new(Exit::Restore, format!("{place} is in the checkpoint and no longer there")));
        };
        if !fingerprint.is_empty() && !now.fingerprint.is_empty() && now.fingerprint != fingerprint {
            return Err(Fault::new(
                Exit::Restore,
                format!("{place} is not the log the checkpoint speaks of: it was made again under the same name"),
            ));
        }
    }
    Ok(())
}

/// Partitions that were added while the job did not run begin where the others stand.
fn join(saved: &mut SourceState, found: &[Partition]) {
    let least = saved.partitions.iter().map(|partition| partition.watermark).min().unwrap_or(Timestamp::MIN);
    for added in found {
        if saved.partitions.iter().all(|partition| partition.partition != added.partition) {
            saved.partitions.push(PartitionState {
                partition: added.partition,
                next: added.start,
                watermark: least.min(Timestamp::LAST),
                newest: Timestamp::MIN,
                fingerprint: added.fingerprint.clone(),
                ..PartitionState::default()
            });
        }
    }
    saved.partitions.sort_by_key(|partition| partition.partition);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(end: Option<u64>, finished: bool, idle: bool) -> PartitionState {
        PartitionState { next: 5, end, finished, idle, watermark: Timestamp::MAX, ..PartitionState::default() }
    }

    fn source(partitions: Vec<PartitionState>) -> SourceState {
        SourceState { partitions, policy: String::new() }
    }

    #[test]
    fn a_job_that_was_to_end_goes_on_unless_its_input_was_read_out_whatever_became_of_requests() {
        // Requests that were read to the end, and those that were not: both are idle from now on.
        for finished in [true, false] {
            let mut requests = source(vec![partition(Some(5), finished, false)]);
            assert_eq!(forget_ends(&mut requests, true), Ok(()));
            let PartitionState { end, finished, idle, watermark, next, .. } = requests.partitions[0];
            assert_eq!((end, finished, idle, watermark, next), (None, false, true, Timestamp::MIN, 5));
        }
        let mut reading = source(vec![partition(Some(9), false, false)]);
        assert_eq!((forget_ends(&mut reading, false), reading.partitions[0].end), (Ok(()), None));
        let mut read_out = source(vec![partition(Some(9), false, false), partition(Some(5), true, false)]);
        read_out.partitions[1].partition = 1;
        assert_eq!(forget_ends(&mut read_out, false), Err(1));
    }

    #[test]
    fn what_is_wrong_with_requests_names_the_topic_they_lie_in() {
        let requests = DrawnSource {
            uid: "clicks/redrive".into(),
            from: "topic clicks".into(),
            system: None,
            bounded: false,
            grows: true,
            connect: Box::new(|_, _| Ok(Vec::new())),
            taken: None,
            asked_of: Some("clicks".into()),
        };
        let env = Env { state: "nowhere".into(), job: "views".into(), version: 1, create: false };
        assert_eq!(place(&env, &requests, 0), "job views@1: source \"clicks/redrive\", views-redrive partition 0");
    }
}
