//! A dead letter, as it lies in its topic.

use std::fmt;
use std::str::FromStr;

use millpond_state::Timestamp;

use super::{Headers, text};
use crate::DeadLetter;
use crate::ledger::CommittedRecord;

/// The names of a letter's own headers. They stand behind those that the record came with.
const LETTER: [&str; 7] = [
    "millpond-error",
    "millpond-step",
    "millpond-position",
    "millpond-whole",
    "millpond-attempt",
    "millpond-first-error",
    "millpond-letter",
];

impl DeadLetter {
    /// What a letter says beside its record, as headers of the record that it becomes. They stand behind those that the record had.
    #[must_use]
    pub fn own_headers(&self) -> Vec<(&'static str, String)> {
        let position = format!("{}/{}/{}", self.source, self.partition, self.offset);
        let whole = if self.whole { "yes" } else { "no" };
        let values = [self.error.clone(), self.step.clone(), position, whole.to_owned()];
        let mut headers: Vec<_> = LETTER.into_iter().zip(values).collect();
        if self.attempt > 1 {
            let [.., attempt, first, letter] = LETTER;
            headers.push((attempt, self.attempt.to_string()));
            headers.extend(self.first_error.iter().map(|error| (first, error.clone())));
            headers.extend(self.letter.iter().map(|of| (letter, of.clone())));
        }
        headers
    }
}

/// Where a letter lies in the dead-letter topic, which is what it is called: `partition:offset`.
///
/// ```
/// use millpond_engine::redrive::LetterId;
/// let id: LetterId = "0:17".parse().unwrap();
/// assert_eq!((id.partition, id.offset, id.to_string()), (0, 17, "0:17".to_owned()));
/// assert!("17".parse::<LetterId>().is_err());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LetterId {
    /// Its partition.
    pub partition: u32,
    /// Its offset.
    pub offset: u64,
}

impl fmt::Display for LetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.partition, self.offset)
    }
}

impl FromStr for LetterId {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once(':').and_then(|(p, o)| Some((p.parse().ok()?, o.parse().ok()?)));
        let (partition, offset) =
            parts.ok_or_else(|| format!("{text:?} is not a letter's partition:offset, like 0:17"))?;
        Ok(LetterId { partition, offset })
    }
}

/// Which try of which record something is of.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// The source that read it.
    pub source: String,
    /// The partition the record lay in when it was read first.
    pub partition: u32,
    /// Its offset there.
    pub offset: u64,
    /// Which try it was, from 1.
    pub attempt: u32,
}

/// A letter that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Where it lies.
    pub id: LetterId,
    /// The timestamp that the record's writer gave it.
    pub at: Timestamp,
    /// The run that wrote the letter.
    pub run: String,
    /// The epoch it was written in.
    pub epoch: u64,
    /// The record, and what was wrong.
    pub dead: DeadLetter,
}

