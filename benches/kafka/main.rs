//! `page_views` and `relay` on a real broker, beside loops written by hand: wall time and processor time a record, exactly once and at least
//! once, and how long it takes until a result can be read.
//!
//! `benches/kafka.sh` starts a broker and runs it; `cargo bench` alone does not, as it needs one. Every run is a process of its own, whose
//! output is compared with a model's before the next begins.

mod check;
mod latency;
mod loops;
mod measure;
#[path = "../../examples/page_views/views.rs"]
mod page_views;
mod raw;
mod replay;
#[expect(dead_code, reason = "what is wanted is an option here")]
#[path = "../kit/report.rs"]
mod report;
mod topics;
mod weaker;
mod windows;

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Parser;

use check::{Answer, digest, model};
use loops::{Topics, Work};
use measure::{Took, run};
use report::{Ratios, load_average, median};
use topics::Cluster;

/// Jobs on Kafka beside loops written by hand
#[derive(Parser)]
struct Options {
    /// The broker; without one nothing is measured
    #[arg(long)]
    brokers: Option<String>,
    /// Clicks to count; fewer make a quick try, whose figures mean little
    #[arg(long, default_value_t = 5_000_000)]
    clicks: u64,
    /// Rounds, of which the median counts
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Parts of names of what to measure; everything without
    names: Vec<String>,
    /// Be one of the loops: its name, what it does, and its four topics
    #[arg(long, num_args = 6, hide = true)]
    be: Option<Vec<String>>,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

/// One thing that is measured.
struct Subject {
    name: &'static str,
    work: Work,
    how: How,
}

enum How {
    /// By hand, with the system's malloc.
    Loop(&'static str),
    /// Something that this very program can be, with the malloc of jobs: one of the loops, or `page_views`' flow at least once.
    Here(&'static str),
    Job {
        workers: u32,
        interval: &'static str,
    },
}

const SUBJECTS: [Subject; 20] = [
    views("views-poll", How::Loop("poll")),
    views("views-batch", How::Loop("batch")),
    views("views-best", How::Loop("best")),
    views("views-full", How::Loop("full")),
    views("views-poll-jemalloc", How::Here("poll")),
    views("views-best-jemalloc", How::Here("best")),
    views("views-full-jemalloc", How::Here("full")),
    views("views-one-1s", How::Job { workers: 1, interval: "1s" }),
    views("views-two-1s", How::Job { workers: 2, interval: "1s" }),
    views("views-one-100ms", How::Job { workers: 1, interval: "100ms" }),
    views("views-two-100ms", How::Job { workers: 2, interval: "100ms" }),
    views("views-weaker-1s", How::Here("weaker")),
    relay("relay-poll", How::Loop("poll")),
    relay("relay-batch", How::Loop("batch")),
    relay("relay-best", How::Loop("best")),
    relay("relay-full", How::Loop("full")),
    relay("relay-one-1s", How::Job { workers: 1, interval: "1s" }),
    relay("relay-two-1s", How::Job { workers: 2, interval: "1s" }),
    relay("relay-one-100ms", How::Job { workers: 1, interval: "100ms" }),
    relay("relay-two-100ms", How::Job { workers: 2, interval: "100ms" }),
];

const fn views(name: &'static str, how: How) -> Subject {
    Subject { name, work: Work::Views, how }
}

const fn relay(name: &'static str, how: How) -> Subject {
    Subject { name, work: Work::Relay, how }
}

fn main() {
    let options = Options::parse();
    if let Some(be) = &options.be {
        if be[0] == "weaker" {
            weaker::run(&Topics::of(&be[2..]))
        } else {
            loops::be(be)
        };
        return;
    }
    let Some(brokers) = &options.brokers else {
        println!("# kafka: needs a broker, which benches/kafka.sh starts");
        return;
    };
    Bench::new(&options, brokers).all();
}

struct Bench<'o> {
    options: &'o Options,
    cluster: Cluster,
    /// Where the examples are.
    examples: PathBuf,
    dir: tempfile::TempDir,
    input: String,
    runs: u32,
}

impl<'o> Bench<'o> {
    fn new(options: &'o Options, brokers: &str) -> Self {
        let own = std::env::current_exe().expect("it runs");
        let examples = own.ancestors().nth(2).expect("it lies in target/release/deps").join("examples");
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("cargo made this directory");
        let input = format!("bench-{}", options.clicks);
        Bench { options, cluster: Cluster::at(brokers), examples, dir, input, runs: 0 }
    }

