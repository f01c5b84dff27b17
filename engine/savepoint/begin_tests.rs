use millpond_state::store::{CheckpointId, FiredRun, PartitionState, RunId, SourceState};

use super::super::Build;
use super::*;
use crate::plan::Node;
use crate::run::reached::{reached, savepoint};

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn node(id: u32, uid: &str, role: Role, inputs: &[u32]) -> Node {
    let (settings, shapes, notes) = (vec![], vec![], vec![]);
    Node { id, uid: uid.into(), kind: "window".into(), role, inputs: inputs.into(), settings, shapes, notes }
}

fn plan() -> Plan {
    let nodes = vec![
        node(0, "in", Role::Source, &[]),
        node(1, "sums", Role::Stateful, &[0]),
        node(2, "out", Role::Sink, &[1]),
        node(3, "copies", Role::Sink, &[0]),
    ];
    Plan { nodes }
}

fn saved() -> Description {
    let mut saved = super::super::description::tests::description();
    let partition = |partition| PartitionState {
        partition,
        next: 40,
        watermark: at(70),
        newest: at(75),
        end: Some(90),
        ..PartitionState::default()
    };
    let state = SourceState { partitions: vec![partition(0), partition(1)], policy: "earliest".into() };
    saved.sources.insert("in".into(), state);
    saved.fired.insert("sums".into(), vec![FiredRun { from: 0, to: 1024, watermark: at(70) }]);
    saved.steps = plan().stateful();
    let output = |complete, beyond| OutputReached { complete: at(complete), beyond: at(beyond), ..Default::default() };
    saved.reached = Reached {
        watermark: at(70),
        newest: at(75),
        outputs: [("out".to_owned(), output(60, 65)), ("copies".to_owned(), output(70, 76))].into(),
        ..Reached::default()
    };
    saved
}

fn begun(saved: &Description, plan: &Plan, drop: &[&str], until_end: bool) -> Result<Manifest, String> {
    begun_with(saved, plan, &[("sums", 60_000_000)], drop, until_end)
}

fn begun_with(
    saved: &Description,
    plan: &Plan,
    sizes: &[(&str, i64)],
    drop: &[&str],
    until_end: bool,
) -> Result<Manifest, String> {
    let sizes = sizes.iter().map(|(uid, size)| ((*uid).to_owned(), *size)).collect();
    let build = Build { plan, takes: &|_, _| false, sizes: &sizes, tables: BTreeSet::new() };
    let fit = Fit::of(&saved.steps, &build, &drop.iter().map(|uid| (*uid).to_owned()).collect()).unwrap();
    assert!(fit.fits, "{fit:?}");
    let mut manifest = Manifest::new(CheckpointId { run: RunId::new(9), epoch: 0 });
    begin(saved, &fit, plan, &sizes, &BTreeSet::from(["in".to_owned()]), until_end, &mut manifest)?;
    Ok(manifest)
}

#[test]
fn it_goes_on_where_the_inputs_stood_with_ends_of_its_own() {
    let manifest = begun(&saved(), &plan(), &[], false).unwrap();
    let partitions = &manifest.sources["in"].partitions;
    assert!(partitions.iter().all(|saved| saved.next == 40 && saved.watermark == at(70) && saved.end.is_none()));
    assert_eq!(manifest.sources["in"].policy, "savepoint views@1 0000000000000007-12");
    assert_eq!(savepoint(&manifest), Some("views@1 0000000000000007-12"));
    assert_eq!(manifest.fired["sums"][0].watermark, at(70));
}

#[test]
fn an_output_is_whole_from_behind_everything_that_was_written() {
    let outputs = reached(&begun(&saved(), &plan(), &[], false).unwrap()).outputs;
    assert_eq!((outputs["out"].since, outputs["out"].complete), (at(65), at(60)), "one worker had fired further");
    assert_eq!(outputs["out"].beyond, Timestamp::MIN, "this version has written nothing");
    assert_eq!(outputs["copies"].since, at(76));
}

#[test]
fn what_begins_with_nothing_makes_outputs_whole_only_behind_the_last_window_that_was_open() {
    let manifest = begun(&saved(), &plan(), &["sums"], false).unwrap();
    assert!(manifest.fired.is_empty(), "what stays behind has not fired here");
    let outputs = reached(&manifest).outputs;
    // A record of 76 s less a microsecond was read: one window may begin with it, and its row is of its last microsecond.
    let of_last_window = at(76).plus_micros(-1 + 60_000_000 - 1);
    assert_eq!(outputs["out"].since, of_last_window.plus_micros(1));
    assert_eq!(outputs["copies"].since, at(76));
    let day = begun_with(&saved(), &plan(), &[("sums", 86_400_000_000)], &["sums"], false).unwrap();
    assert!(reached(&day).outputs["out"].since > at(86_400), "a window's size counts");
}

#[test]
fn below_a_session_a_count_or_a_total_that_begins_with_nothing_no_row_is_known_to_be_whole() {
    let outputs = reached(&begun_with(&saved(), &plan(), &[], &["sums"], false).unwrap()).outputs;
    assert!(outputs["out"].is_never_whole() && !outputs["copies"].is_never_whole());
    let kept = reached(&begun_with(&saved(), &plan(), &[], &[], false).unwrap()).outputs;
    assert_eq!(kept["out"].since, at(65), "it begins with what it had");
}

#[test]
fn what_goes_on_below_a_step_that_begins_with_nothing_lacks_what_that_one_lacks() {
    let below = |mut plan: Plan| {
        plan.nodes[2].inputs = vec![4];
        plan.nodes.insert(2, node(4, "hours", Role::Stateful, &[1]));
        plan.nodes.iter_mut().zip(0..).for_each(|(node, id)| node.id = id);
        plan.nodes[3].inputs = vec![2];
        plan
    };
    let plan = below(plan());
    let mut saved = saved();
    saved.steps = plan.stateful();
    let sizes = [("sums", 60_000_000), ("hours", 3_600_000_000)];
    let whole = |sizes: &[(&str, i64)], drop: &[&str]| {
        reached(&begun_with(&saved, &plan, sizes, drop, false).unwrap()).outputs["out"].since
    };
    assert_eq!(whole(&sizes, &["sums"]), at(76 + 60 + 3_600).plus_micros(-2), "both");
    assert_eq!(whole(&sizes, &["hours"]), at(76 + 3_600).plus_micros(-1));
    assert_eq!(whole(&sizes[..1], &["sums"]), Timestamp::MAX, "such as a total of minutes");
    assert_eq!(whole(&sizes, &[]), at(65));
}

#[test]
fn a_new_sink_is_whole_only_behind_all_that_was_read() {
    let mut plan = plan();
    plan.nodes.push(node(4, "more", Role::Sink, &[0]));
    let mut saved = saved();
    saved.reached.outputs.clear();
    assert_eq!(reached(&begun(&saved, &plan, &[], false).unwrap()).outputs["more"].since, at(75).plus_micros(1));
}

#[test]
fn a_partition_that_had_ended_ends_again_and_only_in_a_run_that_ends() {
    let mut saved = saved();
    saved.sources.get_mut("in").unwrap().partitions[0].finished = true;
    let refused = begun(&saved, &plan(), &[], false).unwrap_err();
    assert!(refused.contains("start it with --until-end"), "{refused}");
    let manifest = begun(&saved, &plan(), &[], true).unwrap();
    assert!(manifest.sources["in"].partitions.iter().all(|saved| saved.end == Some(90)), "the ends are those of then");
}
