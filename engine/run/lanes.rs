//! Lanes: one for each partition of each source, shared by all threads. They carry what alignment, idleness and `status` look at.
//!
//! Aligned reading is for memory: a partition far ahead of the others fills open windows that cannot fire. It never decides results.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};

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

/// One partition of one source.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) source: String,
    pub(crate) partition: u32,
    watermark: AtomicI64,
    next: AtomicU64,
    end: AtomicU64,
    standing: AtomicU8,
}

impl Lane {
    pub(crate) fn new(source: &str, partition: u32, watermark: Timestamp, next: u64, end: u64, finished: bool) -> Lane {
        let standing = if finished { Standing::Finished } else { Standing::Reading };
        Lane {
            source: source.to_owned(),
            partition,
            watermark: AtomicI64::new(watermark.micros()),
            next: AtomicU64::new(next),
            end: AtomicU64::new(end),
            standing: AtomicU8::new(standing as u8),
        }
    }
    pub(crate) fn watermark(&self) -> Timestamp {
        Timestamp::from_micros(self.watermark.load(Ordering::Acquire))
    }
    pub(crate) fn next(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }
    pub(crate) fn end(&self) -> u64 {
        self.end.load(Ordering::Relaxed)
    }
    pub(crate) fn standing(&self) -> Standing {
        Standing::of(self.standing.load(Ordering::Acquire))
    }
}

/// All lanes of a job.
#[derive(Debug)]
pub(crate) struct Lanes {
    lanes: Vec<Lane>,
    least: AtomicI64,
    align_micros: i64,
    waiting: AtomicBool,
}

impl Lanes {
    pub(crate) fn new(lanes: Vec<Lane>, align: std::time::Duration) -> Lanes {
        let lanes = Lanes {
            lanes,
            least: AtomicI64::new(i64::MIN),
            align_micros: span_micros(align),
            waiting: AtomicBool::new(false),
        };
        lanes.least.store(lanes.compute().micros(), Ordering::Release);
        lanes
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Lane> {
        self.lanes.iter()
    }

    pub(crate) fn find(&self, source: &str, partition: u32) -> usize {
        let found = self.lanes.iter().position(|lane| lane.source == source && lane.partition == partition);
        found.expect("every assigned partition has a lane")
    }

    /// The least watermark of the lanes that have more to read; the final one when none has.
    fn compute(&self) -> Timestamp {
        let reading = self.lanes.iter().filter(|lane| lane.standing() == Standing::Reading);
        reading.map(Lane::watermark).min().unwrap_or(Timestamp::MAX)
    }

    /// The watermark an idle lane follows: the least of all that are not idle, or, when none holds it any more, the greatest, so that it
    /// does not depend on which lane fell silent first. Never the final one: only a source's own end sends that.
    pub(crate) fn followed(&self) -> Option<Timestamp> {
        let open = || self.lanes.iter().filter(|lane| lane.watermark() != Timestamp::MAX);
        let active = open().filter(|lane| lane.standing() != Standing::Idle).map(Lane::watermark).min();
        // A lane may finish between two looks at it.
        active.or_else(|| open().map(Lane::watermark).max()).map(|watermark| watermark.min(Timestamp::LAST))
    }

    /// Whether a lane may read on. When not, its reader is woken once the others have caught up.
    pub(crate) fn may_read(&self, lane: usize) -> bool {
        let own = self.lanes[lane].watermark.load(Ordering::Relaxed);
        let allowed = |least: i64| own <= least.saturating_add(self.align_micros);
        if allowed(self.least.load(Ordering::Acquire)) {
            return true;
        }
        self.waiting.store(true, Ordering::SeqCst);
        // Computed after the flag is up, so that a lane moving in between is not missed.
        let least = self.compute().micros();
        self.least.store(least, Ordering::Release);
        allowed(least)
    }

    /// A lane has moved. True when somebody waits for that and should be woken.
    pub(crate) fn publish(&self, lane: usize, watermark: Timestamp, next: u64, standing: Standing) -> bool {
        let before = self.least.load(Ordering::Acquire);
        let this = &self.lanes[lane];
        let was = this.watermark.swap(watermark.micros(), Ordering::AcqRel);
        this.next.store(next, Ordering::Relaxed);
        let stood = this.standing.swap(standing as u8, Ordering::AcqRel);
        if was <= before || stood != standing as u8 {
            let least = self.compute().micros();
            self.least.store(least, Ordering::Release);
            return least != before && self.waiting.swap(false, Ordering::SeqCst);
        }
        false
    }

    pub(crate) fn set_end(&self, lane: usize, end: u64) {
        self.lanes[lane].end.store(end, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_all_are_idle_the_greatest_watermark_counts_and_a_finished_lane_is_not_followed() {
        let second = |n| Timestamp::from_secs(n);
        let lane = |p| Lane::new("in", p, second(i64::from(p)), 0, 0, false);
        let lanes = Lanes::new(vec![lane(0), lane(1), lane(2)], std::time::Duration::from_secs(10));
        lanes.publish(2, Timestamp::MAX, 1, Standing::Finished);
        lanes.publish(1, second(1), 0, Standing::Idle);
        assert_eq!(lanes.followed(), Some(second(0)));
        lanes.publish(0, second(0), 0, Standing::Idle);
        assert_eq!(lanes.followed(), Some(second(1)));
    }

    #[test]
    fn a_lane_far_ahead_waits_for_the_least_and_not_for_one_at_its_end() {
        let second = |n| Timestamp::from_secs(n);
        let lane = |p| Lane::new("in", p, Timestamp::MIN, 0, 0, false);
        let lanes = Lanes::new(vec![lane(0), lane(1)], std::time::Duration::from_secs(10));
        assert!(lanes.may_read(0) && lanes.may_read(1));
        lanes.publish(0, second(100), 1, Standing::Reading);
        assert!(!lanes.may_read(0), "the other has not read anything yet");
        assert!(lanes.may_read(1));
        assert!(lanes.publish(1, second(95), 1, Standing::Reading), "somebody waits for this");
        assert!(lanes.may_read(0));
        lanes.publish(0, second(200), 2, Standing::Reading);
        assert!(!lanes.may_read(0));
        lanes.publish(1, second(95), 1, Standing::AtEnd);
        assert!(lanes.may_read(0), "a lane at its end never holds the reading of others");
        assert_eq!(lanes.followed(), Some(second(95)), "but it holds the watermark");
    }
}
