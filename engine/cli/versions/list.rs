//! `versions`: which versions of the job there are, how they stand, and how the live line runs.

use std::collections::BTreeMap;

use clap::ArgMatches;
use millpond_state::Timestamp;
use serde_json::json;

use super::Job;
use crate::cli::options::{flag, id};
use crate::cli::table::Table;
use crate::cli::{JobMain, figures, terminal};
use crate::registry::{Entry, Standing, State, Version};
use crate::{Exit, Fault, clock};

/// What was said longer ago than this is doubted.
const OLD_MICROS: i64 = 30_000_000;

pub(in crate::cli) fn versions(main: &JobMain, matches: &ArgMatches) -> Result<Exit, Fault> {
    let job = Job::of(main, matches)?;
    let mut entry = job.entry()?;
    let waiting = waiting(&entry);
    let now = clock::wall().micros();
    for number in entry.versions.keys().copied().collect::<Vec<_>>() {
        let standing = job.standing(number, &entry.versions[&number]).unwrap_or_else(|fault| {
            tracing::warn!(%fault, "version {number} is shown as it stood last");
            entry.versions[&number].standing.clone()
        });
        entry.versions.entry(number).and_modify(|version| version.standing = standing);
    }
    let text = if flag(matches, id::JSON) {
        let mut value = serde_json::to_value(&entry).expect("an entry is plain data");
        value["live"] = json!(entry.live());
        value["waiting"] = json!(waiting);
        format!("{value:#}\n")
    } else {
        page(&entry, &waiting, now)
    };
    terminal::print(&text)?;
    Ok(Exit::Finished)
}

/// The outputs whose readers still wait for a version to reach a switch, the newest one they wait at, by the registry's word, which is what they go
/// by.
fn waiting(entry: &Entry) -> BTreeMap<String, u32> {
    let pairs = entry.line.iter().zip(entry.line.iter().skip(1));
    let turns = pairs.flat_map(|(leg, next)| next.outputs.iter().map(move |(name, turn)| (leg.version, name, turn)));
    let waits = turns.filter(|(before, name, turn)| entry.waits(*before, name, turn));
    waits.map(|(before, name, _)| (name.clone(), before)).collect()
}

fn page(entry: &Entry, waiting: &BTreeMap<String, u32>, now: i64) -> String {
    let mut table =
        Table::new(["version", "standing", "lag>", "watermark", "heard of", "compared", "build", "plan", "state in"]);
    for (number, version) in &entry.versions {
        let live = if entry.live() == Some(*number) { ", live" } else { "" };
        let compared = version.compared.as_ref().map_or("-".to_owned(), |compared| {
            let how = if compared.passed { "passed" } else { "differs" };
            format!("with {}: {how}", compared.with)
        });
        table.row([
            number.to_string(),
            format!("{}{live}", standing(version.retiring, &version.standing, now)),
            version.standing.lag.map_or("?".to_owned(), figures::count),
            match version.standing.reached.watermark {
                Timestamp::MIN => "none yet".to_owned(),
                watermark => figures::place(watermark),
            },
            if version.standing.at == 0 {
                "never".to_owned()
            } else {
                format!("{} ago", figures::since(version.standing.at, now))
            },
            compared,
            build(version),
            version.plan.clone(),
            version.home.clone(),
        ]);
    }
    let mut text = format!("{}\n\n{table}", entry.job);
    if !entry.retired.is_empty() {
        let retired: Vec<_> = entry.retired.iter().map(u32::to_string).collect();
        text.push_str(&format!("\nretired: {}\n", retired.join(", ")));
    }
    let mut line = Table::new(["output", "from event time", "version", "topic", "state"]);
    let live = entry.live().and_then(|live| entry.versions.get(&live));
    for output in live.map(|live| live.outputs.as_slice()).unwrap_or_default().iter().filter(|output| !output.upsert) {
        for (index, leg) in entry.line.iter().enumerate() {
            let at = entry.output(leg.version, &output.name).map_or("-", |output| &output.at);
            let from = leg.from(&output.name);
            let state = match waiting.get(&output.name) {
                Some(before) if index > 0 && entry.line[index - 1].version == *before => {
                    format!("waits for version {before} to get there")
                }
                _ => String::new(),
            };
            line.row([output.name.clone(), figures::place(from), leg.version.to_string(), at.to_owned(), state]);
        }
    }
    text.push_str(&format!("\nthe live line\n{line}"));
    text
}

/// What the build calls itself, and which binary it is.
fn build(version: &Version) -> String {
    let Version { build, binary, .. } = version;
    if binary.is_empty() { build.clone() } else { format!("{build}, binary {binary}") }
}

fn standing(retiring: bool, standing: &Standing, now: i64) -> String {
    match (retiring, standing.state) {
        (true, _) => "being retired".to_owned(),
        (false, State::Running) if now.saturating_sub(standing.at) > OLD_MICROS => "running?".to_owned(),
        (false, _) if standing.waits_long(Timestamp::from_micros(now)).is_some() => "running, commits wait".to_owned(),
        (false, state) => state.name().to_owned(),
    }
}
