//! Drawing a flow without running it: what the plan says, or why there is none.

use std::rc::Rc;

use millpond_engine::sink::{Encode, Opened, Outlet, Sink, SinkPlan, System};
use millpond_engine::source::{
    Assigned, Collect, From, Original, Pace, Partition, Read as Came, Reader, Source, SourcePlan, Waker,
};
use millpond_engine::{Change, Env, Fault, Graph, Line, Plan, UpsertSink};
use millpond_state::Data;

use crate::Stream;

/// A source, reader, sink and system that are only drawn.
pub(crate) struct Drawn;

/// The plan of a flow that reads numbers, or every reason why it cannot run.
pub(crate) fn planned(draw: impl FnOnce(Stream<'static, i64>)) -> Result<Plan, String> {
    let graph = Graph::new();
    draw(Stream { line: Line::source(&graph, "numbers", Drawn) });
    graph.plan().map_err(|refusals| refusals.join("\n"))
}

impl Source for Drawn {
    type Item = i64;
    type Reader = Drawn;
    fn plan(&self) -> SourcePlan {
        SourcePlan { kind: "kit".to_owned(), from: "nowhere".to_owned(), bounded: true, bound_micros: 0 }
    }
    fn pace(&self) -> Pace {
        Pace::default()
    }
    fn connect(&self, _: &Env, _: &From) -> Result<Vec<Partition>, Fault> {
        Ok(Vec::new())
    }
    fn open(&self, _: &Env, _: &[Assigned], _: Waker) -> Result<Drawn, Fault> {
        Ok(Drawn)
    }
}

impl<T> Reader<T> for Drawn {
    fn read<C: Collect<T>>(&mut self, _: usize, _: usize, _: &mut C) -> Result<Came, Fault> {
        Ok(Came::Finished)
    }
    fn seek(&mut self, _: usize, _: u64) -> Result<(), Fault> {
        Ok(())
    }
    fn original(&mut self, _: usize, _: u64) -> Option<Original> {
        None
    }
    fn end(&mut self, _: usize) -> Option<u64> {
        None
    }
}

impl<T: Data> Sink<T> for Drawn {
    fn plan(&self) -> SinkPlan {
        SinkPlan { kind: "kit".to_owned(), to: "nowhere".to_owned() }
    }
    fn system(&self) -> Rc<dyn System> {
        Rc::new(Drawn)
    }
    fn encoder(&self, _: u32) -> Box<dyn Encode<T>> {
        unreachable!("it is only drawn")
    }
}

impl<K: Data, V: Data> UpsertSink<K, V> for Drawn where Drawn: Sink<Change<K, V>> {}

impl System for Drawn {
    fn identity(&self) -> String {
        "kit".to_owned()
    }
    fn open(&self, _: &Env, _: &[Outlet]) -> Result<Opened, Fault> {
        unreachable!("it is only drawn")
    }
}
