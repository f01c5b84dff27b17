//! How a job stands to what is asked of it again: how far it has taken that, and whether it will take more.

use millpond_state::Timestamp;
use millpond_state::store::Manifest;
use serde_json::Value;

use super::desk::{Desk, Requests};
use crate::control::ask;
use crate::redrive::{Life, Reach, is_requests};
use crate::run::reached::reached;
use crate::{Env, Fault, registry};

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
    /// Whether a part of its input was read up to that end: then it cannot go on without one.
    pub(super) read_out: bool,
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
        let read_out = sources().any(|(name, place)| !is_requests(name) && place.end.is_some() && place.finished);
        let asked = sources().filter(|(name, _)| is_requests(name)).filter_map(|(_, place)| place.end).max();
        Stands {
            life: Life::of(manifest),
            reach: Reach::of(manifest),
            finished: manifest.finished,
            until: ends.then_some(asked.unwrap_or(0)),
            read_out,
            runs: false,
            watermark: reached(manifest).watermark,
            note: None,
        }
    }

    /// With what a run says that goes on just now: whether it has an end may not be committed yet.
    fn running(self, status: &Value) -> Stands {
        let places = || status["partitions"].as_array().into_iter().flatten();
        let is_asked = |place: &Value| place["source"].as_str().is_some_and(is_requests);
        let asked = places().filter(|place| is_asked(place));
        let read_out = places().any(|place| !is_asked(place) && place["standing"] == "finished");
        let until = match status["until_end"].as_bool() {
            Some(true) => Some(asked.filter_map(|place| place["end"].as_u64()).max().unwrap_or(0)),
            Some(false) => None,
            // An earlier release does not say it.
            None => self.until,
        };
        Stands { until, read_out, runs: true, ..self }
    }

    /// Whether requests before this offset, made now, are taken by the job as it stands.
    pub(super) fn takes(&self, end: u64) -> bool {
        match self.until {
            _ if self.finished => self.reach.furthest() >= end,
            Some(until) => until >= end,
            None => true,
        }
    }

    /// What is to be done about requests that it does not take, behind which `replay` comes.
    pub(super) fn way(&self) -> &'static str {
        match self.until {
            None => "",
            Some(_) if self.finished || self.read_out => "",
            Some(_) if self.runs => {
                "stop it before it is there and start it without --until-end, and it takes them; or else "
            }
            Some(_) => "start it without --until-end, and it takes them; or else ",
        }
    }
}

/// How a version comes to records that the one before could not use, when nothing else is left.
pub(super) fn replay(env: &Env) -> String {
    let next = env.version.saturating_add(1);
    format!("a new version (`replay {next}`, without a savepoint) reads the records themselves")
}

/// That requests are there which the job does not take as it stands, and what to do.
pub(super) fn untaken(stands: &Stands, requests: &Requests, env: &Env) -> Option<String> {
    if stands.takes(requests.next) {
        return None;
    }
    let job = env.identity();
    let is = if stands.finished { "has finished" } else { "ends where its input ended (--until-end)" };
    let (first, last) = (stands.way(), replay(env));
    Some(format!("{job} {is} and does not take what was asked after that was settled; {first}{last}"))
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
            read_out: false,
            runs: false,
            watermark: standing.reached.watermark,
            note: Some(format!("its state is not here ({}); this is by what it said at {at}", version.home)),
        })
    }
}

#[cfg(test)]
mod tests {
    use millpond_state::store::{CheckpointId, PartitionState, RunId, SourceState};
    use serde_json::json;

    use super::*;
    use crate::redrive::requests_of;

    /// Of an input that has been read up to `next` of 10, with 4 requests of which 3 were taken.
    fn manifest(end: bool, next: u64) -> Manifest {
        let mut manifest = Manifest::new(CheckpointId { run: RunId::new(1), epoch: 5 });
        let place = |next, end| PartitionState { next, end, finished: end == Some(next), ..PartitionState::default() };
        let source = |place| SourceState { partitions: vec![place], policy: String::new() };
        manifest.sources.insert("in".into(), source(place(next, end.then_some(10))));
        manifest.sources.insert(requests_of("in"), source(place(3, end.then_some(4))));
        manifest
    }

    #[test]
    fn an_end_takes_the_requests_that_were_there_when_it_was_settled() {
        let stands = Stands::of(&manifest(true, 7));
        assert_eq!([3, 4, 5].map(|end| stands.takes(end)), [true, true, false]);
        assert!(stands.way().starts_with("start it without") && !stands.read_out);
        let stands = Stands::of(&manifest(true, 10));
        assert_eq!((stands.read_out, stands.way()), (true, ""), "then it cannot go on");
        let finished = Stands::of(&Manifest { finished: true, ..manifest(true, 10) });
        assert_eq!([3, 4].map(|end| finished.takes(end)), [true, false]);
        assert!(Stands::of(&manifest(false, 7)).takes(100));
    }

    #[test]
    fn a_run_knows_of_its_end_before_that_is_committed() {
        let place =
            |source: &str, end: u64, standing: &str| json!({ "source": source, "end": end, "standing": standing });
        let status = |until_end: bool| {
            let places = [place("in", 10, "reading"), place("in/redrive", 4, "idle")];
            json!({ "until_end": until_end, "partitions": places })
        };
        let of = |end, status: &Value| Stands::of(&manifest(end, 7)).running(status).until;
        assert_eq!((of(false, &status(true)), of(true, &status(false))), (Some(4), None));
        let earlier = json!({ "partitions": [] });
        assert_eq!(
            (of(true, &earlier), of(false, &earlier)),
            (Some(4), None),
            "by the checkpoint, of an earlier release"
        );
        let read_out = json!({ "until_end": true, "partitions": [place("in", 10, "finished")] });
        let stands = Stands::of(&manifest(false, 7)).running(&read_out);
        assert_eq!((stands.until, stands.read_out, stands.way()), (Some(0), true, ""));
    }
}
