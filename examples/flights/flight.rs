//! One departure, as the Bureau of Transportation Statistics tells it.

use millpond::Timestamp;
use serde::{Deserialize, Serialize};

/// A line of `departures.csv.gz`, and a record of the topic `departures`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Flight {
    /// Scheduled departure, RFC 3339.
    pub(crate) scheduled: String,
    /// Actual departure; none when the flight was cancelled.
    pub(crate) departed: Option<String>,
    pub(crate) carrier: String,
    pub(crate) flight: u32,
    pub(crate) tailnum: Option<String>,
    pub(crate) origin: String,
    pub(crate) dest: String,
    pub(crate) miles: u32,
    pub(crate) departure_delay_min: Option<i64>,
    pub(crate) arrival_delay_min: Option<i64>,
}

impl Flight {
    /// Event time: the scheduled departure, so that a delayed flight really is late. Feeding checked that it is a time.
    pub(crate) fn at(&self) -> Timestamp {
        Timestamp::parse(&self.scheduled).unwrap_or(Timestamp::MIN)
    }

    /// Event time of version 2: when the flight left, or should have, if it never did.
    pub(crate) fn left_at(&self) -> Timestamp {
        self.departed.as_deref().and_then(|departed| Timestamp::parse(departed).ok()).unwrap_or_else(|| self.at())
    }

    /// The delay of a flight that left.
    pub(crate) fn delay(&self) -> Option<i64> {
        self.departed.as_ref().and(self.departure_delay_min)
    }
}

/// One result: what left an airport in an hour of scheduled departure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Hour {
    pub(crate) origin: String,
    pub(crate) hour: String,
    pub(crate) departures: u64,
    pub(crate) cancelled: u64,
    pub(crate) total_delay_min: i64,
    pub(crate) max_delay_min: Option<i64>,
}

/// A flight that came after its hour was final.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Late {
    /// The flight's number, as text.
    pub(crate) late: String,
    pub(crate) carrier: String,
    pub(crate) origin: String,
    pub(crate) scheduled: String,
}
