//! The plan: what the closure drew, as data. Printed by `plan`, compared between workers, written into every manifest.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a node does, as far as the engine cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads.
    Source,
    /// Transforms without state.
    Step,
    /// Keeps state.
    Stateful,
    /// Writes.
    Sink,
}

/// One node of the drawn graph.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its number; producers come before consumers.
    pub id: u32,
    /// What it is called, for people and, for sources, sinks and stateful steps, for state.
    pub uid: String,
    /// The kind of operator: `source`, `map`, `window`, ...
    pub kind: String,
    /// What it does.
    pub role: Role,
    /// The nodes it reads from.
    pub inputs: Vec<u32>,
    /// Settings that decide results, in order: a change of one is another job.
    pub settings: Vec<(String, String)>,
    /// Shapes of its key and state types.
    pub shapes: Vec<(String, serde_json::Value)>,
    /// What to know about its results: `order-dependent`, ...
    pub notes: Vec<String>,
}

/// What a job does, drawn but not lowered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The nodes in the order in which they were drawn.
    pub nodes: Vec<Node>,
}

impl Plan {
    /// Every reason why this plan cannot run: unequal only in what they name, so all are given at once.
    #[must_use]
    pub fn refusals(&self) -> Vec<String> {
        let mut refusals = Vec::new();
        let mut named: BTreeMap<&str, Vec<&Node>> = BTreeMap::new();
        for node in self.nodes.iter().filter(|node| node.role != Role::Step) {
            named.entry(&node.uid).or_default().push(node);
        }
        for (uid, nodes) in named.iter().filter(|(_, nodes)| nodes.len() > 1) {
            if nodes.iter().all(|node| node.role == Role::Stateful) {
                refusals.push(format!(
                    "{} steps of kind {} would both be called {uid:?}, so their state could be swapped; give each a name with `.named(\"..\")`",
                    nodes.len(),
                    nodes[0].kind
                ));
            } else {
                let kinds: Vec<_> = nodes.iter().map(|node| node.kind.as_str()).collect();
                refusals.push(format!(
                    "{} nodes are called {uid:?} ({}); names must differ",
                    nodes.len(),
                    kinds.join(", ")
                ));
            }
        }
        if !self.nodes.iter().any(|node| node.role == Role::Source) {
            refusals.push("the job reads nothing; add a source with `flow.source(..)`".to_owned());
        }
        let read: std::collections::BTreeSet<u32> =
            self.nodes.iter().flat_map(|node| node.inputs.iter().copied()).collect();
        for node in self.nodes.iter().filter(|node| node.role != Role::Sink && !read.contains(&node.id)) {
            refusals.push(format!("{} {:?} goes nowhere; end it with `.sink(..)`", node.kind, node.uid));
        }
        refusals
    }

    /// A number that differs between plans that must not share state or workers. FNV-1a over the plan's JSON.
    #[must_use]
    pub fn hash(&self) -> u64 {
        let json = serde_json::to_string(self).expect("a plan is plain data");
        json.bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
    }

    /// The part of the plan that state belongs to: everything but stateless steps, by uid. Its inputs are those of it that it reads from,
    /// through whatever steps.
    #[must_use]
    pub fn stateful(&self) -> BTreeMap<String, Node> {
        // By node: what its consumers read from, when there were no stateless steps.
        let mut from: Vec<Vec<u32>> = Vec::with_capacity(self.nodes.len());
        let mut kept = BTreeMap::new();
        for node in &self.nodes {
            let above = |id: &u32| from.get(*id as usize).cloned().unwrap_or_default();
            let mut inputs: Vec<u32> = node.inputs.iter().flat_map(above).collect();
            inputs.sort_unstable();
            inputs.dedup();
            from.push(if node.role == Role::Step { inputs.clone() } else { vec![node.id] });
            if node.role != Role::Step {
                kept.insert(node.uid.clone(), Node { inputs, ..node.clone() });
            }
        }
        kept
    }

    /// The first reason why state written under `old` cannot be continued under this plan.
    #[must_use]
    pub fn conflict(&self, old: &BTreeMap<String, Node>) -> Option<String> {
        let new = self.stateful();
        for (uid, was) in old {
            let Some(is) = new.get(uid) else {
                return Some(format!("{} {uid:?} is in the state but no longer in the job", was.kind));
            };
            if is.kind != was.kind {
                return Some(format!("{uid:?} was a {} and is now a {}", was.kind, is.kind));
            }
            if is.settings != was.settings {
                let (name, before, after) = first_difference(&was.settings, &is.settings);
                return Some(format!("{} {uid:?}: {name} was {before} and is now {after}", is.kind));
            }
            if is.shapes != was.shapes {
                let (name, before, after) = first_difference(&was.shapes, &is.shapes);
                return Some(format!("{} {uid:?}: the shape of its {name} was {before} and is now {after}", is.kind));
            }
        }
        let added = new.iter().find(|(uid, _)| !old.contains_key(*uid));
        added
            .map(|(uid, node)| format!("{} {uid:?} is new and would begin without what the log held before", node.kind))
    }
}

fn first_difference<V: PartialEq + std::fmt::Display>(
    was: &[(String, V)],
    is: &[(String, V)],
) -> (String, String, String) {
    let nothing = || "not there".to_owned();
    let find = |list: &[(String, V)], name: &str| list.iter().find(|(n, _)| n == name).map(|(_, v)| v.to_string());
    let names = was.iter().chain(is).map(|(name, _)| name);
    for name in names {
        let (before, after) = (find(was, name), find(is, name));
        if before != after {
            return (name.clone(), before.unwrap_or_else(nothing), after.unwrap_or_else(nothing));
        }
    }
    ("order of settings".to_owned(), "another".to_owned(), "changed".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: u32, uid: &str, role: Role, inputs: &[u32]) -> Node {
        let kind = format!("{role:?}").to_lowercase();
        Node { id, uid: uid.into(), kind, role, inputs: inputs.into(), settings: vec![], shapes: vec![], notes: vec![] }
    }

    #[test]
    fn a_plan_says_everything_that_is_wrong_with_it() {
        let plan = Plan {
            nodes: vec![
                node(0, "in", Role::Source, &[]),
                node(1, "in/window", Role::Stateful, &[0]),
                node(2, "in/window", Role::Stateful, &[1]),
                node(3, "in", Role::Sink, &[0]),
            ],
        };
        let refusals = plan.refusals().join("\n");
        assert!(refusals.contains("would both be called \"in/window\""), "{refusals}");
        assert!(refusals.contains("2 nodes are called \"in\""), "{refusals}");
        assert!(refusals.contains("goes nowhere"), "{refusals}");
        assert!(Plan::default().refusals()[0].contains("reads nothing"));
    }

    #[test]
    fn stateless_steps_may_change_and_settings_may_not() {
        let mut plan = Plan { nodes: vec![node(0, "in", Role::Source, &[]), node(1, "out", Role::Sink, &[0])] };
        let old = plan.stateful();
        plan.nodes.push(node(2, "in/map", Role::Step, &[0]));
        assert_eq!(plan.conflict(&old), None);
        plan.nodes.push(node(3, "more", Role::Sink, &[2, 0]));
        assert_eq!(plan.stateful()["more"].inputs, [0], "through the step");
        plan.nodes.pop();
        plan.nodes[0].settings.push(("out of order".into(), "5s".into()));
        let conflict = plan.conflict(&old).unwrap();
        assert!(conflict.contains("out of order was not there and is now 5s"), "{conflict}");
    }
}
