//! How the keys of a window that fires leave its table.

use millpond_state::{Data, Key, Panes};

use super::rules::Order;

/// Takes keys out of the table of one window after the other, in no order or in the keys' own.
///
/// What has left is out of the state, so a crash in the middle goes on with the rest; the order is found again then.
#[derive(Debug)]
pub(super) struct Leaving<K> {
    order: Option<Order<K>>,
    /// The window whose keys are sorted.
    window: Option<i64>,
    /// Those still there, the next one last.
    keys: Vec<(u64, K)>,
}

impl<K: Key> Leaving<K> {
    pub(super) fn new(order: Option<Order<K>>) -> Self {
        Leaving { order, window: None, keys: Vec::new() }
    }

    /// Moves up to `budget` keys out of `window`; `true` when that was all of it. While it goes on, nothing may enter the window.
    pub(super) fn drain<V: Data>(
        &mut self,
        panes: &mut Panes<K, V>,
        window: i64,
        budget: usize,
        mut each: impl FnMut(K, u64, V),
    ) -> bool {
        let Some(order) = self.order else { return panes.drain(window, budget, each) };
        if self.window != Some(window) {
            self.window = Some(window);
            self.keys.clear();
            panes.for_each(window, |key, hash, _| self.keys.push((hash, key.clone())));
            self.keys.sort_unstable_by(|(_, a), (_, b)| order(b, a));
        }
        for _ in 0..budget {
            let Some((hash, key)) = self.keys.pop() else { break };
            let value = panes.remove(window, hash, &key).expect("nothing enters or leaves a window that fires");
            each(key, hash, value);
        }
        if self.keys.is_empty() {
            self.window = None;
        }
        self.keys.is_empty()
    }

    /// Something entered a window.
    pub(super) fn forget(&mut self) {
        self.window = None;
    }
}
