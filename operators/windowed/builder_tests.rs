//! What the plan says of windows, and windows in a running job.

use std::time::Duration;

use millpond_engine::{Node, Plan};
use millpond_state::Timestamp;

use crate::aggregate::{Aggregate, Logged};
use crate::kit::{Drawn, planned};
use crate::windows::{Count, Global, Session, Sliding, Tumbling};
use crate::{Job, Pane, Stream};

const MINUTE: Duration = Duration::from_secs(60);

fn node<'a>(plan: &'a Plan, uid: &str) -> &'a Node {
    plan.nodes.iter().find(|node| node.uid == uid).unwrap_or_else(|| panic!("no {uid} in {plan:?}"))
}

fn minutes(lateness: u64) -> Result<Plan, String> {
    planned(move |numbers| {
        let windows = numbers.key_by(|n| n % 7).window(Tumbling::of(MINUTE));
        let counts = windows.allowed_lateness(Duration::from_secs(lateness)).aggregate(|w| (w.count(), w.max(|n| *n)));
        counts.sink("counts", Drawn);
    })
}

#[test]
fn the_plan_names_windows_lateness_aggregate_and_shapes() {
    let plan = minutes(30).unwrap();
    let window = node(&plan, "numbers/window");
    let words: Vec<_> = window.settings.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    assert_eq!(words, ["window: tumbling 1m", "allowed lateness: 30s", "aggregate: count, max"]);
    assert_eq!(window.shapes.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["key", "partial"]);
    assert!(window.notes.is_empty());
}

#[test]
fn another_lateness_is_another_job() {
    let (was, is) = (minutes(30).unwrap(), minutes(31).unwrap());
    assert_eq!(minutes(30).unwrap().conflict(&was.stateful()), None);
    let conflict = is.conflict(&was.stateful()).unwrap();
    assert!(conflict.contains("allowed lateness was 30s and is now 31s"), "{conflict}");
}

#[test]
fn the_plan_flags_what_depends_on_order() {
    let plan = planned(|numbers| {
        let keyed = numbers.key_by(|n| n % 7).window(Session::gap(MINUTE)).named("folded");
        keyed.aggregate(|w| w.fold(0, |sum: &mut i64, n| *sum -= n, |sum, other| *sum += other)).sink("out", Drawn);
    });
    assert!(node(&plan.unwrap(), "folded").notes[0].starts_with("order-dependent: fold"));
    let plan = planned(|numbers| {
        numbers.key_by(|n| n % 7).window(Count::of(5).by_arrival()).aggregate(|w| w.count()).sink("out", Drawn);
    });
    assert!(node(&plan.unwrap(), "numbers/window").notes[0].contains("count 5 by arrival"));
}

#[test]
fn windows_below_one_source_are_told_apart_by_name() {
    let twice = |name: Option<&'static str>| {
        planned(move |numbers| {
            let again = numbers.clone().key_by(|n| n % 7).window(Global);
            let again = if let Some(name) = name { again.named(name) } else { again };
            again.aggregate(|w| w.count()).sink("all", Drawn);
            numbers.key_by(|n| n % 7).window(Tumbling::of(MINUTE)).aggregate(|w| w.count()).sink("minutes", Drawn);
        })
    };
    assert!(twice(None).unwrap_err().contains("give each a name with `.named(\"..\")`"));
    assert!(twice(Some("all of them")).is_ok());
}

#[test]
fn late_records_and_panes_by_arrival_have_no_time_for_another_window() {
    let refused = planned(|numbers| {
        let (counts, late) =
            numbers.key_by(|n| n % 7).window(Tumbling::of(MINUTE)).split_late().aggregate(|w| w.count());
        counts.sink("counts", Drawn);
        late.key_by(|n| n % 7).window(Tumbling::of(MINUTE)).aggregate(|w| w.count()).sink("late", Drawn);
    });
    assert!(refused.unwrap_err().contains("needs event time"));
    let refused = planned(|numbers| {
        let fives = numbers.key_by(|n| n % 7).window(Count::of(5).by_arrival()).aggregate(|w| w.count());
        fives.key_by(|pane| pane.key).window(Tumbling::of(MINUTE)).aggregate(|w| w.count()).sink("out", Drawn);
    });
    assert!(refused.unwrap_err().contains("needs event time"));
}

