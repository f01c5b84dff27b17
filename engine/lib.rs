//! How a job runs.

pub mod cli;
pub mod protocol;

mod change;
mod clock;
mod control;
mod exit;
pub mod failpoint;
mod fault;
mod host;
mod metrics;
mod operator;
mod plan;
mod record;
mod run;
pub mod sink;
pub mod source;
mod status;
mod timed;

pub use change::{Change, UpsertSink};
pub use exit::Exit;
pub use fault::Fault;
pub use host::bad::{DeadLetter, Refusals};
pub use host::graph::Graph;
pub use host::line::{KeyStep, Line, Scatter, Stateful};
pub use metrics::{Counter, Gauge, Metrics};
pub use operator::{Context, Fires, Firing, Operator};
pub use plan::{Node, Plan, Role};
pub use protocol::CommitRecord;
pub use record::{Batch, Origin, Record, Row, Shipment};
pub use run::{Delivery, Draw, Ended, Run, Running, Tuning, draw, peek, start};
pub use source::Env;
pub use status::{PartitionStatus, Status};
pub use timed::{ByStamp, ByValue, Clocked, Never, Timed, TimedReader, Untimed};