    fn wanted(&self, name: &str) -> bool {
        let names = &self.options.names;
        names.is_empty() || names.iter().any(|part| name.contains(part.as_str()))
    }

    fn all(mut self) {
        let clicks = self.options.clicks;
        println!("# kafka: {clicks} clicks, 4 partitions, 100,000 pages; load average {}", load_average());
        self.feed(&self.input);
        let subjects: Vec<_> = SUBJECTS.iter().filter(|subject| self.wanted(subject.name)).collect();
        let mut answers: [Option<Answer>; 2] = [None, None];
        let mut took: BTreeMap<&str, Vec<Took>> = BTreeMap::new();
        for round in 0..self.options.rounds {
            for subject in &subjects {
                let answer = &mut answers[usize::from(subject.work == Work::Relay)];
                let want = *answer.get_or_insert_with(|| model(self.cluster.brokers(), &self.input, subject.work));
                let one = self.measure(subject, want);
                println!("#   {} round {round}: {}", subject.name, self.words(one));
                took.entry(subject.name).or_default().push(one);
            }
        }
        for subject in &subjects {
            let all = &took[subject.name];
            let middle = |of: fn(&Took) -> f64| median(&all.iter().map(of).collect::<Vec<_>>());
            let one = Took { wall: middle(|took| took.wall), cpu: middle(|took| took.cpu) };
            println!("# {}: {}, median of {}", subject.name, self.words(one), all.len());
        }
        ratios(&took);
        if self.wanted("latency") {
            self.latency();
        }
        if self.wanted("replay") {
            let walls = |name| took.get(name).map(|all| all.iter().map(|took| took.wall).collect::<Vec<_>>());
            self.replay([("poll", walls("relay-poll")), ("best", walls("relay-best"))]);
        }
    }

    fn words(&self, Took { wall, cpu }: Took) -> String {
        let clicks = self.options.clicks as f64;
        format!(
            "{:.2} µs of processor a record, {:.2} µs of wall, {wall:.1} s",
            cpu / clicks * 1e6,
            wall / clicks * 1e6
        )
    }

    /// The input, written once a broker.
    fn feed(&self, input: &str) {
        if !self.cluster.create(input) {
            return;
        }
        let (brokers, count) = (self.cluster.brokers(), self.options.clicks.to_string());
        let load = ["--brokers", brokers, "--topic", input, "--count", &count, "--pages", "100000"];
        run(self.dir.path(), &self.examples.join("load"), &load.map(str::to_owned));
    }

    fn measure(&mut self, subject: &Subject, want: Answer) -> Took {
        self.runs += 1;
        let name = format!("bench-{}-{}-{}", subject.name, std::process::id(), self.runs);
        let (output, late) = (format!("{name}-out"), format!("{name}-late"));
        self.cluster.create(&output);
        self.cluster.create(&late);
        let brokers = self.cluster.brokers();
        let is_relay = subject.work == Work::Relay;
        let took = match subject.how {
            How::Loop(name) | How::Here(name) => {
                let own = std::env::current_exe().expect("it runs");
                let (program, be) = match subject.how {
                    How::Loop(_) => (self.examples.join("kafka_by_hand"), None),
                    _ => (own, Some("--be")),
                };
                let work = if is_relay { "relay" } else { "views" };
                let args = be.into_iter().chain([name, work, brokers, &self.input, &output, &late]);
                run(self.dir.path(), &program, &args.map(str::to_owned).collect::<Vec<_>>())
            }
            How::Job { workers, interval } => {
                let (state, workers) = (self.dir.path().join(&name).display().to_string(), workers.to_string());
                let mut args = vec!["run", "--until-end", "--brokers", brokers, "--input", &self.input];
                args.extend(["--output", &output, "--state", &state, "--job", &name]);
                args.extend(["--workers", &workers, "--checkpoint-interval", interval]);
                if !is_relay {
                    args.extend(["--late", &late]);
                }
                let job = self.examples.join(if is_relay { "relay" } else { "page_views" });
                let args: Vec<_> = args.into_iter().map(str::to_owned).collect();
                run(self.dir.path(), &job, &args)
            }
        };
        let seen = Answer { output: digest(brokers, &output), late: digest(brokers, &late) };
        assert_eq!(seen, want, "{} gives what the model gives", subject.name);
        self.cluster.delete(&output);
        self.cluster.delete(&late);
        took
    }

