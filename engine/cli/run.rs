//! `run`: starts the job, stays with it, and says how it ended.

use std::sync::Arc;
use std::time::Duration;

use clap::ArgMatches;
use crossbeam::channel::{RecvTimeoutError, bounded};

use super::options::{self, id};
use super::progress::{Ends, Progress, Shown};
use super::signals::Signals;
use super::versions::beat::{Introduced, Start};
use super::{JobMain, figures, recorded, replay, savepoints, terminal};
use crate::control::{Control, Http, Order, Report};
use crate::{Draw, Ended, Env, Exit, Fault, Plan, Role, Running, Status};

/// Between two looks at a run.
const TICK: Duration = Duration::from_millis(250);

pub(super) fn run(job: &JobMain, matches: &ArgMatches) -> Result<Exit, Fault> {
    let run = options::run(job, matches);
    let (env, until_end, new) = (run.env.clone(), run.until_end, run.new);
    let draw = (job.draw)(matches)?;
    let (plan, bounded) = drawn(&*draw, &env)?;
    let replayed = options::one::<u32>(matches, id::REPLAYED).is_some();
    let begins = savepoints::fit(&run, &*draw)?;
    if let Some(begins) = &begins {
        terminal::say(&savepoints::table(begins, &env));
        begins.fits(&env)?;
    }
    let mut from = run.from.to_string();
    if replayed {
        match replay::whole(&*draw, &env, &run.from, begins.as_ref()) {
            // Its outputs are not whole from the beginning: `compare` goes by that.
            Err(_) if options::flag(matches, id::FROM_OLDEST) => from = format!("{from}, oldest kept"),
            whole => whole?,
        }
    }
    let mut watch = replayed.then(|| replay::Watch::new(&*draw, &env)).transpose()?;
    let until_caught_up = options::flag(matches, id::UNTIL_CAUGHT_UP);
    let mut http = matches.get_one::<String>(id::METRICS).map(|address| Http::listen(address)).transpose()?;
    let signals = Signals::listen(if until_end { Exit::StoppedEarly } else { Exit::Finished })?;
    if let Some(before) = &job.before {
        before(&env, matches)?;
    }
    if new {
        terminal::say(&doubled(&*draw, &env));
    }
    let start = Start { from, options: recorded::of_run(job, matches), anew: new, build: &job.build };
    let introduced = Introduced::new(&*draw, &env, &plan, start)?;
    let running = crate::start(run, draw)?;
    let report: Report = Arc::new(running.reporter());
    let registered = introduced.map(|introduced| introduced.register(Arc::clone(&report), running.stopper()));
    let beating = match registered.transpose() {
        Ok(beating) => beating,
        Err(fault) => {
            // It was retired meanwhile, or nobody would learn that it runs.
            running.stop();
            return running.join().and(Err(fault));
        }
    };
    let was_finished = report().state == "finished";
    signals.running(running.stopper());
    let output = if writes_to_stdout(&plan) { Output::Records } else { Output::Summary };
    if let Some(http) = &mut http {
        http.serve(running.metrics().clone(), Arc::clone(&report))
            .map_err(|error| Fault::new(Exit::Retry, "cannot start the thread that serves metrics").because(error))?;
        terminal::say(&format!("metrics are served on http://{}/metrics", http.address()));
    }
    let control = if was_finished { None } else { control(&env, &running, &report) };
    let shown = shown(output);
    if shown == Shown::Lines && !was_finished {
        let from = running.goes_on_from().map_or("begins".to_owned(), |epoch| format!("goes on from epoch {epoch}"));
        terminal::say(&format!("{} runs as {} and {from}", env.identity(), report().run));
    }
    let ends = match (bounded || until_end, replayed || until_caught_up) {
        (true, _) => Ends::Finished,
        (false, true) => Ends::CaughtUp,
        (false, false) => Ends::Not,
    };
    let mut progress = Progress::new(shown, ends, &report());
    let (stop, mut caught_up) = (running.stopper(), false);
    let ended = follow(running, &report, |status| {
        progress.tick(status);
        for words in watch.iter_mut().flat_map(|watch| watch.look(status)) {
            terminal::say(&format!("warning: {words}"));
        }
        if until_caught_up && !caught_up && replay::caught_up(status) {
            caught_up = true;
            stop();
        }
    });
    terminal::clear();
    if let Some(beating) = beating {
        beating.end(ended.as_ref().is_ok_and(|ended| ended.finished));
    }
    let ended = ended?;
    drop(control);
    let how = How { until_end, caught_up, took: progress.elapsed() };
    let words = words(&env, &ended, &report(), &how);
    match output {
        Output::Records => terminal::say(&words),
        Output::Summary => terminal::print(&format!("{words}\n"))?,
    }
    if let Some(after) = &job.after {
        after(&env, matches, &ended)?;
    }
    Ok(if until_end && !ended.finished { Exit::StoppedEarly } else { Exit::Finished })
}

/// The plan, and whether the job ends by itself.
fn drawn(draw: &Draw, env: &Env) -> Result<(Plan, bool), Fault> {
    let plan = crate::draw(draw, env)?;
    let graph = crate::run::start::drawn(draw, env)?;
    let bounded = graph.sources.borrow().iter().all(|source| source.bounded);
    Ok((plan, bounded))
}

/// What stdout is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    /// The job writes its records there; nothing else may stand between them.
    Records,
    /// A summary.
    Summary,
}

