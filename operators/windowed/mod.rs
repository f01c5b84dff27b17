//! Windows over a keyed stream: what [`KeyedStream::window`](crate::KeyedStream::window) begins and `.aggregate(..)` draws.
//!
//! - **When.** A window's result, a [`Pane`] for each key, leaves once, when the watermark reaches the window's end plus the allowed
//!   lateness, and is final. A watermark W says that nothing on time below W will follow.
//! - **Late.** A row is late iff all its windows have closed by the greater of `seen`, the watermark of its own partition when it was
//!   read, and `fired`, up to where the windows of its key group have fired. So what is late depends on the log, never on how
//!   partitions interleaved, and a window that was published is not opened again, not even after a crash.
//! - **Time of a pane.** A microsecond before its window's end, so that a window over windows of the same size finds it in the same
//!   one. The promise downstream stays behind by the allowed lateness, since that is how late panes are.
//! - **Order.** Windows leave in the order of their ends; keys within one in no promised order, unless [`Windowed::ordered`] asks
//!   for it: sorting was the largest single cost measured.
//! - **Empty windows** have no pane, unless [`Windowed::with_empty`] asks for them.
//! - **State** is the partial of each key and window (or slice of windows). Panes leave it as they are emitted, so that firing can stop
//!   after a budget, and go on after a crash in the middle, without emitting a pane twice.
//!
//! | windows | operator | keeps |
//! |---|---|---|
//! | side by side ([`Tumbling`](crate::windows::Tumbling), or sliding without overlap) | `Disjoint` | a table a window |
//! | overlapping ([`Sliding`](crate::windows::Sliding)) | `Overlapping` | a table a slice, merged when a window fires |
//! | one's own ([`Assign`](crate::windows::Assign)) | `Own` | a table for each end |
//! | [`Session`](crate::windows::Session) | `Sessions` | the open sessions of each key |
//! | [`Count`](crate::windows::Count), [`Global`](crate::windows::Global) | `Rows` | rows until their place is certain, and a partial of each key |

mod agenda;
mod builder;
#[cfg(test)]
mod builder_tests;
mod count;
mod disjoint;
mod empty;
#[cfg(test)]
mod empty_tests;
mod ends;
mod leaving;
mod limits;
mod overlapping;
mod own;
mod pane;
#[cfg(test)]
mod published_tests;
mod rules;
mod session;
mod shapes;
#[cfg(test)]
mod speed_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod upgrade_tests;

pub use builder::Windowed;
pub use empty::{Regular, WithEmpty};
pub use pane::Pane;
pub(crate) use pane::made_at;
pub use rules::{Drawing, DropLate, OfTime, OnLate, SplitLate, Window};
pub(crate) use shapes::{shape, taken};
