//! A job: a name, a version, options of its own, and the flow that is drawn.

use std::ffi::OsString;
use std::marker::PhantomData;
use std::process::ExitCode;
use std::sync::Arc;

use clap::ArgMatches;
use millpond_engine::cli::{self, After, Before, JobMain};
use millpond_engine::{Delivery, Draw, Ended, Env, Exit, Fault, Run, Running, Tuning};

use crate::Flow;

/// A job under construction. Ends in `main`, which is a whole command line, or in [`Job::start`], which runs it inside a program.
///
/// `W` is [`Plain`], or [`With`] the job's own options.
#[must_use = "a job does nothing until `.main(..)` or `.start(..)`"]
pub struct Job<W = Plain> {
    name: String,
    version: u32,
    delivery: Delivery,
    tuning: Tuning,
    about: String,
    build: String,
    default_args: Vec<String>,
    before: Option<Before>,
    after: Option<After>,
    options: PhantomData<W>,
}

impl<W> std::fmt::Debug for Job<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job").field("name", &self.name).field("version", &self.version).finish_non_exhaustive()
    }
}

/// A job without options of its own.
#[derive(Debug)]
pub struct Plain;

/// A job with the options `O`.
#[derive(Debug)]
pub struct With<O>(PhantomData<fn() -> O>);

/// What a flow's closure may return: nothing, or a result whose error stops the start.
pub trait Drawn {
    /// As a result. A [`Fault`] stays what it is, any other error means that the job must be mended.
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

impl<E: std::fmt::Display + 'static> Drawn for Result<(), E> {
    fn drawn(self) -> Result<(), Fault> {
        self.map_err(|error| {
            // A fault knows its exit code, a wrong option for example.
            let fault = (&error as &dyn std::any::Any).downcast_ref::<Fault>().cloned();
            fault.unwrap_or_else(|| Fault::new(Exit::FixJob, format!("the flow cannot be drawn: {error}")))
        })
    }
}

impl Job {
    /// A job of this name: letters, digits, `.`, `_`, `-`. Version 1, exactly once.
    pub fn new(name: &str) -> Self {
        Job {
            name: name.to_owned(),
            version: 1,
            delivery: Delivery::ExactlyOnce,
            tuning: Tuning::default(),
            about: String::new(),
            build: String::new(),
            default_args: Vec::new(),
            before: None,
            after: None,
            options: PhantomData,
        }
    }

    /// The job gets command line options of its own, a struct that derives `clap::Args`. They come as second argument to the flow's closure.
    pub fn options<O: clap::Args>(self) -> Job<With<O>> {
        let Job { name, version, delivery, tuning, about, build, default_args, .. } = self;
        let (before, after, options) = (None, None, PhantomData);
        Job { name, version, delivery, tuning, about, build, default_args, before, after, options }
    }

    /// The job's `main`: parses the command line, does what it says, and answers with the exit code.
    pub fn main<D: Drawn>(self, draw: impl for<'s> Fn(&Flow<'s>) -> D + Send + Sync + 'static) -> ExitCode {
        self.main_with(std::env::args_os(), draw).into()
    }

    /// As [`Job::main`] with other arguments than the process's own: the binary's name first.
    pub fn main_with<D: Drawn>(
        self,
        args: impl IntoIterator<Item = OsString>,
        draw: impl for<'s> Fn(&Flow<'s>) -> D + Send + Sync + 'static,
    ) -> Exit {
        let draw = erase(draw);
        self.whole_main(args, |command| command, Box::new(move |_| Ok(Arc::clone(&draw))))
    }

    /// Starts the job inside this program, with these settings; name, version, delivery mode and sizes are the job's.
    ///
    /// # Errors
    /// Whatever keeps it from starting.
    pub fn start<D: Drawn>(
        &self,
        run: Run,
        draw: impl for<'s> Fn(&Flow<'s>) -> D + Send + Sync + 'static,
    ) -> Result<Running, Fault> {
        millpond_engine::start(self.settings(run), erase(draw))
    }

    /// Runs the job inside this program until it ends.
    ///
    /// # Errors
    /// What stopped it.
    pub fn run<D: Drawn>(
        &self,
        run: Run,
        draw: impl for<'s> Fn(&Flow<'s>) -> D + Send + Sync + 'static,
    ) -> Result<Ended, Fault> {
        self.start(run, draw)?.join()
    }

    fn settings(&self, run: Run) -> Run {
        let env = Env { job: self.name.clone(), version: self.version, ..run.env };
        Run { env, delivery: self.delivery, ..run }
    }
}

