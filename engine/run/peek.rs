//! Looking at a job from outside: what it has committed, without a lock and without changing anything.

use std::time::Duration;

use millpond_state::store::{Checkpoints, Manifest, StoreError};

use super::pointer::Pointer;
use super::start::{Draw, drawn, systems};
use super::writer::store_fault;
use crate::protocol::{CommitRecord, RecordError};
use crate::sink::Decider as _;
use crate::source::Env;
use crate::{Exit, Fault, clock};

/// How soon a commit is looked for again that is late.
const AGAIN: Duration = Duration::from_millis(200);
/// How many commits of a job that runs may come in between while one is looked for.
const LOOKS: u32 = 20;

/// The newest commit of a job that may be running or not, and its checkpoint; `None` before the first. Takes no lock, changes nothing.
///
/// # Errors
/// When the record or the checkpoint it names cannot be read.
pub fn peek(draw: &Draw, env: &Env) -> Result<Option<(CommitRecord, Manifest)>, Fault> {
    let graph = drawn(draw, env)?;
    let newest = || -> Result<Option<CommitRecord>, Fault> {
        let mut record = None;
        for (system, outlets) in systems(&graph).into_values() {
            record = record.or(system.peek(env, &outlets)?);
        }
        let record = match record {
            Some(record) => Some(record),
            None => Pointer::new(env.home()).fence()?,
        };
        record.map(|text| text.parse()).transpose().map_err(|error: RecordError| {
            let what = format!("job {}: the newest commit record cannot be read", env.identity());
            Fault::new(Exit::Restore, what).because(error)
        })
    };
    let late = systems(&graph).into_values().map(|(system, _)| system.late()).max().unwrap_or_default();
    let Some(mut record) = newest()? else { return Ok(None) };
    // Where the state is not, no newer record helps.
    let found = Checkpoints::open(&env.home()).map_err(|error| unreadable(&error))?;
    let (began, mut looks) = (clock::instant(), 0);
    loop {
        let fault = match found.manifest_checked(record.id, record.checksum) {
            Ok(manifest) => return Ok(Some((record, manifest))),
            Err(error) => unreadable(&error),
        };
        // A job may have committed and released in between: then there is a newer record, which may take a moment to show.
        looks += 1;
        match newest()? {
            Some(newer) if newer.id != record.id && (looks < LOOKS || began.elapsed() < late) => record = newer,
            Some(_) if began.elapsed() < late => {
                tracing::info!("{fault}; looking whether there is a newer commit");
                std::thread::sleep(AGAIN);
            }
            _ => return Err(fault),
        }
    }
}

fn unreadable(error: &StoreError) -> Fault {
    store_fault("the committed checkpoint cannot be read", error)
}
