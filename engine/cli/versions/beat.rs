//! What a running job tells the registry: that it is there, and every few seconds how it stands.
//!
//! Sooner than that when the line is about to leave it: readers wait for its word that its output is complete up to the switch.

use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::{binary, standing};
use crate::control::Report;
use crate::ledger::Ledger;
use crate::registry::{self, Entry, More, Options, Output, State, Version};
use crate::run::start::drawn;
use crate::{Draw, Env, Exit, Fault, Plan, clock};

/// Between two words of a job.
const EVERY: Duration = Duration::from_secs(5);
/// How long the last word may take.
const LAST: Duration = Duration::from_secs(5);
/// Between two looks at the line.
const LOOK: Duration = Duration::from_millis(500);

/// How a version is started.
pub(in crate::cli) struct Start<'a> {
    /// Where a first start begins, for people.
    pub(in crate::cli) from: String,
    /// The job's own options.
    pub(in crate::cli) options: Options,
    /// Whether it begins again although it has output.
    pub(in crate::cli) anew: bool,
    /// What built it, in the job's own words.
    pub(in crate::cli) build: &'a str,
}

/// A version as it introduces itself.
pub(in crate::cli) struct Introduced {
    ledger: Arc<dyn Ledger>,
    env: Env,
    version: Version,
}

impl Introduced {
    /// Learns what there is to tell of the version; `None` where no registry is kept.
    ///
    /// # Errors
    /// When it was retired, or the registry cannot be read or is of a newer release.
    pub(in crate::cli) fn new(
        draw: &Draw,
        env: &Env,
        plan: &Plan,
        Start { from, options, anew, build }: Start<'_>,
    ) -> Result<Option<Self>, Fault> {
        let Some(ledger) = super::ledger(draw, env)? else { return Ok(None) };
        let graph = drawn(draw, env)?;
        let identity = ledger.name();
        let sinks = graph.sinks.borrow();
        let outputs = sinks.iter().filter(|sink| sink.system.ledger().is_some_and(|ledger| ledger.name() == identity));
        let version = Version {
            plan: format!("{:016x}", plan.hash()),
            shapes: plan.stateful().into_iter().map(|(uid, node)| (uid, node.shapes)).collect(),
            build: built(build),
            binary: String::new(),
            home: standing::home(env),
            from,
            options,
            registered: clock::wall(),
            outputs: outputs
                .map(|sink| Output {
                    name: sink.outlet.to.clone(),
                    at: env.output(&sink.outlet.to),
                    sink: sink.uid.clone(),
                    upsert: sink.outlet.upsert,
                    settled: sink.settled,
                    id: None,
                    more: More::new(),
                })
                .collect(),
            standing: registry::Standing::default(),
            compared: None,
            retiring: false,
            more: More::new(),
        };
        drop(sinks);
        let introduced = Introduced { ledger, env: env.clone(), version };
        match registry::look(&*introduced.ledger, &env.job) {
            Ok(Some(entry)) => {
                if !anew {
                    entry.keeps_outputs(env.version, &introduced.version.outputs)?;
                }
                introduced.next(&entry)?;
            }
            // What may not be made is not made.
            Ok(None) if !env.create => {
                tracing::warn!(
                    "the job is not in the registry in {identity}, and with --no-create-topics it is not put there"
                );
                return Ok(None);
            }
            Ok(None) => {}
            Err(fault) => unregistered(fault)?,
        }
        Ok(Some(introduced))
    }

    fn next(&self, entry: &Entry) -> Result<Entry, Fault> {
        entry.register(self.env.version, self.version.clone())
    }

