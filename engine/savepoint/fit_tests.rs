use super::*;

fn node(id: u32, uid: &str, role: Role) -> Node {
    let kind = if role == Role::Stateful { "window" } else { "node" };
    let shape = |text: &str| serde_json::to_value(Shape::Plain(text.to_owned().into())).unwrap();
    let stateful = role == Role::Stateful;
    Node {
        id,
        uid: uid.into(),
        kind: kind.into(),
        role,
        inputs: id.checked_sub(1).into_iter().collect(),
        settings: if stateful {
            vec![("window".into(), "tumbling 1m".into()), ("aggregate".into(), "count".into())]
        } else {
            vec![("from".into(), uid.into()), ("event time".into(), "5s behind".into())]
        },
        shapes: if stateful { vec![("key".into(), shape("str")), ("partial".into(), shape("u64"))] } else { vec![] },
        notes: vec![],
    }
}

fn plan() -> Plan {
    Plan { nodes: vec![node(0, "in", Role::Source), node(1, "in/window", Role::Stateful), node(2, "out", Role::Sink)] }
}

/// Against the plan as it was, with a function for this shape, and these steps dropped.
fn fit(now: &Plan, takes: &str, drop: &[&str]) -> Result<Fit, String> {
    let taken = |_: &str, shape: &Shape| shape.to_string() == takes;
    let sizes = BTreeMap::from([("in/window".to_owned(), 60_000_000)]);
    let build = Build { plan: now, takes: &taken, sizes: &sizes, tables: BTreeSet::new() };
    Fit::of(&plan().stateful(), &build, &drop.iter().map(|uid| (*uid).to_owned()).collect())
}

fn verdict(now: &Plan, takes: &str, drop: &[&str], uid: &str) -> (Verdict, bool) {
    let fit = fit(now, takes, drop).unwrap();
    (fit.verdict(uid).unwrap(), fit.fits)
}

fn with(node: usize, change: impl FnOnce(&mut Node)) -> Plan {
    let mut plan = plan();
    change(&mut plan.nodes[node]);
    plan
}

fn shape(name: &str, text: &str) -> (String, Value) {
    (name.to_owned(), serde_json::to_value(Shape::Plain(text.to_owned().into())).unwrap())
}

#[test]
fn the_same_plan_keeps_everything() {
    let all = fit(&plan(), "", &[]).unwrap();
    assert!(all.fits && all.refusal().is_none());
    assert!(all.steps.iter().all(|row| row.verdict == Verdict::Kept && row.why.is_empty()), "{all:?}");
}

#[test]
fn another_partial_is_upgraded_where_a_function_takes_the_old_one_and_needs_a_replay_where_none_does() {
    let shaped = with(1, |node| node.shapes[1] = shape("partial", "i64"));
    assert_eq!(verdict(&shaped, "", &[], "in/window"), (Verdict::NeedsReplay, false));
    assert_eq!(verdict(&shaped, "i64", &[], "in/window"), (Verdict::NeedsReplay, false), "that is the new shape");
    assert_eq!(verdict(&shaped, "u64", &[], "in/window"), (Verdict::Upgraded, true));
    // A sum of the same shape is no count.
    let other = with(1, |node| node.settings[1].1 = "sum".into());
    assert_eq!(verdict(&other, "", &[], "in/window"), (Verdict::NeedsReplay, false));
    assert_eq!(verdict(&other, "u64", &[], "in/window"), (Verdict::Upgraded, true));
    assert_eq!(verdict(&plan(), "u64", &[], "in/window"), (Verdict::Kept, true), "nothing is to be upgraded");
}

#[test]
fn windows_keys_and_inputs_that_changed_need_a_replay_whatever_a_function_takes() {
    let windows = with(1, |node| node.settings[0].1 = "tumbling 2m".into());
    let key = with(1, |node| node.shapes[0] = shape("key", "u64"));
    let record = with(1, |node| node.shapes.push(shape("record", "u64")));
    let kind = with(1, |node| node.kind = "aggregate".into());
    for changed in [windows, key, record, kind] {
        assert_eq!(verdict(&changed, "u64", &[], "in/window"), (Verdict::NeedsReplay, false), "{changed:?}");
        assert_eq!(verdict(&changed, "u64", &["in/window"], "in/window"), (Verdict::Dropped, true));
    }
    let input = with(0, |node| node.settings[0].1 = "other".into());
    assert_eq!(verdict(&input, "", &[], "in"), (Verdict::NeedsReplay, false));
    let bound = with(0, |node| node.settings[1].1 = "9s behind".into());
    let fits = fit(&bound, "", &[]).unwrap();
    assert!(fits.fits && fits.steps[0].why.contains("was 5s behind, is now 9s behind"), "{fits:?}");
}

#[test]
fn what_is_gone_is_dropped_on_request_only_and_what_is_new_begins_with_nothing() {
    let renamed = with(1, |node| node.uid = "other".into());
    assert_eq!(verdict(&renamed, "", &[], "in/window"), (Verdict::LeftOver, false));
    let refused = fit(&renamed, "", &[]).unwrap().refusal().unwrap();
    assert!(refused.contains("--drop in/window leaves it behind"), "{refused}");
    let dropped = fit(&renamed, "", &["in/window"]).unwrap();
    assert!(dropped.fits && dropped.verdict("other") == Some(Verdict::New), "{dropped:?}");
    assert!(dropped.steps[1].why.contains("begins with nothing"), "{dropped:?}");
    assert_eq!(dropped.steps.last().unwrap().uid, "in/window", "what is in the plan comes first");
    let unwritten = with(2, |node| node.uid = "elsewhere".into());
    assert_eq!(verdict(&unwritten, "", &[], "out"), (Verdict::Dropped, true), "nothing is kept of a sink");
}

