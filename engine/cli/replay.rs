//! `replay`: a version from the beginning of the log, beside the ones that run. It is `run` with a version and a few questions asked
//! before and meanwhile: is the beginning still there, and will retention overtake it?

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::host::graph::Graph;
use crate::run::Throttle;
use crate::run::savepoint::begin::Begins;
use crate::run::start::drawn;
use crate::source::From;
use crate::{Draw, Env, Exit, Fault, Status, clock};

/// Between two looks at retention.
const LOOK: Duration = Duration::from_secs(5);
/// A replay that has less than this share of a partition's kept records between it and what retention takes next is warned about.
const NEAR: u64 = 10;

/// How fast a run may read, in the words of the command line: `5000` records a second, `10MB` or `10MiB` a second.
pub(super) fn parse_throttle(text: &str) -> Result<Throttle, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let refused = || format!("{text:?} is not a number of records a second like 5000, or of bytes like 10MB or 10MiB");
    let number: u64 = text[..digits].parse().map_err(|_| refused())?;
    let unit = match &text[digits..] {
        "" => return if number > 0 { Ok(Throttle::Records(number)) } else { Err(refused()) },
        "B" => 1,
        "kB" => 1_000,
        "KiB" => 1 << 10,
        "MB" => 1_000_000,
        "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "GiB" => 1 << 30,
        _ => return Err(refused()),
    };
    number.checked_mul(unit).filter(|bytes| *bytes > 0).map(Throttle::Bytes).ok_or_else(refused)
}

