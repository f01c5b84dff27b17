//! The names of runs and checkpoints.
//!
//! An epoch alone does not name a checkpoint: a run that dies before its commit leaves files of an epoch that another run then commits
//! with other content. So everything is named by (run, epoch).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// One start of a job: a random number, drawn by whoever starts it. Printed as 16 hex digits.
///
/// ```
/// use millpond_state::store::RunId;
/// let run = RunId::new(0xbeef);
/// assert_eq!(run.to_string(), "000000000000beef");
/// assert_eq!("000000000000beef".parse(), Ok(run));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(u64);

impl RunId {
    /// The run with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        RunId(number)
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for RunId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let number = u64::from_str_radix(text, 16).map_err(|_| IdError { text: text.to_owned() })?;
        // Only the printed form counts, or two names would mean one run.
        Some(RunId(number)).filter(|run| run.to_string() == text).ok_or_else(|| IdError { text: text.to_owned() })
    }
}

/// A checkpoint: the state of a job at the end of `epoch`, as `run` saw it. Printed `<run>-<epoch>`, ordered by epoch first.
///
/// ```
/// use millpond_state::store::{CheckpointId, RunId};
/// let id = CheckpointId { epoch: 7, run: RunId::new(0xbeef) };
/// assert_eq!(id.to_string(), "000000000000beef-7");
/// assert_eq!("000000000000beef-7".parse(), Ok(id));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckpointId {
    /// The epoch that ends with it; epochs of a job version never go back.
    pub epoch: u64,
    /// The run that made it.
    pub run: RunId,
}

impl fmt::Display for CheckpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.run, self.epoch)
    }
}

impl FromStr for CheckpointId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let error = || IdError { text: text.to_owned() };
        let (run, epoch) = text.split_once('-').ok_or_else(error)?;
        let id = CheckpointId { epoch: epoch.parse().map_err(|_| error())?, run: run.parse().map_err(|_| error())? };
        if id.to_string() == text { Ok(id) } else { Err(error()) }
    }
}

/// `text` names neither a run nor a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a name like 00f3a9b2c4d5e6f7 (a run) or 00f3a9b2c4d5e6f7-42 (a checkpoint)")]
pub struct IdError {
    text: String,
}

macro_rules! serialize_as_text {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    };
}
serialize_as_text!(RunId);
serialize_as_text!(CheckpointId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_printed_form_is_a_name() {
        for text in ["beef", "000000000000BEEF", "+00000000000beef", "", "000000000000beef-7 "] {
            assert!(text.parse::<RunId>().is_err(), "{text}");
        }
        for text in
            ["000000000000beef", "000000000000beef-", "000000000000beef-07", "000000000000beef-+7", "beef-7", "-7"]
        {
            assert!(text.parse::<CheckpointId>().is_err(), "{text}");
        }
    }

    #[test]
    fn checkpoints_are_ordered_by_epoch() {
        let older = CheckpointId { epoch: 9, run: RunId::new(u64::MAX) };
        let newer = CheckpointId { epoch: 10, run: RunId::new(0) };
        assert!(older < newer);
    }
}
