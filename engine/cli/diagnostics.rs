//! What a process says of itself when things go wrong: `tracing` to stderr, and a panic hook that lets no thread die in silence.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::terminal;
use crate::Exit;
use crate::run::local::quiet;

/// Once for the process. `RUST_LOG` says what is told; warnings and errors without it.
pub(super) fn install() {
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::WARN.into()).from_env_lossy();
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|text| text.is_empty());
    let subscriber =
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colour).with_writer(|| terminal::Stderr);
    // A program that has set up tracing itself keeps its own.
    let _ = subscriber.try_init();
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // A panic in a function of the user's is caught, and reported as a fault that names the record.
        if quiet() {
            return;
        }
        terminal::clear();
        print(panic);
        terminal::say(
            "error: a thread panicked outside of the job's steps; what is not committed yet will be computed again",
        );
        terminal::say(&format!("help: {}", Exit::Retry.advice()));
        // Not unwinding: a worker that ends by unwinding would look to the others like one that has nothing more to say.
        std::process::exit(Exit::Retry.code().into());
    }));
}