/// Refuses a first start from the earliest record, or from a time, where retention has taken the beginning: of whatever a savepoint has no
/// position for. It is a first start until something was read: one that was killed before may find less than it found.
pub(super) fn whole(draw: &Draw, env: &Env, from: &From, begins: Option<&Begins>) -> Result<(), Fault> {
    if !matches!(from, From::Earliest | From::Time(_)) {
        return Ok(());
    }
    if let Some((record, manifest)) = crate::peek(draw, env)?
        && (record.id.epoch > 0 || crate::run::reached::savepoint(&manifest).is_some())
    {
        return Ok(());
    }
    let graph = drawn(draw, env)?;
    let mut missing = Vec::new();
    for source in graph.sources.borrow().iter() {
        // Where it goes on is looked at when it does.
        let goes_on = |partition: u32| begins.is_some_and(|begins| begins.position(&source.uid, partition).is_some());
        let mut found = (source.connect)(env, from)?;
        if let From::Time(_) = from {
            // What lies at the oldest record may have had others of that time before it.
            let oldest = (source.connect)(env, &From::Earliest)?;
            found.retain(|found| {
                oldest.iter().any(|oldest| oldest.partition == found.partition && oldest.start == found.start)
            });
        }
        for partition in found.iter().filter(|found| found.start > 0 && !goes_on(found.partition)) {
            let (uid, number, start) = (&source.uid, partition.partition, partition.start);
            missing.push(format!("{uid} partition {number} begins at offset {start}"));
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(Fault::new(
        Exit::Refused,
        format!(
            "{} cannot be computed from the beginning: retention has taken it ({}); --from-oldest begins with what is there, and the \
             first windows lack what is gone",
            env.identity(),
            missing.join(", ")
        ),
    ))
}

/// Retention is looked at for so long ahead.
const AHEAD: [Duration; 3] = [Duration::from_mins(1), Duration::from_mins(10), Duration::from_hours(1)];

/// Watches over a replay that runs.
pub(super) struct Watch {
    graph: Rc<Graph<'static>>,
    env: Env,
    looked: Instant,
    /// Where the replay stood then, by source and partition.
    stood: BTreeMap<(String, u32), u64>,
    /// Partitions that were warned about.
    warned: Vec<(String, u32)>,
}

impl Watch {
    pub(super) fn new(draw: &Draw, env: &Env) -> Result<Watch, Fault> {
        let (graph, looked) = (drawn(draw, env)?, clock::instant());
        Ok(Watch { graph, env: env.clone(), looked, stood: BTreeMap::new(), warned: Vec::new() })
    }

    /// Says which partitions retention is about to overtake, each once.
    pub(super) fn look(&mut self, status: &Status) -> Vec<String> {
        let now = clock::instant();
        let passed = now.saturating_duration_since(self.looked);
        if passed < LOOK {
            return Vec::new();
        }
        self.looked = now;
        let mut words = Vec::new();
        for source in self.graph.sources.borrow().iter() {
            // Where the input cannot be reached the job itself will say so.
            let Ok(partitions) = (source.connect)(&self.env, &From::Earliest) else { continue };
            let ahead = |within| Some((within, source.taken.as_ref()?(within).ok()?));
            let ahead: Vec<(Duration, Vec<(u32, u64)>)> = AHEAD.into_iter().filter_map(ahead).collect();
            for partition in partitions {
                let place = (source.uid.clone(), partition.partition);
                let at = status.partitions.iter().find(|at| at.source == place.0 && at.partition == place.1);
                let Some(at) = at.filter(|at| at.next < partition.end && !self.warned.contains(&place)) else {
                    continue;
                };
                let first = |taken: &[(u32, u64)]| taken.iter().find(|(of, _)| *of == place.1).map(|(_, first)| *first);
                let ahead: Vec<_> = ahead.iter().filter_map(|(within, taken)| Some((*within, first(taken)?))).collect();
                let pace = self.stood.insert(place.clone(), at.next);
                let pace = pace.map(|stood| at.next.saturating_sub(stood) as f64 / passed.as_secs_f64());
                let why = match pace.and_then(|pace| overtaken(&ahead, at.next, pace)) {
                    Some((within, first)) => format!("takes offsets before {first} within {within:?}"),
                    None if near(partition.start, partition.end)(at.next) => {
                        format!("keeps offsets from {} on", partition.start)
                    }
                    None => continue,
                };
                words.push(format!(
                    "retention nears the replay: {} partition {} {why}, and the replay stands at {} of {}; keep the log longer, or \
                     replay faster",
                    place.0, place.1, at.next, partition.end
                ));
                self.warned.push(place);
            }
        }
        words
    }
}

/// Whether a position is near what retention takes next.
fn near(start: u64, end: u64) -> impl Fn(u64) -> bool {
    move |next| start > 0 && next < end && next.saturating_sub(start) < (end - start) / NEAR
}

/// When retention overtakes a replay that goes on at this pace, and what it has taken by then.
fn overtaken(ahead: &[(Duration, u64)], next: u64, per_sec: f64) -> Option<(Duration, u64)> {
    let stands = |within: Duration| next as f64 + per_sec * within.as_secs_f64();
    ahead.iter().find(|(within, first)| *first as f64 > stands(*within)).copied()
}

/// Whether a run has read what there is, but for what comes just now.
pub(super) fn caught_up(status: &Status) -> bool {
    let known = !status.partitions.is_empty() && status.partitions.iter().all(|partition| partition.lag.is_some());
    let lag: u64 = status.partitions.iter().filter_map(|partition| partition.lag).sum();
    let standing =
        |partition: &crate::PartitionStatus| matches!(partition.standing.as_str(), "at end" | "idle" | "finished");
    known && (lag <= JUST_NOW || status.partitions.iter().all(standing))
}

/// A run is caught up when it has so many records to read.
const JUST_NOW: u64 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_throttle_is_records_or_bytes_a_second() {
        assert_eq!(parse_throttle("5000"), Ok(Throttle::Records(5_000)));
        assert_eq!(parse_throttle("10MB"), Ok(Throttle::Bytes(10_000_000)));
        assert_eq!(parse_throttle("1KiB"), Ok(Throttle::Bytes(1_024)));
        for text in ["", "0", "0MB", "fast", "1.5MB", "10 MB", "99999999999999GiB"] {
            assert!(parse_throttle(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn retention_is_near_a_replay_that_has_a_tenth_left_to_it() {
        assert!(!near(0, 1_000)(5), "nothing was taken yet");
        assert!(near(100, 1_100)(150));
        assert!(!near(100, 1_100)(300));
        assert!(!near(1_000, 1_000)(1_000), "it has read everything");
    }

    #[test]
    fn retention_overtakes_a_replay_that_is_slower() {
        let ahead = [(AHEAD[0], 100), (AHEAD[1], 4_000), (AHEAD[2], 30_000)];
        assert_eq!(overtaken(&ahead, 200, 100.0), None);
        assert_eq!(overtaken(&ahead, 200, 6.0), Some((AHEAD[1], 4_000)));
        assert_eq!(overtaken(&ahead, 200, 8.0), Some((AHEAD[2], 30_000)));
        assert_eq!(overtaken(&ahead, 10, 0.0), Some((AHEAD[0], 100)), "it stands still");
        assert_eq!(overtaken(&[], 0, 0.0), None, "nothing is ever taken");
    }
}
