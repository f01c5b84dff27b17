//! `checkpoints list` and `checkpoints verify`. Both only read, also while the job runs.

use clap::ArgMatches;
use millpond_state::store::{CheckpointId, Checkpoints, Manifest, Report, StoreError};
use serde_json::{Value, json};

use super::options::{self, flag, id};
use super::table::Table;
use super::{JobMain, figures, recorded, stopped, terminal};
use crate::{Env, Exit, Fault};

pub(super) fn list(job: &JobMain, matches: &ArgMatches) -> Result<Exit, Fault> {
    let env = options::env(job, matches);
    let checkpoints = stopped::its_checkpoints(&env)?;
    let listed = checkpoints.list().map_err(|error| stopped::fault(&env, &error))?;
    let committed = recorded::draw(job, matches, &env).and_then(|draw| crate::peek(&*draw, &env));
    let committed = match committed {
        Ok(committed) => committed.map(|(record, _)| record.id),
        // What can be listed is listed, whatever is wrong with the rest.
        Err(fault) => {
            tracing::warn!(%fault, "which checkpoint is committed is not known");
            None
        }
    };
    let rows: Vec<_> = listed.iter().map(|(id, found)| Row::new(*id, found, committed)).collect();
    let text = if flag(matches, id::JSON) {
        pretty(&rows.iter().map(Row::json).collect())
    } else {
        let mut table = Table::new(["checkpoint", "written", "files>", "entries>", "size>", "standing"]);
        rows.iter().for_each(|row| table.row(row.cells()));
        table.to_string()
    };
    terminal::print(&text)?;
    Ok(Exit::Finished)
}

/// A checkpoint as `list` shows it.
struct Row<'a> {
    id: CheckpointId,
    found: Result<&'a Manifest, &'a StoreError>,
    standing: &'static str,
}

impl<'a> Row<'a> {
    fn new(id: CheckpointId, found: &'a Result<Manifest, StoreError>, committed: Option<CheckpointId>) -> Self {
        let found = found.as_ref();
        let standing = match found {
            Err(_) => "unreadable",
            Ok(manifest) if Some(id) == committed && manifest.finished => "committed, finished",
            Ok(_) if Some(id) == committed => "committed",
            Ok(_) if committed.is_some_and(|committed| id.epoch > committed.epoch) => "not committed",
            Ok(_) => "kept",
        };
        Row { id, found, standing }
    }

    fn cells(&self) -> [String; 6] {
        let id = self.id.to_string();
        match self.found {
            Ok(manifest) => {
                let entries = manifest.files.iter().map(millpond_state::store::FileRef::entries).sum();
                let bytes = manifest.files.iter().map(|file| file.bytes).sum();
                let (files, entries) = (manifest.files.len().to_string(), figures::count(entries));
                [id, manifest.created.to_string(), files, entries, figures::bytes(bytes), self.standing.to_owned()]
            }
            Err(error) => {
                let unknown = || "?".to_owned();
                [id, unknown(), unknown(), unknown(), unknown(), format!("{}: {error}", self.standing)]
            }
        }
    }

    fn json(&self) -> Value {
        match self.found {
            Ok(manifest) => json!({
                "id": self.id,
                "epoch": self.id.epoch,
                "run": self.id.run,
                "parent": manifest.parent,
                "created": manifest.created.to_string(),
                "files": manifest.files.iter().map(|file| &file.name).collect::<Vec<_>>(),
                "entries": manifest.files.iter().map(millpond_state::store::FileRef::entries).sum::<u64>(),
                "bytes": manifest.files.iter().map(|file| file.bytes).sum::<u64>(),
                "standing": self.standing,
            }),
            Err(error) => {
                json!({ "id": self.id, "epoch": self.id.epoch, "run": self.id.run, "standing": self.standing, "problem": error.to_string() })
            }
        }
    }
}

pub(super) fn verify(job: &JobMain, matches: &ArgMatches) -> Result<Exit, Fault> {
    let env = options::env(job, matches);
    let checkpoints = stopped::its_checkpoints(&env)?;
    let ids = match matches.get_one::<CheckpointId>(id::CHECKPOINT) {
        Some(id) => vec![*id],
        None => checkpoints.manifests().map_err(|error| stopped::fault(&env, &error))?,
    };
    let (mut pages, mut values, mut damaged) = (String::new(), Vec::new(), Vec::new());
    for id in &ids {
        let report = checkpoints.verify(*id);
        let sound = report.as_ref().is_ok_and(Report::is_sound);
        // The running job may have let it go while it was read.
        if !sound && ids.len() > 1 && released(&checkpoints, *id, &env)? {
            continue;
        }
        if !sound {
            damaged.push(id.to_string());
        }
        pages.push_str(&page(*id, &report));
        values.push(value(*id, &report));
    }
    terminal::print(if flag(matches, id::JSON) { pretty(&values.into()) } else { pages }.as_str())?;
    if damaged.is_empty() {
        return if matches.contains_id(id::CHECKPOINT) {
            Ok(Exit::Finished)
        } else {
            has_committed(job, matches, &env)
        };
    }
    Err(Fault::new(Exit::Restore, format!("{} cannot go on from checkpoint {}", env.identity(), damaged.join(", "))))
}

/// However sound those are that are there: the one that the job goes on from must be among them.
fn has_committed(job: &JobMain, matches: &ArgMatches, env: &Env) -> Result<Exit, Fault> {
    let committed = recorded::draw(job, matches, env).and_then(|draw| crate::peek(&*draw, env));
    match committed {
        Ok(Some(_)) => Ok(Exit::Finished),
        Ok(None) => {
            let fault = stopped::uncommitted(env)?;
            if fault.exit() == Exit::Restore { Err(fault) } else { Ok(Exit::Finished) }
        }
        Err(fault) if fault.exit() == Exit::Restore => Err(fault),
        // The bytes can be read where the log or the cluster cannot be reached.
        Err(fault) => {
            tracing::warn!(%fault, "which checkpoint is committed is not known");
            Ok(Exit::Finished)
        }
    }
}

fn released(checkpoints: &Checkpoints, id: CheckpointId, env: &Env) -> Result<bool, Fault> {
    let now = checkpoints.manifests().map_err(|error| stopped::fault(env, &error))?;
    Ok(!now.contains(&id))
}

fn page(id: CheckpointId, report: &Result<Report, StoreError>) -> String {
    let report = match report {
        Ok(report) => report,
        Err(error) => return format!("{id}  damaged\n  {error}\n"),
    };
    let entries = figures::count(report.files.iter().map(|file| file.entries).sum());
    let bytes = figures::bytes(report.files.iter().map(|file| file.bytes).sum());
    let standing = if report.is_sound() { "sound" } else { "damaged" };
    let files = report.files.len();
    let mut text = format!("{id}  {standing}, {entries} entries in {files} files of {bytes}\n");
    for file in &report.files {
        if let Some(problem) = &file.problem {
            text.push_str(&format!("  {problem}\n"));
        }
    }
    text
}

fn value(id: CheckpointId, report: &Result<Report, StoreError>) -> Value {
    match report {
        Ok(report) => {
            let files = report.files.iter().map(|file| {
                let problem = file.problem.as_ref().map(ToString::to_string);
                json!({ "name": file.name, "bytes": file.bytes, "entries": file.entries, "problem": problem })
            });
            json!({ "id": id, "sound": report.is_sound(), "files": files.collect::<Vec<_>>() })
        }
        Err(error) => json!({ "id": id, "sound": false, "problem": error.to_string() }),
    }
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}
