//! What the flights job must answer, computed from the file in one loop.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

const MINUTE: i64 = 60;

/// Sorted lines of both outputs.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) hours: Vec<String>,
    pub(crate) late: Vec<String>,
}

/// The example's own data.
pub(crate) fn month() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/flights/departures.csv.gz");
    let mut text = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(file).unwrap()).read_to_string(&mut text).unwrap();
    text
}

/// Days since 1970 of a date in 2012 or 2013, then seconds.
fn seconds(time: &str) -> i64 {
    let number = |from: usize, to: usize| time[from..to].parse::<i64>().unwrap();
    let before = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334][number(5, 7) as usize - 1];
    let year_days = if number(0, 4) == 2012 { 15_340 } else { 15_706 };
    let leap = i64::from(number(0, 4) == 2012 && number(5, 7) > 2);
    (year_days + before + leap + number(8, 10) - 1) * 86_400
        + number(11, 13) * 3_600
        + number(14, 16) * 60
        + number(17, 19)
}

/// The answer for a file's text, an out-of-order bound and an allowed lateness.
pub(crate) fn answer(text: &str, bound_min: i64, lateness_min: i64) -> Answer {
    answer_of(1, text, bound_min, lateness_min)
}

/// The same of a version: the second counts flights by when they left, and cancelled ones by when they should have.
pub(crate) fn answer_of(version: u32, text: &str, bound_min: i64, lateness_min: i64) -> Answer {
    #[derive(Default)]
    struct Hour {
        departures: u64,
        cancelled: u64,
        total: i64,
        max: Option<i64>,
    }
    let mut newest: BTreeMap<&str, i64> = BTreeMap::new();
    let mut hours: BTreeMap<(&str, &str), Hour> = BTreeMap::new();
    let mut answer = Answer::default();
    for line in text.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let [scheduled, departed, carrier, flight, _, origin, _, _, delay, _] = fields[..] else { panic!("{line}") };
        let counts = if version == 1 || departed.is_empty() { scheduled } else { departed };
        let at = seconds(counts);
        let newest = newest.entry(origin).or_insert(i64::MIN / 2);
        *newest = at.max(*newest);
        let watermark = *newest - bound_min * MINUTE;
        let end = at - at.rem_euclid(3_600) + 3_600;
        if end + lateness_min * MINUTE <= watermark {
            let (late, scheduled) = (flight, scheduled);
            answer.late.push(format!(
                r#"{{"late":"{late}","carrier":"{carrier}","origin":"{origin}","scheduled":"{scheduled}"}}"#
            ));
            continue;
        }
        let hour = hours.entry((origin, &counts[..13])).or_default();
        if departed.is_empty() {
            hour.cancelled += 1;
        } else {
            let delay: i64 = delay.parse().unwrap();
            hour.departures += 1;
            hour.total += delay;
            hour.max = hour.max.max(Some(delay));
        }
    }
    for ((origin, hour), Hour { departures, cancelled, total, max }) in hours {
        let max = max.map_or("null".to_owned(), |max| max.to_string());
        answer.hours.push(format!(
            r#"{{"origin":"{origin}","hour":"{hour}:00:00Z","departures":{departures},"cancelled":{cancelled},"total_delay_min":{total},"max_delay_min":{max}}}"#
        ));
    }
    answer.hours.sort();
    answer.late.sort();
    answer
}
