//! Numbers as people read them.

use std::time::Duration;

use millpond_state::Timestamp;

/// `1,234,567`.
pub(super) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `17 B`, `1.2 KiB`, `64.0 MiB`.
pub(super) fn bytes(n: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if n < 1024 {
        return format!("{n} B");
    }
    let mut size = n as f64 / 1024.0;
    let mut unit = 0;
    // What would be printed as 1024.0 is one of the next unit.
    while size >= 1023.95 {
        size /= 1024.0;
        unit += 1;
    }
    format!("{size:.1} {}", UNITS[unit])
}

/// `0.4 s`, `12 s`, `3 min 5 s`, `2 h 10 min`, `5 d 3 h`.
pub(super) fn span(span: Duration) -> String {
    let secs = span.as_secs();
    match secs {
        0..10 => format!("{}.{} s", secs, span.subsec_millis() / 100),
        10..60 => format!("{secs} s"),
        60..3_600 => format!("{} min {} s", secs / 60, secs % 60),
        3_600..86_400 => format!("{} h {} min", secs / 3_600, secs / 60 % 60),
        _ => format!("{} d {} h", secs / 86_400, secs / 3_600 % 24),
    }
}

/// The span between two clock readings in microseconds; none when the first is later, as after a clock was set back.
pub(super) fn since(then_micros: i64, now_micros: i64) -> String {
    span(Duration::from_micros(u64::try_from(now_micros.saturating_sub(then_micros)).unwrap_or(0)))
}

/// An event time as a place in the line; its two ends by name.
pub(super) fn place(time: Timestamp) -> String {
    match time {
        Timestamp::MIN => "the beginning".to_owned(),
        Timestamp::MAX => "the end".to_owned(),
        time => time.to_string(),
    }
}

/// From an event time to another one.
pub(super) fn stretch(since: Timestamp, until: Timestamp) -> String {
    format!("from {} to {}", place(since), place(until))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short_and_have_units() {
        assert_eq!(stretch(Timestamp::MIN, Timestamp::EPOCH), "from the beginning to 1970-01-01T00:00:00Z");
        let counts = [0, 999, 1_000, 123_456, 1_234_567].map(count);
        assert_eq!(counts, ["0", "999", "1,000", "123,456", "1,234,567"]);
        let sizes = [0, 1023, 1024, 1_258_291, (1 << 20) - 1, u64::MAX].map(bytes);
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "1.2 MiB", "1.0 MiB", "16.0 EiB"]);
        let spans = [0, 999, 9_950, 59_999, 185_000, 7_800_000, 442_800_000].map(|ms| span(Duration::from_millis(ms)));
        assert_eq!(spans, ["0.0 s", "0.9 s", "9.9 s", "59 s", "3 min 5 s", "2 h 10 min", "5 d 3 h"]);
        assert_eq!(since(5_000_000, 1_000_000), "0.0 s");
        assert_eq!(since(i64::MIN, i64::MAX), span(Duration::from_micros(i64::MAX as u64)));
    }
}
