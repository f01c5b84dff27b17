//! Whether a savepoint's state fits a plan: decided step by step, purely, before anything starts.
//!
//! The state of a step may be taken when it means the same: the same kind of step, the same windows, the same key, the same shape. A
//! changed aggregate may go on when the step says how it takes the old state ([`Upgrade`](super::Upgrade)). Everything else would give results
//! that are neither the old job's nor the new one's, and needs a replay.

use std::collections::{BTreeMap, BTreeSet};

use millpond_state::Shape;
use serde::Serialize;
use serde_json::Value;

use crate::plan::{Node, Plan, Role};

/// What becomes of a step of the plan, or of a savepoint's step that is in the plan no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// It goes on with its state, or its positions.
    Kept,
    /// It goes on with its state, which its function has turned into the new shape.
    Upgraded,
    /// Its state stays behind, as was asked for.
    Dropped,
    /// It was not in the savepoint, and begins with nothing.
    New,
    /// It is in the savepoint and not in the plan, and nobody asked to drop it.
    LeftOver,
    /// Its state does not mean what the plan takes it for.
    NeedsReplay,
}

impl Verdict {
    /// For people.
    #[must_use]
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Verdict::Kept => "kept",
            Verdict::Upgraded => "upgraded",
            Verdict::Dropped => "dropped",
            Verdict::New => "new",
            Verdict::LeftOver => "left over",
            Verdict::NeedsReplay => "needs a replay",
        }
    }

    const fn is_refused(self) -> bool {
        matches!(self, Verdict::LeftOver | Verdict::NeedsReplay)
    }
}

/// A step and its verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Row {
    /// The step.
    pub uid: String,
    /// Its kind.
    pub kind: String,
    /// What becomes of it.
    pub verdict: Verdict,
    /// Why, or what to know; empty where there is nothing to say.
    pub why: String,
}

/// How a savepoint fits a plan, step by step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Fit {
    /// Each source, sink and step with state.
    pub steps: Vec<Row>,
    /// Whether a version may start from it.
    pub fits: bool,
}

/// What a build is to a savepoint, beside its plan.
pub(crate) struct Build<'a> {
    pub(crate) plan: &'a Plan,
    /// Whether a step has a function for state of this shape.
    pub(crate) takes: &'a dyn Fn(&str, &Shape) -> bool,
    /// How long the windows of steps are, by uid; not of those without such a bound.
    pub(crate) sizes: &'a BTreeMap<String, i64>,
    /// Sinks that keep the newest value of each key only.
    pub(crate) tables: BTreeSet<String>,
}

impl Fit {
    /// Compares `was`, the savepoint's steps, with a build. `drop` are the steps whose state is to stay behind.
    ///
    /// # Errors
    /// A sentence, when `drop` names what cannot be dropped.
    pub(crate) fn of(was: &BTreeMap<String, Node>, build: &Build<'_>, drop: &BTreeSet<String>) -> Result<Fit, String> {
        let is = build.plan.stateful();
        for uid in drop {
            match (was.get(uid), is.get(uid)) {
                (None, _) => {
                    let known: Vec<_> =
                        was.values().filter(|node| node.role != Role::Sink).map(|node| &*node.uid).collect();
                    return Err(format!("--drop {uid}: the savepoint has no such step; it has {}", known.join(", ")));
                }
                (Some(node), Some(_)) if node.role == Role::Source => {
                    return Err(format!(
                        "--drop {uid}: the job still reads it, and its positions are what the state has counted up to"
                    ));
                }
                _ => {}
            }
        }
        let (read, reads) = (inputs(was), inputs(&is));
        let below_new = below_new(was, &is, &reads);
        let uids: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
        let mut steps: Vec<Row> = uids
            .into_iter()
            .filter_map(|uid| {
                let (was, is) = (was.get(uid), is.get(uid));
                let kind = is.or(was)?.kind.clone();
                let sized = build.sizes.contains_key(uid);
                let (mut verdict, mut why) =
                    judge(was, is, &|shape| (build.takes)(uid, shape), drop.contains(uid), sized);
                if matches!(verdict, Verdict::Kept | Verdict::Upgraded)
                    && let Some(other) = match below_new.get(&**uid) {
                        Some(source) => Some(format!(
                            "is below the source {source}, which is new and may read again what has been counted"
                        )),
                        None => elsewhere(uid, &read, &reads, drop),
                    }
                {
                    (verdict, why) = match is?.role {
                        Role::Sink => (Verdict::New, format!("{other}: what it gets from here on is another thing")),
                        _ => (Verdict::NeedsReplay, other),
                    };
                }
                if build.tables.contains(uid) {
                    why = "a table: only keys that change from here on are written to it".to_owned();
                }
                Some(Row { uid: uid.clone(), kind, verdict, why })
            })
            .collect();
        // As the plan has them, then what is not in it.
        steps.sort_by_key(|row| is.get(&row.uid).map_or(u32::MAX, |node| node.id));
        let fits = steps.iter().all(|row| !row.verdict.is_refused());
        Ok(Fit { steps, fits })
    }

