//! Which letters are meant.

use std::fmt;
use std::str::FromStr;

use clap::ArgMatches;
use millpond_state::Timestamp;

use crate::cli::options::{flag, id};
use crate::redrive::{Letter, LetterId, Mark};

/// A letter by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// By its own place.
    Letter(LetterId),
    /// By where its record lay: source, partition, offset. There may be several, one after the other.
    Record(String, u32, u64),
}

impl FromStr for Named {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.rsplitn(3, '/');
        if let (Some(offset), Some(partition), Some(source)) = (parts.next(), parts.next(), parts.next())
            && let (Ok(offset), Ok(partition)) = (offset.parse(), partition.parse())
        {
            return Ok(Named::Record(source.to_owned(), partition, offset));
        }
        text.parse().map(Named::Letter).map_err(|error: String| format!("{error}, nor a source/partition/offset"))
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Named::Letter(id) => id.fmt(f),
            Named::Record(source, partition, offset) => write!(f, "{source}/{partition}/{offset}"),
        }
    }
}

impl Named {
    fn means(&self, letter: &Letter, again: &[LetterId]) -> bool {
        match self {
            Named::Letter(id) => *id == letter.id || again.contains(id),
            Named::Record(source, partition, offset) => {
                (source, *partition, *offset) == (&letter.dead.source, letter.dead.partition, letter.dead.offset)
            }
        }
    }
}

/// What the words of a command choose.
#[derive(Clone, Debug, Default)]
pub(super) struct Choice {
    pub(super) named: Vec<Named>,
    pub(super) all: bool,
    topic: Option<String>,
    partition: Option<u32>,
    offset: Option<u64>,
    error: Option<String>,
    status: Option<String>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl Choice {
    pub(super) fn of(matches: &ArgMatches) -> Choice {
        fn one<T: Clone + Send + Sync + 'static>(matches: &ArgMatches, id: &str) -> Option<T> {
            matches.try_get_one(id).ok().flatten().cloned()
        }
        let named = matches.try_get_many::<Named>(id::IDS).ok().flatten();
        Choice {
            named: named.into_iter().flatten().cloned().collect(),
            all: flag(matches, id::ALL),
            topic: one(matches, id::TOPIC),
            partition: one(matches, id::PARTITION),
            offset: one(matches, id::OFFSET),
            error: one(matches, id::ERROR),
            status: one(matches, id::STATUS),
            since: one(matches, id::SINCE),
            until: one(matches, id::UNTIL),
        }
    }

    /// Whether it says which letters at all.
    pub(super) fn says_which(&self) -> bool {
        let Choice { named, all, topic, partition, offset, error, status, since, until } = self;
        let filtered = topic.is_some() || error.is_some() || status.is_some() || since.is_some() || until.is_some();
        !named.is_empty() || *all || filtered || partition.is_some() || offset.is_some()
    }

    /// The names that mean this letter, which was written `again` in these places.
    pub(super) fn names(&self, letter: &Letter, again: &[LetterId]) -> impl Iterator<Item = usize> {
        self.named.iter().enumerate().filter(move |(_, named)| named.means(letter, again)).map(|(index, _)| index)
    }

    /// Whether a letter is chosen. `topic` is what its source reads.
    pub(super) fn takes(&self, letter: &Letter, again: &[LetterId], mark: Mark, topic: &str) -> bool {
        let dead = &letter.dead;
        let is = |asked: &Option<String>, holds: &dyn Fn(&String) -> bool| asked.as_ref().is_none_or(holds);
        (self.named.is_empty() || self.names(letter, again).next().is_some())
            && is(&self.topic, &|asked| *asked == dead.source || asked == topic)
            && self.partition.is_none_or(|asked| asked == dead.partition)
            && self.offset.is_none_or(|asked| asked == dead.offset)
            && is(&self.error, &|asked| [&dead.error, &dead.step].iter().any(|text| text.contains(asked.as_str())))
            && is(&self.status, &|asked| asked == mark.name())
            && self.since.is_none_or(|since| letter.at >= since)
            && self.until.is_none_or(|until| letter.at < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DeadLetter;

    #[test]
    fn a_letter_is_named_by_its_own_place_or_by_its_records() {
        let named = |text: &str| text.parse::<Named>();
        assert_eq!(named("0:17"), Ok(Named::Letter(LetterId { partition: 0, offset: 17 })));
        assert_eq!(named("a/b/2/5"), Ok(Named::Record("a/b".into(), 2, 5)));
        for text in ["17", "0:x", "a/2", "a/b/c", ""] {
            assert!(named(text).unwrap_err().contains("source/partition/offset"), "{text}");
        }
        assert_eq!([named("0:17"), named("a/b/2/5")].map(|name| name.unwrap().to_string()), ["0:17", "a/b/2/5"]);
    }

    #[test]
    fn everything_that_is_said_has_to_hold() {
        let dead = DeadLetter {
            source: "clicks".into(),
            step: "clicks/try_map".into(),
            error: "not JSON".into(),
            partition: 2,
            offset: 5,
            ..DeadLetter::default()
        };
        let letter =
            Letter { id: "0:17".parse().unwrap(), at: Timestamp::from_secs(10), run: String::new(), epoch: 1, dead };
        let takes = |choice: Choice| choice.takes(&letter, &[], Mark::Open, "raw-clicks");
        let text = |text: &str| Some(text.to_owned());
        assert!(takes(Choice::default()) && !Choice::default().says_which());
        for (topic, error, yes) in [
            ("clicks", "JSON", true),
            ("raw-clicks", "try_map", true),
            ("other", "JSON", false),
            ("clicks", "x", false),
        ] {
            let choice = Choice { topic: text(topic), error: text(error), ..Choice::default() };
            assert_eq!((choice.says_which(), takes(choice)), (true, yes), "{topic} {error}");
        }
        let at = Timestamp::from_secs;
        assert!(takes(Choice { since: Some(at(10)), until: Some(at(11)), ..Choice::default() }));
        assert!(!takes(Choice { until: Some(at(10)), ..Choice::default() }));
        assert!(!takes(Choice { status: text("done"), ..Choice::default() }));
        let named = vec!["clicks/2/5".parse().unwrap(), "0:18".parse().unwrap()];
        let choice = Choice { named, ..Choice::default() };
        assert_eq!(choice.names(&letter, &[]).collect::<Vec<_>>(), [0]);
        assert_eq!(choice.names(&letter, &["0:18".parse().unwrap()]).collect::<Vec<_>>(), [0, 1]);
        assert!(takes(choice));
        assert!(!takes(Choice { partition: Some(2), offset: Some(6), ..Choice::default() }));
    }
}
