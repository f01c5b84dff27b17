//! `dead-letters list`: how many of each kind there are, how they stand, and the first of them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::choose::Choice;
use super::desk::Desk;
use super::stands::untaken;
use super::{notes, object, stamp, standing};
use crate::cli::options::{flag, id};
use crate::cli::table::Table;
use crate::cli::{figures, terminal};
use crate::redrive::{Letter, Mark, Marks};
use crate::{Exit, Fault};

/// So many kinds are shown; those that are most frequent.
const KINDS: usize = 20;
/// So much of an error is shown in a table.
const ERROR: usize = 60;

/// How many there are of each mark, as [`Mark::NAMES`] has them.
type Counts = [u64; Mark::NAMES.len()];

fn place(mark: Mark) -> usize {
    Mark::NAMES.iter().position(|name| *name == mark.name()).expect("every mark has a name")
}

#[derive(Default)]
struct Listed {
    all: Counts,
    /// By step, source and what the errors have in common: the counts, and one of the errors.
    kinds: BTreeMap<(String, String, String), (Counts, String)>,
    letters: Vec<(Letter, Mark)>,
}

pub(super) fn list(desk: &Desk<'_>) -> Result<Exit, Fault> {
    let choice = Choice::of(desk.matches);
    let limit = desk.matches.get_one::<u64>(id::LIMIT).map_or(usize::MAX, |limit| *limit as usize);
    let stands = desk.stands()?;
    let (requests, letters) = desk.known(&stands, "")?;
    let marks = &requests.marks;
    let mut listed = Listed::default();
    desk.letters(&stands, &letters, marks, &mut |letter| {
        let mark = marks.of(letter, &stands.reach);
        if choice.takes(letter, marks.again(letter.id), mark, desk.topic_of(&letter.dead.source)) {
            let dead = &letter.dead;
            let kind = (dead.step.clone(), dead.source.clone(), common(&dead.error));
            listed.all[place(mark)] += 1;
            let (counts, _) = listed.kinds.entry(kind).or_insert_with(|| (Counts::default(), dead.error.clone()));
            counts[place(mark)] += 1;
            if listed.letters.len() < limit {
                listed.letters.push((letter.clone(), mark));
            }
        }
        Ok(())
    })?;
    let mut notes = notes(&stands, marks);
    let asked = listed.all[place(Mark::Asked)] > 0;
    notes.extend(untaken(&stands, &requests, &desk.env).filter(|_| asked));
    let text = match flag(desk.matches, id::JSON) {
        true => format!("{:#}\n", value(desk, &listed, marks, &notes)),
        false => page(desk, &listed, &notes),
    };
    terminal::print(&text)?;
    Ok(Exit::Finished)
}

fn named(counts: &Counts) -> Value {
    Mark::NAMES.iter().zip(counts).map(|(name, count)| ((*name).to_owned(), json!(count))).collect()
}

fn value(desk: &Desk<'_>, listed: &Listed, marks: &Marks, notes: &[String]) -> Value {
    let kinds = listed.kinds.iter().map(|((step, source, _), (counts, error))| {
        json!({ "step": step, "source": source, "error": error, "counts": named(counts) })
    });
    let letters = listed.letters.iter().map(|(letter, mark)| object(desk, letter, *mark, marks.again(letter.id)));
    json!({
        "job": desk.env.job, "version": desk.env.version, "topic": desk.letters, "requests": desk.env.redrive(),
        "counts": named(&listed.all), "kinds": kinds.collect::<Vec<_>>(), "letters": letters.collect::<Vec<_>>(),
        "note": (!notes.is_empty()).then(|| notes.join("; ")),
    })
}

fn page(desk: &Desk<'_>, listed: &Listed, notes: &[String]) -> String {
    let count: u64 = listed.all.iter().sum();
    let mut text = format!("{}: {} dead letters in topic {}", desk.env.identity(), figures::count(count), desk.letters);
    let parts = Mark::NAMES.iter().zip(listed.all).filter(|(_, count)| *count > 0);
    let parts: Vec<_> = parts.map(|(name, count)| format!("{} {name}", figures::count(count))).collect();
    let _ = writeln!(text, "{}{}", if parts.is_empty() { "" } else { ": " }, parts.join(", "));
    for note in notes {
        let _ = writeln!(text, "note: {note}");
    }
    if count == 0 {
        return text;
    }
    let mut kinds: Vec<_> = listed.kinds.iter().collect();
    kinds.sort_by_key(|(_, (counts, _))| std::cmp::Reverse(counts.iter().sum::<u64>()));
    let mut table = Table::new([
        "step",
        "source",
        "letters>",
        "open>",
        "asked>",
        "done>",
        "failed again>",
        "dropped>",
        "error, such as",
    ]);
    for ((step, source, _), (counts, error)) in kinds.iter().take(KINDS) {
        let [open, asked, done, failed, dropped] = counts.map(figures::count);
        let all = figures::count(counts.iter().sum());
        table.row([step.clone(), source.clone(), all, open, asked, done, failed, dropped, short(error)]);
    }
    let _ = write!(text, "\n{table}");
    if kinds.len() > KINDS {
        let _ = writeln!(text, "and {} more kinds; --error TEXT picks some, --json has all", kinds.len() - KINDS);
    }
    if listed.letters.is_empty() {
        return text;
    }
    let mut table = Table::new(["id", "record", "timestamp", "tried>", "standing", "error"]);
    for (letter, mark) in &listed.letters {
        table.row([
            letter.id.to_string(),
            letter.place(),
            stamp(letter.at).unwrap_or_else(|| "-".to_owned()),
            letter.dead.attempt.to_string(),
            standing(*mark),
            short(&letter.dead.error),
        ]);
    }
    let _ = write!(text, "\n{table}");
    let rest = count - listed.letters.len() as u64;
    if rest > 0 {
        let _ = writeln!(text, "and {} more; --limit N lists more of them", figures::count(rest));
    }
    text
}

/// What an error has in common with others of its kind: without numbers, and without what stands in quotes.
fn common(error: &str) -> String {
    let (mut text, mut quoted) = (String::new(), false);
    for c in error.chars() {
        if c == '"' {
            quoted = !quoted;
        } else if quoted {
            continue;
        }
        let c = if c.is_ascii_digit() { '#' } else { c };
        if c != '#' || !text.ends_with('#') {
            text.push(c);
        }
    }
    text
}

/// One line, not too long.
fn short(error: &str) -> String {
    let line = error.lines().next().unwrap_or_default();
    match line.char_indices().nth(ERROR) {
        Some((end, _)) => format!("{}..", &line[..end]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_one_kind_are_told_from_others_without_their_numbers_and_quotes() {
        let text = |found: &str, column: u32| {
            common(&format!("invalid type: string \"{found}\", expected u64 at column {column}"))
        };
        assert_eq!(text("3", 24), text("four \u{e4}", 7));
        assert_eq!(text("3", 24), "invalid type: string \"\", expected u# at column #");
        assert_ne!(text("3", 24), common("sensor 99 is not known"));
    }

    #[test]
    fn a_long_error_is_cut_between_characters() {
        assert_eq!(short("one\ntwo"), "one");
        assert_eq!(short(&"\u{e4}".repeat(ERROR)), "\u{e4}".repeat(ERROR));
        assert_eq!(short(&"\u{e4}".repeat(ERROR + 1)), format!("{}..", "\u{e4}".repeat(ERROR)));
    }
}
