//! A float sum that does not depend on order.
//!
//! Adding floats rounds at every step, so the answer would depend on how partitions interleave. [`ExactSum`] rounds once, at the
//! end: it holds the sum as a 128-bit integer in units of a power of two chosen by the first value, which takes in whatever lies
//! within some 16 binary digits below and 40 above it (an addition is a shift and an add). What does not fit goes to an integer
//! as wide as the whole range of `f64`, 288 bytes that exist only once they are needed. Which of the two a value went to depends on
//! order; their sum does not.

use serde::{Deserialize, Serialize};

/// The exact sum of any `f64`s, rounded to the nearest float (ties to even) when asked for.
///
/// A NaN, or infinities of both signs, make the total NaN, in whatever order they came; an infinity of one sign makes it infinite.
/// A total of zero is positive zero. Fewer than 2^64 values are assumed.
///
/// ```
/// use millpond_operators::aggregate::ExactSum;
/// let mut sum = ExactSum::default();
/// for x in [f64::MAX, 1e-300, f64::MAX, -f64::MAX, -f64::MAX] {
///     sum.add(x);
/// }
/// assert_eq!(sum.total(), 1e-300);
/// ```
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ExactSum {
    near: i128,
    /// `near` counts units of 2^scale. Free to be chosen anew while `near` is 0.
    scale: i16,
    nan: bool,
    above: bool,
    below: bool,
    /// Two's complement in units of 2^[`LEAST`], least limb first; empty or [`LIMBS`] long.
    far: Vec<u64>,
}

/// Exponent of the least subnormal.
const LEAST: i32 = -1074;
/// 2,098 bits of range, 64 of carries and one of sign, and what the last shifted piece needs.
const LIMBS: usize = 36;

impl ExactSum {
    /// Adds one value.
    #[inline]
    pub fn add(&mut self, x: f64) {
        let (mantissa, exponent) = match Decoded::of(x) {
            Decoded::Zero => return,
            Decoded::Finite(mantissa, exponent) => (mantissa, exponent),
            Decoded::Special => return self.add_special(x),
        };
        if self.near == 0 {
            // Multiples of 16, so that slices of one stream mostly agree on it and merge by a plain addition.
            self.scale = ((exponent - 16).div_euclid(16) * 16).max(LEAST) as i16;
        }
        match shifted(i128::from(mantissa), exponent - i32::from(self.scale)).and_then(|m| self.near.checked_add(m)) {
            Some(near) => self.near = near,
            None => self.add_far(i128::from(mantissa), exponent),
        }
    }

    #[cold]
    fn add_special(&mut self, x: f64) {
        self.nan |= x.is_nan();
        self.above |= x == f64::INFINITY;
        self.below |= x == f64::NEG_INFINITY;
    }

    /// Adds all that `other` holds.
    pub fn merge(&mut self, other: ExactSum) {
        self.nan |= other.nan;
        self.above |= other.above;
        self.below |= other.below;
        if self.far.is_empty() {
            self.far = other.far;
        } else if !other.far.is_empty() {
            let mut carry = false;
            for (limb, add) in self.far.iter_mut().zip(other.far) {
                (*limb, carry) = carrying_add(*limb, add, carry);
            }
        }
        if self.near == 0 {
            (self.near, self.scale) = (other.near, other.scale);
        } else if other.near != 0 {
            let by = i32::from(other.scale) - i32::from(self.scale);
            if let Some(near) = shifted(other.near, by).and_then(|near| self.near.checked_add(near)) {
                self.near = near;
            } else if let Some(near) = shifted(self.near, -by).and_then(|near| other.near.checked_add(near)) {
                (self.near, self.scale) = (near, other.scale);
            } else {
                self.add_far(other.near, i32::from(other.scale));
            }
        }
    }

    /// The sum, rounded once; infinite where it is beyond the range of `f64`.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.mean(1)
    }

    /// The sum divided by `count`, rounded once. A count of 0 gives NaN.
    #[must_use]
    pub fn mean(&self, count: u64) -> f64 {
        match (self.above, self.below) {
            _ if self.nan || count == 0 => f64::NAN,
            (true, true) => f64::NAN,
            (true, false) => f64::INFINITY,
            (false, true) => f64::NEG_INFINITY,
            (false, false) if self.far.is_empty() => {
                let sum = Magnitude { bits: self.near.unsigned_abs(), more: false, exponent: i32::from(self.scale) };
                sum.over(count).rounded(self.near < 0)
            }
            (false, false) => {
                let mut whole = self.clone();
                whole.add_far(self.near, i32::from(self.scale));
                let negative = whole.far.last().is_some_and(|top| top >> 63 == 1);
                if negative {
                    let mut carry = true;
                    for limb in &mut whole.far {
                        (*limb, carry) = carrying_add(!*limb, 0, carry);
                    }
                }
                Magnitude::of(&whole.far).over(count).rounded(negative)
            }
        }
    }

    /// Adds `value * 2^exponent` to the wide integer.
    #[cold]
    #[inline(never)]
    fn add_far(&mut self, value: i128, exponent: i32) {
        self.far.resize(LIMBS, 0);
        let place = usize::try_from(exponent - LEAST).expect("no float has a bit below the least subnormal");
        let (from, shift) = (place / 64, place % 64);
        let bits = value.unsigned_abs();
        let (low, high) = (bits << shift, if shift == 0 { 0 } else { bits >> (128 - shift) });
        let pieces = [low as u64, (low >> 64) as u64, high as u64];
        let mut carry = false;
        for (place, limb) in self.far.iter_mut().skip(from).enumerate() {
            let piece = pieces.get(place).copied().unwrap_or(0);
            if value < 0 {
                let (less, borrow) = limb.overflowing_sub(piece);
                let (less, again) = less.overflowing_sub(u64::from(carry));
                (*limb, carry) = (less, borrow || again);
            } else {
                (*limb, carry) = carrying_add(*limb, piece, carry);
            }
            if place >= pieces.len() && !carry {
                break;
            }
        }
    }
}

