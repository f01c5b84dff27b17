//! The thread that makes checkpoints durable: workers encode, this writes and fsyncs, and the worker's vote follows.

use std::sync::Arc;

use crossbeam::channel::{Receiver, Sender};
use millpond_state::store::{CheckpointId, Store, StoreError, StoreErrorKind};

use super::shared::{Closed, Event, Vote};
use crate::{Exit, Fault};

/// Writes the parts of epochs until nobody can send any more.
pub(crate) fn write_parts(store: &Arc<Store>, parts: &Receiver<Closed>, events: &Sender<Event>) {
    for mut closed in parts {
        crate::failpoint::hit("part");
        let id = CheckpointId { epoch: closed.epoch, run: store.run() };
        let groups = closed.groups.0..closed.groups.1;
        let event = match store.write_part(id, closed.worker as u32, groups, &closed.delta) {
            Ok(file) => {
                // The entries are on disk; only what the manifest needs goes on.
                closed.delta.sections.clear();
                Event::Vote(Vote { closed, file })
            }
            Err(error) => Event::Fault(store_fault("the state of an epoch cannot be written", &error)),
        };
        crate::failpoint::hit("vote");
        if events.send(event).is_err() {
            return;
        }
    }
}

/// A store's error as a fault: damaged or missing state needs a person, anything else may be gone at the next start.
pub(crate) fn store_fault(what: &str, error: &StoreError) -> Fault {
    let exit = match error.kind() {
        StoreErrorKind::Corrupt | StoreErrorKind::Missing => Exit::Restore,
        StoreErrorKind::Newer => Exit::NewVersion,
        _ => Exit::Retry,
    };
    Fault::new(exit, what).because(error)
}
