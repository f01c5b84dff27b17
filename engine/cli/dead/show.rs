//! `dead-letters show`: one letter with all it has.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::choose::Choice;
use super::desk::{Desk, Requests};
use super::{object, stamp, standing};
use crate::cli::options::{flag, id};
use crate::cli::terminal;
use crate::redrive::{Letter, LetterId};
use crate::{Exit, Fault};

pub(super) fn show(desk: &Desk<'_>) -> Result<Exit, Fault> {
    let choice = Choice::of(desk.matches);
    let stands = desk.stands()?;
    let (Requests { marks, .. }, letters) = desk.known(&stands, "")?;
    let mut found = Vec::new();
    desk.letters(&stands, &letters, &marks, &mut |letter| {
        if choice.names(letter, marks.again(letter.id)).next().is_some() {
            found.push(letter.clone());
        }
        Ok(())
    })?;
    if found.is_empty() {
        return Err(unknown(desk, &choice.named[0].to_string()));
    }
    let mut text = String::new();
    let mut values = Vec::new();
    for letter in &found {
        let (mark, again) = (marks.of(letter, &stands.reach), marks.again(letter.id));
        let asked = marks.asked(letter);
        let (request, since) = (asked.map(|(offset, _)| offset), asked.map(|(_, at)| at.to_string()));
        if flag(desk.matches, id::JSON) {
            let mut value = object(desk, letter, mark, again);
            value["request"] = json!(request);
            value["asked"] = json!(since);
            value["headers"] =
                letter.dead.headers.iter().map(|(name, value)| json!([name, bytes(Some(value))])).collect();
            value["key"] = bytes(letter.dead.key.as_deref());
            value["value"] = bytes(letter.dead.value.as_deref());
            value["hindered"] = json!(desk.hindered(letter));
            values.push(value);
            continue;
        }
        let asked = match (request, since) {
            (Some(request), Some(since)) => format!(", asked {since} (offset {request} of {})", desk.env.redrive()),
            _ => String::new(),
        };
        if !text.is_empty() {
            text.push('\n');
        }
        page(desk, letter, again, &format!("{}{asked}", standing(mark)), &mut text);
    }
    if let [value] = &values[..] {
        text = format!("{value:#}\n");
    } else if !values.is_empty() {
        text = format!("{:#}\n", json!(values));
    }
    terminal::print(&text)?;
    Ok(Exit::Finished)
}

/// No letter is called so.
pub(super) fn unknown(desk: &Desk<'_>, names: &str) -> Fault {
    Fault::new(
        Exit::Usage,
        format!(
            "{} has no dead letter {names} in topic {} of {}; `dead-letters list` names them",
            desk.env.identity(),
            desk.letters,
            desk.ledger.name()
        ),
    )
}

fn page(desk: &Desk<'_>, letter: &Letter, again: &[LetterId], standing: &str, text: &mut String) {
    let dead = &letter.dead;
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<11}  {value}");
    };
    line("letter", format!("{} of topic {}, written in epoch {}", letter.id, desk.letters, letter.epoch));
    if !again.is_empty() {
        let again: Vec<_> = again.iter().map(LetterId::to_string).collect();
        line("again", format!("{}: written more than once, when a run died before its commit", again.join(", ")));
    }
    line("standing", standing.to_owned());
    let topic = desk.topic_of(&dead.source);
    line("record", format!("{}, topic {topic} partition {} offset {}", dead.source, dead.partition, dead.offset));
    line("timestamp", stamp(letter.at).unwrap_or_else(|| "none".to_owned()));
    line("step", dead.step.clone());
    line("error", dead.error.clone());
    let was = dead.letter.as_ref().map(|of| format!(", was letter {of}")).unwrap_or_default();
    line("tried", format!("{} times{was}", dead.attempt).replace("1 times", "once"));
    if let Some(first) = &dead.first_error {
        line("first error", first.clone());
    }
    if let Some(why) = desk.hindered(letter) {
        line("redrive", format!("not possible: {why}"));
    }
    for (name, value) in &dead.headers {
        line("header", format!("{name}: {}", shown(value)));
    }
    line("key", dead.key.as_deref().map_or("none".to_owned(), shown));
    match &dead.value {
        None => line("value", "none (a tombstone)".to_owned()),
        Some(value) if dead.whole => line("value", shown(value)),
        Some(value) => line("value", format!("{}\n(as the step was given it)", shown(value))),
    }
}

/// Text as it is; other bytes in hexadecimal, sixteen a line.
fn shown(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(|c| c.is_control() && !"\n\t\r".contains(c)) => text.to_owned(),
        _ => {
            let rows =
                bytes.chunks(16).map(|row| row.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" "));
            format!("{} bytes\n  {}", bytes.len(), rows.collect::<Vec<_>>().join("\n  "))
        }
    }
}

/// Text, or `{"hex": ".."}`.
fn bytes(bytes: Option<&[u8]>) -> Value {
    let Some(bytes) = bytes else { return Value::Null };
    match std::str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => json!({ "hex": bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_as_text_where_they_are_text() {
        assert_eq!(shown(b"{\"page\":\n"), "{\"page\":\n");
        let mut long = vec![0xff; 17];
        long[16] = 1;
        let row = ["ff"; 16].join(" ");
        assert_eq!(shown(&long), format!("17 bytes\n  {row}\n  01"));
        assert_eq!(
            shown(b"\x1b[2J"),
            "4 bytes\n  1b 5b 32 4a",
            "nothing of a record reaches the terminal as a command"
        );
        assert_eq!(bytes(Some(b"a")), json!("a"));
        assert_eq!(bytes(Some(b"\xff\x00")), json!({ "hex": "ff00" }));
    }
}
