//! Made-up clicks: the same ones for the same seed, wherever and however often they are made.

use std::io::Write;

use millpond::Dice;

/// Which clicks there are. Everything about the n-th one follows from its number and the seed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clicks {
    /// Other clicks.
    pub(crate) seed: u64,
    /// How many pages are clicked on; the first ones more often than the last.
    pub(crate) pages: u32,
    /// Event time of the first click, in milliseconds since 1970.
    pub(crate) start_ms: i64,
    /// Event time from a click to the next, in microseconds.
    pub(crate) gap_us: u64,
    /// How far behind the newest click one may lie.
    pub(crate) out_of_order_ms: i64,
    /// The share of clicks that lie one to three minutes further back: too late for their window.
    pub(crate) late: f64,
}

/// One click.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Click {
    pub(crate) user: u32,
    pub(crate) page: u32,
    /// Milliseconds since 1970.
    pub(crate) at: i64,
    /// How long the user stayed, in milliseconds.
    pub(crate) dwell: u32,
}

/// How many users there are.
const USERS: i64 = 50_000;

impl Clicks {
    /// The click of this number.
    pub(crate) fn click(&self, number: u64) -> Click {
        let mut dice = Dice::of(self.seed, 0, number);
        // The density of rank r falls as r^-0.6: a mild skew, as pages of a site have it.
        let page = (f64::from(self.pages) * dice.fraction().powf(2.5)) as u32;
        let user = dice.between(0, USERS - 1) as u32;
        let dwell = dice.between(0, 60_000) as u32;
        let behind = dice.between(0, self.out_of_order_ms);
        let late = if dice.chance(self.late) { dice.between(60_000, 180_000) } else { 0 };
        let passed = (number * self.gap_us / 1_000) as i64;
        Click { user, page: page.min(self.pages - 1), at: self.start_ms + passed - behind - late, dwell }
    }
}

impl Click {
    /// The record's key: the user.
    pub(crate) fn put_key(&self, out: &mut Vec<u8>) {
        write!(out, "u{}", self.user).expect("a vector takes everything");
    }

    /// The record's value.
    pub(crate) fn put_value(&self, out: &mut Vec<u8>) {
        let Click { user, page, at, dwell } = self;
        write!(out, r#"{{"user":"u{user}","page":"p{page}","at":{at},"dwell":{dwell}}}"#)
            .expect("a vector takes everything");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLICKS: Clicks =
        Clicks { seed: 7, pages: 1_000, start_ms: 0, gap_us: 10_000, out_of_order_ms: 5_000, late: 0.01 };

    #[test]
    fn clicks_are_the_same_every_time() {
        assert_eq!(CLICKS.click(42), CLICKS.click(42));
        assert_ne!(CLICKS.click(42), Clicks { seed: 8, ..CLICKS }.click(42));
    }

    #[test]
    fn clicks_lie_where_they_should() {
        let clicks: Vec<_> = (0..100_000).map(|number| CLICKS.click(number)).collect();
        let late = clicks.iter().enumerate().filter(|(number, click)| (*number as i64) * 10 - click.at > 5_000);
        assert!((800..1_200).contains(&late.count()), "a hundredth is late");
        assert!(clicks.iter().enumerate().all(|(number, click)| click.at <= number as i64 * 10));
        let first_hundred = clicks.iter().filter(|click| click.page < 100).count();
        assert!((35_000..45_000).contains(&first_hundred), "a tenth of the pages has 0.1^0.4 of the clicks");
        assert!(clicks.iter().all(|click| click.page < 1_000 && click.dwell <= 60_000));
    }

    #[test]
    fn a_click_is_json_with_its_user_as_key() {
        let (mut key, mut value) = (Vec::new(), Vec::new());
        let click = Click { user: 1, page: 2, at: 1_700_000_000_000, dwell: 1_234 };
        click.put_key(&mut key);
        click.put_value(&mut value);
        assert_eq!(key, b"u1");
        assert_eq!(value, br#"{"user":"u1","page":"p2","at":1700000000000,"dwell":1234}"#);
    }
}
