//! `replay --check`: what can make the result of a replay differ from the first run, and what would be done twice. Reads the plan, the
//! input's ends and the registry; runs nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use clap::ArgMatches;
use serde::Serialize;

use super::options::{self, flag, id};
use super::table::Table;
use super::{JobMain, dead, savepoints, terminal, versions};
use crate::registry::{self, Version};
use crate::run::savepoint::begin::Begins;
use crate::run::start::drawn;
use crate::source::From;
use crate::{Env, Exit, Fault, Plan, Role};

/// What a finding means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    /// The result can differ from the first run's.
    MayDiffer,
    /// Something outside happens again.
    DoneTwice,
    /// Something is gone that the first run had.
    Missing,
    /// It is another result by intention.
    Changed,
}

impl Kind {
    fn words(self) -> &'static str {
        match self {
            Kind::MayDiffer => "may differ",
            Kind::DoneTwice => "done twice",
            Kind::Missing => "missing",
            Kind::Changed => "changed",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    kind: Kind,
    step: String,
    why: String,
}

pub(super) fn check(job: &JobMain, matches: &ArgMatches) -> Result<Exit, Fault> {
    let run = options::run(job, matches);
    let env = run.env.clone();
    let draw = (job.draw)(matches)?;
    let plan = crate::draw(&*draw, &env)?;
    let begins = savepoints::fit(&run, &*draw)?;
    let graph = drawn(&*draw, &env)?;
    let (mut taken, mut partitions) = (Vec::new(), 0);
    for source in graph.sources.borrow().iter() {
        for partition in (source.connect)(&env, &From::Earliest)? {
            partitions += 1;
            let needed = begins.as_ref().and_then(|begins| begins.position(&source.uid, partition.partition));
            if partition.start > needed.unwrap_or(0) {
                let why = format!(
                    "partition {} begins at offset {}: retention has taken what was before",
                    partition.partition, partition.start
                );
                taken.push(Finding { kind: Kind::Missing, step: source.uid.clone(), why });
            }
        }
    }
    let mut findings = of_plan(&plan, partitions);
    findings.append(&mut taken);
    for sink in graph.sinks.borrow().iter().filter(|sink| sink.system.ledger().is_none()) {
        let why =
            format!("{} has no outputs of its own for each version, and gets everything again", sink.system.identity());
        findings.push(Finding { kind: Kind::DoneTwice, step: sink.uid.clone(), why });
    }
    findings.extend(of_schemas(&*draw, &env, &plan)?);
    findings.extend(of_letters(matches, &env, &draw, begins.as_ref())?);
    let steps = plan.nodes.iter().filter(|node| node.role == Role::Step).count();
    let text = if flag(matches, id::JSON) {
        let mut value =
            serde_json::json!({ "job": env.job, "version": env.version, "findings": findings, "steps_trusted": steps });
        if let Some(begins) = &begins {
            value["savepoint"] = savepoints::fit_json(begins);
        }
        format!("{value:#}\n")
    } else {
        let fits = begins.as_ref().map(|begins| savepoints::table(begins, &env) + "\n").unwrap_or_default();
        fits + &page(&env, &findings, steps)
    };
    terminal::print(&text)?;
    begins.map_or(Ok(()), |begins| begins.fits(&env))?;
    Ok(Exit::Finished)
}

/// What the plan itself says.
fn of_plan(plan: &Plan, partitions: usize) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find = |kind, step: &str, why: String| findings.push(Finding { kind, step: step.to_owned(), why });
    for node in &plan.nodes {
        for note in &node.notes {
            if let Some(why) = note.strip_prefix("not repeatable: ") {
                find(Kind::MayDiffer, &node.uid, format!("is not repeatable: {why}"));
            } else if let Some(what) = note.strip_prefix("calls outside: ") {
                find(Kind::MayDiffer, &node.uid, format!("asks {what}, which may answer something else today"));
                find(Kind::DoneTwice, &node.uid, format!("calls {what} again for every record"));
            } else if let Some(what) = note.strip_prefix("order-dependent: ") {
                // Records of one partition come in its order each time.
                if partitions <= 1 {
                    continue;
                }
                let sources = plan.nodes.iter().filter(|node| node.role == Role::Source).count();
                let of = if sources > 1 { "several sources" } else { "several partitions" };
                find(
                    Kind::MayDiffer,
                    &node.uid,
                    format!("{what} depends on the order in which records of {of} arrive"),
                );
            }
        }
        for (name, value) in node.settings.iter().filter(|(name, _)| name == "idle after") {
            let why =
                format!("{name} {value}: which partitions were silent is decided by the clock, and a replay is faster");
            find(Kind::MayDiffer, &node.uid, why);
        }
    }
    findings
}