fn writes_to_stdout(plan: &Plan) -> bool {
    let to = |(name, value): &(String, String)| name == "to" && value.split(' ').next() == Some("stdout");
    plan.nodes.iter().any(|node| node.role == Role::Sink && node.settings.iter().any(to))
}

fn shown(output: Output) -> Shown {
    use std::io::IsTerminal as _;
    match (terminal::is_live(), output) {
        (true, Output::Records) if std::io::stdout().is_terminal() => Shown::Not,
        (true, _) => Shown::Block,
        (false, _) => Shown::Lines,
    }
}

fn control(env: &Env, running: &Running, report: &Report) -> Option<Control> {
    let (stop, close) = (running.stopper(), running.closer());
    let tell = move |order| match order {
        Order::Stop => stop(),
        Order::Close => close(),
    };
    match Control::serve(&env.home(), Arc::clone(report), tell) {
        Ok(control) => Some(control),
        Err(error) => {
            // The job can do all its work without it.
            tracing::warn!(%error, home = %env.home().display(), "no control socket: `status` will not see that the job runs");
            None
        }
    }
}

/// Waits for the end, looking at how the run stands meanwhile.
fn follow(running: Running, report: &Report, mut look: impl FnMut(&Status)) -> Result<Ended, Fault> {
    let (sender, ended) = bounded(1);
    let wait = move || {
        // Nobody listens only when the process is ending.
        let _ = sender.send(running.join());
    };
    std::thread::Builder::new()
        .name("join".to_owned())
        .spawn(wait)
        .map_err(|error| Fault::new(Exit::Retry, "cannot start the thread that waits for the job").because(error))?;
    loop {
        match ended.recv_timeout(TICK) {
            Ok(ended) => return ended,
            Err(RecvTimeoutError::Timeout) => look(&report()),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Fault::new(
                    Exit::Retry,
                    "the thread that waits for the job died; this is a bug of millpond",
                ));
            }
        }
    }
}

/// What `--new` does, said before it is done.
fn doubled(draw: &Draw, env: &Env) -> String {
    let begins = format!("{} begins again with --new", env.identity());
    match crate::peek(draw, env) {
        Ok(Some((record, _))) => format!(
            "{begins}: it committed epoch {} at {}. That output stays, and every record read from now on that was read before is \
             counted and written a second time",
            record.id.epoch, record.clock
        ),
        Ok(None) => format!(
            "{begins}: it has committed nothing yet. Whatever it wrote stays, and what is read again is written twice"
        ),
        // It may be the reason for beginning again.
        Err(fault) => {
            format!("{begins}; what it committed stays, and is written twice where it is read again ({fault})")
        }
    }
}

/// How a run went.
struct How {
    until_end: bool,
    /// It was stopped since it had caught up, as it was asked to.
    caught_up: bool,
    took: Duration,
}

/// How it ended, for people.
fn words(env: &Env, ended: &Ended, status: &Status, run: &How) -> String {
    let job = env.identity();
    if ended.before {
        return format!(
            "{job} is finished: it reached the end of its input with epoch {}. Nothing was read or written, also if the log has grown \
             since; to go on from there, start a new version (--job-version {})",
            ended.epoch,
            env.version.saturating_add(1)
        );
    }
    let how = match (ended.finished, run.until_end) {
        (true, _) => "finished",
        (false, _) if run.caught_up => "has caught up with its input and stopped",
        (false, true) => "was stopped before its end",
        (false, false) => "was stopped",
    };
    let (read, written) = (figures::count(status.records_read), figures::count(status.records_written));
    let (late, bad) = (figures::count(status.late), figures::count(status.bad));
    let took = figures::span(run.took);
    let kept = match ended.finished {
        true => "",
        false => "; open windows are kept, the same command goes on from there",
    };
    format!(
        "{job} {how} after {took}: {read} records read, {written} written, {late} late, {bad} bad; epoch {} is committed{kept}",
        ended.epoch
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_says_how_it_ended_and_what_to_do() {
        let env = Env { state: "s".into(), job: "flights".into(), version: 1, create: true };
        let status = Status { records_read: 27_004, records_written: 14, late: 2, ..Status::default() };
        let took = Duration::from_millis(1_200);
        let say = |finished, before, until_end| {
            let how = How { until_end, caught_up: false, took };
            words(&env, &Ended { finished, before, epoch: 5 }, &status, &how)
        };
        assert_eq!(
            say(true, false, true),
            "flights@1 finished after 1.2 s: 27,004 records read, 14 written, 2 late, 0 bad; epoch 5 is committed"
        );
        assert!(say(false, false, true).contains("was stopped before its end"));
        assert!(say(false, false, false).ends_with("open windows are kept, the same command goes on from there"));
        let caught_up = How { until_end: false, caught_up: true, took };
        let ended = Ended { finished: false, before: false, epoch: 5 };
        let said = words(&env, &ended, &status, &caught_up);
        assert!(said.starts_with("flights@1 has caught up with its input and stopped after 1.2 s: "), "{said}");
        let before = say(true, true, true);
        assert!(before.contains("Nothing was read or written") && before.contains("--job-version 2"), "{before}");
    }

    #[test]
    fn records_on_stdout_keep_the_summary_away_from_it() {
        let mut plan = super::super::plan::tests::flights();
        assert!(!writes_to_stdout(&plan));
        plan.nodes[6].settings = vec![("to".into(), "stdout -".into())];
        assert!(writes_to_stdout(&plan));
        plan.nodes[6].settings = vec![("to".into(), "log stdout".into())];
        assert!(!writes_to_stdout(&plan));
    }
}
