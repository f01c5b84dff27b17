//! Savepoints: a committed checkpoint as a folder of its own, from which a *new* version of the job starts with other code.
//!
//! Pure: what is said and decided of a savepoint. Taking one and starting from one touch files, and are in `run/savepoint`.
//!
//! - `description`: [`Description`], the JSON document of the folder. Drawn in docs/savepoint-format.md.
//! - `fit`: [`Fit`], whether a savepoint's state fits a plan, step by step, decided before anything starts.
//! - `upgrade`: [`Upgrade`], a user's function that takes the state of another shape.
//! - `begin`: what the first checkpoint of the new version knows, and from which event time on its outputs are whole.

mod begin;
mod description;
mod fit;
mod upgrade;

pub(crate) use begin::begin;
pub(crate) use description::{DESCRIPTION, Description, FORMAT, Unreadable};
pub(crate) use fit::{Build, PARTIAL};
pub(crate) use fit::{Fit, Verdict};
pub use upgrade::Upgrade;
