//! The same log read again, under other circumstances.

use std::time::{Duration, Instant};

use crate::delayed::Delay;
use crate::jobs::Draws;
use crate::seeded::Seeded;
use crate::world::{APART, How, PLAIN, World, month};

#[test]
fn workers_batches_and_delays_do_not_change_the_flights() {
    vary(Draws::Hours);
}

#[test]
fn workers_batches_and_delays_do_not_change_sessions_slides_and_what_goes_by_place() {
    vary(Draws::Shapes);
}

fn vary(draws: Draws) {
    let mut random = Seeded::new();
    let world = World::fed(&month());
    let want = world.answer(1, draws, PLAIN);
    for (topic, lines) in &want.0 {
        println!("{topic}: {} lines", lines.len());
        assert!(!lines.is_empty(), "{topic} is empty, and shows nothing");
    }
    let mut hows = vec![
        How { batch: 1, ..PLAIN },
        How { workers: 2, batch: 7, ..PLAIN },
        How { workers: 3, batch: 100, align: APART, ..PLAIN },
        How { workers: 8, batch: 10_000, align: APART, ..PLAIN },
        How { workers: 8, batch: 1, interval_ms: 5, ..PLAIN },
        How { workers: 1, batch: 10_000, align: APART, ..PLAIN },
    ];
    for (partition, workers, batch) in [(0, 1, 100), (1, 2, 10_000), (2, 3, 7), (0, 8, 100), (1, 1, 10_000), (2, 2, 7)]
    {
        hows.push(How { workers, batch, align: APART, delay: Delay::Partition(partition), ..PLAIN });
    }
    for workers in [1, 2, 3] {
        let align = [APART, PLAIN.align][random.below(2) as usize];
        hows.push(How { workers, align, delay: Delay::Random(random.below(u64::MAX)), interval_ms: 7, ..PLAIN });
    }
    for (how, version) in hows.into_iter().zip(2..) {
        let began = Instant::now();
        let got = world.answer(version, draws, how);
        println!("{how:?}: {:?}", began.elapsed());
        got.must_be(&want, &format!("{draws:?} {how:?}"));
    }
}

#[test]
fn stops_at_random_moments_and_restarts_with_other_workers_do_not_change_the_flights() {
    stop_and_go(Draws::Hours);
}

#[test]
fn stops_at_random_moments_and_restarts_with_other_workers_do_not_change_what_goes_by_place() {
    stop_and_go(Draws::Shapes);
}

fn stop_and_go(draws: Draws) {
    let mut random = Seeded::new();
    let world = World::fed(&month());
    let began = Instant::now();
    let want = world.answer(1, draws, PLAIN);
    let whole = began.elapsed().as_micros() as u64;
    let mut stops = 0;
    for version in 2.. {
        if stops >= 20 {
            break;
        }
        loop {
            let workers = [1, 2, 3, 8][random.below(4) as usize];
            let batch = [7, 100, 2048][random.below(3) as usize];
            let align = [APART, PLAIN.align][random.below(2) as usize];
            let delay = [Delay::None, Delay::Random(random.below(1 << 60))][random.below(2) as usize];
            let how = How { workers, batch, align, delay, interval_ms: 1 + random.below(20), ..PLAIN };
            let running = world.start(version, draws, how);
            if stops < 20 {
                std::thread::sleep(Duration::from_micros(random.below(whole / 2)));
                running.stop();
            }
            if running.join().unwrap().finished {
                break;
            }
            stops += 1;
        }
        world.written(version, draws).must_be(&want, &format!("{draws:?} after {stops} stops"));
    }
}
