//! Against every window there is, in wider integers than time has.

use super::*;
use crate::aggregate::trial::Dice;

/// A layout as it was asked for.
#[derive(Debug)]
struct Asked {
    size: i64,
    slide: i64,
    /// Any.
    offset: i64,
}

impl Asked {
    fn roll(dice: &mut Dice) -> Self {
        let most = [3, 20, 1_000, i64::MAX - 1][dice.below(4) as usize];
        let size = dice.between(most / 2 + 1, most);
        let slide = if dice.below(2) == 0 { size / dice.between(1, 9) } else { dice.between(most / 9, most) };
        Asked { size, slide: slide.max(1), offset: dice.between(-most / 2, most / 2) }
    }

    fn layout(&self) -> Aligned {
        let (layout, by) = (Aligned::new(self.size, self.slide), Duration::from_micros(self.offset.unsigned_abs()));
        if self.offset < 0 { layout.earlier(by) } else { layout.later(by) }
    }

    /// Every window that contains `at`, by trying each start from far before to after it.
    fn windows(&self, at: i64) -> Vec<Span> {
        let (size, slide, offset, at) =
            (i128::from(self.size), i128::from(self.slide), i128::from(self.offset), i128::from(at));
        let around = (at - offset) / slide;
        let reach = size / slide + 3;
        let windows = (around - reach..=around + reach).map(|k| offset + k * slide);
        windows
            .filter(|start| *start <= at && at < start + size)
            .map(|start| Span::new(cut(start), cut(start + size)))
            .collect()
    }
}

fn cut(time: i128) -> Timestamp {
    Timestamp::from_micros(time.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64)
}

/// Times around 1970, long before it, and at both ends.
fn roll_time(dice: &mut Dice) -> i64 {
    let near = dice.between(0, 3_000);
    [near - 1_500, i64::MIN + near, i64::MAX - 1 - near, dice.bits() as i64 >> 1, -1_000_000_007 - near]
        [dice.below(5) as usize]
}

fn each_case(check: impl Fn(&mut Dice, &Asked, Aligned, i64)) {
    for seed in 0..4_000 {
        let dice = &mut Dice::new(seed);
        let asked = Asked::roll(dice);
        let at = roll_time(dice);
        check(dice, &asked, asked.layout(), at);
    }
}

#[test]
fn every_window_that_contains_a_time_is_assigned_exactly_once() {
    each_case(|_, asked, layout, at| {
        let windows = layout.windows(Timestamp::from_micros(at));
        assert!((0..asked.slide).contains(&layout.offset()), "{asked:?}");
        assert_eq!(windows.len(), windows.count(), "{asked:?} at {at}");
        assert_eq!(windows.collect::<Vec<_>>(), asked.windows(at), "{asked:?} at {at}");
        assert_eq!(layout.newest(Timestamp::from_micros(at)), asked.windows(at).last().copied(), "{asked:?} at {at}");
    });
}

#[test]
fn windows_come_in_order_of_their_end() {
    each_case(|_, asked, layout, at| {
        assert!(layout.windows(Timestamp::from_micros(at)).is_sorted(), "{asked:?} at {at}")
    });
}

#[test]
fn no_window_begins_or_ends_within_a_slice() {
    each_case(|dice, asked, layout, at| {
        let slice = layout.slice(Timestamp::from_micros(at));
        assert!(slice.contains(Timestamp::from_micros(at)));
        let inside = slice.start.micros().saturating_add(dice.between(0, 2_000)).min(slice.end.micros() - 1);
        for other in [slice.start.micros(), slice.end.micros() - 1, inside] {
            assert_eq!(asked.windows(other), asked.windows(at), "{asked:?}: {slice} holds both {at} and {other}");
        }
    });
}

#[test]
fn the_slices_of_a_window_are_the_window() {
    each_case(|_, asked, layout, at| {
        for window in layout.windows(Timestamp::from_micros(at)).take(5) {
            let slices: Vec<Span> = layout.slices(window).collect();
            assert_eq!(
                (slices[0].start, slices[slices.len() - 1].end),
                (window.start, window.end),
                "{asked:?} at {at}"
            );
            assert!(slices.windows(2).all(|pair| pair[0].end == pair[1].start), "{asked:?} at {at}: {slices:?}");
            assert!(slices.iter().all(|slice| *slice == layout.slice(slice.last())), "{asked:?} at {at}: {slices:?}");
            assert!(slices.len() as i64 <= 2 * (asked.size / asked.slide + 1), "{asked:?}: {} slices", slices.len());
        }
    });
}

