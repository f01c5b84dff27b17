//! Read while it is written, and read again afterwards.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millpond::Running;

use crate::delayed::Delay;
use crate::jobs::Draws;
use crate::seeded::Seeded;
use crate::world::{APART, Flight, How, PLAIN, TOPIC, World, month, wait_until};

/// After the month: one flight an airport that moves all watermarks past everything before it.
const AFTER: &str = "2013-03-15T12:00:00Z";
const MONTH_ENDS: &str = "2013-03-01";

#[test]
fn a_live_job_and_a_replay_write_the_same_flights() {
    live(Draws::Hours);
}

#[test]
fn a_live_job_and_a_replay_write_the_same_sessions_slides_and_places() {
    live(Draws::Shapes);
}

fn after(flight: &Flight, origin: &str, carrier: &str) -> Flight {
    Flight { scheduled: AFTER.into(), origin: origin.into(), carrier: carrier.into(), ..flight.clone() }
}

/// Whether everything in the log has been read.
fn has_read_all(world: &World, running: &Running) -> bool {
    let ends = world.log().offsets(TOPIC).unwrap();
    let next = |partition: usize| {
        running.status().partitions.iter().find(|p| p.partition as usize == partition).map(|p| p.next)
    };
    ends.iter().enumerate().all(|(partition, kept)| next(partition) == Some(kept.end))
}

fn live(draws: Draws) {
    let mut random = Seeded::new();
    let world = World::new();
    let flights = month();
    let done = AtomicBool::new(false);
    let mut pauses = random;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut feeder = world.feeder();
            for (flight, n) in flights.iter().zip(1u64..) {
                feeder.append(flight);
                if pauses.below(100) == 0 {
                    feeder.commit();
                    std::thread::sleep(Duration::from_micros(pauses.below(3_000)));
                }
                // The first days come slowly, so that the job is at the log's end often.
                if n < 2_000 && n.is_multiple_of(20) {
                    feeder.commit();
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            for origin in ["EWR", "JFK", "LGA"] {
                feeder.append(&after(&flights[0], origin, "ZZ"));
            }
            feeder.commit();
            done.store(true, Ordering::Release);
        });
        // Three starts with other numbers of workers while the log is written.
        for (start, workers) in [2, 1, 3].into_iter().enumerate() {
            let delay = Delay::Random(random.below(1 << 60));
            let how = How { workers, until_end: false, align: APART, interval_ms: 10, delay, ..PLAIN };
            let running = world.start(1, draws, how);
            if start < 2 {
                std::thread::sleep(Duration::from_millis(100));
            } else {
                wait_until("the job reads everything", || {
                    done.load(Ordering::Acquire) && has_read_all(&world, &running)
                });
                running.flush();
            }
            running.stop();
            assert!(!running.join().unwrap().finished);
        }
    });
    let got = world.written(1, draws).before(MONTH_ENDS);
    for (workers, version) in [1, 3].into_iter().zip(2..) {
        let want = world.answer(version, draws, How { workers, ..PLAIN }).before(MONTH_ENDS);
        assert!(want.0.iter().all(|(_, lines)| !lines.is_empty()));
        let mut got = got.clone();
        let mut want = want;
        if draws == Draws::Shapes {
            // What is left of fifty rows leaves at the final watermark only.
            let full = |line: &String| line.contains("\"value\":[50,");
            for answer in [&mut got, &mut want] {
                answer.0.iter_mut().filter(|(topic, _)| topic == "fifties").for_each(|(_, lines)| lines.retain(full));
            }
        }
        got.must_be(&want, &format!("{draws:?} live, and replayed on {workers} workers"));
    }
}
