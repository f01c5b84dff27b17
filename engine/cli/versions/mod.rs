//! The commands about versions of a job: what is there, how they compare, which one is live.
//!
//! Every command draws the job only to learn where its outputs lie; everything else it reads from the registry kept there.
//!
//! Modules: `standing` is how a version stands now, `beat` what `run` says of itself, `binary` which one it is; `list` is `versions`, `switch` is `promote` and
//! `rollback`, `retire`, `tail` and `compare` are theirs.

pub(super) mod beat;
mod binary;
pub(super) mod compare;
pub(super) mod list;
pub(super) mod retire;
mod standing;
pub(super) mod switch;
pub(super) mod tail;

use std::sync::Arc;

use clap::ArgMatches;

use super::{JobMain, options};
use crate::ledger::Ledger;
use crate::registry::{self, Entry};
use crate::run::start::drawn;
use crate::{Draw, Env, Exit, Fault};

/// Where the job's registry is kept, when its outputs lie somewhere that keeps one.
pub(super) fn ledger(draw: &Draw, env: &Env) -> Result<Option<Arc<dyn Ledger>>, Fault> {
    let graph = drawn(draw, env)?;
    let found = graph.sinks.borrow().iter().find_map(|sink| sink.system.ledger());
    Ok(found)
}

/// A job as the commands about versions see it.
struct Job<'a> {
    main: &'a JobMain,
    matches: &'a ArgMatches,
    env: Env,
    ledger: Arc<dyn Ledger>,
}

impl<'a> Job<'a> {
    fn of(main: &'a JobMain, matches: &'a ArgMatches) -> Result<Self, Fault> {
        let env = options::env(main, matches);
        let draw = (main.draw)(matches)?;
        let ledger = ledger(&*draw, &env)?.ok_or_else(|| {
            Fault::new(
                Exit::Usage,
                format!(
                    "job {} has no registry of versions: none of its outputs lies in a system that keeps one, such as the embedded log",
                    env.job
                ),
            )
        })?;
        Ok(Job { main, matches, env, ledger })
    }

    /// Its entry, as it is now.
    fn entry(&self) -> Result<Entry, Fault> {
        registry::look(&*self.ledger, &self.env.job)?.ok_or_else(|| {
            Fault::new(
                Exit::Usage,
                format!(
                    "job {} is not in the registry in {}: no version of it has run there; see --state and --job",
                    self.env.job,
                    self.ledger.name()
                ),
            )
        })
    }

    /// The job as one of its versions.
    fn at(&self, version: u32) -> Env {
        Env { version, ..self.env.clone() }
    }
}
