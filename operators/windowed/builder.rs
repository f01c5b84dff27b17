//! `.window(..)` and what may follow it.

use std::marker::PhantomData;
use std::time::Duration;

use millpond_engine::{KeyedLine, Line, Stateful};
use millpond_state::{Data, Key};

use super::count::{InRows, Rows};
use super::disjoint::Disjoint;
use super::ends::InEnds;
use super::overlapping::{InSlices, Overlapping};
use super::own::Own;
use super::rules::{DropLate, OfTime, OnLate, Order, Rules, SplitLate, Window};
use super::session::{InSessions, Sessions};
use super::{Drawing, Pane, shape, taken};
use crate::KeyedStream;
use crate::aggregate::{Aggregate, Bare, Over, Stored};
use crate::windows::{Assign, Count, Global, Lateness, Session};

impl<'s, K: Key, T: Data> KeyedStream<'s, K, T> {
    /// Cuts each key's records into windows, for an aggregate to answer.
    ///
    /// ```
    /// use std::time::Duration;
    /// use millpond_operators::windows::Tumbling;
    /// use millpond_operators::{Pane, Stream};
    /// use millpond_state::Timestamp;
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Clone, Serialize, Deserialize)]
    /// struct Click { page: String, at: i64 }
    ///
    /// fn per_minute<'s>(clicks: Stream<'s, Click>) -> (Stream<'s, Pane<String, (u64, i64)>>, Stream<'s, Click>) {
    ///     clicks
    ///         .key_by(|click| click.page.clone())
    ///         .window(Tumbling::of(Duration::from_mins(1)))
    ///         .allowed_lateness(Duration::from_secs(30))
    ///         .split_late()
    ///         .aggregate(|w| (w.count(), w.max(|click| click.at)))
    /// }
    /// ```
    pub fn window<W: Window>(self, windows: W) -> Windowed<'s, K, T, W, DropLate> {
        Windowed { line: self.line, windows, lateness: Lateness::NONE, name: None, order: None, late: PhantomData }
    }
}

/// A keyed stream in windows. Ends with [`Windowed::aggregate`].
#[derive(Debug)]
#[must_use = "windows do nothing until they are aggregated: `.aggregate(|w| w.count())`"]
pub struct Windowed<'s, K: Key, T: Data, W, L> {
    line: KeyedLine<'s, K, T>,
    windows: W,
    lateness: Lateness,
    name: Option<String>,
    order: Option<Order<K>>,
    late: PhantomData<L>,
}

impl<'s, K: Key, T: Data, W, L> Windowed<'s, K, T, W, L> {
    /// The same over other windows.
    pub(super) fn over<V>(self, windows: impl FnOnce(W) -> V) -> Windowed<'s, K, T, V, L> {
        let Windowed { line, windows: of, lateness, name, order, late } = self;
        Windowed { line, windows: windows(of), lateness, name, order, late }
    }
}

impl<'s, K: Key, T: Data, W: Window, L: OnLate> Windowed<'s, K, T, W, L> {
    /// Keeps a window open for this long after its end. Its result waits as long. Default zero.
    ///
    /// Windows of rows have no lateness:
    /// ```compile_fail
    /// # use millpond_operators::{Pane, Stream, windows::Count};
    /// # use std::time::Duration;
    /// fn fives<'s>(words: Stream<'s, String>) -> Stream<'s, Pane<String, u64>> {
    ///     let words = words.key_by(|word| word.clone()).window(Count::of(5));
    ///     words.allowed_lateness(Duration::from_secs(5)).aggregate(|w| w.count())
    /// }
    /// ```
    pub fn allowed_lateness(self, lateness: Duration) -> Self
    where
        W: OfTime,
    {
        Windowed { lateness: Lateness::of(lateness), ..self }
    }

    /// Late records leave as a stream of their own; otherwise they are counted and let go. They have no event time any more that a
    /// watermark follows.
    pub fn split_late(self) -> Windowed<'s, K, T, W, SplitLate> {
        let Windowed { line, windows, lateness, name, order, .. } = self;
        Windowed { line, windows, lateness, name, order, late: PhantomData }
    }

    /// What its state is kept under. Needed where a job has several window steps below the same named step.
    pub fn named(self, name: &str) -> Self {
        Windowed { name: Some(name.to_owned()), ..self }
    }

    /// Within a window keys leave in their own order. It costs: without it they leave in no promised order, which is faster by a third.
    pub fn ordered(self) -> Self
    where
        K: Ord,
    {
        Windowed { order: Some(K::cmp), ..self }
    }

    /// Answers each key and window with what `build` makes: `|w| w.count()`, `|w| (w.count(), w.max(|c| c.at))`.
    ///
    /// With [`Windowed::split_late`] it returns results and late records.
    pub fn aggregate<A: Aggregate<T>>(
        self,
        build: impl FnOnce(Over<T>) -> A,
    ) -> L::Results<'s, Pane<K, W::Answer<A::Output>>, T> {
        let Windowed { line, windows, lateness, name, order, .. } = self;
        let aggregate = build(Over::new());
        let graph = line.graph();
        let shapes = vec![shape::<K>(graph, "window", "key"), shape::<A::Partial>(graph, "window", "partial")];
        let what = Stateful {
            kind: "window".to_owned(),
            name,
            settings: vec![("aggregate".to_owned(), aggregate.describe())],
            shapes,
            notes: order.map(|_| "keys of a window in order".to_owned()).into_iter().collect(),
            positions: aggregate.needs_position(),
            time: true,
            upgrades: Vec::new(),
            size: None,
        };
        let rules = Rules { lateness, split: L::SPLIT, order };
        let (results, late) = windows.draw(Drawing { line, what, rules }, aggregate);
        L::results(results, late)
    }
}