    fn latency(&self) {
        let mut figures = [const { Vec::new() }; 3];
        for round in 0..self.options.rounds {
            let name = format!("latency-{}-{round}", std::process::id());
            let late = latency::relay(&self.cluster, &self.examples, self.dir.path(), "100ms", &name);
            let at = |share: f64| late[((late.len() - 1) as f64 * share) as usize] as f64;
            for (figure, share) in figures.iter_mut().zip([0.5, 0.99, 1.0]) {
                figure.push(at(share));
            }
        }
        let [p50, p99, max] = figures.map(|figure| median(&figure));
        println!("# latency: 5,000 records/s, 100 ms: p50 {p50} ms, p99 {p99} ms, max {max} ms");
        println!("ratio kafka-latency-p99-to-interval {:.2}", p99 / 100.0);
    }

    /// Once: it says more about what goes on beside it than about itself.
    fn replay(&self, loops: [(&str, Option<Vec<f64>>); 2]) {
        let clicks = self.options.clicks as f64;
        let name = format!("replay-{}", std::process::id());
        // Of its own, since live clicks come to it.
        let input = format!("{name}-in");
        self.feed(&input);
        let replay::Seen { wall, late_ms } =
            replay::beside_live(&self.cluster, &self.examples, self.dir.path(), &input, &name);
        self.cluster.delete(&input);
        let rate = clicks / wall;
        println!("# replay: {clicks} clicks in {wall:.1} s beside a live version, {rate:.0} a second");
        println!("ratio kafka-replay-to-live-rate {:.1}", rate / latency::RATE as f64);
        for (name, walls) in loops {
            let Some(walls) = walls else { continue };
            println!("ratio kafka-replay-to-{name}-wall {:.2}", wall / median(&walls));
        }
        for (beside, late_ms) in ["alone", "replay", "throttled"].iter().zip(late_ms) {
            let at = |share: f64| late_ms[((late_ms.len() - 1) as f64 * share) as usize];
            println!(
                "# live version {beside}: p50 {} ms, p99 {} ms, max {} ms of {} clicks",
                at(0.5),
                at(0.99),
                at(1.0),
                late_ms.len()
            );
        }
    }
}

/// Round by round, as the machine is not the same in each.
fn ratios(took: &BTreeMap<&str, Vec<Took>>) {
    let print = |name: &str, one: &str, other: &str, goal: Option<f64>, of: fn(&Took) -> f64| {
        let (Some(one), Some(other)) = (took.get(one), took.get(other)) else { return };
        let mut ratios = Ratios::default();
        one.iter().zip(other).for_each(|(one, other)| ratios.add(of(one) / of(other)));
        ratios.print(name, goal);
    };
    let (cpu, wall): (fn(&Took) -> f64, fn(&Took) -> f64) = (|took| took.cpu, |took| took.wall);
    print("kafka-views-to-poll", "views-one-1s", "views-poll", Some(0.75), cpu);
    print("kafka-views-to-batch", "views-one-1s", "views-batch", None, cpu);
    print("kafka-views-to-best", "views-one-1s", "views-best", Some(1.2), cpu);
    print("kafka-views-to-full", "views-one-1s", "views-full", None, cpu);
    print("kafka-full-to-best", "views-full", "views-best", None, cpu);
    print("kafka-views-to-poll-jemalloc", "views-one-1s", "views-poll-jemalloc", None, cpu);
    print("kafka-views-to-best-jemalloc", "views-one-1s", "views-best-jemalloc", None, cpu);
    print("kafka-views-to-full-jemalloc", "views-one-1s", "views-full-jemalloc", None, cpu);
    print("kafka-views-100ms-to-best", "views-one-100ms", "views-best", None, cpu);
    print("kafka-views-two-to-poll-wall", "views-two-1s", "views-poll", Some(1.0 / 1.15), wall);
    print("kafka-views-exactly-to-at-least-once", "views-one-1s", "views-weaker-1s", Some(1.05), cpu);
    print("kafka-relay-to-poll", "relay-one-1s", "relay-poll", None, cpu);
    print("kafka-relay-to-batch", "relay-one-1s", "relay-batch", None, cpu);
    print("kafka-relay-to-best", "relay-one-1s", "relay-best", None, cpu);
    print("kafka-relay-to-full", "relay-one-1s", "relay-full", None, cpu);
    print("kafka-relay-100ms-to-best", "relay-one-100ms", "relay-best", None, cpu);
    print("kafka-relay-two-to-poll-wall", "relay-two-1s", "relay-poll", None, wall);
}
