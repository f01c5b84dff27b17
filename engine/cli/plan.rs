//! `plan`: what the job does, without running it. Refuses what `run` would refuse before it reads anything.

use clap::ArgMatches;
use serde::Serialize;

use super::options::{self, flag, id};
use super::{JobMain, dot, terminal, tree};
use crate::{Delivery, Env, Exit, Fault, Plan};

/// A plan with whose it is.
#[derive(Serialize)]
pub(super) struct Drawn<'a> {
    pub(super) job: &'a str,
    pub(super) version: u32,
    pub(super) delivery: Delivery,
    /// In hexadecimal, as a number of this size would not survive every reader of JSON.
    pub(super) hash: String,
    #[serde(flatten)]
    pub(super) plan: &'a Plan,
}

impl<'a> Drawn<'a> {
    pub(super) fn new(env: &'a Env, delivery: Delivery, plan: &'a Plan) -> Self {
        Drawn { job: &env.job, version: env.version, delivery, hash: format!("{:016x}", plan.hash()), plan }
    }

    /// `job@version`, and what a crash may do.
    pub(super) fn title(&self) -> String {
        format!("{}@{}, {}", self.job, self.version, self.delivery.name())
    }

    fn json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a plan is plain data");
        text.push('\n');
        text
    }
}

pub(super) fn plan(job: &JobMain, matches: &ArgMatches) -> Result<Exit, Fault> {
    let env = options::env(job, matches);
    let draw = (job.draw)(matches)?;
    let plan = crate::draw(&*draw, &env)?;
    let drawn = Drawn::new(&env, job.delivery, &plan);
    let text = match (flag(matches, id::JSON), flag(matches, id::DOT)) {
        (true, _) => drawn.json(),
        (_, true) => dot::dot(&drawn),
        _ => tree::tree(&drawn),
    };
    terminal::print(&text)?;
    Ok(Exit::Finished)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{Node, Role};

    fn node(uid: &str, kind: &str, role: Role, inputs: &[u32]) -> Node {
        let (uid, kind, inputs) = (uid.into(), kind.into(), inputs.into());
        Node { id: 0, uid, kind, role, inputs, settings: vec![], shapes: vec![], notes: vec![] }
    }

    /// Two sources, a union, a window with a side output, three sinks.
    pub(crate) fn flights() -> Plan {
        let setting = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut nodes = vec![
            node("departures", "source", Role::Source, &[]),
            node("extra", "source", Role::Source, &[]),
            node("extra/map", "map", Role::Step, &[1]),
            node("departures/union", "union", Role::Step, &[0, 2]),
            node("per-hour", "window", Role::Stateful, &[3]),
            node("out", "sink", Role::Sink, &[4]),
            node("late", "sink", Role::Sink, &[4]),
            node("bad", "dead letters", Role::Sink, &[]),
        ];
        nodes[0].settings = vec![setting("from", "log departures"), setting("event time", "30m behind")];
        nodes[4].settings = vec![setting("size", "1h"), setting("say \"hi\"", "a\\b")];
        nodes[4].shapes = vec![("key".to_owned(), serde_json::json!("string"))];
        nodes[4].notes = vec!["order-dependent".to_owned()];
        nodes[5].settings = vec![setting("to", "log departures-per-hour")];
        for (id, node) in (0..).zip(&mut nodes) {
            node.id = id;
        }
        Plan { nodes }
    }

    pub(crate) fn env() -> Env {
        Env { state: "s".into(), job: "flights".into(), version: 2, create: true }
    }

    #[test]
    fn the_json_of_a_plan_reads_back_as_the_plan() {
        let (env, plan) = (env(), flights());
        let json = Drawn::new(&env, Delivery::AtLeastOnce, &plan).json();
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["job"], "flights");
        assert_eq!(value["version"], 2);
        assert_eq!(value["delivery"], "at_least_once");
        assert_eq!(value["nodes"][4]["notes"][0], "order-dependent");
        assert_eq!(value["nodes"][4]["shapes"][0][0], "key");
        assert_eq!(serde_json::from_value::<Plan>(value).unwrap(), plan);
    }
}
