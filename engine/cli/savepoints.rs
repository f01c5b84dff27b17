//! `savepoint`, and `savepoints list`, `show` and `verify`: a committed checkpoint as a folder that a new version starts from.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::ArgMatches;
use millpond_state::store::Report;
use serde_json::{Value, json};

use super::options::{self, flag, id};
use super::table::Table;
use super::{JobMain, dead, figures, recorded, stopped, terminal};
use crate::control::ask;
use crate::plan::Role;
use crate::run::savepoint::begin::Begins;
use crate::run::savepoint::folder::Folder;
use crate::run::savepoint::take::take;
use crate::run::start::drawn;
use crate::savepoint::{DESCRIPTION, Description};
use crate::{Draw, Env, Exit, Fault, Run, clock};

/// How long a job may take for its next commit.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at it.
const LOOK: Duration = Duration::from_millis(20);

/// `savepoint [DIR]`.
pub(super) fn savepoint(job: &JobMain, matches: &ArgMatches) -> Result<Exit, Fault> {
    let env = options::env(job, matches);
    let draw = recorded::draw(job, matches, &env)?;
    let asked = matches.get_one::<PathBuf>(id::DIR).cloned();
    if let Some(dir) = asked.as_deref().filter(|dir| fs::symlink_metadata(dir).is_ok()) {
        // Said before the job is asked for anything.
        return Err(Fault::new(Exit::Refused, format!("{} exists already; name another folder", dir.display())));
    }
    close_an_epoch(&env)?;
    let place = |description: &Description| {
        asked.clone().unwrap_or_else(|| folder(&env).join(description.name().replace(' ', "-")))
    };
    let Some((dir, description)) = take(&*draw, &env, place)? else { return Err(stopped::uncommitted(&env)?) };
    let bytes = description.files.iter().map(|file| file.bytes).sum();
    let left = dead::left_in_words(matches, &env, &draw).map(|left| {
        format!(
            "{left}: what starts from this savepoint goes on behind their records and never reads them; send them again \
             (`dead-letters redrive`) and take another, or they stay letters of {}",
            env.identity()
        )
    });
    if let Some(left) = &left {
        terminal::say(&format!("warning: {left}"));
    }
    let text = if flag(matches, id::JSON) {
        pretty(&json!({ "dir": dir.display().to_string(), "savepoint": description, "warning": left }))
    } else {
        format!(
            "savepoint of {} at epoch {}, {}, in {}\nstart another version from it: `replay {} --from-savepoint {}`\n",
            env.identity(),
            description.checkpoint.epoch,
            figures::bytes(bytes),
            dir.display(),
            env.version.saturating_add(1),
            dir.display()
        )
    };
    terminal::print(&text)?;
    Ok(Exit::Finished)
}

/// Where savepoints lie unless another folder is named.
fn folder(env: &Env) -> PathBuf {
    env.state.join("savepoints")
}

/// Where the job runs: has it commit what it has read by now.
fn close_an_epoch(env: &Env) -> Result<(), Fault> {
    let (mut enough, mut last, mut since) = (None, None, clock::instant());
    loop {
        let Some(answer) = ask(&env.home(), "close")? else { return Ok(()) };
        let epoch = answer["epoch"].as_u64().ok_or_else(|| {
            Fault::new(Exit::Usage, format!("{} runs as another release of millpond", env.identity()))
        })?;
        // One epoch may have been closing when we came, and the open one comes after that.
        if epoch >= *enough.get_or_insert(epoch + 2) {
            return Ok(());
        }
        let now: Instant = clock::instant();
        if last != Some(epoch) {
            (last, since) = (Some(epoch), now);
        }
        if now.saturating_duration_since(since) > PATIENCE {
            let (job, secs) = (env.identity(), PATIENCE.as_secs());
            let text = format!("{job} runs and has not committed for {secs} s; `status` says what it waits for");
            return Err(Fault::new(Exit::Retry, text));
        }
        std::thread::sleep(LOOK);
    }
}

/// `savepoints list`.
pub(super) fn list(job: &JobMain, matches: &ArgMatches) -> Result<Exit, Fault> {
    let env = options::env(job, matches);
    let mut dirs: Vec<PathBuf> =
        fs::read_dir(folder(&env)).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    dirs.retain(|dir| dir.join(DESCRIPTION).is_file() && dir.extension().is_none_or(|end| end != "tmp"));
    dirs.sort();
    let found = dirs.iter().map(|dir| (dir, Folder::open(dir)));
    let mut table = Table::new(["savepoint", "of", "epoch>", "taken", "size>"]);
    let mut values = Vec::new();
    for (dir, folder) in found {
        let path = dir.display().to_string();
        match folder {
            Ok(Folder { description, .. }) => {
                let bytes = description.files.iter().map(|file| file.bytes).sum();
                let of = format!("{}@{}", description.job, description.version);
                let (epoch, taken) = (figures::count(description.checkpoint.epoch), description.taken.to_string());
                table.row([path.clone(), of, epoch, taken, figures::bytes(bytes)]);
                values.push(json!({ "dir": path, "savepoint": description }));
            }
            Err(fault) => {
                table.row([path.clone(), fault.to_string(), String::new(), String::new(), String::new()]);
                values.push(json!({ "dir": path, "problem": fault.to_string() }));
            }
        }
    }
    let text = if flag(matches, id::JSON) { pretty(&values.into()) } else { table.to_string() };
    terminal::print(&text)?;
    Ok(Exit::Finished)
}

