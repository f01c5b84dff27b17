//! Switches of versions that do not run, of several outputs, of outputs without windows; and words of runs that are over.

use std::collections::BTreeMap;

use super::model_tests::{at, facts, gates, promote, standing, three, version, with};
use super::*;
use crate::{Exit, OutputReached};

/// As `standing`, of an output that has written beyond what it is complete up to.
fn ahead(complete: i64, beyond: i64) -> Standing {
    let mut standing = standing(beyond);
    let reached = OutputReached { complete: at(complete), beyond: at(beyond), ..OutputReached::default() };
    standing.reached.outputs.insert("out".to_owned(), reached);
    standing
}

fn dead(standing: Standing) -> Standing {
    Standing { state: State::Stopped, ..standing }
}

/// Three versions whose output has no windows.
fn unsettled() -> Entry {
    let mut entry = three();
    entry.versions.values_mut().for_each(|version| version.outputs[0].settled = false);
    entry
}

fn decide(
    entry: &Entry,
    number: u32,
    fresh: &BTreeMap<u32, Standing>,
    silent: &[u32],
) -> Result<Decided, crate::Fault> {
    with(fresh, silent, |facts| entry.promote(number, entry.live(), &gates(), facts))
}

#[test]
fn readers_pass_a_version_that_stopped_ahead_of_its_watermark_once_they_have_read_it() {
    let stopped = BTreeMap::from([(1, dead(ahead(47, 52)))]);
    let entry = decide(&unsettled(), 2, &stopped, &[]).unwrap().entry.unwrap();
    let turn = &entry.line[1].outputs["out"];
    assert_eq!((turn.from, turn.ends.as_deref()), (at(52), Some(&[77][..])));
    assert!(!entry.waits(1, "out", turn), "no word of it will ever come");
    assert!(!entry.may_leave("out", 1, (turn.from, 1), &[76]));
    assert!(entry.may_leave("out", 1, (turn.from, 1), &[77]));
    assert!(entry.retire(1).is_ok());
    assert!(!entry.untouched(), "a reader may have passed");
}

#[test]
fn the_line_does_not_wait_for_a_version_that_died_for_any_of_its_outputs() {
    let mut begun = three();
    for version in begun.versions.values_mut() {
        let other = Output { name: "other".to_owned(), sink: "other".to_owned(), ..version.outputs[0].clone() };
        version.outputs.push(other);
        let reached = version.standing.reached.outputs["out"].clone();
        version.standing.reached.outputs.insert("other".to_owned(), reached);
        version.standing.ends.insert("other".to_owned(), vec![9]);
    }
    let entry = promote(&begun, 2, 1).unwrap().unwrap();
    let switch = at(60).plus_micros(1_000);
    assert_eq!([entry.line[1].from("out"), entry.line[1].from("other")], [switch; 2]);
    // One output passes, and then the version dies.
    let mut word = entry.versions[&1].standing.clone();
    word.reached.outputs.insert("other".to_owned(), OutputReached { complete: at(61), ..Default::default() });
    word.reached
        .outputs
        .insert("out".to_owned(), OutputReached { complete: at(55), beyond: at(54), ..Default::default() });
    let entry = entry.beat(1, word.clone()).unwrap();
    let runs = decide(&entry, 2, &BTreeMap::new(), &[]).unwrap();
    assert_eq!(runs.entry, None, "as long as it runs it is waited for: {:?}", runs.words);
    let stopped = BTreeMap::from([(1, dead(word))]);
    let hastened = decide(&entry, 2, &stopped, &[]).unwrap().entry.expect("one output waits");
    assert_eq!((hastened.line[1].from("out"), hastened.line[1].from("other")), (at(55), switch));
    assert!(hastened.may_leave("out", 1, (at(55), 1), &[77]));
    assert_eq!(decide(&hastened, 2, &stopped, &[]).unwrap().entry, None, "asked again, nothing is left to do");
    assert!(hastened.retire(1).is_ok());
}

#[test]
fn a_version_elsewhere_that_is_not_heard_of_is_taken_for_dead() {
    let entry = promote(&three(), 2, 1).unwrap().unwrap();
    let old = Standing { at: at(900).micros(), ..standing(55) };
    let entry = entry.beat(1, old).unwrap();
    let hastened = decide(&entry, 2, &BTreeMap::new(), &[]).unwrap().entry.expect("it is not waited for");
    let turn = &hastened.line[1].outputs["out"];
    assert_eq!((turn.from, turn.ends.as_deref()), (at(55), Some(&[77][..])));
    // Readers that have rows which it wrote after its last word pass behind them.
    assert!(!hastened.may_leave("out", 1, (at(58), 1), &[76]));
    assert!(hastened.may_leave("out", 1, (at(58), 1), &[77]));
    assert!(!hastened.may_leave("out", 1, (at(58), 1), &[78]), "it runs again, and its word is waited for");
    assert!(hastened.may_leave("out", 1, (at(55), 1), &[78]));
}

