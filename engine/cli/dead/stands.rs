//! How a job stands to what is asked of it again: how far it has taken that, and whether it will take more.

use millpond_state::Timestamp;
use millpond_state::store::Manifest;
use serde_json::Value;

use super::desk::Desk;
use crate::control::ask;
use crate::redrive::{Life, Reach, is_requests};
use crate::run::reached::reached;
use crate::{Fault, registry};

/// How a job stands to requests.
#[derive(Clone, Debug, Default)]
pub(super) struct Stands {
    /// Which letters are its own.
    pub(super) life: Life,
    /// How far it has committed requests.
    pub(super) reach: Reach,
    /// Whether it has finished: then it takes no more.
    pub(super) finished: bool,
    /// Whether it has an end that was settled: then it takes those before this offset of their topic, and no more.
    pub(super) until: Option<u64>,
    /// Whether it runs here.
    pub(super) runs: bool,
    /// Up to where its watermark has come.
    pub(super) watermark: Timestamp,
    /// What to know of this.
    pub(super) note: Option<String>,
}

impl Stands {
    fn of(manifest: &Manifest) -> Stands {
        let sources =
            || manifest.sources.iter().flat_map(|(name, state)| state.partitions.iter().map(move |p| (name, p)));
        let ends = sources().any(|(name, place)| !is_requests(name) && place.end.is_some());
        let asked = sources().filter(|(name, _)| is_requests(name)).filter_map(|(_, place)| place.end).max();
        Stands {
            life: Life::of(manifest),
            reach: Reach::of(manifest),
            finished: manifest.finished,
            until: ends.then_some(asked.unwrap_or(0)),
            runs: false,
            watermark: reached(manifest).watermark,
            note: None,
        }
    }

    /// With what a run says that goes on just now: whether it has an end may not be committed yet.
    fn running(self, status: &Value) -> Stands {
        let asked = status["partitions"].as_array().into_iter().flatten();
        let asked = asked.filter(|place| place["source"].as_str().is_some_and(is_requests));
        let until = match status["until_end"].as_bool() {
            Some(true) => Some(asked.filter_map(|place| place["end"].as_u64()).max().unwrap_or(0)),
            Some(false) => None,
            // An earlier release does not say it.
            None => self.until,
        };
        Stands { until, runs: true, ..self }
    }

    /// Whether requests before this offset, made now, are taken by the job as it stands.
    pub(super) fn takes(&self, end: u64) -> bool {
        match self.until {
            _ if self.finished => self.reach.furthest() >= end,
            Some(until) => until >= end,
            None => true,
        }
    }
}

impl Desk<'_> {
    /// How the job stands: by its committed checkpoint, and its own word where it runs; where that is not here, by what it said last.
    pub(super) fn stands(&self) -> Result<Stands, Fault> {
        let fault = match crate::peek(&*self.draw, &self.env) {
            Ok(found) => {
                let stands = found.map(|(_, manifest)| Stands::of(&manifest)).unwrap_or_default();
                let status = ask(&self.env.home(), "status")?;
                return Ok(match status {
                    Some(status) => stands.running(&status),
                    None => stands,
                });
            }
            Err(fault) => fault,
        };
        let Some(entry) = registry::look(&*self.ledger, &self.env.job)? else { return Err(fault) };
        let Some(version) = entry.versions.get(&self.env.version) else { return Err(fault) };
        let standing = &version.standing;
        let requests = standing.positions.iter().filter(|(name, ..)| is_requests(name));
        let reach = requests.fold(Reach::default(), |reach, (name, _, next)| reach.with(name, *next));
        let at = Timestamp::from_micros(standing.at);
        Ok(Stands {
            life: Life::said(&standing.life, standing.epoch),
            until: standing.until_end.then(|| reach.furthest()),
            reach,
            finished: standing.state == registry::State::Finished,
            runs: false,
            watermark: standing.reached.watermark,
            note: Some(format!("its state is not here ({}); this is by what it said at {at}", version.home)),
        })
    }
}
