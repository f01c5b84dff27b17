//! Lines of standard input.

use std::io::Read;

use millpond_engine::source::{Assigned, Env, From, Partition, SourcePlan, Waker};
use millpond_engine::{Exit, Fault, Untimed};

use super::fetch::{Fetching, Input};
use super::{FileReader, Lined, Rows};
use crate::Text;

/// Reads lines of standard input as text, until it ends.
///
/// Standard input cannot be read again: after a stop or a crash the job goes on with what standard input gives *then*, and lines that were
/// read and not committed are lost. For input that must count once and only once, use a file or the log.
///
/// ```
/// use millpond_connectors::stdin_lines;
/// use millpond_engine::Untimed;
/// let source = stdin_lines().no_event_time(); // for `flow.source("lines", ..)`
/// # let _ = source;
/// ```
pub fn stdin_lines() -> Stdin {
    Stdin { input: || Box::new(std::io::stdin()) }
}

/// What [`stdin_lines`] makes.
#[derive(Clone, Copy, Debug)]
#[must_use = "a source is read when it is given to `flow.source(..)`"]
pub struct Stdin {
    input: fn() -> Box<dyn Read + Send>,
}

impl Untimed for Stdin {
    type Item = String;
    type Reader = FileReader<String, Lined<Text>>;

    fn plan(&self) -> SourcePlan {
        SourcePlan { kind: "stdin".to_owned(), from: "lines".to_owned(), bounded: true, bound_micros: 0 }
    }

    fn connect(&self, _: &Env, from: &From) -> Result<Vec<Partition>, Fault> {
        if *from != From::Earliest {
            return Err(Fault::new(Exit::Usage, "standard input is read from where it is; leave out --from"));
        }
        Ok(vec![Partition { partition: 0, start: 0, end: u64::MAX, fingerprint: "stdin".to_owned() }])
    }

    fn open(&self, _: &Env, assigned: &[Assigned], waker: Waker) -> Result<Self::Reader, Fault> {
        let rows = Lined::every(Text);
        let inputs = assigned.iter().map(|assigned| Input::stream("standard input", (self.input)(), assigned.next));
        FileReader::start(
            "stdin",
            Fetching::new(Rows::<String>::framing(&rows), inputs.collect()),
            rows,
            assigned,
            waker,
        )
    }
}

#[cfg(test)]
mod tests {
    use millpond_engine::source::Reader as _;

    use super::*;
    use crate::trial;

    #[test]
    fn lines_are_numbered_on_from_where_the_job_stood() {
        let stdin = Stdin { input: || Box::new(&b"one\ntwo\r\n\n\xff\nlast"[..]) };
        let assigned = [Assigned { partition: 0, next: 7, end: None }];
        let mut reader = stdin.open(&trial::env(), &assigned, trial::waker()).unwrap();
        let taken = trial::read_all(&mut reader, 0, 2);
        assert_eq!(taken.values(), ["one", "two", "", "last"]);
        assert_eq!(taken.offsets(), [7, 8, 9, 11]);
        assert_eq!(taken.refused[0].1, "standard input line 4: not UTF-8 at byte 0");
        reader.seek(0, 7).unwrap();
        assert!(reader.read(0, 1, &mut trial::Taken::default()).is_ok());
    }

    #[test]
    fn it_has_one_partition_and_no_other_start() {
        assert_eq!(stdin_lines().connect(&trial::env(), &From::Earliest).unwrap().len(), 1);
        assert!(stdin_lines().connect(&trial::env(), &From::Latest).is_err());
    }
}