#[test]
fn going_back_from_a_version_whose_state_cannot_be_read_is_possible() {
    let entry = promote(&three(), 2, 1).unwrap().unwrap();
    let passed = entry.beat(1, standing(70)).unwrap().beat(2, standing(80)).unwrap();
    let back = with(&BTreeMap::new(), &[2], |facts| passed.rollback(2, facts)).unwrap().entry.unwrap();
    let turn = &back.line[2].outputs["out"];
    assert_eq!((back.live(), turn.from, turn.ends.is_some()), (Some(1), at(80), true));
    let away = decide(&passed, 3, &BTreeMap::new(), &[1, 2]).unwrap().entry.unwrap();
    assert_eq!((away.live(), away.line[2].from("out")), (Some(3), at(80)));
}

#[test]
fn a_version_that_stopped_between_two_workers_is_left_only_to_go_back() {
    let entry = promote(&three(), 2, 1).unwrap().unwrap().beat(1, standing(70)).unwrap();
    let torn = BTreeMap::from([(2, dead(ahead(80, 90)))]);
    let refused = decide(&entry, 3, &torn, &[]).unwrap_err();
    assert_eq!(refused.exit(), Exit::Refused);
    assert!(refused.to_string().contains("the line would have a gap; start version 2 again"), "{refused}");
    let back = with(&torn, &[], |facts| entry.rollback(2, facts)).unwrap();
    assert!(back.words.iter().any(|word| word.contains("lack the others")), "{:?}", back.words);
    assert_eq!(back.entry.unwrap().line[2].from("out"), at(80));
}

#[test]
fn going_back_to_a_version_that_does_not_run_is_told() {
    let entry = promote(&three(), 2, 1).unwrap().unwrap().beat(1, dead(standing(70))).unwrap();
    let back = facts(|facts| entry.rollback(2, facts)).unwrap();
    assert!(back.words.iter().any(|word| word.contains("version 1 does not run")), "{:?}", back.words);
}

