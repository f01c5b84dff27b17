//! A sink that takes its time over each record and keeps none.

use std::rc::Rc;
use std::time::Duration;

use millpond::engine::Batch;
use millpond::engine::sink::{Encode, Follower, Opened, Outgoing, Outlet, Sink, SinkPlan, System};
use millpond::{Bincode, Data, Env, Exit, Fault};

/// Encodes every record, and takes this long over it when it is delivered.
#[derive(Clone, Copy)]
pub(crate) struct Drain {
    pub(crate) nanos_a_record: u64,
}

impl<T: Data> Sink<T> for Drain {
    fn plan(&self) -> SinkPlan {
        SinkPlan { kind: "drain".to_owned(), to: "nowhere".to_owned() }
    }
    fn system(&self) -> Rc<dyn System> {
        Rc::new(*self)
    }
    fn encoder(&self, _: u32) -> Box<dyn Encode<T>> {
        Box::new(*self)
    }
}

impl<T: Data> Encode<T> for Drain {
    fn encode(&mut self, batch: &mut Batch<T>, out: &mut Outgoing) -> Result<(), Fault> {
        for row in &batch.rows {
            let value = |bytes: &mut Vec<u8>| millpond::Format::encode(&Bincode, &row.value, bytes).map(|()| true);
            out.push(row.at, |_| Ok(false), value, |_, _| 0)
                .map_err(|error| Fault::new(Exit::FixJob, "a record is no bytes").because(error))?;
        }
        Ok(())
    }
}

impl System for Drain {
    fn identity(&self) -> String {
        "drain".to_owned()
    }
    fn open(&self, _: &Env, _: &[Outlet]) -> Result<Opened, Fault> {
        Ok(Opened::Follower(Box::new(*self)))
    }
}

impl Follower for Drain {
    fn deliver(&mut self, outgoing: &Outgoing) -> Result<(), Fault> {
        std::thread::sleep(Duration::from_nanos(self.nanos_a_record * outgoing.len() as u64));
        Ok(())
    }
}