type Lines<'s, K, V, T> = (Line<'s, Pane<K, V>>, Line<'s, T>);

impl<'s, K: Key, T: Data> Drawing<'s, K, T> {
    /// With what the aggregate takes from others, of an operator that stores partials so.
    pub(super) fn upgrades<S: Stored, A: Aggregate<T>>(mut self, aggregate: &A) -> Self {
        self.what.upgrades = taken::<S, T, A>(self.line.graph(), aggregate);
        self
    }

    fn windows(mut self, described: String) -> Self {
        self.what.settings.insert(0, ("window".to_owned(), described));
        self
    }

    /// Windows of time: they have a lateness, and an aggregate sees rows as they arrive.
    pub(super) fn of_time<A: Aggregate<T>>(mut self, described: String, aggregate: &A) -> Self {
        self = self.windows(described);
        self.what.settings.insert(1, ("allowed lateness".to_owned(), self.rules.lateness.to_string()));
        if aggregate.order_dependent() {
            self.what.notes.push(format!("order-dependent: {}", aggregate.describe()));
        }
        self
    }
}

impl<W: Assign> OfTime for W {}
impl<W: Assign> Window for W {
    type Answer<V: Data> = V;

    fn draw<'s, K: Key, T: Data, A: Aggregate<T>>(
        self,
        drawing: Drawing<'s, K, T>,
        aggregate: A,
    ) -> Lines<'s, K, A::Output, T> {
        let drawing = drawing.of_time(self.describe(), &aggregate);
        let layout = self.aligned();
        let drawing = match layout {
            Some(layout) if layout.overlap() => drawing.upgrades::<InSlices, A>(&aggregate),
            Some(_) => drawing.upgrades::<Bare, A>(&aggregate),
            None => drawing.upgrades::<InEnds, A>(&aggregate),
        };
        let Drawing { line, mut what, rules } = drawing;
        what.size = layout.map(|layout| layout.size());
        match layout {
            Some(layout) if layout.overlap() => line.operate(what, move || Overlapping::new(layout, rules, aggregate)),
            Some(layout) => line.operate(what, move || Disjoint::new(layout, rules, aggregate)),
            None => line.operate(what, move || Own::new(self, rules, aggregate)),
        }
    }
}

impl OfTime for Session {}
impl Window for Session {
    type Answer<V: Data> = V;

    fn draw<'s, K: Key, T: Data, A: Aggregate<T>>(
        self,
        drawing: Drawing<'s, K, T>,
        aggregate: A,
    ) -> Lines<'s, K, A::Output, T> {
        let drawing = drawing.of_time(self.describe(), &aggregate).upgrades::<InSessions, A>(&aggregate);
        let Drawing { line, what, rules } = drawing;
        line.operate(what, move || Sessions::new(self, rules, aggregate))
    }
}

impl Window for Count {
    type Answer<V: Data> = V;

    fn draw<'s, K: Key, T: Data, A: Aggregate<T>>(
        self,
        drawing: Drawing<'s, K, T>,
        aggregate: A,
    ) -> Lines<'s, K, A::Output, T> {
        let drawing = drawing.windows(self.describe()).upgrades::<InRows<T>, A>(&aggregate);
        let Drawing { line, mut what, rules } = drawing;
        what.shapes.push(shape::<T>(line.graph(), "window", "record"));
        if self.order_dependent() {
            what.notes.push(format!("order-dependent: {}", self.describe()));
        } else {
            what.positions = true;
        }
        let (results, late) = line.operate(what, move || Rows::new(self, rules, aggregate));
        // By arrival a row of the past may fill a window, so its pane is of no time that a watermark could promise.
        (if self.order_dependent() { results.untimed() } else { results }, late)
    }
}

impl Window for Global {
    type Answer<V: Data> = V;

    fn draw<'s, K: Key, T: Data, A: Aggregate<T>>(
        self,
        drawing: Drawing<'s, K, T>,
        aggregate: A,
    ) -> Lines<'s, K, A::Output, T> {
        Count::from(self).draw(drawing, aggregate)
    }
}