    /// What becomes of a step.
    #[must_use]
    pub(crate) fn verdict(&self, uid: &str) -> Option<Verdict> {
        self.steps.iter().find(|row| row.uid == uid).map(|row| row.verdict)
    }

    /// Whether a step goes on with what the savepoint holds of it.
    #[must_use]
    pub(crate) fn goes_on(&self, uid: &str) -> bool {
        matches!(self.verdict(uid), Some(Verdict::Kept | Verdict::Upgraded))
    }

    /// The refused steps, in a sentence.
    #[must_use]
    pub(crate) fn refusal(&self) -> Option<String> {
        let refused = self.steps.iter().filter(|row| row.verdict.is_refused());
        let list: Vec<_> = refused.map(|row| format!("{} ({}): {}", row.uid, row.verdict.words(), row.why)).collect();
        (!list.is_empty()).then(|| list.join("; "))
    }
}

fn judge(
    was: Option<&Node>,
    is: Option<&Node>,
    takes: &dyn Fn(&Shape) -> bool,
    drop: bool,
    sized: bool,
) -> (Verdict, String) {
    let say = |verdict, why: &str| (verdict, why.to_owned());
    match (was, is) {
        (_, Some(is)) if drop => match is.role {
            Role::Stateful => say(Verdict::Dropped, cold(sized)),
            _ => say(Verdict::Dropped, ""),
        },
        (Some(was), None) => match (was.role, drop) {
            (Role::Sink, _) => say(Verdict::Dropped, "is not written any more; nothing was kept of it"),
            (_, true) => say(Verdict::Dropped, "is not in the job any more"),
            (_, false) => (
                Verdict::LeftOver,
                format!("is in the savepoint and not in the job; --drop {} leaves it behind", was.uid),
            ),
        },
        (None, Some(is)) => match is.role {
            Role::Source => say(
                Verdict::New,
                "read from where --from says; what lies before the savepoint's watermark is late for windows that have fired",
            ),
            Role::Sink => say(Verdict::New, "gets what is computed from here on"),
            _ => say(Verdict::New, cold(sized)),
        },
        (Some(was), Some(is)) => both(was, is, takes),
        (None, None) => say(Verdict::New, ""),
    }
}

/// What it means that a step begins with nothing.
fn cold(sized: bool) -> &'static str {
    if sized {
        "begins with nothing: what was read before the savepoint is missing from the windows that were open then; replay if they count"
    } else {
        "begins with nothing, and never learns what was read before the savepoint: outputs below it can be neither compared nor promoted; \
         replay if they count"
    }
}

/// By step, which of the others it reads from, through steps without state. None where a release wrote it that did not record that.
type Inputs<'a> = BTreeMap<&'a str, Option<BTreeSet<&'a str>>>;

fn inputs(steps: &BTreeMap<String, Node>) -> Inputs<'_> {
    let named: BTreeMap<u32, &str> = steps.values().map(|node| (node.id, &*node.uid)).collect();
    let of = |node: &Node| node.inputs.iter().map(|id| named.get(id).copied()).collect();
    steps.iter().map(|(uid, node)| (&**uid, of(node))).collect()
}

/// Why a step does not get what it got before, if it does not. Inputs that were dropped on request may be missing.
fn elsewhere(uid: &str, was: &Inputs<'_>, is: &Inputs<'_>, drop: &BTreeSet<String>) -> Option<String> {
    let (Some(Some(was)), Some(Some(is))) = (was.get(uid), is.get(uid)) else {
        return Some(
            "what it read from was not recorded by the release that wrote the checkpoint; run that version once with this one, and save again"
                .to_owned(),
        );
    };
    let asked = was.difference(is).all(|gone| drop.contains(*gone));
    if is.is_subset(was) && asked {
        return None;
    }
    let list = |uids: &BTreeSet<&str>| uids.iter().copied().collect::<Vec<_>>().join(", ");
    Some(format!("read from {} and now reads from {}", list(was), list(is)))
}

