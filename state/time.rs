//! Event time: microseconds since 1970.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A point in event time: whole microseconds since 1970-01-01T00:00:00Z, negative before it. Arithmetic saturates.
///
/// Raw integers do not convert, since their unit would be a guess:
/// ```
/// use millpond_state::Timestamp;
/// assert_eq!(Timestamp::from_millis(1_500), Timestamp::from_micros(1_500_000));
/// assert_eq!(Timestamp::MAX.saturating_add(std::time::Duration::from_secs(1)), Timestamp::MAX);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The first watermark: nothing was promised yet.
    pub const MIN: Timestamp = Timestamp(i64::MIN);
    /// The final watermark, which only the end of a bounded source sends. No record has it as event time.
    pub const MAX: Timestamp = Timestamp(i64::MAX);
    /// The greatest event time a record can have.
    pub const LAST: Timestamp = Timestamp(i64::MAX - 1);
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Timestamp = Timestamp(0);

    /// From microseconds since 1970.
    #[inline]
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Timestamp(micros)
    }
    /// From milliseconds since 1970.
    #[inline]
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Timestamp(millis.saturating_mul(1_000))
    }
    /// From seconds since 1970.
    #[inline]
    #[must_use]
    pub const fn from_secs(secs: i64) -> Self {
        Timestamp(secs.saturating_mul(1_000_000))
    }
    /// Microseconds since 1970.
    #[inline]
    #[must_use]
    pub const fn micros(self) -> i64 {
        self.0
    }
    /// Whole milliseconds since 1970, rounded towards the past.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0.div_euclid(1_000)
    }
    /// Whole seconds since 1970, rounded towards the past.
    #[must_use]
    pub const fn secs(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }
    /// Later by `span`, at most [`Timestamp::MAX`].
    #[inline]
    #[must_use]
    pub fn saturating_add(self, span: Duration) -> Self {
        Timestamp(self.0.saturating_add(span_micros(span)))
    }
    /// Earlier by `span`, at least [`Timestamp::MIN`].
    #[inline]
    #[must_use]
    pub fn saturating_sub(self, span: Duration) -> Self {
        Timestamp(self.0.saturating_sub(span_micros(span)))
    }
    /// Later by whole microseconds (negative: earlier), saturating.
    #[inline]
    #[must_use]
    pub const fn plus_micros(self, micros: i64) -> Self {
        Timestamp(self.0.saturating_add(micros))
    }
    /// From an RFC 3339 text such as `2013-01-01T10:15:00Z`; fractions of a second and offsets are understood.
    ///
    /// # Errors
    /// A sentence that names the text when it is not such a time.
    ///
    /// ```
    /// use millpond_state::Timestamp;
    /// let at = Timestamp::parse("2013-01-01T10:15:00Z").unwrap();
    /// assert_eq!(at.to_string(), "2013-01-01T10:15:00Z");
    /// assert!(Timestamp::parse("yesterday").is_err());
    /// ```
    pub fn parse(text: &str) -> Result<Self, TimestampError> {
        parse_rfc3339(text).map(Timestamp).ok_or_else(|| TimestampError { text: text.to_owned() })
    }
}

/// `text` is not an RFC 3339 time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a time like 2013-01-01T10:15:00Z")]
pub struct TimestampError {
    text: String,
}

/// A span in whole microseconds, saturating.
#[inline]
#[must_use]
pub fn span_micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Timestamp(span_micros(after)),
            Err(before) => Timestamp(span_micros(before.duration()).saturating_neg()),
        }
    }
}

/// RFC 3339 in UTC; the two ends are written `-infinity` and `+infinity`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Timestamp::MIN => return f.write_str("-infinity"),
            Timestamp::MAX => return f.write_str("+infinity"),
            _ => {}
        }
        let (days, of_day) = (self.0.div_euclid(86_400_000_000), self.0.rem_euclid(86_400_000_000));
        let (year, month, day) = civil_from_days(days);
        let (secs, micros) = (of_day / 1_000_000, of_day % 1_000_000);
        let (hour, minute, second) = (secs / 3_600, secs / 60 % 60, secs % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        if micros % 1_000 != 0 {
            write!(f, ".{micros:06}")?;
        } else if micros != 0 {
            write!(f, ".{:03}", micros / 1_000)?;
        }
        f.write_str("Z")
    }
}

fn parse_rfc3339(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let digits = |from: usize, to: usize| -> Option<i64> {
        let part = bytes.get(from..to)?;
        part.iter().all(u8::is_ascii_digit).then(|| part.iter().fold(0, |n, d| n * 10 + i64::from(d - b'0')))
    };
    let at = |place: usize, any: &[u8]| bytes.get(place).is_some_and(|b| any.contains(b)).then_some(());
    let (year, month, day) = (digits(0, 4)?, digits(5, 7)?, digits(8, 10)?);
    let (hour, minute, second) = (digits(11, 13)?, digits(14, 16)?, digits(17, 19)?);
    at(4, b"-").and(at(7, b"-")).and(at(10, b"Tt ")).and(at(13, b":")).and(at(16, b":"))?;
    if !(1..=12).contains(&month)
        || !(1..=days_in_month(year, month)).contains(&day)
        || hour > 23
        || minute > 59
        || second > 60
    {
        return None;
    }
    let mut rest = &bytes[19..];
    let mut micros = 0;
    if let Some(fraction) = rest.strip_prefix(b".") {
        let len = fraction.iter().take_while(|b| b.is_ascii_digit()).count();
        if len == 0 {
            return None;
        }
        let padded = fraction[..len].iter().chain(std::iter::repeat(&b'0')).take(6);
        micros = padded.fold(0, |n, d| n * 10 + i64::from(d - b'0'));
        rest = &fraction[len..];
    }
    let offset_minutes = match rest {
        b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] if [h1, h2, m1, m2].iter().all(|b| b.is_ascii_digit()) => {
            let two = |a: &u8, b: &u8| i64::from(a - b'0') * 10 + i64::from(b - b'0');
            let minutes = two(h1, h2) * 60 + two(m1, m2);
            if *sign == b'+' { minutes } else { -minutes }
        }
        _ => return None,
    };
    let secs = days_from_civil(year, month, day) * 86_400 + hour * 3_600 + (minute - offset_minutes) * 60 + second;
    Some(secs * 1_000_000 + micros)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    let (next_year, next_month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    days_from_civil(next_year, next_month, 1) - days_from_civil(year, month, 1)
}

// Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms": proleptic Gregorian days since 1970-01-01.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year - era * 400;
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days - era * 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_back_as_written() {
        for text in
            ["2013-01-01T10:15:00Z", "1969-12-31T23:59:59.500Z", "2000-02-29T00:00:00Z", "0001-01-01T00:00:00.000001Z"]
        {
            assert_eq!(Timestamp::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Timestamp::parse("2013-01-01T12:15:00+02:00"), Timestamp::parse("2013-01-01T10:15:00Z"));
        assert!(Timestamp::parse("2013-02-29T00:00:00Z").is_err());
    }

    #[test]
    fn the_ends_of_time_do_not_wrap() {
        assert_eq!(Timestamp::MIN.saturating_sub(Duration::MAX), Timestamp::MIN);
        assert_eq!(Timestamp::from_secs(i64::MAX), Timestamp::MAX);
    }
}
