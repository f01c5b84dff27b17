//! The oracle is exact rational arithmetic in another language; each list goes through every way of adding it up.

use super::super::trial::Dice;
use super::*;

/// On each line the values, their sum and their mean, as the bits of `f64`: `a b c = sum / mean`.
const CASES: &str = include_str!("exact_cases.txt");

fn bits(text: &str) -> Vec<u64> {
    text.split(' ').map(|hex| u64::from_str_radix(hex, 16).unwrap()).collect()
}

fn summed(values: &[f64]) -> ExactSum {
    let mut sum = ExactSum::default();
    values.iter().for_each(|x| sum.add(*x));
    sum
}

#[test]
fn every_order_and_grouping_gives_the_correctly_rounded_sum_and_mean() {
    for line in CASES.lines() {
        let (values, answers) = line.split_once(" = ").unwrap();
        let [total, mean] = bits(&answers.replace("/ ", ""))[..] else { panic!("two answers in {line}") };
        let mut values: Vec<f64> = bits(values).into_iter().map(f64::from_bits).collect();
        let dice = &mut Dice::new(total);
        for _ in 0..50 {
            dice.shuffle(&mut values);
            let mut parts: Vec<ExactSum> = values.chunks(1 + dice.below(4) as usize).map(summed).collect();
            dice.shuffle(&mut parts);
            let mut whole = ExactSum::default();
            parts.into_iter().for_each(|part| whole.merge(part));
            for sum in [whole, summed(&values)] {
                assert_eq!(sum.total().to_bits(), total, "sum of {line}");
                assert_eq!(sum.mean(values.len() as u64).to_bits(), mean, "mean of {line}");
            }
        }
    }
}

#[test]
fn what_is_taken_away_again_leaves_nothing() {
    for seed in 0..100 {
        let dice = &mut Dice::new(seed);
        let mut values: Vec<f64> = (0..40).map(|_| f64::from_bits(dice.bits())).filter(|x| x.is_finite()).collect();
        values.extend(values.clone().into_iter().map(|x| -x));
        values.push(0.3);
        dice.shuffle(&mut values);
        assert_eq!(summed(&values).total(), 0.3, "seed {seed}");
    }
}

#[test]
fn prices_never_leave_the_near_sum() {
    let dice = &mut Dice::new(1);
    let values: Vec<f64> = (0..100_000).map(|_| dice.between(1_000, 1_000_000) as f64 / 100.0).collect();
    let mut halves = summed(&values[..50_000]);
    halves.merge(summed(&values[50_000..]));
    assert!(halves.far.is_empty());
    assert_eq!(halves.total(), summed(&values).total());
}

#[test]
fn the_near_sum_spills_when_it_is_full() {
    let mut sum = summed(&[2f64.powi(-60) + 2f64.powi(-112)]);
    let mut expected = 0u128;
    for _ in 0..70 {
        sum.add(3.0);
        sum.merge(sum.clone());
        expected = expected.saturating_add(3).saturating_mul(2);
    }
    assert!(!sum.far.is_empty());
    assert_eq!(sum.total(), expected as f64);
}

#[test]
fn special_values_win_in_whatever_order() {
    let (inf, nan) = (f64::INFINITY, f64::NAN);
    assert_eq!(summed(&[1.0, inf, f64::MAX]).total(), inf);
    assert_eq!(summed(&[-inf, 1.0]).mean(2), -inf);
    assert!(summed(&[inf, 1.0, -inf]).total().is_nan());
    assert!(summed(&[nan, inf]).total().is_nan());
    assert_eq!(summed(&[-0.0]).total().to_bits(), 0.0f64.to_bits());
}

#[test]
fn ratios_of_integers_are_rounded_once() {
    assert_eq!(ratio(false, 10, 4), 2.5);
    assert_eq!(ratio(true, 1, 3), -1.0 / 3.0);
    // Twice rounded it would be 2^53 / 1: the sum is halfway, and only the remainder of the division breaks the tie.
    assert_eq!(ratio(false, (1 << 54) + 3, 2), 9_007_199_254_740_994.0);
    assert_eq!(ratio(false, u128::MAX, u64::MAX), 18_446_744_073_709_551_617.0);
    assert!(ratio(false, 1, 0).is_nan());
}
