//! What the files of a job that does not run say of it.

use std::collections::BTreeMap;
use std::rc::Rc;

use millpond_state::Timestamp;
use millpond_state::store::{Checkpoints, Manifest, StoreError, StoreErrorKind};

use super::JobMain;
use crate::host::graph::Graph;
use crate::redrive::Life;
use crate::run::reached::{reached, savepoint};
use crate::source::From;
use crate::status::lag;
use crate::{Draw, Env, Exit, Fault, PartitionStatus, Status};

/// The checkpoints of a job; `None` when it never ran on this state.
fn checkpoints(env: &Env) -> Result<Option<Checkpoints>, Fault> {
    match Checkpoints::open(&env.home()) {
        Ok(checkpoints) => Ok(Some(checkpoints)),
        Err(error) if error.kind() == StoreErrorKind::Missing => Ok(None),
        Err(error) => Err(fault(env, &error)),
    }
}

/// As [`checkpoints`], where there must be some.
pub(super) fn its_checkpoints(env: &Env) -> Result<Checkpoints, Fault> {
    checkpoints(env)?.ok_or_else(|| never_ran(env))
}

/// It never ran here.
fn never_ran(env: &Env) -> Fault {
    let (job, state) = (env.identity(), env.state.display());
    Fault::new(
        Exit::Usage,
        format!("{job} has not run on the state directory {state}; name another with --state, --job or --job-version"),
    )
}

/// What cannot be read in the state of a job.
pub(super) fn fault(env: &Env, error: &StoreError) -> Fault {
    let exit = match error.kind() {
        StoreErrorKind::Corrupt | StoreErrorKind::Missing | StoreErrorKind::Newer => Exit::Restore,
        _ => Exit::Retry,
    };
    Fault::new(exit, format!("the checkpoints of {}: {error}", env.identity()))
}

/// How a stopped job stands; lags are known where its inputs can be reached.
pub(super) fn status(job: &JobMain, env: &Env, draw: &Draw) -> Result<Status, Fault> {
    let Some((record, manifest)) = crate::peek(draw, env)? else { return Err(uncommitted(env)?) };
    let ends = crate::run::start::drawn(draw, env).and_then(|graph| ends(&graph, env));
    let ends = ends.unwrap_or_else(|fault| {
        tracing::debug!(%fault, "the ends of the inputs are not known");
        Ends::new()
    });
    Ok(describe(env, job.delivery.name(), record.clock, &manifest, &ends))
}

/// Why there is no commit record.
pub(super) fn uncommitted(env: &Env) -> Result<Fault, Fault> {
    let Some(checkpoints) = checkpoints(env)? else { return Ok(never_ran(env)) };
    let newest = checkpoints.manifests().map_err(|error| fault(env, &error))?.pop();
    // A first checkpoint that was never committed says nothing yet.
    Ok(match newest.filter(|id| id.epoch > 0) {
        Some(id) => Fault::new(
            Exit::Restore,
            format!(
                "{}: checkpoint {id} is in {}, but no commit record names it",
                env.identity(),
                env.home().display()
            ),
        ),
        None => never_ran(env),
    })
}

/// One past the newest record of each partition, by source.
type Ends = BTreeMap<(String, u32), u64>;

fn ends(graph: &Rc<Graph<'_>>, env: &Env) -> Result<Ends, Fault> {
    let mut ends = Ends::new();
    for source in graph.inputs() {
        let partitions = match (source.connect)(env, &From::Earliest) {
            Err(fault) if source.asked_of.is_some() && fault.is_missing() => continue,
            partitions => partitions?,
        };
        ends.extend(partitions.into_iter().map(|partition| ((source.uid.clone(), partition.partition), partition.end)));
    }
    Ok(ends)
}