    /// Registers the version, and goes on to say how it stands until [`Beating::end`]. Stops it once it is to be retired.
    ///
    /// # Errors
    /// When it was retired meanwhile, or the registry cannot be written.
    pub(in crate::cli) fn register(
        mut self,
        report: Report,
        stop: impl Fn() + Send + 'static,
    ) -> Result<Beating, Fault> {
        let status = report();
        let standing = &mut self.version.standing;
        (standing.run, standing.life, standing.epoch) = (status.run, status.life, status.epoch);
        if let Some(savepoint) = status.savepoint {
            self.version.from = format!("savepoint {savepoint}");
        }
        let registered = registry::change(&*self.ledger, &self.env.job, |entry| self.next(entry).map(Some));
        registered.or_else(unregistered)?;
        let (end, ended) = bounded(1);
        let (done, said) = bounded::<()>(0);
        let beats = move || {
            let _done = done;
            // Beside the job, which is not held up by it.
            self.version.binary = binary::of_this_process();
            let mut last = None;
            let state = loop {
                if self.is_retired() {
                    tracing::warn!("the version is being retired, and stops");
                    stop();
                    break State::Stopped;
                }
                let due = last.is_none_or(|last| clock::instant().saturating_duration_since(last) >= EVERY);
                if due || self.awaited(&report) {
                    self.say(&report, None);
                    last = Some(clock::instant());
                }
                match ended.recv_timeout(LOOK) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(state) => break state,
                    Err(RecvTimeoutError::Disconnected) => break State::Stopped,
                }
            };
            // The last word: how far it came, and that it does not run any more.
            self.say(&report, Some(state));
        };
        let started = std::thread::Builder::new().name("registry".to_owned()).spawn(beats);
        started.map_err(|error| {
            Fault::new(Exit::Retry, "cannot start the thread that writes the registry").because(error)
        })?;
        Ok(Beating { end, said })
    }

    /// Whether somebody retires it, or has done so: whoever did may have found no way to tell it, as on another host.
    fn is_retired(&self) -> bool {
        let Ok(Some(entry)) = registry::look(&*self.ledger, &self.env.job) else { return false };
        let own = self.env.version;
        entry.retired.contains(&own) || entry.versions.get(&own).is_some_and(|version| version.retiring)
    }

    /// Whether readers wait for this version to have passed a switch, and it has.
    fn awaited(&self, report: &Report) -> bool {
        let Ok(Some(entry)) = registry::look(&*self.ledger, &self.env.job) else { return false };
        let own = self.env.version;
        let switches = entry.line.iter().zip(entry.line.iter().skip(1)).filter(|(leg, _)| leg.version == own);
        let waiting = switches.flat_map(|(_, next)| &next.outputs);
        let mut waiting = waiting.filter(|(name, turn)| entry.complete(own, name, turn.from).is_none()).peekable();
        if waiting.peek().is_none() {
            return false;
        }
        let reached = report().reached;
        let complete = |name: &str| {
            let output = self.version.outputs.iter().find(|output| output.name == name)?;
            reached.outputs.get(&output.sink).map(|output| output.complete)
        };
        waiting.any(|(name, turn)| complete(name).is_some_and(|complete| complete >= turn.from))
    }

    fn say(&self, report: &Report, state: Option<State>) {
        let status = report();
        let said = standing::of(&status, &*self.ledger, &self.version.outputs).and_then(|mut standing| {
            if let (Some(state), State::Running) = (state, standing.state) {
                standing.state = state;
            }
            let own = self.env.version;
            registry::change(&*self.ledger, &self.env.job, |entry| {
                let next = match entry.versions.get(&own) {
                    Some(_) => entry.beat(own, standing.clone()),
                    None => self.next(entry)?.beat(own, standing.clone()),
                };
                Ok(next.map(|next| next.built(own, &self.version.binary)))
            })
        });
        if let Err(fault) = said {
            // The job can do all its work without it; who asks is told how old its last word is.
            tracing::warn!(%fault, "the registry was not told how the job stands");
        }
    }
}

/// Where the registry itself says no, the version must not run; where it cannot be reached or written, the job can do all its work without
/// it, and tries again with each beat.
fn unregistered(fault: Fault) -> Result<(), Fault> {
    if matches!(fault.exit(), Exit::NewVersion | Exit::Restore) {
        return Err(fault);
    }
    tracing::warn!(%fault, "the job is not registered; `versions`, `compare` and `promote` do not know of it");
    Ok(())
}

/// What the registry calls a build: by the job's own words, where it has some, and by its release of millpond.
fn built(build: &str) -> String {
    let release = concat!("millpond ", env!("CARGO_PKG_VERSION"));
    if build.is_empty() { release.to_owned() } else { format!("{build}, {release}") }
}

/// A version that says how it stands.
pub(in crate::cli) struct Beating {
    end: Sender<State>,
    said: Receiver<()>,
}

impl Beating {
    /// Says how the version stood at the end. A registry that does not answer is not waited for long.
    pub(in crate::cli) fn end(self, finished: bool) {
        let state = if finished { State::Finished } else { State::Stopped };
        if self.end.send(state).is_ok() {
            let _ = self.said.recv_timeout(LAST);
        }
    }
}
