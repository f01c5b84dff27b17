//! Millpond: a windowed dataflow runtime. It reads a log, keeps operator state in checkpointed local stores, handles event time and late
//! data, and commits output, positions and state in one atomic write, so that every record counts once and only once.
//!
//! A **job** is a name, a version and a flow that is drawn: sources, steps, windows, sinks. `main` makes a whole command line of it.
//! ```no_run
//! use std::process::ExitCode;
//! use std::time::Duration;
//! use millpond::log::Log;
//! use millpond::{Job, Json, Timestamp, Tumbling, Untimed};
//!
//! #[derive(Clone, serde::Serialize, serde::Deserialize)]
//! struct Click {
//!     page: String,
//!     at: i64,
//! }
//!
//! fn main() -> ExitCode {
//!     Job::new("page-views").version(1).main(|flow| {
//!         let log = Log::at(flow.state_dir().join("log"));
//!         let clicks = log.read::<Click>("clicks", Json).event_time(|click| Timestamp::from_millis(click.at));
//!         flow.source("clicks", clicks.out_of_order(Duration::from_secs(5)))
//!             .key_by(|click| click.page.clone())
//!             .window(Tumbling::of(Duration::from_secs(60)))
//!             .aggregate(|w| (w.count(), w.max(|click| click.at)))
//!             .sink("views", log.write("page-views", Json).key(|pane: &millpond::Pane<String, (u64, i64)>| pane.key.clone()));
//!     })
//! }
//! ```
//! Results are a function of the log: not of speed, interleaving, workers, crashes or replays. A window's result is final and published
//! once, when the watermark has passed its end by the allowed lateness; what comes after that is late, counted, and a stream of its own
//! when asked for. `ARCHITECTURE.md` tells why it is built as it is.
//!
//! # Map
//! - [`Job`], [`Flow`], [`Stream`], [`KeyedStream`], [`Changes`]: what a job says; [`Test`]: a flow inside a test. [`Tumbling`], [`Sliding`], [`Session`], [`Count`] and own windows
//!   ([`windows`]); what they compute ([`aggregate`]).
//! - [`log`]: the embedded log. [`File`], [`generate`], [`stdin_lines`], [`Stdout`], [`vec()`] and [`Collected`]: other ends. [`Json`], [`Csv`],
//!   [`Bincode`], [`Raw`], [`Text`]: formats.
//! - [`Timestamp`], [`Data`], [`Key`]: what travels. [`Exit`], [`Fault`]: what stops a job. [`print()`], [`say`]: what a job prints of its own.
//! - [`engine`], [`state`]: the crates below, for those who write sources, sinks and operators.

pub use millpond_connectors::*;
pub use millpond_engine::cli::{print, say};
pub use millpond_engine::{
    Change, DeadLetter, Delivery, Ended, Env, Exit, Fault, FromSavepoint, Lines, Live, LivePosition, LiveReader,
    LiveRow, Run, Running, Status, Timed, Tuning, Untimed, UpsertSink, failpoint, live, source,
};
pub use millpond_operators::windows::{Count, Global, Session, Sliding, Span, Tumbling};
pub use millpond_operators::{Changes, Flow, Job, KeyedStream, Pane, Stream, Test, Windowed, aggregate, windows};
pub use millpond_state::{Data, Key, KeyGroup, Position, Timestamp, TimestampError, stable_hash};
pub use {millpond_engine as engine, millpond_state as state};

/// Takes jemalloc into the binary, whose `malloc` and `free` then are everybody's: Rust's own, and those of C. What one thread allocates,
/// another frees here all the time: records on their way to librdkafka, batches between workers. glibc locks for that, and threads wait for
/// each other (`benches/README.md`). A job that has a `#[global_allocator]` of its own keeps it.
#[cfg(all(feature = "jemalloc", target_os = "linux", target_env = "gnu"))]
#[used]
static MALLOC: unsafe extern "C" fn(usize) -> *mut std::ffi::c_void = tikv_jemalloc_sys::malloc;

/// The code of the page on Kafka, compiled as a doc test.
#[cfg(all(doctest, feature = "kafka"))]
#[doc = include_str!("docs/kafka.md")]
struct KafkaPage;

/// The README's code, compiled and run as a doc test.
#[cfg(doctest)]
#[doc = include_str!("README.md")]
struct Readme;
