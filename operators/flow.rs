//! A flow: where a job is drawn.

use std::path::PathBuf;
use std::rc::Rc;

use millpond_engine::sink::Sink;
use millpond_engine::source::Source;
use millpond_engine::{DeadLetter, Env, Graph, Line};

use crate::Stream;

/// Where a job is drawn. The closure given to [`crate::Job`] gets one, draws, and does no I/O: it runs once for the plan, and once on
/// each worker.
#[derive(Debug)]
pub struct Flow<'s> {
    graph: Rc<Graph<'s>>,
    env: Env,
}

impl<'s> Flow<'s> {
    pub(crate) fn new(graph: &Rc<Graph<'s>>, env: &Env) -> Self {
        Flow { graph: Rc::clone(graph), env: env.clone() }
    }

    /// Reads a source. The name is its own in the job, and what its positions are kept under.
    pub fn source<S: Source>(&self, name: &str, source: S) -> Stream<'s, S::Item> {
        Stream { line: Line::source(&self.graph, name, source) }
    }

    /// The directory given with `--state`: where an example keeps its log.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.env.state.clone()
    }

    /// The version that is drawn: the job's own, or the one given with `--job-version`. One binary can be several versions.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.env.version
    }

    /// Records that do not decode, or that a step refuses, are skipped and counted. Without this, the job stops at the first.
    pub fn skip_bad_records(&self) {
        self.graph.skip_bad();
    }

    /// Records that do not decode, or that a step refuses, are written to `sink` with their original bytes and the error, committed
    /// with the rest.
    pub fn dead_letters(&self, name: &str, sink: impl Sink<DeadLetter>) {
        self.graph.dead_letters(name, sink);
    }
}
