//! The thread that keeps the checkpoint folder small: merges files in the background and deletes what no checkpoint needs.

use std::sync::Arc;

use crossbeam::channel::{Receiver, Sender};
use millpond_state::store::{FileRef, Manifest, Merge, Store, choose};

use super::shared::{Event, Shared};
use super::writer::store_fault;

/// What the keeper is asked to do.
pub(crate) enum Chore {
    /// This checkpoint is confirmed: older ones may go.
    Release(Box<Manifest>),
    /// Look whether these files should be merged.
    Merge(Vec<FileRef>),
}

/// Files that were merged, and the one that takes their place, if anything is left of them.
pub(crate) struct Merged {
    pub(crate) merge: Merge,
    pub(crate) result: Option<FileRef>,
}

/// Does chores until nobody can ask for more. Once the run is over, those that wait are let be: the next start finds what they left.
pub(crate) fn keep(store: &Arc<Store>, chores: &Receiver<Chore>, events: &Sender<Event>, shared: &Arc<Shared>) {
    for chore in chores {
        let (mut newest, mut files) = (None, None);
        // Of several confirmed checkpoints the newest is the one to keep.
        for chore in std::iter::once(chore).chain(chores.try_iter()) {
            match chore {
                Chore::Release(manifest) => newest = Some(manifest),
                Chore::Merge(asked) => files = Some(asked),
            }
        }
        if shared.aborted() {
            continue;
        }
        if let Some(manifest) = newest {
            // What could not be deleted now goes with the next one; nothing depends on it.
            if let Err(error) = store.release(&manifest, &[]) {
                tracing::warn!("older checkpoints stay for now: {error}");
            }
            crate::failpoint::hit("released");
        }
        if let Some(files) = files {
            let event = match choose(&files) {
                None => Event::Merged(None),
                Some(merge) => match store.merge(&merge) {
                    Ok(result) => Event::Merged(Some(Merged { merge, result })),
                    Err(error) => Event::Fault(store_fault("checkpoint files cannot be merged", &error)),
                },
            };
            if events.send(event).is_err() {
                return;
            }
        }
    }
}
