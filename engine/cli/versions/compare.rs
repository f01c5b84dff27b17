//! `compare A B`: the committed outputs of two versions over the event time that both have behind them.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use clap::ArgMatches;
use millpond_state::Timestamp;
use serde_json::json;

use super::Job;
use crate::cli::options::{flag, id};
use crate::cli::{JobMain, figures, terminal};
use crate::compare::{Expected, OutputReport, Settings, Tolerances, compare as compare_output};
use crate::registry::{self, Compared, Entry, More, Output, Standing, State, Version};
use crate::{Exit, Fault, OutputReached, clock};

pub(in crate::cli) fn compare(main: &JobMain, matches: &ArgMatches) -> Result<Exit, Fault> {
    let job = Job::of(main, matches)?;
    let number = |id: &str| *matches.get_one::<u32>(id).expect("clap asks for it");
    let numbers = [number(id::FIRST), number(id::VERSION)];
    if numbers[0] == numbers[1] {
        return Err(Fault::new(Exit::Usage, format!("version {0} cannot be compared with itself", numbers[0])));
    }
    if let (Some(since), Some(until)) = (time(matches, id::SINCE), time(matches, id::UNTIL))
        && since >= until
    {
        return Err(Fault::new(Exit::Usage, format!("--since {since} is not before --until {until}")));
    }
    let entry = job.entry()?;
    let sides = [side(&job, &entry, numbers[0])?, side(&job, &entry, numbers[1])?];
    let expected = expected(matches)?;
    let (stretches, mut notes) = stretches(&job, &sides, matches, &expected)?;
    let mut reports = Vec::new();
    for Stretch { output, at, times, table, .. } in &stretches {
        let settings = Settings { times: times.clone(), table: *table, ..settings(&job) };
        let mut report = compare_output(&*job.ledger, output, [&at[0], &at[1]], &settings)?;
        report.judge(&expected);
        reports.push(report);
    }
    let empty = reports.iter().all(|report| report.first + report.second == 0);
    if empty && stretches.iter().any(|stretch| stretch.narrowed) {
        return Err(nothing_there(numbers, &stretches));
    }
    notes.extend(unseen(&reports));
    let passed = reports.iter().all(|report| report.unexpected.is_empty());
    // What opens the gate of a promotion must have looked at something, of all that can be compared.
    let partial = partial(&sides, &stretches, &reports);
    if let (true, Some(why)) = (passed, &partial) {
        notes.push(format!("this does not count for `promote`: {why}"));
    }
    let compared = Compared {
        with: numbers[0],
        at: clock::wall(),
        until: stretches.iter().map(|stretch| stretch.times.end).min().unwrap_or(Timestamp::MIN),
        rows: reports.iter().map(|report| report.first + report.second).sum(),
        differences: reports.iter().map(OutputReport::differences).sum(),
        passed,
        partial,
        more: More::new(),
    };
    // A promotion asks for it; where it cannot be kept the comparison is as good as before.
    let kept =
        registry::change(&*job.ledger, &job.env.job, |entry| entry.compared(numbers[1], compared.clone()).map(Some));
    if let Err(fault) = kept {
        notes.push(format!("the registry does not keep this result: {fault}"));
    }
    let text = if flag(matches, id::JSON) {
        let value = json!({ "job": entry.job, "first": numbers[0], "second": numbers[1], "passed": passed, "outputs": reports, "notes": notes });
        format!("{value:#}\n")
    } else {
        let outcome = match (passed, empty) {
            (true, true) => "neither version has a row: equal, as far as that goes",
            (true, false) => "equal, or as expected",
            (false, _) => "the outputs differ",
        };
        page(&entry.job, numbers, &reports, &notes, outcome)
    };
    terminal::print(&text)?;
    Ok(if passed { Exit::Finished } else { Exit::Differs })
}

fn time(matches: &ArgMatches, id: &str) -> Option<Timestamp> {
    matches.get_one(id).copied()
}