/// `savepoints show DIR`.
pub(super) fn show(matches: &ArgMatches) -> Result<Exit, Fault> {
    let folder = Folder::open(dir(matches))?;
    let json = flag(matches, id::JSON);
    terminal::print(&if json { pretty(&json!(folder.description)) } else { page(&folder.description) })?;
    Ok(Exit::Finished)
}

/// `savepoints verify DIR`.
pub(super) fn verify(matches: &ArgMatches) -> Result<Exit, Fault> {
    let folder = Folder::open(dir(matches))?;
    let report = folder.verify();
    terminal::print(&if flag(matches, id::JSON) { pretty(&value(&folder, &report)) } else { sound(&folder, &report) })?;
    if report.is_sound() {
        return Ok(Exit::Finished);
    }
    let text =
        format!("the savepoint in {} is damaged; put it back from a copy, or take another", folder.dir.display());
    Err(Fault::new(Exit::Restore, text))
}

fn dir(matches: &ArgMatches) -> &Path {
    matches.get_one::<PathBuf>(id::DIR).expect("clap asks for it")
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

fn value(folder: &Folder, report: &Report) -> Value {
    let files = report.files.iter().map(|file| {
        let problem = file.problem.as_ref().map(ToString::to_string);
        json!({ "name": file.name, "bytes": file.bytes, "entries": file.entries, "problem": problem })
    });
    let of = folder.description.name();
    json!({ "dir": folder.dir.display().to_string(), "of": of, "sound": report.is_sound(), "files": files.collect::<Vec<_>>() })
}

fn sound(folder: &Folder, report: &Report) -> String {
    let entries = figures::count(report.files.iter().map(|file| file.entries).sum());
    let bytes = figures::bytes(report.files.iter().map(|file| file.bytes).sum());
    let standing = if report.is_sound() { "sound" } else { "damaged" };
    let name = folder.description.name();
    let mut text = format!("{name}  {standing}, {entries} entries in {} files of {bytes}\n", report.files.len());
    for problem in report.files.iter().filter_map(|file| file.problem.as_ref()) {
        text.push_str(&format!("  {problem}\n"));
    }
    text
}

/// What is in it, for people.
fn page(description: &Description) -> String {
    let Description { build, taken, job, version, checkpoint, plan, reached, .. } = description;
    let mut text = format!(
        "{job}@{version}  epoch {}, run {}\n  taken      {taken}, by {build}\n  plan       {plan}\n  watermark  {}\n\n",
        checkpoint.epoch, checkpoint.run, reached.watermark
    );
    let mut positions = Table::new(["source", "partition>", "next>", "watermark", "fingerprint"]);
    for (source, state) in &description.sources {
        for partition in &state.partitions {
            let (number, next) = (partition.partition.to_string(), figures::count(partition.next));
            let (watermark, fingerprint) = (partition.watermark.to_string(), partition.fingerprint.clone());
            positions.row([source.clone(), number, next, watermark, fingerprint]);
        }
    }
    text.push_str(&format!("{positions}\n"));
    let mut state = Table::new(["step", "kind", "entries>", "size>", "shapes"]);
    for (uid, node) in description.steps.iter().filter(|(_, node)| node.role == Role::Stateful) {
        let sections = description.files.iter().flat_map(|file| &file.sections).filter(|section| section.uid == *uid);
        let (entries, bytes) =
            sections.fold((0, 0), |(entries, bytes), one| (entries + one.entries, bytes + one.bytes));
        let shapes = node.shapes.iter().map(|(name, shape)| {
            let shape = serde_json::from_value::<millpond_state::Shape>(shape.clone());
            format!("{name} {}", shape.map_or_else(|_| "?".to_owned(), |shape| shape.to_string()))
        });
        let shapes = shapes.collect::<Vec<_>>().join(", ");
        state.row([uid.clone(), node.kind.clone(), figures::count(entries), figures::bytes(bytes), shapes]);
    }
    text.push_str(&state.to_string());
    text
}

/// Before anything is started from a savepoint: how it fits, where a first start would begin with it. `None` where the version goes on from
/// what it has committed.
pub(super) fn fit(run: &Run, draw: &Draw) -> Result<Option<Begins>, Fault> {
    let Some(from) = &run.savepoint else { return Ok(None) };
    let (env, graph) = (&run.env, drawn(draw, &run.env)?);
    let plan = crate::draw(draw, env)?;
    match crate::peek(draw, env)? {
        Some((record, manifest)) => {
            crate::run::savepoint::begin::may_go_on(from, env, record.id, &manifest)?;
            Ok(None)
        }
        None => Begins::of(from, env, &graph, &plan).map(Some),
    }
}

/// How a savepoint fits, for people.
pub(super) fn table(begins: &Begins, env: &Env) -> String {
    let mut table = Table::new(["step", "kind", "state", "why"]);
    for row in &begins.fit.steps {
        table.row([row.uid.clone(), row.kind.clone(), row.verdict.words().to_owned(), row.why.clone()]);
    }
    let ends = if begins.fit.fits { "fits" } else { "does not fit: nothing is started" };
    format!(
        "{} from the savepoint {}\n\n{table}\nthe savepoint {ends}\n",
        env.identity(),
        begins.folder.description.name()
    )
}

/// The same for programs.
pub(super) fn fit_json(begins: &Begins) -> Value {
    json!({ "of": begins.folder.description.name(), "fits": begins.fit.fits, "steps": begins.fit.steps })
}
