//! Flows inside a `#[test]`: time is the test's, late records are seen, and what stops a job says where.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::time::Duration;

use millpond::{
    Collected, DeadLetter, Ended, Exit, Fault, Flow, Job, KeyedStream, Run, Stream, Timestamp, Tumbling, Untimed, vec,
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_secs(second)
}

fn minute() -> Tumbling {
    Tumbling::of(Duration::from_secs(60))
}

#[test]
fn nothing_fires_before_the_test_says_that_time_has_passed() {
    let mut test = Job::test(|words| {
        let counts = words.key_by(|word: &String| word.clone()).window(minute()).aggregate(|w| w.count());
        counts.map(|pane| (pane.start, pane.key, pane.value))
    });
    test.push(at(10), "mill".to_owned());
    test.push(at(1_000_000), "pond".to_owned());
    assert_eq!(test.output(), [], "a record of the far future moves nothing");
    test.push(at(20), "mill".to_owned());
    test.watermark(Timestamp::from_micros(59_999_999));
    assert_eq!(test.output(), []);
    test.watermark(at(60));
    assert_eq!(test.output(), [(at(0), "mill".to_owned(), 2)]);
    assert_eq!(test.output(), [], "it is taken once");
    test.watermark(at(10));
    test.push(at(70), "mill".to_owned());
    assert_eq!(test.output(), [], "time never goes back");
    let rest = test.finish();
    assert_eq!(rest.len(), 2, "{rest:?}");
}

#[test]
fn a_record_behind_the_tests_watermark_is_late_after_the_allowed_lateness_and_not_before() {
    let mut test = Job::test(|numbers| {
        let (counts, late) = numbers
            .key_by(|_: &i64| ())
            .window(minute())
            .allowed_lateness(Duration::from_secs(30))
            .split_late()
            .aggregate(|w| w.collect(|n| *n));
        counts.map(|pane| ("window".to_owned(), pane.value)).union(late.map(|n| ("late".to_owned(), vec![n])))
    });
    test.push(at(1), 1);
    test.watermark(at(89));
    test.push(at(2), 2);
    assert_eq!(test.output(), []);
    test.watermark(at(90));
    test.push(at(3), 3);
    let mut output = test.output();
    output.sort();
    assert_eq!(output, [("late".to_owned(), vec![3]), ("window".to_owned(), vec![1, 2])]);
    assert_eq!(test.finish(), []);
}

fn parity(n: &i64) -> String {
    (if n % 2 == 0 { "even" } else { "odd" }).to_owned()
}

/// Words with numbers, by word.
type ByWord = for<'s> fn(Stream<'s, (String, i64)>) -> KeyedStream<'s, String, i64>;

#[test]
fn a_record_taken_apart_gives_what_keying_it_gives_and_late_ones_have_the_rest() {
    let seen = |by_word: ByWord| {
        let mut test = Job::test(move |words| {
            let words = by_word(words).window(minute()).split_late();
            let (minutes, late) = words.aggregate(|w| (w.count(), w.max(|n| *n)));
            let minutes = minutes.map(|pane| (pane.key, pane.value.0, pane.value.1));
            minutes.union(late.map(|rest| ("late".to_owned(), 0, rest)))
        });
        for (second, word, n) in [(1, "mill", 3), (2, "pond", 4), (3, "mill", 5)] {
            test.push(at(second), (word.to_owned(), n));
        }
        test.watermark(at(60));
        test.push(at(4), ("mill".to_owned(), 9));
        let mut found = test.finish();
        found.sort();
        found
    };
    let want = [("late".to_owned(), 0, 9), ("mill".to_owned(), 2, 5), ("pond".to_owned(), 1, 4)];
    assert_eq!(seen(|words| words.keyed(|pair| pair)), want);
    assert_eq!(seen(|words| words.keyed(|(word, n)| (n, (word, n))).unkeyed().keyed(|pair| pair)), want);
    assert_eq!(seen(|words| words.key_by(|(word, _)| word.clone()).unkeyed().keyed(|pair| pair)), want);
    let want = [("even".to_owned(), 1, 4), ("late".to_owned(), 0, 9), ("odd".to_owned(), 2, 5)];
    assert_eq!(seen(|words| words.keyed(|(word, n)| (word.len(), n)).rekey(parity)), want);
}