impl Letter {
    /// Reads a record of the dead-letter topic; `None` when it is no letter that `owner` (`job@version`) wrote.
    #[must_use]
    pub fn read<'a>(
        partition: u32,
        record: CommittedRecord<'_>,
        headers: impl Iterator<Item = (&'a str, &'a [u8])>,
        owner: &str,
    ) -> Option<Letter> {
        let mut headers: Headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let mark = headers.first().filter(|(name, _)| name == "millpond").map(|(_, mark)| text(mark))?;
        let mut mark = mark.split(' ');
        if mark.next() != Some(owner) {
            return None;
        }
        let run = mark.next().unwrap_or_default().to_owned();
        let epoch = mark.next().and_then(|epoch| epoch.parse().ok()).unwrap_or(0);
        headers.remove(0);
        // The record may have been a letter itself: its own are the last.
        let own = headers.iter().rposition(|(name, _)| name == LETTER[0])?;
        let own = headers.split_off(own);
        let find = |name: &str| own.iter().find(|(of, _)| of == name).map(|(_, value)| text(value));
        let [error, step, position, whole, attempt, first, of] = LETTER.map(find);
        let mut position = position.as_deref()?.rsplitn(3, '/').map(str::to_owned).collect::<Vec<_>>().into_iter();
        let (offset, partition_of, source) = (position.next()?, position.next()?, position.next()?);
        let step = step?;
        let dead = DeadLetter {
            key: record.key.map(<[u8]>::to_owned),
            value: record.value.map(<[u8]>::to_owned),
            headers,
            error: error?,
            // An earlier release did not say so; what a source refused is whole.
            whole: whole.map_or(step == source, |whole| whole == "yes"),
            step,
            source,
            partition: partition_of.parse().ok()?,
            offset: offset.parse().ok()?,
            attempt: attempt.and_then(|attempt| attempt.parse().ok()).unwrap_or(1),
            first_error: first,
            letter: of,
        };
        Some(Letter { id: LetterId { partition, offset: record.offset }, at: record.at, run, epoch, dead })
    }

    /// The error that the record met first.
    #[must_use]
    pub fn first_error(&self) -> &str {
        self.dead.first_error.as_deref().unwrap_or(&self.dead.error)
    }

    /// Which try of which record it is of.
    #[must_use]
    pub fn origin(&self) -> Origin {
        let DeadLetter { source, partition, offset, attempt, .. } = &self.dead;
        Origin { source: source.clone(), partition: *partition, offset: *offset, attempt: *attempt }
    }

    /// Where the record lay when it was read first: `source/partition/offset`.
    #[must_use]
    pub fn place(&self) -> String {
        let DeadLetter { source, partition, offset, .. } = &self.dead;
        format!("{source}/{partition}/{offset}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(headers: &[(&str, &str)]) -> Option<Letter> {
        let record = CommittedRecord { offset: 9, at: Timestamp::from_secs(5), key: Some(b"k"), value: Some(b"{") };
        let headers = headers.iter().map(|(name, value)| (*name, value.as_bytes()));
        Letter::read(1, record, headers, "views@1")
    }

    #[test]
    fn a_letter_is_read_with_what_its_record_had_even_when_that_was_a_letter() {
        let own = [
            ("millpond", "views@1 run 7"),
            ("trace", "1"),
            ("millpond-error", "an older one"),
            ("millpond-error", "not JSON"),
            ("millpond-step", "clicks"),
            ("millpond-position", "a/b/2/17"),
        ];
        let letter = read(&own).unwrap();
        assert_eq!((letter.id.to_string(), letter.place()), ("1:9".to_owned(), "a/b/2/17".to_owned()));
        assert_eq!((letter.run.as_str(), letter.epoch), ("run", 7));
        assert_eq!((letter.dead.error.as_str(), letter.first_error()), ("not JSON", "not JSON"));
        let headers: Vec<_> = letter.dead.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(headers, ["trace", "millpond-error"]);
        assert!(!letter.dead.whole && letter.dead.attempt == 1, "nothing says that its source refused it");
        let more = [
            ("millpond-whole", "yes"),
            ("millpond-attempt", "3"),
            ("millpond-first-error", "x"),
            ("millpond-letter", "0:4"),
        ];
        let letter = read(&[&own[..], &more[..]].concat()).unwrap();
        assert!(letter.dead.whole && letter.dead.attempt == 3 && letter.first_error() == "x");
        assert_eq!(letter.dead.letter.as_deref(), Some("0:4"));
    }

    #[test]
    fn what_others_wrote_is_no_letter_of_ours() {
        let rest = [("millpond-error", "e"), ("millpond-step", "s"), ("millpond-position", "s/0/1")];
        assert!(read(&[&[("millpond", "views@1 run 7")][..], &rest[..]].concat()).unwrap().dead.step == "s");
        for mark in ["views@12 run 7", "other@1 run 7", ""] {
            assert_eq!(read(&[&[("millpond", mark)][..], &rest[..]].concat()), None, "{mark}");
        }
        assert_eq!(read(&rest), None);
        assert_eq!(read(&[("millpond", "views@1 run 7"), ("trace", "1")]), None);
    }
}
