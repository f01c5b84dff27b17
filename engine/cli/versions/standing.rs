//! How a version stands now: asked of it when it runs on this host, read from its files when it does not, and otherwise what it said last.

use std::collections::BTreeMap;

use super::Job;
use crate::cli::{recorded, stopped};
use crate::control::ask;
use crate::ledger::Ledger;
use crate::registry::{More, Output, Standing, State, Version};
use crate::run::hold::is_held;
use crate::run::start::hostname;
use crate::{Delivery, Env, Exit, Fault, Status, clock};

/// Where the state of a version lies, for people and to know whether it is here.
pub(super) fn home(env: &Env) -> String {
    let home = env.home();
    format!("{}:{}", hostname(), std::path::absolute(&home).unwrap_or(home).display())
}

/// What a status says, with the ends of the outputs as they are behind it.
pub(super) fn of(status: &Status, ledger: &dyn Ledger, outputs: &[Output]) -> Result<Standing, Fault> {
    let mut ends = BTreeMap::new();
    for output in outputs {
        let kept = ledger.kept(&output.at)?.unwrap_or_default();
        ends.insert(output.name.clone(), kept.into_iter().map(|kept| kept.end).collect());
    }
    let partitions = status.partitions.iter();
    Ok(Standing {
        at: clock::wall().micros(),
        state: match status.state.as_str() {
            "running" => State::Running,
            "finished" => State::Finished,
            _ => State::Stopped,
        },
        run: status.run.clone(),
        life: status.life.clone(),
        until_end: status.until_end,
        epoch: status.epoch,
        waiting: status.waiting.clone(),
        waiting_since: status.waiting_since,
        lag: crate::status::lag(&status.partitions),
        reached: status.reached.clone(),
        ends,
        positions: partitions.map(|place| (place.source.clone(), place.partition, place.next)).collect(),
        more: More::new(),
    })
}

/// Whether what could be seen of a version's outputs before it was asked is in its word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// All of it: it runs, and commits nothing just then.
    Whole,
    /// It commits: asked again behind that, all of it.
    Soon,
    /// Maybe not: what is delivered at least once is seen before its epoch is real, and of a version that does not run nobody knows what of a
    /// commit that it died in is seen already.
    Part,
}

impl Job<'_> {
    /// Whether a version keeps its state here. Of one that does not, running elsewhere or under another directory, its own word is all there is.
    pub(super) fn is_here(&self, number: u32, version: &Version) -> bool {
        version.home == home(&self.at(number))
    }

    /// How a version stands now.
    pub(super) fn standing(&self, number: u32, version: &Version) -> Result<Standing, Fault> {
        self.asked(number, version).map(|(standing, _)| standing)
    }

    /// The same, and whether all that could be seen of its outputs before it was asked is in that.
    pub(super) fn asked(&self, number: u32, version: &Version) -> Result<(Standing, Word), Fault> {
        let env = self.at(number);
        if !self.is_here(number, version) {
            return Ok((version.standing.clone(), Word::Part));
        }
        let status = match ask(&env.home(), "status")? {
            Some(answer) => serde_json::from_value(answer).map_err(|error| {
                Fault::new(Exit::Usage, format!("{} runs as another release of millpond", env.identity()))
                    .because(error)
            })?,
            None => match recorded::draw_as(self.main, self.matches, &env, &version.options)
                .and_then(|draw| stopped::status(self.main, &env, &*draw))
            {
                Ok(status) => status,
                // It never committed anything.
                Err(_) if version.standing.epoch == 0 => {
                    let state = if is_held(&env.home())? { version.standing.state } else { State::Stopped };
                    return Ok((Standing { state, ..version.standing.clone() }, Word::Part));
                }
                Err(fault) => return Err(fault),
            },
        };
        let word = match status.committing {
            Some(committing) if status.delivery != Delivery::AtLeastOnce.name() => {
                if committing {
                    Word::Soon
                } else {
                    Word::Whole
                }
            }
            _ => Word::Part,
        };
        Ok((of(&status, &*self.ledger, &version.outputs)?, word))
    }
}