#[test]
fn a_row_late_for_some_of_its_windows_never_enters_a_slice_they_share() {
    each_case(|dice, asked, layout, at| {
        let lateness = Lateness::of(Duration::from_micros(dice.below(500)));
        let limits = [dice.between(-50, asked.size.saturating_mul(2).saturating_add(600)), i64::MAX, i64::MIN];
        let limit = Timestamp::from_micros(at).plus_micros(limits[dice.below(12).min(2) as usize]);
        let windows = asked.windows(at);
        let open: Vec<Span> = windows.iter().copied().filter(|window| lateness.closes(window.end) > limit).collect();
        match layout.admit(Timestamp::from_micros(at), limit, lateness) {
            Admit::Unassigned => assert!(windows.is_empty(), "{asked:?} at {at}"),
            Admit::Late => assert!(open.is_empty() && !windows.is_empty(), "{asked:?} at {at}, {limit}"),
            Admit::Whole => assert!(open == windows && !windows.is_empty(), "{asked:?} at {at}, {limit}"),
            Admit::Partly(rest) => {
                assert_eq!(rest.collect::<Vec<_>>(), open, "{asked:?} at {at}, {limit}");
                assert!(!open.is_empty() && open != windows, "{asked:?} at {at}, {limit}");
            }
        }
    });
}

#[test]
fn slices_and_extras_add_up_to_what_each_window_counts_alone() {
    for seed in 0..60 {
        let dice = &mut Dice::new(seed);
        let asked = Asked { size: dice.between(1, 40), slide: dice.between(1, 15), offset: dice.between(-20, 20) };
        let (layout, lateness) = (asked.layout(), Lateness::of(Duration::from_micros(dice.below(10))));
        let (mut slices, mut extras, mut model) = (Counts::new(), Counts::new(), Counts::new());
        for step in 0..150 {
            let (at, limit) = (step / 3 - dice.between(0, 45), Timestamp::from_micros(step / 3 - 5));
            for window in asked.windows(at) {
                *model.entry(window).or_default() += u64::from(!lateness.is_closed(window.end, limit));
            }
            match layout.admit(Timestamp::from_micros(at), limit, lateness) {
                Admit::Whole => *slices.entry(layout.slice(Timestamp::from_micros(at))).or_default() += 1,
                Admit::Partly(open) => open.for_each(|window| *extras.entry(window).or_default() += 1),
                Admit::Late | Admit::Unassigned => {}
            }
        }
        for (window, expected) in model {
            let shared: u64 = layout.slices(window).filter_map(|slice| slices.get(&slice)).sum();
            assert_eq!(
                shared + extras.get(&window).copied().unwrap_or(0),
                expected,
                "seed {seed}: {asked:?}, {window}"
            );
        }
    }
}

type Counts = std::collections::BTreeMap<Span, u64>;

#[test]
fn a_window_past_the_end_of_time_is_cut_there() {
    let layout = Aligned::new(1_000, 1_000);
    let last = layout.newest(Timestamp::LAST).unwrap();
    assert_eq!((last.end, last.last()), (Timestamp::MAX, Timestamp::LAST));
    assert_eq!(layout.newest(Timestamp::MIN).unwrap().start, Timestamp::MIN);
}

#[test]
fn offsets_are_modulo_the_slide_and_may_be_negative() {
    let layout = Aligned::new(60, 7);
    assert_eq!(layout.later(Duration::from_micros(10)).offset(), 3);
    assert_eq!(layout.earlier(Duration::from_micros(10)).offset(), 4);
    assert_eq!(layout.earlier(Duration::from_micros(7)).offset(), 0);
    assert_eq!(layout.later(Duration::from_micros(3)).later(Duration::from_micros(4)).offset(), 0);
    assert_eq!(layout.later(Duration::MAX).earlier(Duration::MAX), layout);
}