/// An aggregate whose partial says what it is while it is read.
struct Untold;
impl Aggregate<i64> for Untold {
    type Partial = serde_json::Value;
    type Output = u64;
    fn init(&self) -> serde_json::Value {
        serde_json::Value::Null
    }
    fn add(&self, _: &mut serde_json::Value, _: &Logged<'_, i64>) {}
    fn merge(&self, _: &mut serde_json::Value, _: serde_json::Value) {}
    fn finish(&self, _: serde_json::Value) -> u64 {
        0
    }
}

#[test]
fn a_partial_that_no_checkpoint_could_hold_is_refused_before_the_start() {
    let refused = planned(|numbers| {
        numbers.key_by(|n| n % 7).window(Tumbling::of(MINUTE)).aggregate(|w| w.with(Untold)).sink("out", Drawn);
    });
    let refused = refused.unwrap_err();
    assert!(refused.contains("the partial of a step of kind window cannot be written to a checkpoint"), "{refused}");
}

type Line = (String, u64, i64);

fn text((key, count, end): Line) -> String {
    format!("{key} {count} until {end}")
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_secs(second)
}

#[test]
fn late_records_leave_a_running_job_as_they_came() {
    let mut test = Job::test(|words: Stream<'_, String>| {
        let minutes = words.key_by(|word: &String| word.clone()).window(Tumbling::of(MINUTE));
        let (counts, late) =
            minutes.allowed_lateness(Duration::from_secs(5)).split_late().ordered().aggregate(|w| w.count());
        let late = late.map(|word| format!("late {word}"));
        counts.map(|pane| text((pane.key, pane.value, pane.end.secs()))).union(late)
    });
    for (second, word) in [(1, "pond"), (2, "mill"), (3, "pond")] {
        test.push(at(second), word.to_owned());
    }
    test.watermark(at(64));
    test.push(at(59), "mill".to_owned());
    assert!(test.output().is_empty(), "the window waits for its lateness");
    test.watermark(at(65));
    assert_eq!(test.output(), ["mill 2 until 60", "pond 2 until 60"]);
    test.push(at(59), "river".to_owned());
    test.push(at(60), "river".to_owned());
    let mut rest = test.finish();
    rest.sort();
    assert_eq!(rest, ["late river", "river 1 until 120"]);
}

#[test]
fn a_window_over_windows_of_the_same_size_finds_them_in_the_same_one() {
    let mut test = Job::test(|words: Stream<'_, String>| {
        let hour = Tumbling::of(60 * MINUTE);
        let counts = words.key_by(|word: &String| word.clone()).window(hour).aggregate(|w| w.count());
        let most = counts.key_by(|_| ()).window(hour).aggregate(|w| w.max(|pane: &Pane<String, u64>| pane.value));
        most.map(|pane| format!("{} until {}", pane.value, pane.end.secs()))
    });
    for (second, word) in [(1, "pond"), (3_599, "pond"), (5, "mill"), (3_600, "mill")] {
        test.push(at(second), word.to_owned());
    }
    test.watermark(at(3_600));
    assert_eq!(test.output(), ["2 until 3600"], "at the very same watermark");
    assert_eq!(test.finish(), ["1 until 7200"]);
}

#[test]
fn all_kinds_of_windows_run_in_a_job() {
    let mut test = Job::test(|words: Stream<'_, String>| {
        let key = |word: &String| word.clone();
        let all =
            |name: &'static str| move |pane: Pane<String, u64>| format!("{name} {} {}", pane.value, pane.end.secs());
        let sliding = Sliding::of(2 * MINUTE).every(MINUTE);
        let sliding =
            words.clone().key_by(key).window(sliding).named("sliding").aggregate(|w| w.count()).map(all("sliding"));
        let session = words
            .clone()
            .key_by(key)
            .window(Session::gap(MINUTE))
            .named("session")
            .aggregate(|w| w.count())
            .map(all("session"));
        let pairs =
            words.clone().key_by(key).window(Count::of(2)).named("pairs").aggregate(|w| w.count()).map(all("pair"));
        let global = words.key_by(key).window(Global).named("global").aggregate(|w| w.count()).map(all("global"));
        sliding.union(session).union(pairs).union(global)
    });
    for second in [10, 50, 130] {
        test.push(at(second), "pond".to_owned());
    }
    let mut out = test.finish();
    out.sort();
    let expected = ["global 3 130", "pair 1 130", "pair 2 50", "session 1 190", "session 2 110"];
    let sliding = ["sliding 1 180", "sliding 1 240", "sliding 2 120", "sliding 2 60"];
    assert_eq!(out, [&expected[..], &sliding[..]].concat());
}
