//! Hosting: the only place that speaks timely's operator API.
//!
//! - `graph`, `line`: what the closure draws, typed; `chain`: stateless steps, fused.
//! - `intake`: sources (`taking`: the loop that reads); `keyed`: shuffles and keyed operators; `fan`: fan-out and split; `outlet`: sinks; `bad`: refused records.
//!   `slot` is a partition, `asked` what is asked for again, `drive` a batch's way through the chain.
//! - `time`, `pact`: the timestamp, and how batches travel.

mod asked;
pub(crate) mod bad;
pub(crate) mod chain;
mod drive;
mod fan;
pub(crate) mod graph;
mod intake;
mod keyed;
pub(crate) mod keying;
pub(crate) mod line;
mod outlet;
mod pact;
mod slot;
mod taking;
pub(crate) mod time;
