//! The registry in a small world: every interleaving of tools that fence, read, decide, append and act, with a crash between any two steps.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use millpond_state::Timestamp;

use super::*;
use crate::{Exit, OutputReached, Reached};

pub(super) const JOB: &str = "views";

pub(super) fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

pub(super) fn standing(reached: i64) -> Standing {
    let complete = OutputReached { complete: at(reached), beyond: at(reached), ..OutputReached::default() };
    Standing {
        at: at(1_000).micros(),
        state: State::Running,
        lag: Some(0),
        reached: Reached {
            watermark: at(reached),
            newest: at(reached),
            outputs: BTreeMap::from([("out".to_owned(), complete)]),
            ..Reached::default()
        },
        ends: BTreeMap::from([("out".to_owned(), vec![reached.unsigned_abs()])]),
        ..Standing::default()
    }
}

pub(super) fn version(reached: i64) -> Version {
    let output = |name: &str| Output {
        name: name.to_owned(),
        at: name.to_owned(),
        sink: name.to_owned(),
        upsert: false,
        settled: true,
        id: None,
        more: More::new(),
    };
    Version {
        plan: String::new(),
        shapes: BTreeMap::new(),
        build: String::new(),
        binary: String::new(),
        home: String::new(),
        from: "earliest".to_owned(),
        registered: at(1),
        outputs: vec![output("out")],
        standing: standing(reached),
        options: BTreeMap::new(),
        compared: None,
        retiring: false,
        more: More::new(),
    }
}

pub(super) fn three() -> Entry {
    let registered = |entry: Entry, number| entry.register(number, version(50)).unwrap();
    (1..=3).fold(Entry::new(JOB), registered)
}

pub(super) fn gates() -> Gates {
    Gates { compared_within: None, ..Gates::default() }
}

