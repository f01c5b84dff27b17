//! The generator: the same records from everywhere, at their rate.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::trial::{self, Taken};

fn numbers(partitions: u32) -> Generator<impl Fn(u32, u64) -> (u32, u64, u64) + Clone + 'static> {
    generate(partitions, |partition, index| (partition, index, Dice::of(9, partition, index).below(1_000)))
}

fn open<T: Data, F: Fn(u32, u64) -> T + Clone + 'static>(source: &Generator<F>, next: u64) -> GeneratorReader<F> {
    let assigned: Vec<_> = (0..source.partitions).map(|partition| Assigned { partition, next, end: None }).collect();
    source.open(&trial::env(), &assigned, trial::waker()).unwrap()
}

#[test]
fn records_are_the_same_from_every_position() {
    let source = numbers(2).count(21);
    let all = trial::read_all(&mut open(&source, 0), 0, 4).values();
    assert_eq!(all.len(), 11);
    assert_eq!(trial::read_all(&mut open(&source, 0), 1, 4).taken.len(), 10);
    for next in 0..=11 {
        let taken = trial::read_all(&mut open(&source, next), 0, 3);
        assert_eq!(taken.values(), all[next as usize..]);
        assert_eq!(taken.offsets(), (next..11).collect::<Vec<_>>());
    }
    let mut reader = open(&source, 9);
    trial::read_all(&mut reader, 0, 3);
    reader.seek(0, 10).unwrap();
    assert_eq!(trial::read_all(&mut reader, 0, 3).offsets(), [10]);
}

#[test]
fn counts_are_for_all_partitions_together() {
    for (count, partitions) in [(0, 1), (1, 3), (10, 3), (12, 4)] {
        let found = numbers(partitions).count(count).connect(&trial::env(), &From::Earliest).unwrap();
        assert_eq!(found.iter().map(|found| found.end).sum::<u64>(), count);
    }
    let endless = numbers(2);
    assert!(!endless.plan().bounded && numbers(2).count(1).plan().bounded);
    assert!(endless.connect(&trial::env(), &From::Earliest).unwrap().iter().all(|found| found.end == u64::MAX));
    assert_eq!(endless.connect(&trial::env(), &From::Latest).unwrap_err().exit(), Exit::Usage);
    let mut reader = open(&endless, 1 << 40);
    assert_eq!((reader.read(0, 5, &mut Taken::default()).unwrap(), reader.end(0)), (Read::More, None));
}

#[test]
fn a_rate_holds_and_the_worker_is_woken_for_it() {
    let woken = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&woken);
    let waker = Waker::new(move || {
        counter.fetch_add(1, Ordering::SeqCst);
    });
    let source = numbers(2).per_second(400);
    let assigned = [Assigned { partition: 1, next: 100, end: None }];
    let mut reader = source.open(&trial::env(), &assigned, waker).unwrap();
    let since = Instant::now();
    let mut taken = Taken::default();
    while taken.taken.len() < 20 {
        let before = woken.load(Ordering::SeqCst);
        match reader.read(0, 3, &mut taken).unwrap() {
            Read::More => {}
            Read::Later => {
                while woken.load(Ordering::SeqCst) == before {
                    assert!(since.elapsed() < Duration::from_secs(20), "nobody wakes");
                    std::thread::sleep(Duration::from_micros(200));
                }
            }
            read => panic!("{read:?}"),
        }
    }
    assert!(since.elapsed() >= Duration::from_millis(100), "20 records at 200 a second took {:?}", since.elapsed());
    assert_eq!(taken.offsets(), (100..100 + taken.taken.len() as u64).collect::<Vec<_>>());
}

#[test]
fn odd_rates_are_no_trouble() {
    assert_eq!(gap(0, 1), Duration::from_nanos(u64::MAX));
    assert_eq!(gap(u64::MAX, 1), Duration::ZERO);
    assert_eq!(gap(3, 6), Duration::from_secs(2));
    let mut never = open(&numbers(1).per_second(0), 0);
    assert_eq!(never.read(0, 5, &mut Taken::default()).unwrap(), Read::Later);
    let mut always = open(&numbers(1).per_second(u64::MAX), 0);
    assert_eq!(always.read(0, 5, &mut Taken::default()).unwrap(), Read::More);
}

#[test]
fn dice_are_fair_enough_and_their_ends_hold() {
    let mut faces = [0; 6];
    for index in 0..6_000 {
        let mut dice = Dice::of(1, 0, index);
        faces[dice.below(6) as usize] += 1;
        assert!((-2..=2).contains(&dice.between(-2, 2)));
        assert!((0.0..1.0).contains(&dice.fraction()));
        assert!(!dice.chance(0.0) && dice.chance(1.0));
    }
    assert!(faces.iter().all(|count| (850..1_150).contains(count)), "{faces:?}");
    let mut dice = Dice::of(1, 0, 0);
    assert_eq!((dice.below(0), dice.between(5, 1), dice.between(i64::MIN, i64::MIN)), (0, 5, i64::MIN));
}
