//! Where reading a leg begins when retention has passed where it began.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use super::*;
use crate::ledger::{Added, Committed, Decide, Doomed, Own};
use crate::registry::{Leg, More, Standing, Turn};

/// Keeps these offsets, and is asked for nothing else.
struct Keeps(Vec<Range<u64>>);

impl Ledger for Keeps {
    fn name(&self) -> String {
        "a log".into()
    }
    fn entries(&self) -> Result<Vec<(String, Vec<u8>)>, Fault> {
        unreachable!()
    }
    fn decide(&self, _: &str, _: Decide<'_>) -> Result<(), Fault> {
        unreachable!()
    }
    fn append(&self, _: Own<'_>, _: &mut dyn FnMut() -> Result<Vec<Added>, Fault>) -> Result<(), Fault> {
        unreachable!()
    }
    fn kept(&self, _: &str) -> Result<Option<Vec<Range<u64>>>, Fault> {
        Ok(Some(self.0.clone()))
    }
    fn find(&self, _: &str, _: Timestamp) -> Result<Vec<u64>, Fault> {
        Ok(vec![99])
    }
    fn read(&self, _: &str, _: u32, _: u64) -> Result<Box<dyn Committed>, Fault> {
        unreachable!()
    }
    fn wait(&self, _: Duration) {}
    fn delete(&self, _: &str, _: &[Doomed]) -> Result<(), Fault> {
        unreachable!()
    }
}

#[test]
fn a_leg_whose_beginning_retention_has_passed_is_read_from_what_is_kept() {
    let version = super::tests::version("out.v2".into(), true, Standing::default());
    let mut entry = Entry::new("views").register(2, version).unwrap();
    let turn = Turn { from: Timestamp::from_secs(7), starts: vec![3, 5], ends: None, more: More::new() };
    let outputs = BTreeMap::from([("out".to_owned(), turn)]);
    let decided = Timestamp::EPOCH;
    entry.line = vec![Leg { version: 2, decided, back: false, left: false, outputs, more: More::new() }];
    let begins = |kept: [Range<u64>; 2], from| starts(&Keeps(kept.to_vec()), &entry, "out", 0, from).unwrap();
    assert_eq!(begins([0..9, 0..9], Timestamp::MIN), [3, 5]);
    assert_eq!(begins([7..9, 2..9], Timestamp::MIN), [7, 5], "what was taken of one partition is not asked for");
    assert_eq!(begins([0..9, 0..9], Timestamp::from_secs(8)), [99], "by event time behind where it began");
}