pub(super) fn facts<R>(act: impl FnOnce(&mut Facts<'_>) -> R) -> R {
    with(&BTreeMap::new(), &[], act)
}

/// With what is known of versions besides their words, and those that give no answer.
pub(super) fn with<R>(fresh: &BTreeMap<u32, Standing>, silent: &[u32], act: impl FnOnce(&mut Facts<'_>) -> R) -> R {
    let (silent, mut find) = (silent.iter().copied().collect(), |_: &Output, _| Ok(vec![0]));
    let (now, lead) = (at(1_000), Duration::from_secs(10));
    let before = &BTreeMap::new();
    act(&mut Facts { now, lead, fresh, silent: &silent, before, find: &mut find, ends: &mut |_| Ok(vec![77]) })
}

pub(super) fn promote(entry: &Entry, number: u32, seen: u32) -> Result<Option<Entry>, crate::Fault> {
    facts(|facts| entry.promote(number, Some(seen), &gates(), facts)).map(|decided| decided.entry)
}

/// What a person asks of a tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Wish {
    Promote(u32),
    /// Away from a version.
    Rollback(u32),
    Retire(u32),
    /// The running version 1 says that it has come further.
    Beat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Begin,
    Fenced,
    Delete,
    Forget,
    ForgetFenced,
    Done,
    Told,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Tool {
    wish: Wish,
    step: Step,
    /// Whether the fence is its own, and the entry that it read under it.
    holds: bool,
    read: Vec<u8>,
    crashes: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct World {
    entry: Vec<u8>,
    outputs: BTreeSet<u32>,
    tools: Vec<Tool>,
}

fn parsed(bytes: &[u8]) -> Entry {
    Entry::parse(JOB, bytes).unwrap()
}

impl World {
    /// Every world one step of tool `n` away.
    fn next(&self, n: usize) -> Vec<World> {
        let mut worlds = Vec::new();
        let tool = &self.tools[n];
        if matches!(tool.step, Step::Done | Step::Told) {
            return worlds;
        }
        if tool.crashes > 0 {
            // It dies, and whoever started it starts it again.
            let mut world = self.clone();
            world.tools[n] =
                Tool { step: Step::Begin, crashes: tool.crashes - 1, holds: false, read: Vec::new(), ..tool.clone() };
            worlds.push(world);
        }
        let mut world = self.clone();
        let own = |world: &mut World, step| world.tools[n].step = step;
        match tool.step {
            Step::Begin | Step::Forget => {
                world.tools.iter_mut().for_each(|tool| tool.holds = false);
                world.tools[n].holds = true;
                world.tools[n].read.clone_from(&self.entry);
                own(&mut world, if tool.step == Step::Begin { Step::Fenced } else { Step::ForgetFenced });
            }
            Step::Fenced | Step::ForgetFenced if !tool.holds => {
                // Fenced meanwhile: its write is refused, and it decides anew.
                own(&mut world, if tool.step == Step::Fenced { Step::Begin } else { Step::Forget });
            }
            Step::Fenced => {
                let entry = parsed(&tool.read);
                let decided = match tool.wish {
                    Wish::Promote(number) => promote(&entry, number, 1),
                    Wish::Rollback(leave) => facts(|facts| entry.rollback(leave, facts)).map(|decided| decided.entry),
                    Wish::Beat => Ok(entry.beat(1, standing(70))),
                    Wish::Retire(number) if entry.retired.contains(&number) => Ok(None),
                    Wish::Retire(number) => entry.retire(number).map(Some),
                };
                match decided {
                    Err(fault) => {
                        assert!(matches!(fault.exit(), Exit::Refused | Exit::Usage), "{fault}");
                        own(&mut world, Step::Told);
                    }
                    Ok(next) => {
                        if let Some(next) = next {
                            world.entry = next.bytes();
                            if tool.crashes > 0 {
                                // It is written, and the tool does not learn of that: it decides anew.
                                let mut unknown = world.clone();
                                let (step, crashes, read) = (Step::Begin, tool.crashes - 1, Vec::new());
                                unknown.tools[n] = Tool { step, crashes, holds: false, read, ..tool.clone() };
                                worlds.push(unknown);
                            }
                        }
                        let retires = matches!(tool.wish, Wish::Retire(_));
                        own(&mut world, if retires { Step::Delete } else { Step::Done });
                    }
                }
            }
            Step::Delete => {
                let Wish::Retire(number) = tool.wish else { unreachable!() };
                world.outputs.remove(&number);
                own(&mut world, Step::Forget);
            }
            Step::ForgetFenced => {
                let Wish::Retire(number) = tool.wish else { unreachable!() };
                world.entry = parsed(&tool.read).retired(number).bytes();
                own(&mut world, Step::Done);
            }
            Step::Done | Step::Told => unreachable!(),
        }
        worlds.push(world);
        worlds
    }

    fn check(&self) {
        let entry = parsed(&self.entry);
        let live = entry.live().expect("somebody is live always");
        assert!(!entry.versions[&live].retiring, "the live one is never retired: {entry:?}");
        for leg in &entry.line {
            assert!(entry.versions.contains_key(&leg.version), "the line names versions that are there: {entry:?}");
            let gone = !self.outputs.contains(&leg.version);
            assert!(!gone || entry.versions[&leg.version].retiring, "only what is being retired has lost its outputs");
        }
        let froms: Vec<_> = entry.line.iter().map(|leg| leg.from("out")).collect();
        assert!(froms.is_sorted(), "{froms:?}");
        for pair in entry.line.windows(2) {
            assert_ne!(pair[0].version, pair[1].version, "{entry:?}");
        }
        for number in &entry.retired {
            assert!(!self.outputs.contains(number) && !entry.versions.contains_key(number));
        }
    }
}

fn explore(begin: &Entry, wishes: &[Wish], crashes: u8) -> Vec<World> {
    let tools =
        wishes.iter().map(|wish| Tool { wish: *wish, step: Step::Begin, holds: false, read: Vec::new(), crashes });
    let outputs = begin.versions.keys().copied().collect();
    let first = World { entry: begin.bytes(), outputs, tools: tools.collect() };
    let (mut seen, mut queue, mut ends) = (BTreeSet::from([first.clone()]), VecDeque::from([first]), Vec::new());
    while let Some(world) = queue.pop_front() {
        world.check();
        let next: Vec<_> = (0..world.tools.len()).flat_map(|n| world.next(n)).collect();
        if next.is_empty() {
            ends.push(world);
            continue;
        }
        for mut world in next {
            // How often it was written tells no two worlds apart.
            world.entry = Entry { serial: 0, ..parsed(&world.entry) }.bytes();
            for tool in &mut world.tools {
                if !tool.holds {
                    tool.read.clear();
                }
            }
            if seen.insert(world.clone()) {
                queue.push_back(world);
            }
        }
    }
    assert!(!ends.is_empty());
    ends
}

#[test]
fn of_two_people_who_promote_at_once_one_wins_and_the_other_is_told() {
    for world in explore(&three(), &[Wish::Promote(2), Wish::Promote(3)], 1) {
        let live = parsed(&world.entry).live().unwrap();
        let steps: Vec<_> = world.tools.iter().map(|tool| tool.step).collect();
        match live {
            2 => assert_eq!(steps, [Step::Done, Step::Told]),
            3 => assert_eq!(steps, [Step::Told, Step::Done]),
            other => panic!("{other} is live"),
        }
    }
}

#[test]
fn a_retirement_that_was_broken_off_anywhere_is_gone_on_with_and_ends_once() {
    let promoted = promote(&three(), 2, 1).unwrap().unwrap();
    let reached = promoted.beat(1, standing(70)).unwrap();
    for world in explore(&reached, &[Wish::Retire(1), Wish::Retire(1), Wish::Beat], 1) {
        let entry = parsed(&world.entry);
        assert_eq!((entry.live(), entry.retired.contains(&1)), (Some(2), true));
        assert_eq!(entry.line.len(), 1);
        assert_eq!(world.outputs, BTreeSet::from([2, 3]));
    }
}

#[test]
fn promoting_and_retiring_and_going_back_at_once_never_leaves_the_line_without_its_version() {
    for wishes in [
        [Wish::Promote(2), Wish::Retire(2), Wish::Rollback(2)],
        [Wish::Promote(2), Wish::Retire(1), Wish::Beat],
        [Wish::Rollback(2), Wish::Retire(3), Wish::Promote(3)],
    ] {
        explore(&three(), &wishes, 1);
        explore(&promote(&three(), 2, 1).unwrap().unwrap(), &wishes, 1);
    }
}

#[test]
fn going_back_twice_or_without_knowing_that_it_was_done_is_one_step() {
    let third = promote(&promote(&three(), 2, 1).unwrap().unwrap(), 3, 2).unwrap().unwrap();
    assert_eq!(third.ways(), [1, 2, 3]);
    for wishes in [vec![Wish::Rollback(3), Wish::Beat], vec![Wish::Rollback(3), Wish::Rollback(3)]] {
        for world in explore(&third, &wishes, 2) {
            let entry = parsed(&world.entry);
            assert_eq!(entry.live(), Some(2), "{entry:?}");
            assert!(world.tools.iter().all(|tool| tool.step == Step::Done), "nobody is told that it failed");
        }
    }
    let unknown = facts(|facts| third.rollback(9, facts)).unwrap_err();
    assert_eq!(unknown.exit(), Exit::Usage);
}

#[test]
fn a_switch_lies_past_both_versions_and_is_taken_back_until_somebody_passed_it() {
    let entry = promote(&three(), 2, 1).unwrap().unwrap();
    assert_eq!(entry.line[1].from("out"), at(60).plus_micros(1_000));
    let back = facts(|facts| entry.rollback(2, facts)).unwrap().entry.unwrap();
    assert_eq!((back.live(), back.line.len()), (Some(1), 1));
    let passed = entry.beat(1, standing(70)).unwrap();
    let back = facts(|facts| passed.rollback(2, facts)).unwrap().entry.unwrap();
    assert_eq!((back.live(), back.line.len()), (Some(1), 3));
    let again = facts(|facts| back.rollback(2, facts)).unwrap();
    assert_eq!(again.entry, None, "asked twice, it does not go forward again");
    assert!(promote(&back, 2, 1).unwrap().is_some(), "and promoting again works");
    assert_eq!(promote(&entry, 2, 1).unwrap(), None, "it is live already");
}

#[test]
fn every_gate_holds() {
    let entry = three();
    let try_it = |entry: &Entry, gates: &Gates| facts(|facts| entry.promote(2, Some(1), gates, facts));
    let told = |entry: &Entry, gates: &Gates, word: &str| {
        let fault = try_it(entry, gates).unwrap_err();
        assert_eq!(fault.exit(), Exit::Refused);
        assert!(fault.to_string().contains(word), "{fault}");
    };
    told(&entry, &Gates::default(), "was not compared");
    let change = |change: &dyn Fn(&mut Version)| {
        let mut entry = entry.clone();
        change(entry.versions.get_mut(&2).unwrap());
        entry
    };
    told(&change(&|v| v.standing.lag = Some(2_000)), &gates(), "is behind: 2000 records");
    told(&change(&|v| v.standing.lag = None), &gates(), "not known yet");
    told(&change(&|v| v.standing.at = at(900).micros()), &gates(), "heard of last");
    told(&change(&|v| v.standing.state = State::Stopped), &gates(), "does not run");
    told(&change(&|v| v.standing.state = State::Finished), &gates(), "the line would end");
    told(&change(&|v| v.retiring = true), &gates(), "being retired");
    let compared = Compared {
        with: 1,
        at: at(990),
        until: at(50),
        rows: 9,
        differences: 3,
        passed: true,
        partial: None,
        more: More::new(),
    };
    let with = |compared: Compared| change(&move |v: &mut Version| v.compared = Some(compared.clone()));
    assert!(try_it(&with(compared.clone()), &Gates::default()).is_ok());
    told(&with(Compared { passed: false, ..compared.clone() }), &Gates::default(), "differed from version 1 in 3 rows");
    let partial = Some("out was not looked at".to_owned());
    told(&with(Compared { partial, ..compared.clone() }), &Gates::default(), "only in part: out was not looked at");
    told(&with(Compared { with: 3, ..compared.clone() }), &Gates::default(), "was compared with version 3");
    told(&with(Compared { at: at(-90_000), ..compared }), &Gates::default(), "too long ago");
}

#[test]
fn the_line_takes_nothing_of_a_version_from_before_its_savepoint() {
    let since = |entry: &mut Entry, number: u32, secs| {
        let output = OutputReached { since: at(secs), complete: at(50), beyond: at(50), ..OutputReached::default() };
        let standing = &mut entry.versions.get_mut(&number).unwrap().standing;
        standing.reached.outputs.insert("out".to_owned(), output);
    };
    let from = |entry: &Entry| entry.line.last().unwrap().from("out");
    let mut entry = three();
    since(&mut entry, 2, 30);
    assert_eq!(
        from(&promote(&entry, 2, 1).unwrap().unwrap()),
        Timestamp::from_millis(60_001),
        "beyond all that was written is beyond it"
    );
    since(&mut entry, 2, 400);
    assert_eq!(from(&promote(&entry, 2, 1).unwrap().unwrap()), at(400), "the old version writes up to there");
    // Which it cannot when it does not run.
    entry.versions.get_mut(&1).unwrap().standing.state = State::Stopped;
    let refused = promote(&entry, 2, 1).unwrap_err();
    assert_eq!(refused.exit(), Exit::Refused);
    assert!(refused.to_string().contains("between the two the line would have a gap"), "{refused}");
    since(&mut entry, 2, 50);
    assert_eq!(from(&promote(&entry, 2, 1).unwrap().unwrap()), at(50), "it goes on where the other one stopped");
    // What lacks something for ever.
    let mut never = entry.clone();
    let standing = &mut never.versions.get_mut(&2).unwrap().standing;
    standing.reached.outputs.insert("out".to_owned(), OutputReached { since: Timestamp::MAX, ..Default::default() });
    for state in [State::Running, State::Stopped, State::Finished] {
        never.versions.get_mut(&1).unwrap().standing.state = state;
        let refused = promote(&never, 2, 1).unwrap_err().to_string();
        assert!(refused.contains("never known to be whole") && refused.contains("`replay` a version"), "{refused}");
    }
    // One that has finished has everything.
    since(&mut entry, 2, 400);
    entry.versions.get_mut(&1).unwrap().standing.state = State::Finished;
    assert_eq!(from(&promote(&entry, 2, 1).unwrap().unwrap()), at(400));
}
