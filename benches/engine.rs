//! The engine beside loops written by hand, over the same input in memory, in the same process.
//!
//! Prints `ratio <what>-one`, processor time of the engine with one worker over that of the loop, and `ratio <what>-two`, wall time with two
//! workers over that of the one loop: medians of three rounds. Every run lasts five seconds or more; the engine writes a checkpoint to
//! disk each second. Both sides must give as many results, with the same checksum, and as many late records. With names on the command
//! line, only benches whose names contain one of them run: `cargo bench --bench engine -- tumbling`.

mod kit {
    pub(crate) mod clock;
    pub(crate) mod hand;
    pub(crate) mod load;
    pub(crate) mod passes;
    pub(crate) mod report;
    pub(crate) mod run;
    pub(crate) mod tally;
}

use std::sync::Arc;
use std::time::Duration;

use kit::clock::{Spent, timed_apart};
use kit::hand::{self, Out, by_hand, is_odd, paired, raised, stays};
use kit::load::{BOUND, Load, User, Visit, load};
use kit::passes::Passes;
use kit::report::{Ratios, load_average, median, wanted};
use kit::run::{Ran, run};
use kit::tally::Tally;
use millpond::{Flow, Session, Sliding, Stream, Timestamp, Tumbling, Untimed};

const ROUNDS: usize = 3;
/// No run may be shorter.
const SECONDS: f64 = 5.0;

fn main() {
    let input = Arc::new(load());
    let minute = Duration::from_secs(60);
    bench(&input, "stateless", Some(1.3), None, hand::stateless, |visits: Stream<'_, Visit<u64>>, tally| {
        visits.map(raised).filter(stays).map(paired).filter(is_odd).sink("out", tally);
    });
    let (u64s, strings) = (by_hand::<u64, hand::Tumbling<_>>, by_hand::<String, hand::Tumbling<_>>);
    bench(&input, "tumbling-u64", Some(1.25), Some(0.75), u64s, tumbling::<u64>);
    bench(&input, "tumbling-string", Some(1.4), Some(0.9), strings, move |visits, tally| {
        tumbling::<String>(visits, tally)
    });
    bench(&input, "sliding", Some(0.9), None, by_hand::<u64, hand::Sliding<_>>, move |visits, tally| {
        let windows = Sliding::of(minute).every(Duration::from_secs(10));
        let users = visits.keyed(|visit: Visit<u64>| (visit.key, visit.dwell));
        users.window(windows).aggregate(|w| w.max(|dwell| *dwell)).sink("out", tally);
    });
    bench(&input, "session", Some(1.5), None, by_hand::<u64, hand::Sessions<_>>, move |visits, tally| {
        let users = visits.keyed(|visit: Visit<u64>| (visit.key, visit.dwell));
        let sessions = users.window(Session::gap(Duration::from_micros(hand::GAP as u64)));
        sessions.aggregate(|w| (w.count(), w.max(|dwell| *dwell))).sink("out", tally);
    });
}

fn tumbling<K: User>(visits: Stream<'_, Visit<K>>, tally: Tally) {
    let minutes = visits.keyed(|visit| (visit.key, visit.dwell)).window(Tumbling::of(Duration::from_secs(60)));
    minutes.aggregate(|w| (w.count(), w.max(|dwell| *dwell))).sink("out", tally);
}

/// Rounds of the loop, one worker and two workers, in turn, so that all three meet the machine as it is just then.
fn bench<K: User>(
    input: &Arc<Load>,
    name: &str,
    one_goal: Option<f64>,
    two_goal: Option<f64>,
    by_hand: fn(&Load, u64) -> Out,
    draw: impl Fn(Stream<'_, Visit<K>>, Tally) + Clone + Send + Sync + 'static,
) {
    if !wanted(name) {
        return;
    }
    let passes = passes(|| timed_apart(|| by_hand(input, 1)).1);
    let records = input.iter().map(Vec::len).sum::<usize>() as f64 * passes as f64;
    println!("# {name}: {passes} passes, {:.0} M records; load average {}", records / 1e6, load_average());
    let (mut one, mut two) = (Ratios::default(), Ratios::default());
    let (mut hands, mut ones, mut twos) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (expected, hand) = timed_apart(|| by_hand(input, passes));
        let engine = |workers| {
            let (tally, draw) = (Tally::default(), draw.clone());
            let (input, into) = (Arc::clone(input), tally.clone());
            let ran = run(workers, move |flow: &Flow<'_>| {
                let visits = Passes::<K>::new(&input, passes).event_time(|visit| Timestamp::from_micros(visit.at));
                draw(flow.source("visits", visits.out_of_order(Duration::from_micros(BOUND as u64))), into.clone());
            });
            assert_eq!(Out { answer: tally.answer(), late: ran.late }, expected, "{name} with {workers} workers");
            ran
        };
        let (alone, both) = (engine(1), engine(2));
        one.add(alone.spent.cpu / hand.cpu);
        two.add(both.spent.wall / hand.wall);
        hands.push(hand);
        ones.push(alone);
        twos.push(both);
        if hands.len() == 1 {
            println!("#   {} results, {} late", expected.answer.results, expected.late);
        }
    }
    let per_record = |seconds: Vec<f64>| median(&seconds) / records * 1e9;
    println!("#   by hand: {:.1} ns a record", per_record(hands.iter().map(|spent| spent.cpu).collect()));
    describe("one worker", &ones, per_record(ones.iter().map(|ran| ran.spent.cpu).collect()));
    describe("two workers", &twos, per_record(twos.iter().map(|ran| ran.spent.wall).collect()));
    one.print(&format!("{name}-one"), one_goal);
    two.print(&format!("{name}-two"), two_goal);
}

fn describe(what: &str, rans: &[Ran], nanos: f64) {
    let list = |of: &dyn Fn(&Ran) -> String| rans.iter().map(of).collect::<Vec<_>>().join(" ");
    println!(
        "#   {what}: {nanos:.1} ns a record; epochs {}; wall s {}; MiB in flight at most {}",
        list(&|ran| ran.epochs.to_string()),
        list(&|ran| format!("{:.1}", ran.spent.wall)),
        list(&|ran| (ran.in_flight >> 20).to_string()),
    );
}

/// How many passes make every run long enough, two workers' included, given what a pass takes by hand.
fn passes(mut pass: impl FnMut() -> Spent) -> u64 {
    // The first one also meets pages that nobody has touched.
    pass();
    (SECONDS / 0.7 / pass().cpu).ceil() as u64
}
