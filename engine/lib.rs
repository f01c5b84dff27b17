//! The engine: how a job runs.
//!
//! A job is **drawn** first: a closure adds typed nodes to a [`Graph`], which is data for the [`Plan`] (uids, settings, shapes) and closures that
//! lower them. It is drawn once without being lowered, for the plan and every check, and once on each worker, where it becomes timely operators.
//!
//! **Hosting** (`host`) is the only place that speaks timely's operator API. Time there is an epoch and a watermark, ordered by product. A source
//! is the head of its chain: reading, decoding, event time and all steps up to the first shuffle are one operator. A keyed [`Operator`] is a pure
//! state machine behind one capability an output; the host gives it rows of the open epoch, moves its watermark, fires it in budgets, and
//! takes its snapshot when nothing of the epoch can come any more. An empty frontier promises nothing; the final watermark is a value.
//!
//! **Lateness** is decided by `seen`, the watermark of a record's own partition when it was read, and by `fired`, which is state. So results
//! and late records are a function of the log.
//!
//! The **protocol** ([`protocol`]) is a pure state machine: close, seal, prepare, commit. The coordinator (`run`) does what it says: sources cut,
//! operators snapshot, a writer makes parts durable and votes, the manifest becomes durable, and then one atomic write of the [`sink::Decider`]
//! makes output, positions and state real. A start locks, fences, reads the newest [`CommitRecord`], restores exactly what it names, and
//! refuses whatever is not whole, with an [`Exit`] code of its own and a sentence that helps.
//!
//! **Memory** is bounded by credits (what is in flight) and by aligned reading (what waits in open windows). Only sources are throttled, and
//! firing; a cut needs no credit.
//!
//! # Map
//! - [`source`], `timed`: the contract of sources and their event time. [`sink`]: sinks, deciders, followers.
//! - `operator`: the contract of keyed operators; `record`, `change`: what travels.
//! - `plan`: what was drawn, as data; `host`: lowering and hosting.
//! - [`registry`]: job versions and the live line, pure; [`compare`]: two versions' outputs; [`ledger`]: what tools need of an outside
//!   system.
//! - [`redrive`]: dead letters that go through the job again, pure.
//! - `live`: a reader of the live line, [`live()`].
//! - `savepoint`: whether a saved state fits another plan, pure.
//! - [`protocol`]: the commit, pure; `run`: start, workers, coordinator, recovery.
//! - [`cli`]: the command line of every job; `control`: its socket and its metrics page; `status`: what it says of itself.
//! - `metrics`; `exit`, `fault`: how it ends; `clock`: the one look at clocks; [`failpoint`]: where tests kill it.

pub mod cli;
pub mod compare;
pub mod ledger;
pub mod protocol;
pub mod redrive;
pub mod registry;

mod change;
mod clock;
mod control;
mod exit;
pub mod failpoint;
mod fault;
mod host;
mod live;
mod metrics;
mod operator;
mod plan;
mod record;
mod run;
mod savepoint;
pub mod sink;
pub mod source;
mod status;
mod timed;

pub use change::{Change, UpsertSink};
pub use exit::Exit;
pub use fault::Fault;
pub use host::bad::{DeadLetter, Refusals};
pub use host::graph::Graph;
pub use host::keying::{KeyStep, KeyedLine, Scatter};
pub use host::line::{Line, Stateful};
pub use live::{Lines, Live, LiveReader, LiveRow, Position as LivePosition, live};
pub use metrics::{Counter, Gauge, Metrics};
pub use operator::{Context, Fires, Firing, Operator};
pub use plan::{Node, Plan, Role};
pub use protocol::CommitRecord;
pub use record::{Batch, Origin, Record, Row, Shipment};
pub use run::{Delivery, Draw, Ended, FromSavepoint, Run, Running, Throttle, Tuning, draw, peek, start};
pub use savepoint::Upgrade;
pub use source::Env;
pub use status::{OutputReached, PartitionStatus, Reached, Status};
pub use timed::{ByStamp, ByValue, Clocked, Never, Timed, TimedReader, Untimed};