/// What the version before it could not use: a savepoint goes on behind those records, and from the beginning they are read again.
fn of_letters(
    matches: &ArgMatches,
    env: &Env,
    draw: &Arc<crate::Draw>,
    begins: Option<&Begins>,
) -> Result<Option<Finding>, Fault> {
    let before = match begins {
        Some(begins) => Some(begins.folder.description.version),
        None => live(&**draw, env)?.map(|(number, _)| number),
    };
    let Some(version) = before else { return Ok(None) };
    let left = dead::left_in_words(matches, &Env { version, ..env.clone() }, draw);
    Ok(left.map(|left| match begins {
        Some(_) => Finding {
            kind: Kind::Missing,
            step: "dead letters".to_owned(),
            why: format!(
                "{left}: those of before the savepoint are not read here; send them again there, and take another"
            ),
        },
        None => Finding {
            kind: Kind::MayDiffer,
            step: "dead letters".to_owned(),
            why: format!("{left}: a replay reads their records themselves, and has what this build can use"),
        },
    }))
}

/// The live version, when it is another one.
fn live(draw: &crate::Draw, env: &Env) -> Result<Option<(u32, Version)>, Fault> {
    let Some(ledger) = versions::ledger(draw, env)? else { return Ok(None) };
    let Some(mut entry) = registry::look(&*ledger, &env.job)? else { return Ok(None) };
    let live = entry.live().filter(|live| *live != env.version);
    Ok(live.and_then(|live| Some((live, entry.versions.remove(&live)?))))
}

/// How keys and state differ from the live version's.
fn of_schemas(draw: &crate::Draw, env: &Env, plan: &Plan) -> Result<Vec<Finding>, Fault> {
    let Some((number, live)) = live(draw, env)? else { return Ok(Vec::new()) };
    let own: BTreeMap<_, _> = plan.stateful().into_iter().map(|(uid, node)| (uid, node.shapes)).collect();
    Ok(schemas(number, &live, &own))
}

fn schemas(number: u32, live: &Version, own: &BTreeMap<String, Vec<(String, serde_json::Value)>>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find = |step: &str, why: String| findings.push(Finding { kind: Kind::Changed, step: step.to_owned(), why });
    for (uid, shapes) in own {
        match live.shapes.get(uid) {
            None => find(uid, format!("is not in version {number}, which is live")),
            Some(was) if was != shapes => {
                let changed = shapes.iter().filter(|shape| !was.contains(shape)).map(|(name, _)| name.as_str());
                let changed: Vec<_> = changed.collect();
                find(
                    uid,
                    format!("its {} has another shape than in version {number}, which is live", changed.join(" and ")),
                );
            }
            Some(_) => {}
        }
    }
    for uid in live.shapes.keys().filter(|uid| !own.contains_key(*uid)) {
        find(uid, format!("is in version {number}, which is live, and no longer here"));
    }
    findings
}

fn page(env: &Env, findings: &[Finding], steps: usize) -> String {
    let mut text = format!("replay of {}\n\n", env.identity());
    if findings.is_empty() {
        text.push_str("nothing in the plan makes its result differ from a first run over the same log, and nothing is done twice\n");
    } else {
        let mut table = Table::new(["what", "step", "why"]);
        for Finding { kind, step, why } in findings {
            table.row([kind.words().to_owned(), step.clone(), why.clone()]);
        }
        text.push_str(&table.to_string());
    }
    text.push_str(&format!(
        "\nthe functions of {steps} steps are taken to answer the same each time; what does not, is to be marked with `.not_repeatable(..)` \
         or `.calls_outside(..)`\n"
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Node;

    #[test]
    fn what_a_plan_says_of_itself_is_found() {
        let mut plan = super::super::plan::tests::flights();
        let note = |node: &mut Node, note: &str| node.notes.push(note.to_owned());
        note(&mut plan.nodes[2], "not repeatable: draws at random");
        note(&mut plan.nodes[3], "calls outside: the price service");
        plan.nodes[4].notes = vec!["order-dependent: fold".to_owned()];
        plan.nodes[0].settings.push(("idle after".to_owned(), "5s".to_owned()));
        let found = |partitions| -> Vec<_> {
            of_plan(&plan, partitions).into_iter().map(|finding| finding.kind.words()).collect()
        };
        assert_eq!(found(2), ["may differ", "may differ", "may differ", "done twice", "may differ"]);
        assert_eq!(found(1), ["may differ", "may differ", "may differ", "done twice"], "one partition has one order");
    }
}
