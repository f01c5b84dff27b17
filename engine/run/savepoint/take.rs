//! Taking a savepoint: of the committed checkpoint of a job that may be running or not.

use std::path::PathBuf;

use millpond_state::KeyGroup;
use millpond_state::store::{Checkpoints, Fate, Manifest, Restore, StoreErrorKind};

use super::folder::Aside;
use crate::run::peek;
use crate::run::reached::reached;
use crate::run::writer::store_fault;
use crate::savepoint::{DESCRIPTION, Description, FORMAT};
use crate::{CommitRecord, Draw, Env, Exit, Fault, Node, clock};

/// So often a job may be quicker in letting go of a checkpoint than we are in opening its files.
const TRIES: usize = 100;

/// Writes a savepoint of what `env` has committed to the folder that `place` names; which one that is, and what it says. Takes no lock of
/// the job's and changes nothing of it. `None` when nothing was committed.
///
/// # Errors
/// When it has finished, when the folder exists, when a file of the checkpoint is not what was written, and
/// when the disk is full or fails. Nothing is left then.
pub(crate) fn take(
    draw: &Draw,
    env: &Env,
    place: impl Fn(&Description) -> PathBuf,
) -> Result<Option<(PathBuf, Description)>, Fault> {
    let Some((manifest, restore)) = committed(draw, env)? else { return Ok(None) };
    let mut description = describe(&manifest)?;
    let place = place(&description);
    let aside = Aside::create(&place)?;
    crate::failpoint::hit("savepoint begun");
    let written = restore.write_base(&aside.path, manifest.id, |_, _| Fate::Kept);
    let file =
        written.map_err(|error| store_fault(&format!("no savepoint of {} was taken", env.identity()), &error))?;
    crate::failpoint::hit("savepoint state");
    description.files = file.into_iter().collect();
    aside.write(DESCRIPTION, &description.bytes())?;
    crate::failpoint::hit("savepoint described");
    aside.publish()?;
    Ok(Some((place, description)))
}

/// The newest committed checkpoint, its files opened.
fn committed(draw: &Draw, env: &Env) -> Result<Option<(Manifest, Restore)>, Fault> {
    let job = env.identity();
    let mut before: Option<(CommitRecord, Fault)> = None;
    for _ in 0..TRIES {
        let Some((record, manifest)) = peek(draw, env)? else { return Ok(None) };
        if manifest.finished {
            return Err(Fault::new(
                Exit::Refused,
                format!(
                    "{job} has finished: its last windows have fired, and nothing can go on from there; a new version begins with `replay`"
                ),
            ));
        }
        // Nothing newer was committed meanwhile: it is not there.
        if let Some((_, fault)) = before.take_if(|(last, _)| last.id == record.id) {
            return Err(fault);
        }
        let all = 0..KeyGroup::COUNT as u16;
        match Checkpoints::open(&env.home()).and_then(|found| found.restore(&manifest, all, None)) {
            Ok(restore) => return Ok(Some((manifest, restore))),
            Err(error) => {
                let fault = store_fault(&format!("no savepoint of {job} can be taken"), &error);
                if error.kind() != StoreErrorKind::Missing {
                    return Err(fault);
                }
                before = Some((record, fault));
            }
        }
    }
    Err(Fault::new(
        Exit::Retry,
        format!("{job} commits faster than its files can be opened; raise --checkpoint-interval, or ask again"),
    ))
}

/// A checkpoint told, but for its files.
fn describe(manifest: &Manifest) -> Result<Description, Fault> {
    let node = |(uid, node): &(String, serde_json::Value)| {
        let node: Node = serde_json::from_value(node.clone()).map_err(|error| {
            Fault::new(
                Exit::NewVersion,
                format!("the plan of {uid:?} in the checkpoint was written by another release"),
            )
            .because(error)
        })?;
        Ok((uid.clone(), node))
    };
    Ok(Description {
        format: FORMAT,
        build: format!("millpond {}", env!("CARGO_PKG_VERSION")),
        taken: clock::wall(),
        job: manifest.job.clone(),
        version: manifest.job_version,
        checkpoint: manifest.id,
        created: manifest.created,
        plan: format!("{:016x}", manifest.plan),
        reached: reached(manifest),
        sources: manifest.sources.clone(),
        steps: manifest.shapes.iter().map(node).collect::<Result<_, Fault>>()?,
        fired: manifest.fired.clone(),
        files: Vec::new(),
    })
}
