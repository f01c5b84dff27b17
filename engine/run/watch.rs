//! Looking before taking over: whether the run that committed last still lives.
//!
//! Two supervisors that start the same job would end each other's runs for ever. So a starter that finds a fresh commit record of another run
//! watches it for two of the periods it names, and takes over only when it does not move.

use std::time::Duration;

use crate::protocol::CommitRecord;
use crate::sink::Decider;
use crate::source::Env;
use crate::{Exit, Fault, clock};

/// How often the record is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Returns once the run that wrote `record` is dead, or silent for long enough.
pub(super) fn until_quiet(
    env: &Env,
    record: &CommitRecord,
    host: &str,
    decider: &mut dyn Decider,
) -> Result<(), Fault> {
    let same_host = record.instance.rsplit_once(':').is_some_and(|(of, _)| of == host);
    if same_host && super::hold::dead(&env.home(), record.id.run) {
        return Ok(());
    }
    let patience = Duration::from_millis(record.period_ms).saturating_mul(2);
    let age = clock::wall().micros().saturating_sub(record.clock.micros());
    // A clock that is ahead of ours says nothing about age.
    if u64::try_from(age).is_ok_and(|age| Duration::from_micros(age) > patience) {
        return Ok(());
    }
    tracing::info!(
        instance = record.instance,
        "the job committed a moment ago; watching for {patience:?} whether it goes on"
    );
    let began = clock::instant();
    while began.elapsed() < patience {
        std::thread::sleep(LOOK);
        let now = super::start::parse(env, decider.look()?)?;
        if now.as_ref().is_none_or(|now| now.id != record.id) {
            let who = now.map_or_else(|| record.instance.clone(), |now| now.instance);
            return Err(Fault::new(
                Exit::AlreadyRunning,
                format!("job {} runs already: {who} has just committed", env.identity()),
            ));
        }
    }
    Ok(())
}
