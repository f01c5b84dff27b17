//! Against sorted values, over the whole range of floats.

use std::time::Duration;

use millpond_state::Timestamp;

use super::super::trial::Dice;
use super::super::{Over, answer, trial};
use super::*;

fn close(found: f64, expected: f64) -> bool {
    found == expected || (found - expected).abs() <= expected.abs() * ACCURACY * 1.000_001
}

#[test]
fn quantiles_are_within_one_percent_of_a_vec_in_any_order() {
    // Rounded to a coarse grid, the answers can be compared for equality: equal sketches give equal answers.
    let sorted = |rows: &[trial::Row]| {
        let mut values: Vec<f64> = rows.iter().map(|row| row.value as f64).collect();
        values.sort_by(f64::total_cmp);
        values
    };
    let made = |rows: &[trial::Row]| {
        let mut sketch = Sketch::new();
        rows.iter().for_each(|row| sketch.add(row.value as f64));
        [0.0, 0.25, 0.5, 0.99, 1.0].map(|rank| {
            let (found, values) = (sketch.quantile(rank), sorted(rows));
            assert!(close(found, values[(rank * (values.len() - 1) as f64) as usize]), "{rank}: {found} of {values:?}");
            found
        })
    };
    trial::agrees(|| Over::<i64>::new().quantiles([0.0, 0.25, 0.5, 0.99, 1.0], |n| *n), made);
}

#[test]
fn the_whole_range_of_floats_is_sketched_the_same_in_any_order() {
    for seed in 0..30 {
        let dice = &mut Dice::new(seed);
        // Subnormals are taken for zero.
        let normal = |x: &f64| !x.is_subnormal();
        let mut values: Vec<f64> =
            (0..1 + dice.below(40)).map(|_| f64::from_bits(dice.bits())).filter(normal).collect();
        values.extend([f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 0.0, f64::MAX, -f64::MAX, f64::MIN_POSITIVE * 2.0]);
        let mut sorted: Vec<f64> = values.iter().map(|x| if x.is_nan() { f64::NAN } else { *x }).collect();
        sorted.sort_by(f64::total_cmp);
        for _ in 0..3 {
            dice.shuffle(&mut values);
            let mut whole = Sketch::new();
            for part in values.chunks(1 + dice.below(6) as usize) {
                let mut sketch = Sketch::new();
                part.iter().for_each(|x| sketch.add(*x));
                whole.merge(&sketch);
            }
            assert_eq!(whole.count(), values.len() as u64);
            for (place, expected) in sorted.iter().enumerate() {
                let found = whole.quantile((place as f64 + 0.01) / (sorted.len() - 1) as f64);
                assert!(
                    close(found, *expected) || found.is_nan() && expected.is_nan(),
                    "seed {seed}: {found} for {expected}"
                );
            }
        }
    }
}

#[test]
fn durations_are_measured_in_seconds() {
    let records = [(Timestamp::EPOCH, Duration::from_millis(1_500))];
    assert_eq!(answer(&Over::<Duration>::new().quantiles([0.5], |d| *d), &records), Some([1.5]));
}

#[test]
#[should_panic(expected = "a quantile's rank lies between 0 and 1, 50 does not")]
fn a_rank_in_percent_is_refused_when_the_flow_is_built() {
    let _ = Over::<u64>::new().quantiles([50.0], |n| *n);
}