#[test]
fn a_panic_in_a_function_names_step_source_partition_and_the_exact_offset() {
    let mut test = Job::test(|numbers| numbers.map(|n: i64| 100 / n).filter(|n| *n > 0));
    for n in [5, 4, 0, 2] {
        test.push(at(n), n);
    }
    let fault = test.end().unwrap_err();
    assert_eq!(fault.exit(), Exit::FixJob);
    let text = fault.to_string();
    for part in ["input/map", "divide by zero", "partition 0", "offset 2"] {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}

#[test]
fn a_panic_behind_a_shuffle_names_step_source_and_the_offsets_it_may_come_from() {
    let mut test = Job::test(|numbers| {
        let most = numbers.key_by(|n: &i64| *n % 2).window(minute());
        most.aggregate(|w| w.max(|n| 100 / *n)).map(|pane| pane.value)
    });
    for n in [5, 4, 0, 2] {
        test.push(at(n), n);
    }
    let text = test.end().unwrap_err().to_string();
    for part in ["input/window", "divide by zero", "partition 0", "offset"] {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}

/// Parses words as numbers, in two partitions, on two workers.
fn parse(policy: impl for<'s> Fn(&Flow<'s>) + Send + Sync + 'static) -> (Result<Ended, Fault>, Vec<i64>, i64) {
    let out = Collected::<i64>::new();
    let state = tempfile::tempdir().unwrap();
    let mut run = Run::new("parse", 1, state.path());
    run.workers = 2;
    let to = out.clone();
    let started = Job::new("parse").start(run, move |flow: &Flow<'_>| {
        policy(flow);
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let words = vec(vec![words(&["1", "2", "drei", "4"]), words(&["5", "6"])]).no_event_time();
        flow.source("words", words).try_map(|word: String| word.parse::<i64>()).sink("numbers", to.sink());
    });
    let running = started.unwrap();
    let metrics = running.metrics().clone();
    let ended = running.join();
    let mut numbers = out.take();
    numbers.sort_unstable();
    (ended, numbers, metrics.total("millpond_skipped_records_total"))
}

#[test]
fn a_refused_record_stops_the_job_and_is_named() {
    let (ended, ..) = parse(|_| {});
    let fault = ended.unwrap_err();
    assert_eq!(fault.exit(), Exit::FixJob);
    let text = fault.to_string();
    for part in ["words/try_map", "words", "partition 0", "offset 2", "invalid digit"] {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}

#[test]
fn a_refused_record_is_skipped_and_counted_where_that_is_asked_for() {
    let (ended, numbers, skipped) = parse(|flow| flow.skip_bad_records());
    assert!(ended.unwrap().finished);
    assert_eq!((numbers, skipped), (vec![1, 2, 4, 5, 6], 1));
}

#[test]
fn a_refused_record_becomes_a_dead_letter_where_that_is_asked_for() {
    let dead = Collected::<DeadLetter>::new();
    let to = dead.clone();
    let (ended, numbers, _) = parse(move |flow| flow.dead_letters("dead", to.sink()));
    assert!(ended.unwrap().finished);
    assert_eq!(numbers, [1, 2, 4, 5, 6]);
    let [letter] = <[DeadLetter; 1]>::try_from(dead.take()).unwrap();
    assert_eq!((letter.step.as_str(), letter.source.as_str()), ("words/try_map", "words"));
    assert_eq!((letter.partition, letter.offset, letter.value.as_deref()), (0, 2, Some(&b"\"drei\""[..])));
}