#[test]
fn what_cannot_be_dropped_is_said() {
    let unknown = fit(&plan(), "", &["nothing"]).unwrap_err();
    assert!(unknown.contains("no such step; it has in, in/window"), "{unknown}");
    let source = fit(&plan(), "", &["in"]).unwrap_err();
    assert!(source.contains("the job still reads it"), "{source}");
}

#[test]
fn a_table_says_that_it_is_not_whole() {
    let taken = |_: &str, _: &Shape| false;
    let sizes = BTreeMap::new();
    let build = Build { plan: &plan(), takes: &taken, sizes: &sizes, tables: BTreeSet::from(["out".to_owned()]) };
    let fit = Fit::of(&plan().stateful(), &build, &BTreeSet::new()).unwrap();
    assert!(fit.fits && fit.steps[2].why.contains("only keys that change from here on"), "{fit:?}");
}

#[test]
fn what_goes_on_below_a_new_source_needs_a_replay_and_so_does_what_reads_from_something_else() {
    // The topic as it was, under another name: read from its beginning, everything would be counted twice.
    let renamed = with(0, |node| node.uid = "again".into());
    assert_eq!(verdict(&renamed, "", &["in"], "in/window"), (Verdict::NeedsReplay, false));
    let refused = fit(&renamed, "", &["in"]).unwrap().refusal().unwrap();
    assert!(refused.contains("below the source again, which is new"), "{refused}");
    assert_eq!(verdict(&renamed, "", &["in", "in/window"], "in/window"), (Verdict::Dropped, true));
    let shaped = with(0, |node| node.uid = "again".into());
    let shaped =
        Plan { nodes: [&shaped.nodes[..1], &with(1, |n| n.shapes[1] = shape("partial", "i64")).nodes[1..]].concat() };
    assert_eq!(verdict(&shaped, "u64", &["in"], "in/window"), (Verdict::NeedsReplay, false), "an upgrade too");
    // With a step without state between, and one with state that begins with nothing.
    for (kind, role) in [("map", Role::Step), ("window", Role::Stateful)] {
        let mut between = plan();
        between.nodes[0].uid = "again".into();
        between.nodes.insert(1, Node { kind: kind.into(), ..node(1, "between", role) });
        between.nodes[2] = Node { id: 2, inputs: vec![1], ..between.nodes[2].clone() };
        between.nodes[3] = Node { id: 3, inputs: vec![2], ..between.nodes[3].clone() };
        assert_eq!(verdict(&between, "", &["in"], "in/window"), (Verdict::NeedsReplay, false), "{kind}");
        between.nodes[0].uid = "in".into();
        let stateless = role == Role::Step;
        let want = if stateless { Verdict::Kept } else { Verdict::NeedsReplay };
        assert_eq!(verdict(&between, "", &[], "in/window"), (want, stateless), "{kind}");
    }
    // A second source, and a sink that another step writes to.
    let mut both = plan();
    both.nodes.insert(1, Node { inputs: vec![], ..node(1, "second", Role::Source) });
    both.nodes[2] = Node { id: 2, inputs: vec![0], ..both.nodes[2].clone() };
    both.nodes[3] = Node { id: 3, inputs: vec![2], ..both.nodes[3].clone() };
    assert!(fit(&both, "", &[]).unwrap().fits, "it is above nothing that goes on");
    both.nodes[2].inputs.push(1);
    let fits = fit(&both, "", &[]).unwrap();
    assert!(!fits.fits && fits.refusal().unwrap().contains("below the source second"), "{fits:?}");
    let other = with(2, |node| node.inputs = vec![0]);
    assert_eq!(verdict(&other, "", &[], "out"), (Verdict::New, true), "what it has so far is of another step");
}

#[test]
fn inputs_may_go_when_that_was_asked_for_and_unknown_ones_are_refused() {
    let mut was = plan();
    was.nodes.push(node(3, "second", Role::Source));
    was.nodes[3].inputs.clear();
    was.nodes[1].inputs.push(3);
    let judged = |was: &Plan, drop: &[&str]| {
        let (sizes, now) = (BTreeMap::new(), plan());
        let build = Build { plan: &now, takes: &|_, _| false, sizes: &sizes, tables: BTreeSet::new() };
        let drop = drop.iter().map(|uid| (*uid).to_owned()).collect();
        let steps = was.nodes.iter().map(|node| (node.uid.clone(), node.clone())).collect();
        Fit::of(&steps, &build, &drop).unwrap()
    };
    assert_eq!(judged(&was, &["second"]).verdict("in/window"), Some(Verdict::Kept));
    assert_eq!(judged(&was, &[]).verdict("in/window"), Some(Verdict::NeedsReplay));
    was.nodes[1].inputs = vec![7];
    let unknown = judged(&was, &["second"]);
    assert!(unknown.refusal().unwrap().contains("was not recorded by the release"), "{unknown:?}");
}