fn describe(env: &Env, delivery: &str, committed: Timestamp, manifest: &Manifest, ends: &Ends) -> Status {
    let mut partitions = Vec::new();
    let mut holder: Option<(Timestamp, usize)> = None;
    for (source, state) in &manifest.sources {
        for partition in &state.partitions {
            let known = ends.get(&(source.clone(), partition.partition)).copied();
            let end = partition.end.or(known);
            let counts = !partition.finished && !partition.idle;
            if counts && holder.is_none_or(|(least, _)| partition.watermark < least) {
                holder = Some((partition.watermark, partitions.len()));
            }
            let standing = match (partition.finished, partition.idle) {
                (true, _) => "finished",
                (_, true) => "idle",
                _ if end == Some(partition.next) => "at end",
                _ => "stopped",
            };
            partitions.push(PartitionStatus {
                source: source.clone(),
                partition: partition.partition,
                next: partition.next,
                end,
                lag: end.map(|end| end.saturating_sub(partition.next)),
                watermark: partition.watermark.to_string(),
                in_open_transactions: 0,
                standing: standing.to_owned(),
                holds_watermark: false,
                holds_since: None,
            });
        }
    }
    // Idle partitions follow the others; with none to follow, the final watermark or the best of them stands.
    let all = manifest.sources.values().flat_map(|source| &source.partitions).map(|partition| partition.watermark);
    let watermark = holder.map(|(least, _)| least).or(all.max()).unwrap_or(Timestamp::MIN);
    if let Some((_, holder)) = holder {
        partitions[holder].holds_watermark = true;
    }
    Status {
        job: env.job.clone(),
        version: env.version,
        state: if manifest.finished { "finished" } else { "stopped" }.to_owned(),
        run: manifest.id.run.to_string(),
        delivery: delivery.to_owned(),
        savepoint: savepoint(manifest).map(str::to_owned),
        life: Life::of(manifest).name,
        until_end: manifest.sources.values().any(|source| source.partitions.iter().any(|place| place.end.is_some())),
        epoch: manifest.id.epoch,
        last_commit: Some(committed.micros()),
        watermark: watermark.to_string(),
        lag: lag(&partitions),
        partitions,
        checkpoint_bytes: manifest.files.iter().map(|file| file.bytes).sum(),
        reached: reached(manifest),
        ..Status::default()
    }
}

#[cfg(test)]
mod tests {
    use millpond_state::store::{CheckpointId, PartitionState, RunId, SourceState};

    use super::*;

    fn partition(number: u32, next: u64, secs: i64) -> PartitionState {
        PartitionState { partition: number, next, watermark: Timestamp::from_secs(secs), ..PartitionState::default() }
    }

    #[test]
    fn files_tell_positions_lag_and_who_holds_the_watermark() {
        let mut manifest = Manifest::new(CheckpointId { run: RunId::new(7), epoch: 12 });
        let mut partitions = vec![partition(0, 5, 60), partition(1, 9, 30), partition(2, 1, 1), partition(3, 4, 9)];
        partitions[2].idle = true;
        partitions[3].finished = true;
        manifest.sources.insert("clicks".into(), SourceState { partitions, policy: "earliest".into() });
        let env = Env { state: "s".into(), job: "views".into(), version: 1, create: false };
        let ends = Ends::from([(("clicks".into(), 0), 25), (("clicks".into(), 1), 9)]);
        let status = describe(&env, "exactly_once", Timestamp::from_secs(100), &manifest, &ends);
        assert_eq!(
            (status.state.as_str(), status.epoch, status.watermark.as_str()),
            ("stopped", 12, "1970-01-01T00:00:30Z")
        );
        assert_eq!(status.last_commit, Some(100_000_000));
        let standing: Vec<_> = status.partitions.iter().map(|partition| partition.standing.as_str()).collect();
        assert_eq!(standing, ["stopped", "at end", "idle", "finished"]);
        let lags: Vec<_> = status.partitions.iter().map(|partition| partition.lag).collect();
        assert_eq!(lags, [Some(20), Some(0), None, None]);
        let holds: Vec<_> = status.partitions.iter().map(|partition| partition.holds_watermark).collect();
        assert_eq!(holds, [false, true, false, false]);
    }

    #[test]
    fn a_finished_job_has_no_holder_and_the_final_watermark() {
        let mut manifest = Manifest::new(CheckpointId { run: RunId::new(7), epoch: 3 });
        manifest.finished = true;
        let done = PartitionState { finished: true, watermark: Timestamp::MAX, ..PartitionState::default() };
        manifest.sources.insert("in".into(), SourceState { partitions: vec![done], policy: String::new() });
        let env = Env { state: "s".into(), job: "views".into(), version: 1, create: false };
        let status = describe(&env, "exactly_once", Timestamp::from_secs(100), &manifest, &Ends::new());
        assert_eq!((status.state.as_str(), status.watermark.as_str()), ("finished", "+infinity"));
        assert!(!status.partitions[0].holds_watermark);
    }
}
