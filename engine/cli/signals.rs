//! SIGTERM and Ctrl-C. The first asks the job to stop: it commits the open epoch and leaves. The second leaves at once. A job that has
//! not left some time after the first is left anyway, so that no supervisor has to kill it.
//!
//! Leaving at once loses nothing: whatever is not committed is computed again at the next start.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use signal_hook::consts::signal::{SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals as Arriving};

use super::terminal;
use crate::{Exit, Fault};

/// A job must be gone 20 s after the first signal.
const PATIENCE: Duration = Duration::from_secs(18);

enum Stage {
    /// Nothing was read yet: a signal ends the process with this code.
    Before(Exit),
    /// A signal calls this.
    Running(Box<dyn Fn() + Send>),
    /// A signal came; the next one ends the process.
    Stopping,
}

/// Listens for signals until it is dropped.
pub(super) struct Signals {
    stage: Arc<Mutex<Stage>>,
    handle: Handle,
    thread: Option<JoinHandle<()>>,
    /// Dropping it ends the wait for a job that does not stop.
    _leaving: Sender<()>,
}

impl Signals {
    /// Listens. Until [`Signals::running`] is called a signal ends the process with `early`.
    pub(super) fn listen(early: Exit) -> Result<Signals, Fault> {
        let cannot = |error| Fault::new(Exit::Retry, "cannot listen for signals").because(error);
        let mut arriving = Arriving::new([SIGTERM, SIGINT]).map_err(cannot)?;
        let handle = arriving.handle();
        let stage = Arc::new(Mutex::new(Stage::Before(early)));
        let (leaving, left) = bounded(0);
        let current = Arc::clone(&stage);
        let listen = move || {
            for _ in arriving.forever() {
                take(&mut current.lock().unwrap_or_else(PoisonError::into_inner), &left);
            }
        };
        let thread = std::thread::Builder::new().name("signals".to_owned()).spawn(listen).map_err(cannot)?;
        Ok(Signals { stage, handle, thread: Some(thread), _leaving: leaving })
    }

    /// The job runs: the first signal calls `stop`.
    pub(super) fn running(&self, stop: impl Fn() + Send + 'static) {
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner) = Stage::Running(Box::new(stop));
    }
}

fn take(stage: &mut Stage, left: &Receiver<()>) {
    match stage {
        Stage::Before(exit) => leave(*exit, "stopped before anything was read"),
        Stage::Running(stop) => {
            terminal::say(
                "stopping: the open epoch is committed, open windows are kept; a second signal leaves at once",
            );
            stop();
            *stage = Stage::Stopping;
            let left = left.clone();
            let watch = move || {
                if left.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                    let (secs, help) = (PATIENCE.as_secs(), Exit::Retry.advice());
                    leave(
                        Exit::Retry,
                        &format!("error: the job did not stop within {secs} s and was left\nhelp: {help}"),
                    );
                }
            };
            // Without this thread the job still stops, or a second signal comes.
            let _ = std::thread::Builder::new().name("patience".to_owned()).spawn(watch);
        }
        Stage::Stopping => leave(Exit::Interrupted, "left at once; what is not committed will be computed again"),
    }
}

fn leave(exit: Exit, why: &str) {
    terminal::say(why);
    std::process::exit(exit.code().into());
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