/// What was asked for holds nothing: that is no sign of equal outputs.
fn nothing_there([first, second]: [u32; 2], stretches: &[Stretch]) -> Fault {
    let of = |Stretch { output, times, .. }: &Stretch| {
        format!("{output}, event times {}", figures::stretch(times.start, times.end))
    };
    let there: Vec<_> = stretches.iter().map(of).collect();
    let text = format!(
        "neither version {first} nor version {second} has a row there, so that nothing was compared: {}; ask with other --since and --until, or \
         without",
        there.join("; ")
    );
    Fault::new(Exit::Refused, text)
}

/// Tolerances of columns that nothing has.
fn unseen(reports: &[OutputReport]) -> Option<String> {
    let mut reports = reports.iter().filter(|report| report.first + report.second > 0);
    let first = reports.next()?;
    let everywhere: Vec<_> = reports.fold(first.unseen.iter().collect(), |mut unseen: Vec<_>, report| {
        unseen.retain(|column| report.unseen.contains(column));
        unseen
    });
    let columns: Vec<_> = everywhere.into_iter().map(String::as_str).collect();
    (!columns.is_empty()).then(|| {
        format!(
            "--tolerance {}: no row that was looked into (the first ones, and all that differ) has such a column",
            columns.join(", ")
        )
    })
}

/// Why a promotion cannot rest on a comparison: it must be of rows, of every output that keeps to the watermark, over all that both have.
fn partial(sides: &[Side; 2], stretches: &[Stretch], reports: &[OutputReport]) -> Option<String> {
    if reports.iter().all(|report| report.first + report.second == 0) {
        return Some("neither version has a row there".to_owned());
    }
    if let Some(stretch) = stretches.iter().find(|stretch| stretch.narrowed) {
        return Some(format!("--since or --until left out some of {}", stretch.output));
    }
    let [first, second] = sides.each_ref().map(|side| &side.version.outputs);
    let both = first.iter().filter(|output| second.iter().any(|other| other.name == output.name));
    let mut settled = both.filter(|output| output.settled && !output.upsert);
    let left = settled.find(|output| stretches.iter().all(|stretch| stretch.output != output.name))?;
    Some(format!("{} was not looked at", left.name))
}

/// A version that is compared.
struct Side {
    number: u32,
    version: Version,
    standing: Standing,
}

fn side(job: &Job<'_>, entry: &Entry, number: u32) -> Result<Side, Fault> {
    let version = entry.version(number)?.clone();
    let standing = job.standing(number, &version)?;
    Ok(Side { number, version, standing })
}

impl Side {
    fn reached(&self, output: &Output) -> OutputReached {
        self.standing.reached.outputs.get(&output.sink).cloned().unwrap_or_default()
    }
}

