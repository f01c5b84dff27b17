//! What can be summed, averaged and measured.

use std::time::Duration;

use millpond_state::Data;

use super::ExactSum;
use super::exact::ratio;

/// A value that [`super::Over::sum`], [`super::Over::mean`] and [`super::Over::quantiles`] take: integers up to 64 bits, floats, and
/// durations. Sums are held wide enough that order never counts: 2^64 values fit, and only the answer saturates.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be summed",
    note = "sums take integers of up to 64 bits, floats and `Duration`; return one of these from the closure"
)]
pub trait Quantity: Copy + 'static {
    /// The sum while it grows.
    type Running: Data + Default;
    /// The sum in the end.
    type Total: Data;
    /// The mean.
    type Mean: Data;

    /// Adds this value.
    fn add(self, running: &mut Self::Running);
    /// Adds another sum.
    fn merge(running: &mut Self::Running, other: Self::Running);
    /// The sum, saturating.
    fn total(running: &Self::Running) -> Self::Total;
    /// The sum divided by `count`, which is not 0, rounded once.
    fn mean(running: &Self::Running, count: u64) -> Self::Mean;
    /// The value as a float, durations in seconds, for sketches.
    fn measure(self) -> f64;
}

macro_rules! integers {
    ($running:ty, $total:ty: $($of:ty)+) => {$(
        impl Quantity for $of {
            type Running = $running;
            type Total = $total;
            type Mean = f64;

            #[inline]
            fn add(self, running: &mut $running) {
                *running += self as $running;
            }
            #[inline]
            fn merge(running: &mut $running, other: $running) {
                *running += other;
            }
            #[inline]
            fn total(running: &$running) -> $total {
                (*running).clamp(<$total>::MIN as $running, <$total>::MAX as $running) as $total
            }
            fn mean(running: &$running, count: u64) -> f64 {
                #[allow(unused_comparisons, reason = "one body for signed and unsigned")]
                let negative = *running < 0;
                ratio(negative, (*running).unsigned_size(), count)
            }
            #[inline]
            fn measure(self) -> f64 {
                self as f64
            }
        }
    )+};
}

/// Without its sign.
trait Size {
    fn unsigned_size(self) -> u128;
}
impl Size for i128 {
    fn unsigned_size(self) -> u128 {
        self.unsigned_abs()
    }
}
impl Size for u128 {
    fn unsigned_size(self) -> u128 {
        self
    }
}

integers!(i128, i64: i8 i16 i32 i64 isize);
integers!(u128, u64: u8 u16 u32 u64 usize);

macro_rules! floats {
    ($($of:ty)+) => {$(
        impl Quantity for $of {
            type Running = ExactSum;
            type Total = f64;
            type Mean = f64;

            #[inline]
            fn add(self, running: &mut ExactSum) {
                running.add(f64::from(self));
            }
            fn merge(running: &mut ExactSum, other: ExactSum) {
                running.merge(other);
            }
            fn total(running: &ExactSum) -> f64 {
                running.total()
            }
            fn mean(running: &ExactSum, count: u64) -> f64 {
                running.mean(count)
            }
            #[inline]
            fn measure(self) -> f64 {
                f64::from(self)
            }
        }
    )+};
}
floats!(f32 f64);

impl Quantity for Duration {
    /// Nanoseconds. Durations are not negative, so saturating as it grows is the same in every order.
    type Running = u128;
    type Total = Duration;
    /// Rounded to the nearest nanosecond, half of one up.
    type Mean = Duration;

    #[inline]
    fn add(self, running: &mut u128) {
        *running = running.saturating_add(self.as_nanos());
    }
    #[inline]
    fn merge(running: &mut u128, other: u128) {
        *running = running.saturating_add(other);
    }
    fn total(running: &u128) -> Duration {
        duration(*running)
    }
    fn mean(running: &u128, count: u64) -> Duration {
        let count = u128::from(count.max(1));
        let (whole, rest) = (*running / count, *running % count);
        duration(whole + u128::from(rest >= count - rest))
    }
    #[inline]
    fn measure(self) -> f64 {
        self.as_secs_f64()
    }
}

fn duration(nanos: u128) -> Duration {
    match u64::try_from(nanos / 1_000_000_000) {
        Ok(secs) => Duration::new(secs, (nanos % 1_000_000_000) as u32),
        Err(_) => Duration::MAX,
    }
}