#[test]
fn nothing_goes_back_to_what_was_gone_back_from_before_a_retirement() {
    let beat = |entry: Entry| entry.beat(1, standing(70)).unwrap().beat(2, standing(70)).unwrap();
    let back = beat(promote(&three(), 2, 1).unwrap().unwrap());
    let back = facts(|facts| back.rollback(2, facts)).unwrap().entry.unwrap();
    let third = promote(&back, 3, 1).unwrap().unwrap();
    let third = third.beat(1, standing(200)).unwrap().beat(2, standing(200)).unwrap();
    assert_eq!(third.ways(), [1, 3]);
    let folded = third.retire(1).unwrap().retired(1);
    assert_eq!(folded.line.iter().map(|leg| leg.version).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(folded.ways(), [3]);
    let refused = facts(|facts| folded.rollback(3, facts)).unwrap_err();
    assert!(refused.to_string().contains("nothing to go back to"), "{refused}");
}

#[test]
fn switches_lie_on_whole_milliseconds_where_nothing_is_lost() {
    let micros = |micros| at(52).plus_micros(micros);
    let reached = |complete, beyond| OutputReached { complete, beyond, ..OutputReached::default() };
    let stopped = |output| {
        let mut standing = dead(standing(50));
        standing.reached.outputs.insert("out".to_owned(), output);
        BTreeMap::from([(1, standing)])
    };
    let from = |entry: &Entry, fresh| decide(entry, 2, &fresh, &[]).unwrap().entry.unwrap().line[1].from("out");
    assert_eq!(from(&three(), stopped(reached(micros(1), at(50)))), at(52), "nothing below it is lacking");
    assert_eq!(from(&unsettled(), stopped(reached(at(50), micros(1)))), micros(1_000), "nothing above it was written");
    let mut saved = three();
    let mut begins = |since| {
        let outputs = &mut saved.versions.get_mut(&2).unwrap().standing.reached.outputs;
        outputs.insert("out".to_owned(), OutputReached { since, ..reached(at(50), at(50)) });
        saved.clone()
    };
    assert_eq!(from(&begins(micros(1)), stopped(reached(micros(1), at(50)))), micros(1), "there is none between");
    assert_eq!(from(&begins(micros(1)), stopped(reached(micros(1_500), at(50)))), micros(1_000));
    assert!(decide(&begins(micros(2)), 2, &stopped(reached(micros(1), at(50))), &[]).is_err());
}

#[test]
fn a_run_that_was_fenced_has_nothing_to_say_any_more() {
    let run = |run: &str, epoch, reached| Standing { run: run.to_owned(), epoch, ..standing(reached) };
    let entry = three().beat(1, run("a", 7, 60)).is_none();
    assert!(!entry, "a first run is heard");
    let mut first = version(50);
    first.standing.run = "a".to_owned();
    let entry = three().register(1, first.clone()).unwrap().beat(1, run("a", 7, 60)).unwrap();
    first.standing.run = "b".to_owned();
    let taken = entry.register(1, first).unwrap();
    assert_eq!(taken.beat(1, dead(run("a", 7, 60))), None, "it was replaced");
    let went_on = taken.beat(1, run("b", 7, 60)).unwrap().beat(1, run("b", 9, 90)).unwrap();
    assert_eq!(went_on.beat(1, dead(run("a", 8, 70))), None);
    let fresh = BTreeMap::from([(1, dead(run("a", 8, 70)))]);
    let decided = decide(&went_on, 2, &fresh, &[]).unwrap().entry.unwrap();
    assert_eq!(decided.versions[&1].standing.run, "b", "nor by what was found out earlier");
    assert!(went_on.beat(1, run("c", 10, 95)).is_some(), "one that could not register, and has committed more");
}

#[test]
fn the_last_word_of_a_run_that_another_one_went_on_from_does_not_win() {
    let run = |run: &str, life: &str, epoch, reached| {
        let (run, life) = (run.to_owned(), life.to_owned());
        Standing { run, life, epoch, ..standing(reached) }
    };
    let taken = |entry: &Entry, own: Standing| {
        let version = Version { standing: own, ..version(50) };
        entry.register(1, version).unwrap()
    };
    let known = taken(&three(), run("a", "0 a", 0, 0)).beat(1, run("a", "0 a", 5, 60)).unwrap();
    // What `a` committed after its last word is what `b` begins with.
    let gone_on = taken(&known, run("b", "0 a", 7, 60));
    assert_eq!(gone_on.beat(1, dead(run("a", "0 a", 7, 70))), None);
    let said = gone_on.beat(1, run("b", "0 a", 7, 70)).expect("it has the word before it has committed anything");
    assert_eq!(said.versions[&1].standing.state, State::Running);
    // A new life may begin with smaller epochs.
    let anew = taken(&known, run("c", "0 c", 0, 0));
    assert_eq!(anew.beat(1, dead(run("a", "0 a", 9, 70))), None);
    assert!(anew.beat(1, run("c", "0 c", 1, 10)).is_some());
    assert!(gone_on.beat(1, run("d", "0 a", 8, 80)).is_some(), "one that could not register, and has committed more");
}

#[test]
fn where_readers_may_miss_rows_of_a_version_that_gives_no_answer_it_is_said() {
    let said = |complete, beyond, ends: u64| {
        let mut entry = three();
        let word = Standing { ends: BTreeMap::from([("out".to_owned(), vec![ends])]), ..ahead(complete, beyond) };
        entry = entry.beat(1, word).unwrap();
        decide(&entry, 2, &BTreeMap::new(), &[1]).unwrap().words.join("\n")
    };
    assert!(said(47, 46, 77).contains("has written nothing since"), "{}", said(47, 46, 77));
    for told in [said(47, 46, 70), said(47, 52, 77)] {
        assert!(told.contains("complete up to") && told.contains("lack others from between"), "{told}");
    }
}

#[test]
fn what_a_later_release_says_beside_all_that_is_known_stays() {
    let mut stopped = ahead(50, 50);
    stopped.state = State::Stopped;
    let entry = decide(&three(), 2, &BTreeMap::from([(1, stopped)]), &[]).unwrap().entry.unwrap();
    let compared = Compared {
        with: 1,
        at: at(990),
        until: at(50),
        rows: 9,
        differences: 0,
        passed: true,
        partial: None,
        more: More::new(),
    };
    let entry = entry.compared(2, compared).unwrap();
    // Every object there is gets a member that nobody knows.
    fn mark(value: &mut serde_json::Value, marked: &mut usize) {
        // By number, by name, by step: in these every member is one of them.
        match value {
            serde_json::Value::Object(object) => {
                object.values_mut().for_each(|value| mark(value, marked));
                let keyed = object.values().all(|value| value.is_object() || value.is_array());
                if !keyed {
                    object.insert("later".to_owned(), serde_json::json!({ "than": 1 }));
                    *marked += 1;
                }
            }
            serde_json::Value::Array(values) => values.iter_mut().for_each(|value| mark(value, marked)),
            _ => {}
        }
    }
    let mut value: serde_json::Value = serde_json::from_slice(&entry.bytes()).unwrap();
    let mut marked = 0;
    mark(&mut value, &mut marked);
    assert!(marked >= 3 * 5 + 4, "{marked}: {value}");
    let read = Entry::parse("views", &serde_json::to_vec(&value).unwrap()).unwrap();
    let written: serde_json::Value = serde_json::from_slice(&read.bytes()).unwrap();
    assert_eq!(written, value);
    // And a decision keeps it, as does a version of an earlier build that starts again.
    let went_on = read.register(3, version(50)).unwrap().retire(1).unwrap();
    let kept: serde_json::Value = serde_json::from_slice(&went_on.bytes()).unwrap();
    for pointer in
        ["/later", "/line/0/later", "/line/1/outputs/out/later", "/versions/3/later", "/versions/2/compared/later"]
    {
        assert!(kept.pointer(pointer).is_some(), "{pointer} in {kept}");
    }
}

#[test]
fn a_version_whose_commits_wait_is_not_promoted_but_for_a_slow_one() {
    let waits = |number: u32, since| {
        let mut entry = three();
        let standing = &mut entry.versions.get_mut(&number).unwrap().standing;
        (standing.waiting, standing.waiting_since) = (Some("the disk is full".to_owned()), Some(at(since).micros()));
        decide(&entry, 2, &BTreeMap::new(), &[])
    };
    let refused = waits(2, 990).unwrap_err();
    assert_eq!(refused.exit(), Exit::Refused);
    let said = refused.to_string();
    assert!(said.contains("has not committed since 1970-01-01T00:16:30Z, and waits: the disk is full"), "{said}");
    assert!(waits(2, 997).is_ok(), "it may be slow");
    let left = waits(1, 990).unwrap();
    assert!(left.words[0].contains("the disk is full; readers go over once it goes on"), "{:?}", left.words);
}

#[test]
fn readers_begin_where_a_version_ended_before_it_was_asked_when_nothing_of_the_switch_was_written_by_then() {
    let starts = |fresh: Option<Standing>, before: &BTreeMap<(u32, String), Vec<u64>>| {
        let fresh: BTreeMap<_, _> = fresh.into_iter().map(|standing| (2, standing)).collect();
        let decided = with(&fresh, &[], |facts| {
            let mut facts = Facts { before, find: &mut *facts.find, ends: &mut *facts.ends, ..*facts };
            three().promote(2, Some(1), &gates(), &mut facts)
        });
        decided.unwrap().entry.unwrap().line[1].outputs["out"].starts.clone()
    };
    let known = BTreeMap::from([((2, "out".to_owned()), vec![40])]);
    assert_eq!(starts(Some(standing(50)), &known), [40]);
    assert_eq!(starts(Some(standing(50)), &BTreeMap::new()), [0], "nobody has looked");
    assert_eq!(starts(None, &known), [0], "its word may be older than that");
    // A record from the far future has left a row beyond the switch, which lies somewhere before.
    let mut far = standing(50);
    let reached = OutputReached { complete: at(50), beyond: at(9_000), ..OutputReached::default() };
    far.reached.outputs.insert("out".to_owned(), reached);
    assert_eq!(starts(Some(far), &known), [0]);
    let mut silent = standing(50);
    silent.reached.outputs.clear();
    assert_eq!(starts(Some(silent), &known), [0], "it says nothing of the output");
}

#[test]
fn a_version_that_readers_of_any_output_need_is_not_retired_before_it_has_passed_or_stopped() {
    let entry = promote(&unsettled(), 2, 1).unwrap().unwrap();
    let refused = entry.retire(1).unwrap_err();
    assert_eq!(refused.exit(), Exit::Refused);
    assert!(refused.to_string().contains("readers of out still take version 1"), "{refused}");
    assert!(entry.beat(1, standing(70)).unwrap().retire(1).is_ok());
    let stopped = BTreeMap::from([(1, dead(standing(55)))]);
    assert!(decide(&entry, 2, &stopped, &[]).unwrap().entry.unwrap().retire(1).is_ok());
}
