//! A job: a name, a version, and the flow that is drawn.

use std::sync::Arc;

use millpond_engine::{Delivery, Draw, Ended, Env, Exit, Fault, Run, Running};

use crate::Flow;

/// A job under construction. Ends in [`Job::main`], which is a whole command line, or in [`Job::start`], which runs it inside a program.
#[derive(Clone, Debug)]
#[must_use = "a job does nothing until `.main(..)` or `.start(..)`"]
pub struct Job {
    pub(crate) name: String,
    pub(crate) version: u32,
    pub(crate) delivery: Delivery,
}

/// What a flow's closure may return: nothing, or a result whose error stops the start.
pub trait Drawn {
    /// As a result.
    ///
    /// # Errors
    /// The closure's own.
    fn drawn(self) -> Result<(), Fault>;
}

impl Drawn for () {
    fn drawn(self) -> Result<(), Fault> {
        Ok(())
    }
}

impl<E: std::fmt::Display> Drawn for Result<(), E> {
    fn drawn(self) -> Result<(), Fault> {
        self.map_err(|error| Fault::new(Exit::FixJob, format!("the flow cannot be drawn: {error}")))
    }
}

impl Job {
    /// A job of this name: letters, digits, `.`, `_`, `-`. Version 1, exactly once.
    pub fn new(name: &str) -> Self {
        Job { name: name.to_owned(), version: 1, delivery: Delivery::ExactlyOnce }
    }

    /// The job's version, from 1. Each has its own state and output names, so that version 2 can be started from the beginning of the log
    /// beside a running version 1.
    pub fn version(self, version: u32) -> Self {
        Job { version, ..self }
    }

    /// What a crash may do to output.
    pub fn delivery(self, delivery: Delivery) -> Self {
        Job { delivery, ..self }
    }

    /// Starts the job inside this program, with these settings; name, version and delivery mode are the job's.
    ///
    /// # Errors
    /// Whatever keeps it from starting.
    pub fn start<O: Drawn>(
        &self,
        run: Run,
        draw: impl for<'s> Fn(&Flow<'s>) -> O + Send + Sync + 'static,
    ) -> Result<Running, Fault> {
        let env = Env { job: self.name.clone(), version: self.version, ..run.env.clone() };
        millpond_engine::start(Run { env, delivery: self.delivery, ..run }, erase(draw))
    }

    /// Runs the job until it ends.
    ///
    /// # Errors
    /// What stopped it.
    pub fn run<O: Drawn>(
        &self,
        run: Run,
        draw: impl for<'s> Fn(&Flow<'s>) -> O + Send + Sync + 'static,
    ) -> Result<Ended, Fault> {
        self.start(run, draw)?.join()
    }
}

pub(crate) fn erase<O: Drawn>(draw: impl for<'s> Fn(&Flow<'s>) -> O + Send + Sync + 'static) -> Arc<Draw> {
    Arc::new(move |graph, env| draw(&Flow::new(graph, env)).drawn())
}
