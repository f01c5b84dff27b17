//! How a running job is asked and told things: its control socket, and the HTTP endpoint of `--metrics`.
//!
//! [`Control`] is served by the one process that holds the run lock of a state directory, so a socket file that lies there already is
//! stale. One request a connection: a line (`status`, `stop`, `close`), answered by a line of JSON. Nothing here touches records; both servers
//! read the same [`Report`] that the terminal shows.

mod http;
mod path;
mod socket;

use std::sync::Arc;

use crate::Status;

pub(crate) use http::Http;
pub(crate) use socket::{Control, Order, ask};

/// What a running job says of itself, asked from any thread.
pub(crate) type Report = Arc<dyn Fn() -> Status + Send + Sync>;