/// What is below sources that are new, with the source: what goes on there would count again what the source may read again.
fn below_new<'a>(
    was: &BTreeMap<String, Node>,
    is: &'a BTreeMap<String, Node>,
    reads: &Inputs<'a>,
) -> BTreeMap<&'a str, &'a str> {
    let new = is.values().filter(|node| node.role == Role::Source && !was.contains_key(&node.uid));
    let mut ahead: Vec<(&str, &str)> = new.map(|node| (&*node.uid, &*node.uid)).collect();
    let mut below = BTreeMap::new();
    while let Some((from, source)) = ahead.pop() {
        for (uid, _) in reads.iter().filter(|(_, inputs)| inputs.as_ref().is_some_and(|inputs| inputs.contains(from))) {
            if below.insert(*uid, source).is_none() {
                ahead.push((uid, source));
            }
        }
    }
    below
}

fn both(was: &Node, is: &Node, takes: &dyn Fn(&Shape) -> bool) -> (Verdict, String) {
    let replay = |why: String| (Verdict::NeedsReplay, why);
    if was.kind != is.kind || was.role != is.role {
        return replay(format!("was a {} and is now a {}", was.kind, is.kind));
    }
    let settings = changed(&was.settings, &is.settings);
    match is.role {
        Role::Source => match settings.iter().find(|(name, ..)| *name == "from") {
            Some((_, before, after)) => {
                replay(format!("read {before} and now reads {after}: its positions mean nothing there"))
            }
            // From here on it goes by the new ones; what its watermark has promised stays.
            None => (Verdict::Kept, list(&settings)),
        },
        Role::Sink | Role::Step => (Verdict::Kept, list(&settings)),
        Role::Stateful => {
            let (aggregate, rest): (Vec<_>, Vec<_>) = settings.into_iter().partition(|(name, ..)| *name == "aggregate");
            if !rest.is_empty() {
                return replay(list(&rest));
            }
            let shapes = shapes(&was.shapes, &is.shapes);
            if let Some((_, why)) = shapes.iter().find(|(name, _)| name != PARTIAL) {
                return replay(why.clone());
            }
            let partial = was.shapes.iter().find(|(name, _)| name == PARTIAL).and_then(|(_, shape)| shape_of(shape));
            let why: Vec<_> = [list(&aggregate)].into_iter().chain(shapes.into_iter().map(|(_, why)| why)).collect();
            let why = why.into_iter().filter(|why| !why.is_empty()).collect::<Vec<_>>().join("; ");
            match (why.is_empty(), partial.is_some_and(|shape| takes(&shape))) {
                (true, _) => (Verdict::Kept, String::new()),
                (false, true) => (Verdict::Upgraded, why),
                (false, false) => replay(why),
            }
        }
    }
}

/// What a step's aggregate keeps is called so among its shapes.
pub(crate) const PARTIAL: &str = "partial";

type Changed<'a> = Vec<(&'a str, String, String)>;

fn changed<'a>(was: &'a [(String, String)], is: &'a [(String, String)]) -> Changed<'a> {
    let names: BTreeSet<&str> = was.iter().chain(is).map(|(name, _)| name.as_str()).collect();
    let find =
        |list: &[(String, String)], name: &str| list.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone());
    let both = names.into_iter().map(|name| (name, find(was, name), find(is, name)));
    let or_none = |value: Option<String>| value.unwrap_or_else(|| "not there".to_owned());
    both.filter(|(_, was, is)| was != is).map(|(name, was, is)| (name, or_none(was), or_none(is))).collect()
}

fn list(changed: &Changed<'_>) -> String {
    let sentence = |(name, was, is): &(&str, String, String)| format!("{name} was {was}, is now {is}");
    changed.iter().map(sentence).collect::<Vec<_>>().join("; ")
}

fn shape_of(value: &Value) -> Option<Shape> {
    serde_json::from_value(value.clone()).ok()
}

/// The shapes that differ, each with a sentence. Names of types are not part of them.
fn shapes(was: &[(String, Value)], is: &[(String, Value)]) -> Vec<(String, String)> {
    let names: BTreeSet<&String> = was.iter().chain(is).map(|(name, _)| name).collect();
    let find =
        |list: &[(String, Value)], name: &str| list.iter().find(|(n, _)| n == name).map(|(_, shape)| shape.clone());
    let differs = |name: &String| {
        let why = match (find(was, name), find(is, name)) {
            (Some(was), Some(is)) if was == is => return None,
            (Some(was), Some(is)) => match (shape_of(&was), shape_of(&is)) {
                (Some(was), Some(is)) => was.difference(&is)?,
                _ => "a shape that this release does not know".to_owned(),
            },
            (None, _) => "was not kept before".to_owned(),
            (_, None) => "is not kept any more".to_owned(),
        };
        Some((name.clone(), format!("{name}: {why}")))
    };
    names.into_iter().filter_map(differs).collect()
}

#[cfg(test)]
#[path = "fit_tests.rs"]
mod tests;
