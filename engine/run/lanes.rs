//! Lanes: one for each partition of each source, shared by all threads. They carry what alignment, idleness and `status` look at.
//!
//! Aligned reading is for memory: a partition far ahead of the others fills open windows that cannot fire. It never decides results.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, RwLock, RwLockReadGuard};

use millpond_state::{Timestamp, span_micros};

/// Why a lane does or does not hold the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Standing {
    /// It has more to read: others wait for it when they are far ahead.
    Reading = 0,
    /// Its log has nothing more just now: it holds the watermark, never the reading of others.
    AtEnd = 1,
    /// It has been silent for so long that it follows the others.
    Idle = 2,
    /// It promised the final watermark.
    Finished = 3,
}

impl Standing {
    fn of(number: u8) -> Standing {
        match number {
            0 => Standing::Reading,
            1 => Standing::AtEnd,
            2 => Standing::Idle,
            _ => Standing::Finished,
        }
    }
}

/// An end that nobody has looked for yet. No offset is it.
const UNKNOWN: u64 = u64::MAX;

/// One partition of one source.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) source: String,
    pub(crate) partition: u32,
    watermark: AtomicI64,
    next: AtomicU64,
    end: AtomicU64,
    log_end: AtomicU64,
    standing: AtomicU8,
}

impl Lane {
    pub(crate) fn new(
        source: &str,
        partition: u32,
        watermark: Timestamp,
        next: u64,
        end: u64,
        standing: Standing,
    ) -> Lane {
        Lane {
            source: source.to_owned(),
            partition,
            watermark: AtomicI64::new(watermark.micros()),
            next: AtomicU64::new(next),
            // What a start knows of no end is 0; a reader that looked says so of an empty partition.
            end: AtomicU64::new(if end == 0 { UNKNOWN } else { end }),
            log_end: AtomicU64::new(0),
            standing: AtomicU8::new(standing as u8),
        }
    }
    pub(crate) fn watermark(&self) -> Timestamp {
        Timestamp::from_micros(self.watermark.load(Ordering::Acquire))
    }
    pub(crate) fn next(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }
    /// Where it ends, once anybody has looked.
    pub(crate) fn end(&self) -> Option<u64> {
        Some(self.end.load(Ordering::Relaxed)).filter(|end| *end != UNKNOWN)
    }
    /// Where the log itself ends, when that is further: what is between waits for a transaction.
    pub(crate) fn log_end(&self) -> u64 {
        self.log_end.load(Ordering::Relaxed)
    }
    /// A reader knows the ends.
    pub(crate) fn set_ends(&self, end: u64, log_end: u64) {
        self.end.store(end, Ordering::Relaxed);
        self.log_end.store(log_end, Ordering::Relaxed);
    }
    pub(crate) fn standing(&self) -> Standing {
        Standing::of(self.standing.load(Ordering::Acquire))
    }
}

/// All lanes of a job.
#[derive(Debug)]
pub(crate) struct Lanes {
    /// Lanes are added, never taken away.
    lanes: RwLock<Vec<Arc<Lane>>>,
    least: AtomicI64,
    align_micros: i64,
    waiting: AtomicBool,
}

impl Lanes {
    pub(crate) fn new(lanes: Vec<Lane>, align: std::time::Duration) -> Lanes {
        let lanes = Lanes {
            lanes: RwLock::new(lanes.into_iter().map(Arc::new).collect()),
            least: AtomicI64::new(i64::MIN),
            align_micros: span_micros(align),
            waiting: AtomicBool::new(false),
        };
        lanes.least.store(lanes.compute().micros(), Ordering::Release);
        lanes
    }

