//! Lines on standard output, and a sink that drops.

use std::io::{ErrorKind, Write};
use std::rc::Rc;

use millpond_engine::sink::{Encode, Follower, Opened, Outgoing, Outlet, Sink, SinkPlan, System};
use millpond_engine::{Batch, Change, Env, Exit, Fault, UpsertSink};
use millpond_state::Data;

use crate::Format;

/// Standard output.
///
/// ```
/// use millpond_connectors::{Json, Stdout};
/// let sink = Stdout::lines(Json); // for `stream.sink("shown", ..)`
/// # let _ = sink;
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Stdout;

impl Stdout {
    /// Prints each record on a line of its own once its epoch is committed. A crash between the commit and the print loses the print, so
    /// this is for looking, not for keeping; and when whoever looked has gone, as `head` does, the job goes on and shows no more.
    #[must_use]
    pub fn lines<F>(format: F) -> StdoutLines<F> {
        StdoutLines { format }
    }
}

/// What [`Stdout::lines`] makes.
#[derive(Clone, Debug)]
pub struct StdoutLines<F> {
    format: F,
}

impl<T: Data, F: Format<T>> Sink<T> for StdoutLines<F> {
    fn plan(&self) -> SinkPlan {
        SinkPlan { kind: "stdout".to_owned(), to: "lines".to_owned() }
    }
    fn system(&self) -> Rc<dyn System> {
        Rc::new(Printing)
    }
    fn encoder(&self, _: u32) -> Box<dyn Encode<T>> {
        Box::new(Encoder { format: self.format.clone() })
    }
}

impl<K: Data, V: Data, F: Format<Change<K, V>>> UpsertSink<K, V> for StdoutLines<F> {}

struct Encoder<F> {
    format: F,
}

impl<T: Data, F: Format<T>> Encode<T> for Encoder<F> {
    fn encode(&mut self, batch: &mut Batch<T>, out: &mut Outgoing) -> Result<(), Fault> {
        for row in &batch.rows {
            out.push(row.at, |_| Ok(false), |bytes| self.format.encode(&row.value, bytes).map(|()| true), |_, _| 0)
                .map_err(|error| Fault::new(Exit::FixJob, "a record cannot be printed").because(error))?;
        }
        Ok(())
    }
}

struct Printing;

impl System for Printing {
    fn identity(&self) -> String {
        "stdout".to_owned()
    }
    fn open(&self, _: &Env, _: &[Outlet]) -> Result<Opened, Fault> {
        Ok(Opened::Follower(Box::new(Shown { to: Box::new(std::io::stdout()), gone: false })))
    }
}

/// What is shown, and whether somebody still looks.
struct Shown {
    to: Box<dyn Write + Send>,
    gone: bool,
}

impl Follower for Shown {
    fn deliver(&mut self, outgoing: &Outgoing) -> Result<(), Fault> {
        if self.gone {
            return Ok(());
        }
        let mut lines = Vec::new();
        for record in outgoing.records() {
            lines.extend_from_slice(record.value.unwrap_or_default());
            lines.push(b'\n');
        }
        match self.to.write_all(&lines).and_then(|()| self.to.flush()) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                tracing::warn!("nobody reads standard output any more: the job goes on, and shows no more records");
                self.gone = true;
                Ok(())
            }
            Err(error) => Err(Fault::new(Exit::Retry, "standard output does not take the results").because(error)),
        }
    }
}

/// A sink that encodes nothing and drops every record: for benches, and for jobs that run for their side effects.
///
/// ```
/// let sink = millpond_connectors::null(); // for `stream.sink("nowhere", ..)`
/// # let _ = sink;
/// ```
#[must_use]
pub fn null() -> Null {
    Null
}

/// What [`null`] makes.
#[derive(Clone, Copy, Debug)]
pub struct Null;

impl<T: Data> Sink<T> for Null {
    fn plan(&self) -> SinkPlan {
        SinkPlan { kind: "null".to_owned(), to: "nowhere".to_owned() }
    }
    fn system(&self) -> Rc<dyn System> {
        Rc::new(Nowhere)
    }
    fn encoder(&self, _: u32) -> Box<dyn Encode<T>> {
        Box::new(Nowhere)
    }
}

impl<K: Data, V: Data> UpsertSink<K, V> for Null {}

struct Nowhere;

impl<T> Encode<T> for Nowhere {
    fn encode(&mut self, batch: &mut Batch<T>, _: &mut Outgoing) -> Result<(), Fault> {
        batch.clear();
        Ok(())
    }
}

impl System for Nowhere {
    fn identity(&self) -> String {
        "null".to_owned()
    }
    fn open(&self, _: &Env, _: &[Outlet]) -> Result<Opened, Fault> {
        Ok(Opened::Follower(Box::new(Nowhere)))
    }
}

impl Follower for Nowhere {
    fn deliver(&mut self, _: &Outgoing) -> Result<(), Fault> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use millpond_engine::Record;
    use millpond_state::Timestamp;

    use super::*;
    use crate::{Json, Text};

    fn batch(value: &str) -> Batch<String> {
        let row = Record { at: Timestamp::EPOCH, seen: Timestamp::MIN, value: value.to_owned() };
        Batch { rows: vec![row], ..Batch::default() }
    }

    fn encoded<F: Format<String>>(format: F) -> Vec<u8> {
        let mut outgoing = Outgoing::new(0, 1);
        let sink = Stdout::lines(format);
        Sink::<String>::encoder(&sink, 1).encode(&mut batch("a b"), &mut outgoing).unwrap();
        outgoing.records().next().unwrap().value.unwrap().to_owned()
    }

    #[test]
    fn lines_are_what_the_format_writes() {
        assert_eq!(encoded(Text), b"a b");
        assert_eq!(encoded(Json), b"\"a b\"");
    }

    #[test]
    fn a_reader_that_has_gone_stops_nothing_and_a_full_disk_does() {
        struct Refuses(ErrorKind);
        impl Write for Refuses {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(self.0.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let mut outgoing = Outgoing::new(0, 1);
        Sink::<String>::encoder(&Stdout::lines(Text), 1).encode(&mut batch("a"), &mut outgoing).unwrap();
        let mut shown = Shown { to: Box::new(Refuses(ErrorKind::BrokenPipe)), gone: false };
        shown.deliver(&outgoing).unwrap();
        shown.to = Box::new(Refuses(ErrorKind::StorageFull));
        shown.deliver(&outgoing).expect("it shows nothing any more");
        shown.gone = false;
        assert_eq!(shown.deliver(&outgoing).unwrap_err().exit(), Exit::Retry);
    }

    #[test]
    fn null_encodes_nothing() {
        let mut outgoing = Outgoing::new(0, 1);
        Sink::<String>::encoder(&null(), 1).encode(&mut batch("x"), &mut outgoing).unwrap();
        assert!(outgoing.is_empty());
    }
}
