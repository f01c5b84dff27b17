//! Looking before taking over: whether the run that committed last still lives.
//!
//! Two supervisors that start the same job would end each other's runs for ever. So a starter that finds a fresh commit record of another run
//! watches it for two of the periods it names, and takes over only when it does not move.

use std::path::Path;
use std::time::Duration;

use millpond_state::store::{CheckpointId, RunId};

use super::hold;
use crate::protocol::CommitRecord;
use crate::sink::{Decider, Patience};
use crate::source::Env;
use crate::{Exit, Fault, clock};

/// How often the record is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// A run whose epochs take longer than half of this is not told from one that is dead.
const SLOWEST: Duration = Duration::from_secs(60);

/// How long after it has cleared away what it does not need another instance makes its first commit, at the latest.
const FIRST: Duration = Duration::from_secs(5);

/// Returns once the run that wrote `record` is dead, or silent for long enough.
///
/// A commit that shows once is no sign of life: it may be the last of a run that is dead, made visible late. The next is one.
pub(super) fn until_quiet(
    env: &Env,
    record: &CommitRecord,
    host: &str,
    decider: &mut dyn Decider,
) -> Result<(), Fault> {
    let same_host = record.instance.rsplit_once(':').is_some_and(|(of, _)| of == host);
    if same_host && hold::dead(&env.home(), record.id.run) {
        return Ok(());
    }
    let patience = patience(record);
    let age = clock::wall().micros().saturating_sub(record.clock.micros());
    // A clock that is ahead of ours says nothing about age.
    if u64::try_from(age).is_ok_and(|age| Duration::from_micros(age) > patience) {
        return Ok(());
    }
    tracing::info!(
        instance = record.instance,
        "the job committed a moment ago; watching for {patience:?} whether it goes on"
    );
    let Some(last) = moved(env, record, patience, decider)? else { return Ok(()) };
    // Of a run whose epochs take longer than it says, it is known now how long they take; both clocks are its own.
    let took = if last.id.run == record.id.run { last.clock.micros().saturating_sub(record.clock.micros()) } else { 0 };
    let took = Duration::from_micros(took.unsigned_abs().saturating_mul(2)).min(SLOWEST);
    let patience = self::patience(&last).max(took);
    tracing::info!(
        instance = last.instance,
        "a commit has become visible, which may be the last of a run that is dead; watching for {patience:?} for the next"
    );
    match moved(env, &last, patience, decider)? {
        None => Ok(()),
        Some(now) => Err(Fault::new(
            Exit::AlreadyRunning,
            format!("job {} runs already: {} has just committed", env.identity(), now.instance),
        )),
    }
}

fn patience(record: &CommitRecord) -> Duration {
    Duration::from_millis(record.period_ms).saturating_mul(2)
}

/// The record that comes after this one, if one does in time.
fn moved(
    env: &Env,
    from: &CommitRecord,
    patience: Duration,
    decider: &mut dyn Decider,
) -> Result<Option<CommitRecord>, Fault> {
    let began = clock::instant();
    while began.elapsed() < patience {
        std::thread::sleep(LOOK);
        match super::start::parse(env, decider.look()?)? {
            Some(now) if now.id == from.id => {}
            Some(now) => return Ok(Some(now)),
            // The group was deleted meanwhile: what is to be done about that the fence says.
            None => return Ok(None),
        }
    }
    Ok(None)
}

/// State that is missing or damaged is another instance's business, where one has taken over meanwhile: it removes what its own checkpoint
/// does not need. Whoever is told to restore a copy then would do so below a healthy job. `known` is the newest commit that this run knows.
///
/// That another one lives here is no proof: it may have found the same damage, or only watch. Its commit is one.
pub(super) fn or_taken_over(
    fault: Fault,
    (home, run): (&Path, RunId),
    decider: &mut dyn Decider,
    known: Option<CheckpointId>,
    patience: &Patience,
) -> Fault {
    if fault.exit() != Exit::Restore || !decider.takes_over() {
        return fault;
    }
    // The run is over: brokers that are away are not waited for as long as it takes.
    patience.stop();
    let began = clock::instant();
    loop {
        let Ok(newest) = decider.look() else { return fault };
        let newest = newest.and_then(|text| text.parse::<CommitRecord>().ok());
        if let Some(other) = newest.filter(|record| record.id.run != run && Some(record.id) != known) {
            let text = format!(
                "another instance has taken over ({}, run {}); this one leaves, since it lacks what that one does not need",
                other.instance, other.id.run
            );
            return Fault::new(Exit::AlreadyRunning, text).because(fault);
        }
        if began.elapsed() >= FIRST || !hold::other_lives(home, run) {
            return fault;
        }
        std::thread::sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use millpond_state::store::{CheckpointId, RunId};

    use super::*;
    use crate::sink::{Commit, Outgoing};

    /// Shows one record after the other, and the last for ever.
    struct Shows(Vec<String>);

    impl Decider for Shows {
        fn look(&mut self) -> Result<Option<String>, Fault> {
            let next = if self.0.len() > 1 { self.0.remove(0) } else { self.0[0].clone() };
            Ok(Some(next))
        }
        fn fence(&mut self) -> Result<Option<String>, Fault> {
            unreachable!("it only looks")
        }
        fn evidence(&mut self) -> Result<Option<String>, Fault> {
            unreachable!("it only looks")
        }
        fn create(&mut self, _: u32) -> Result<(), Fault> {
            unreachable!("it only looks")
        }
        fn partitions(&self, _: u32) -> u32 {
            unreachable!("it only looks")
        }
        fn stage(&mut self, _: &Outgoing) -> Result<(), Fault> {
            unreachable!("it only looks")
        }
        fn commit(&mut self, _: &Commit<'_>) -> Result<(), Fault> {
            unreachable!("it only looks")
        }
        fn publish(&mut self) -> Result<(), Fault> {
            unreachable!("it only looks")
        }
    }

    fn record(epoch: u64) -> CommitRecord {
        CommitRecord {
            job: "views".to_owned(),
            version: 1,
            id: CheckpointId { run: RunId::new(7), epoch },
            parent: None,
            checksum: 0,
            instance: "elsewhere:1".to_owned(),
            clock: clock::wall(),
            period_ms: 500,
        }
    }

    #[test]
    fn the_last_commit_of_a_dead_run_may_show_late_and_two_in_a_row_are_signs_of_life() {
        let env = Env { state: "nowhere".into(), job: "views".into(), version: 1, create: false };
        let watch = |epochs: &[u64]| {
            let mut shows = Shows(epochs.iter().map(|epoch| record(*epoch).to_string()).collect());
            until_quiet(&env, &record(1), "here", &mut shows).map_err(|fault| fault.exit())
        };
        assert_eq!(watch(&[1]), Ok(()));
        assert_eq!(watch(&[1, 1, 2]), Ok(()), "its markers were late");
        assert_eq!(watch(&[1, 2, 2, 3]), Err(Exit::AlreadyRunning));
        // One whose epochs take three times as long as it says.
        let mut slow = record(2);
        slow.clock = record(1).clock.plus_micros(1_500_000);
        let (slow, next) = (slow.to_string(), record(3).to_string());
        let mut shows = Shows([vec![slow; 9], vec![next]].concat());
        let watched = until_quiet(&env, &record(1), "here", &mut shows).map_err(|fault| fault.exit());
        assert_eq!(watched, Err(Exit::AlreadyRunning));
    }
}