    pub(crate) fn all(&self) -> RwLockReadGuard<'_, Vec<Arc<Lane>>> {
        self.lanes.read().expect("no holder of this lock panics")
    }

    pub(crate) fn find(&self, source: &str, partition: u32) -> Option<Arc<Lane>> {
        self.all().iter().find(|lane| lane.source == source && lane.partition == partition).map(Arc::clone)
    }

    /// One more.
    pub(crate) fn add(&self, lane: Lane) -> Arc<Lane> {
        let lane = Arc::new(lane);
        self.lanes.write().expect("no holder of this lock panics").push(Arc::clone(&lane));
        lane
    }

    /// The least watermark of the lanes that have more to read; the final one when none has.
    fn compute(&self) -> Timestamp {
        let lanes = self.all();
        let reading = lanes.iter().filter(|lane| lane.standing() == Standing::Reading);
        reading.map(|lane| lane.watermark()).min().unwrap_or(Timestamp::MAX)
    }

    /// The watermark an idle lane follows: the least of all that are not idle, or, when none holds it any more, the greatest, so that it
    /// does not depend on which lane fell silent first. Never the final one: only a source's own end sends that.
    pub(crate) fn followed(&self) -> Option<Timestamp> {
        let lanes = self.all();
        let open = || lanes.iter().filter(|lane| lane.watermark() != Timestamp::MAX);
        let active = open().filter(|lane| lane.standing() != Standing::Idle).map(|lane| lane.watermark()).min();
        // A lane may finish between two looks at it.
        active.or_else(|| open().map(|lane| lane.watermark()).max()).map(|watermark| watermark.min(Timestamp::LAST))
    }

    /// Whether a lane may read on. When not, its reader is woken once the others have caught up. `looked` is false for the first of the lanes
    /// that are asked about in a row: all are looked at but once for them.
    pub(crate) fn may_read(&self, lane: &Lane, looked: &mut bool) -> bool {
        let own = lane.watermark.load(Ordering::Relaxed);
        let allowed = |least: i64| own <= least.saturating_add(self.align_micros);
        if allowed(self.least.load(Ordering::Acquire)) {
            return true;
        }
        if std::mem::replace(looked, true) {
            return false;
        }
        self.waiting.store(true, Ordering::SeqCst);
        // Computed after the flag is up, so that a lane moving in between is not missed.
        let least = self.compute().micros();
        self.least.store(least, Ordering::Release);
        allowed(least)
    }

    /// A lane has moved. True when somebody waits for that and should be woken.
    pub(crate) fn publish(&self, lane: &Lane, watermark: Timestamp, next: u64, standing: Standing) -> bool {
        let before = self.least.load(Ordering::Acquire);
        let was = lane.watermark.swap(watermark.micros(), Ordering::AcqRel);
        lane.next.store(next, Ordering::Relaxed);
        let stood = lane.standing.swap(standing as u8, Ordering::AcqRel);
        if was <= before || stood != standing as u8 {
            let least = self.compute().micros();
            self.least.store(least, Ordering::Release);
            return least != before && self.waiting.swap(false, Ordering::SeqCst);
        }
        false
    }

    /// Somebody has looked from outside: a partition ends there or further, also where its reader has to wait and does not know.
    pub(crate) fn know_end(&self, source: &str, partition: u32, end: u64) {
        if let Some(lane) = self.find(source, partition) {
            let further = |known| Some(if known == UNKNOWN { end } else { end.max(known) });
            let _ = lane.end.fetch_update(Ordering::Relaxed, Ordering::Relaxed, further);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_partition_has_an_end_and_one_that_nobody_has_looked_at_has_none() {
        let lanes =
            Lanes::new(vec![Lane::new("in", 0, Timestamp::MIN, 0, 0, Standing::Reading)], std::time::Duration::ZERO);
        let lane = lanes.find("in", 0).unwrap();
        assert_eq!(lane.end(), None);
        lane.set_ends(0, 0);
        assert_eq!(lane.end(), Some(0));
        lanes.know_end("in", 0, 7);
        lanes.know_end("in", 0, 5);
        assert_eq!(lane.end(), Some(7));
    }

    #[test]
    fn when_all_are_idle_the_greatest_watermark_counts_and_a_finished_lane_is_not_followed() {
        let second = |n| Timestamp::from_secs(n);
        let lane = |p| Lane::new("in", p, second(i64::from(p)), 0, 0, Standing::Reading);
        let lanes = Lanes::new(vec![lane(0), lane(1)], std::time::Duration::from_secs(10));
        lanes.add(lane(2));
        let found = [0, 1, 2].map(|p| lanes.find("in", p).unwrap());
        lanes.publish(&found[2], Timestamp::MAX, 1, Standing::Finished);
        lanes.publish(&found[1], second(1), 0, Standing::Idle);
        assert_eq!(lanes.followed(), Some(second(0)));
        lanes.publish(&found[0], second(0), 0, Standing::Idle);
        assert_eq!(lanes.followed(), Some(second(1)));
    }

    #[test]
    fn a_lane_far_ahead_waits_for_the_least_and_not_for_one_at_its_end() {
        let second = |n| Timestamp::from_secs(n);
        let lane = |p| Lane::new("in", p, Timestamp::MIN, 0, 0, Standing::Reading);
        let lanes = Lanes::new(vec![lane(0), lane(1)], std::time::Duration::from_secs(10));
        let found = [0, 1].map(|p| lanes.find("in", p).unwrap());
        let may_read = |p: usize| lanes.may_read(&found[p], &mut false);
        assert!(may_read(0) && may_read(1));
        lanes.publish(&found[0], second(100), 1, Standing::Reading);
        assert!(!may_read(0), "the other has not read anything yet");
        assert!(may_read(1));
        assert!(lanes.publish(&found[1], second(95), 1, Standing::Reading), "somebody waits for this");
        assert!(may_read(0));
        lanes.publish(&found[0], second(200), 2, Standing::Reading);
        assert!(!may_read(0));
        lanes.publish(&found[1], second(95), 1, Standing::AtEnd);
        assert!(may_read(0), "a lane at its end never holds the reading of others");
        assert_eq!(lanes.followed(), Some(second(95)), "but it holds the watermark");
    }
}