fn expected(matches: &ArgMatches) -> Result<Expected, Fault> {
    let Some(path) = matches.get_one::<PathBuf>(id::EXPECT) else { return Ok(Expected::default()) };
    let refused =
        |why: String| Fault::new(Exit::Usage, format!("cannot read what is expected from {}: {why}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| refused(error.to_string()))?;
    Expected::parse(&text).map_err(refused)
}

fn settings(job: &Job<'_>) -> Settings {
    let mut tolerances = Tolerances::default();
    for text in job.matches.get_many::<String>(id::TOLERANCE).into_iter().flatten() {
        tolerances.add(text).expect("clap has tried it");
    }
    let scratch = job.matches.get_one::<PathBuf>(id::SCRATCH).cloned();
    Settings {
        times: Timestamp::MIN..Timestamp::MAX,
        table: false,
        tolerances,
        scratch: scratch.unwrap_or_else(|| job.env.state.join("scratch")),
        memory: job.matches.get_one::<u64>(id::MEMORY_MIB).map_or(256 << 20, |mib| (*mib as usize) << 20),
        samples: job.matches.get_one::<u64>(id::SAMPLES).map_or(10, |samples| *samples as usize),
    }
}

/// An output of both, and the event times in which both have said everything.
struct Stretch {
    output: String,
    at: [String; 2],
    times: std::ops::Range<Timestamp>,
    table: bool,
    /// Whether less was asked for than both have.
    narrowed: bool,
}

/// What can be compared, and what to say of the rest.
fn stretches(
    job: &Job<'_>,
    sides: &[Side; 2],
    matches: &ArgMatches,
    expected: &Expected,
) -> Result<(Vec<Stretch>, Vec<String>), Fault> {
    let asked: Vec<&String> = matches.get_many(id::ONLY).into_iter().flatten().collect();
    let (mut found, mut notes) = (Vec::new(), Vec::new());
    let [first, second] = sides;
    for output in &first.version.outputs {
        let name = &output.name;
        if !asked.is_empty() && !asked.contains(&name) {
            continue;
        }
        let Some(other) = second.version.outputs.iter().find(|other| other.name == *name) else {
            notes.push(format!("{name}: only version {} writes it", first.number));
            continue;
        };
        if let Some(side) =
            [first.reached(output), second.reached(other)].iter().position(OutputReached::is_never_whole)
        {
            let number = sides[side].number;
            return Err(Fault::new(
                Exit::Refused,
                format!(
                    "{name}: it is never known to be whole in version {number}, where a step above it began with nothing at the savepoint; `replay` \
                     a version from the beginning to compare it, and take --only for the other outputs"
                ),
            ));
        }
        let (left, right) = (first.reached(output).complete, second.reached(other).complete);
        let until = left.min(right);
        let at = [output.at.clone(), other.at.clone()];
        if output.upsert != other.upsert {
            notes.push(format!("{name}: a table in one version only"));
            continue;
        }
        if output.upsert {
            if rest_alike(sides) {
                let times = Timestamp::MIN..Timestamp::MAX;
                found.push(Stretch { output: name.clone(), at, times, table: true, narrowed: false });
            } else {
                notes.push(format!(
                    "{name}: a table, which changes with every record; compared once neither version runs and both have read the same input"
                ));
            }
            continue;
        }
        if (!output.settled || !other.settled) && until < Timestamp::MAX {
            notes.push(format!(
                "{name}: its records do not keep to the watermark; compared once both versions have finished"
            ));
            continue;
        }
        let begun = begun(job, sides, [output, other])?;
        let since = time(matches, id::SINCE).map_or(begun, |asked| asked.max(begun));
        let narrowed = since > begun || time(matches, id::UNTIL).is_some_and(|asked| asked < until);
        let until = time(matches, id::UNTIL).map_or(until, |asked| asked.min(until));
        // In whole milliseconds: Kafka keeps event times no finer, so that a row is on the same side of the end in both.
        let until =
            if until == Timestamp::MAX { until } else { Timestamp::from_millis(until.micros().div_euclid(1_000)) };
        if since >= until {
            return Err(Fault::new(
                Exit::Refused,
                format!(
                    "{name}: versions {} and {} have no event time in common: the first is complete up to {left}, the second up to {right}, \
                     and rows from {since} on are asked for or kept; let them catch up",
                    first.number, second.number
                ),
            ));
        }
        found.push(Stretch { output: name.clone(), at, times: since..until, table: false, narrowed });
    }
    let new = second
        .version
        .outputs
        .iter()
        .filter(|other| first.version.outputs.iter().all(|output| output.name != other.name));
    notes.extend(new.map(|other| format!("{}: only version {} writes it", other.name, second.number)));
    let unknown = asked.iter().map(|name| name.as_str()).chain(expected.outputs());
    for name in unknown {
        if found.iter().all(|stretch| stretch.output != name) {
            let why = notes.iter().find(|note| note.starts_with(&format!("{name}: "))).cloned();
            let why = why.unwrap_or_else(|| format!("{name}: no version writes it"));
            return Err(Fault::new(Exit::Usage, format!("cannot be compared: {why}")));
        }
    }
    if found.is_empty() {
        let why = if notes.is_empty() { String::new() } else { format!(": {}", notes.join("; ")) };
        return Err(Fault::new(
            Exit::Refused,
            format!("versions {} and {} have no outputs that can be compared{why}", first.number, second.number),
        ));
    }
    Ok((found, notes))
}

/// Whether neither version runs and both have read the same input.
fn rest_alike(sides: &[Side; 2]) -> bool {
    let read = sides.each_ref().map(|side| {
        let mut positions = side.standing.positions.clone();
        positions.sort();
        (positions, matches!(side.standing.state, State::Stopped | State::Finished))
    });
    read.iter().all(|(positions, rests)| *rests && !positions.is_empty()) && read[0] == read[1]
}

/// From when on both can have rows: the beginning, unless one of them began later or its output has lost its oldest rows.
fn begun(job: &Job<'_>, sides: &[Side; 2], outputs: [&Output; 2]) -> Result<Timestamp, Fault> {
    let mut since = Timestamp::MIN;
    for (side, output) in sides.iter().zip(outputs) {
        let at = &output.at;
        let kept = job.ledger.kept(at)?.unwrap_or_default();
        // One that began with a savepoint knows from when on it has everything.
        let saved = side.reached(output).since;
        since = since.max(saved);
        let whole = side.version.from == "earliest" || saved > Timestamp::MIN;
        if whole && kept.iter().all(|kept| kept.start == 0) {
            continue;
        }
        // The first row of a partition may be of a window that it saw only in part; what lies after it is whole. Where retention took more of one
        // partition than of another, or they began at other times, that is so behind the last of them.
        let (mut first_whole, mut any) = (Timestamp::MIN, false);
        for (partition, kept) in (0..).zip(&kept) {
            let mut first = None;
            let mut reader = job.ledger.read(at, partition, kept.start)?;
            while first.is_none() && reader.read(&mut |record| first = first.or(Some(record.at)))? {}
            any |= first.is_some();
            first_whole = first.map_or(first_whole, |first: Timestamp| first_whole.max(first.plus_micros(1)));
        }
        // Without any row nothing is in common.
        since = since.max(if any { first_whole } else { Timestamp::MAX });
    }
    Ok(since)
}

fn page(job: &str, numbers: [u32; 2], reports: &[OutputReport], notes: &[String], outcome: &str) -> String {
    let [first, second] = numbers;
    let mut text = format!("{job}: version {first} and version {second}\n");
    let n = figures::count;
    for report in reports {
        let OutputReport { output, since, until, .. } = report;
        let _ = match report.table {
            true => writeln!(text, "\n{output}, a table: the newest value of each key"),
            false => writeln!(text, "\n{output}, event times {}", figures::stretch(*since, *until)),
        };
        let _ = writeln!(text, "  rows            {} and {}", n(report.first), n(report.second));
        let _ = writeln!(text, "  equal           {}", n(report.equal));
        if report.tolerated > 0 {
            let _ = writeln!(text, "  within tolerance{}", n(report.tolerated));
        }
        let _ = writeln!(text, "  only in {first:<7} {}", n(report.only_in_first));
        let _ = writeln!(text, "  only in {second:<7} {}", n(report.only_in_second));
        let columns: Vec<_> = report.columns.iter().map(|(column, rows)| format!("{column} in {}", n(*rows))).collect();
        let columns = if columns.is_empty() { String::new() } else { format!(": {}", columns.join(", ")) };
        let _ = writeln!(text, "  differing       {}{columns}", n(report.differing));
        for sample in &report.samples {
            let side = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
            let key = sample.key.as_deref().unwrap_or("-");
            let (left, right) = (side(&sample.first), side(&sample.second));
            let at = sample.at.as_ref().map(|at| format!("{at} ")).unwrap_or_default();
            let _ = writeln!(text, "    {at}{key}\n      {first}: {left}\n      {second}: {right}");
        }
        for wrong in &report.unexpected {
            let _ = writeln!(text, "  not as expected: {wrong}");
        }
    }
    for note in notes {
        let _ = writeln!(text, "\nnote: {note}");
    }
    let _ = writeln!(text, "\n{outcome}");
    text
}