/// A sum of integers divided by `count`, rounded once. A count of 0 gives NaN.
pub(super) fn ratio(negative: bool, sum: u128, count: u64) -> f64 {
    if count == 0 {
        return f64::NAN;
    }
    Magnitude { bits: sum, more: false, exponent: 0 }.over(count).rounded(negative)
}

enum Decoded {
    Zero,
    /// Mantissa and exponent.
    Finite(i64, i32),
    Special,
}

impl Decoded {
    #[inline]
    fn of(x: f64) -> Self {
        let bits = x.to_bits();
        let (field, fraction) = ((bits >> 52 & 0x7ff) as i32, (bits & ((1 << 52) - 1)) as i64);
        let (mantissa, exponent) = match field {
            0 if fraction == 0 => return Decoded::Zero,
            0 => (fraction, LEAST),
            0x7ff => return Decoded::Special,
            _ => (fraction | 1 << 52, field - 1075),
        };
        Decoded::Finite(if x < 0.0 { -mantissa } else { mantissa }, exponent)
    }
}

/// `value * 2^by` when that is an integer of at most 127 bits.
#[inline]
fn shifted(value: i128, by: i32) -> Option<i128> {
    let magnitude = value.unsigned_abs();
    if by >= 0 {
        (i64::from(by) < i64::from(magnitude.leading_zeros())).then(|| value << by)
    } else {
        (-by <= magnitude.trailing_zeros() as i32).then(|| value >> -by)
    }
}

#[inline]
fn carrying_add(a: u64, b: u64, carry: bool) -> (u64, bool) {
    let (sum, over) = a.overflowing_add(b);
    let (sum, again) = sum.overflowing_add(u64::from(carry));
    (sum, over || again)
}

/// `(bits + f) * 2^exponent`, where f is above 0 and below 1 if there is `more`, else 0.
struct Magnitude {
    bits: u128,
    more: bool,
    exponent: i32,
}

impl Magnitude {
    /// The top 128 bits of a wide integer, and whether there is anything below them.
    fn of(limbs: &[u64]) -> Self {
        let Some(top) = limbs.iter().rposition(|limb| *limb != 0) else {
            return Magnitude { bits: 0, more: false, exponent: LEAST };
        };
        let limb = |below: usize| top.checked_sub(below).and_then(|place| limbs.get(place)).copied().unwrap_or(0);
        let zeros = limb(0).leading_zeros();
        let third = u128::from(limb(2)) << zeros;
        let bits = (u128::from(limb(0)) << 64 | u128::from(limb(1))) << zeros | third >> 64;
        let more = third as u64 != 0 || limbs.iter().take(top.saturating_sub(2)).any(|limb| *limb != 0);
        Magnitude { bits, more, exponent: LEAST + (top as i32 - 1) * 64 - zeros as i32 }
    }

    /// Divided by `count`, at least 63 leading bits exact.
    fn over(self, count: u64) -> Self {
        if self.bits == 0 || count == 1 {
            return self;
        }
        let zeros = self.bits.leading_zeros();
        let (bits, count) = (self.bits << zeros, u128::from(count));
        let more = self.more || !bits.is_multiple_of(count);
        Magnitude { bits: bits / count, more, exponent: self.exponent - zeros as i32 }
    }

    /// The nearest float, ties to even.
    fn rounded(self, negative: bool) -> f64 {
        if self.bits == 0 {
            return 0.0;
        }
        let top = 127 - self.bits.leading_zeros() as i32;
        let lowest = (top + self.exponent - 52).max(LEAST);
        let drop = lowest - self.exponent;
        let mantissa = if drop <= 0 {
            (self.bits << -drop) as u64
        } else {
            let (kept, rest, half) = ((self.bits >> drop) as u64, self.bits & ((1 << drop) - 1), 1 << (drop - 1));
            kept + u64::from(rest > half || rest == half && (self.more || kept & 1 == 1))
        };
        // The mantissa's own bit 52 counts one up in the exponent's field, and so does a carry out of it.
        let field = (lowest - LEAST) as u64;
        let bits = if field >= 0x7ff { f64::INFINITY.to_bits() } else { (field << 52) + mantissa };
        let size = f64::from_bits(bits.min(f64::INFINITY.to_bits()));
        if negative { -size } else { size }
    }
}

#[cfg(test)]
#[path = "exact_tests.rs"]
mod tests;
