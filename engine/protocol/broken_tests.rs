//! Protocols that are wrong in one way each, to see that the model notices.

use super::model_tests::{Machine, explore};
use super::{Action, Input, Protocol};

/// The protocol, and what is wrong with it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Broken<const HOW: u8>(Protocol);

const COMMITS_UNPREPARED: u8 = 0;
const DOES_NOT_COUNT: u8 = 1;
const CLOSES_TWICE: u8 = 2;
const NEVER_LEAVES: u8 = 3;
const STARTS_BEHIND: u8 = 4;
const FORGETS_A_TICK: u8 = 5;

impl<const HOW: u8> Machine for Broken<HOW> {
    fn start(workers: usize, committed: u64) -> Self {
        Broken(Protocol::new(workers, if HOW == STARTS_BEHIND { committed.saturating_sub(1) } else { committed }))
    }

    fn step(&mut self, input: Input) -> Vec<Action> {
        let input = match input {
            Input::Output { .. } if HOW == DOES_NOT_COUNT => return Vec::new(),
            Input::Vote { epoch, worker, .. } if HOW == DOES_NOT_COUNT => Input::Vote { epoch, worker, sent: 0 },
            Input::Tick if HOW == FORGETS_A_TICK && self.0.committed() > 0 => return Vec::new(),
            input => input,
        };
        let mut actions = self.0.step(input);
        match HOW {
            COMMITS_UNPREPARED => {
                actions.retain(|action| !matches!(action, Action::Commit(_)));
                if let Some(Action::Prepare { epoch, .. }) = actions.first().copied() {
                    actions.push(Action::Commit(epoch));
                }
            }
            CLOSES_TWICE if input == Input::Tick && actions.is_empty() => actions.push(Action::Close(self.0.open())),
            NEVER_LEAVES => actions.retain(|action| !matches!(action, Action::Leave { .. })),
            _ => {}
        }
        actions
    }
}

#[test]
fn a_protocol_that_is_wrong_is_found_out() {
    fn finds<const HOW: u8>(what: &str) {
        let wrong = explore::<Broken<HOW>>(2, [1, 1], [2, 1, 1]).expect_err("this protocol is broken");
        assert!(wrong.contains(what), "{wrong}");
    }
    finds::<COMMITS_UNPREPARED>("I9: a commit before its manifest");
    finds::<DOES_NOT_COUNT>("with output on its way");
    finds::<CLOSES_TWICE>("at most one epoch is closing");
    finds::<NEVER_LEAVES>("nothing more happens");
    finds::<STARTS_BEHIND>("no epoch is skipped");
    finds::<FORGETS_A_TICK>("not committed by closing");
}