impl<O: clap::Args + Send + Sync + 'static> Job<With<O>> {
    /// Called by `run` before the job starts: to feed a log, say.
    pub fn before(mut self, before: impl Fn(&Env, &O) -> Result<(), Fault> + 'static) -> Self {
        self.before = Some(Box::new(move |env, matches| before(env, &parsed(matches)?)));
        self
    }

    /// Called by `run` when the job has ended, was stopped, or was finished before.
    pub fn after(mut self, after: impl Fn(&Env, &O, &Ended) -> Result<(), Fault> + 'static) -> Self {
        self.after = Some(Box::new(move |env, matches, ended| after(env, &parsed(matches)?, ended)));
        self
    }

    /// The job's `main`: parses the command line, does what it says, and answers with the exit code.
    pub fn main<D: Drawn>(self, draw: impl for<'s> Fn(&Flow<'s>, &O) -> D + Send + Sync + 'static) -> ExitCode {
        let draw = Arc::new(draw);
        let drawn = move |matches: &ArgMatches| {
            let (draw, options) = (Arc::clone(&draw), parsed::<O>(matches)?);
            Ok(erase(move |flow: &Flow<'_>| draw(flow, &options).drawn()))
        };
        self.whole_main(std::env::args_os(), O::augment_args, Box::new(drawn)).into()
    }
}

impl<W> Job<W> {
    /// The job's version, from 1. Each has its own state and output names, so that version 2 can be started from the beginning of the log
    /// beside a running version 1.
    pub fn version(self, version: u32) -> Self {
        Job { version, ..self }
    }

    /// What a crash may do to output.
    pub fn delivery(self, delivery: Delivery) -> Self {
        Job { delivery, ..self }
    }

    /// What the job does, in a sentence, for `--help`.
    pub fn about(self, about: &str) -> Self {
        Job { about: about.to_owned(), ..self }
    }

    /// What this build calls itself in the registry of versions, beside what its bytes say: the package's version, and the commit where the
    /// build is told it.
    ///
    /// ```
    /// use millpond_operators::Job;
    /// let commit = option_env!("GIT_COMMIT").unwrap_or("no commit given");
    /// let job = Job::new("page-views").build(&format!("{} {commit}", env!("CARGO_PKG_VERSION"))); // then `.main(..)`
    /// # let _ = job;
    /// ```
    pub fn build(self, build: &str) -> Self {
        Job { build: build.to_owned(), ..self }
    }

    /// What the binary does when it is called without arguments, instead of showing its help.
    pub fn without_arguments<'a>(self, args: impl IntoIterator<Item = &'a str>) -> Self {
        Job { default_args: args.into_iter().map(str::to_owned).collect(), ..self }
    }

    fn whole_main(
        self,
        args: impl IntoIterator<Item = OsString>,
        augment: fn(clap::Command) -> clap::Command,
        draw: cli::DrawWith,
    ) -> Exit {
        let mut job = JobMain::new(&self.name, self.version, draw);
        job.about = self.about;
        job.build = self.build;
        job.delivery = self.delivery;
        job.tuning = self.tuning;
        job.augment = augment;
        job.before = self.before;
        job.after = self.after;
        job.default_args = self.default_args;
        cli::main(&job, args)
    }
}

fn parsed<O: clap::Args>(matches: &ArgMatches) -> Result<O, Fault> {
    O::from_arg_matches(matches).map_err(|error| Fault::new(Exit::Usage, error.to_string()))
}

pub(crate) fn erase<D: Drawn>(draw: impl for<'s> Fn(&Flow<'s>) -> D + Send + Sync + 'static) -> Arc<Draw> {
    Arc::new(move |graph, env| draw(&Flow::new(graph, env)).drawn())
}
