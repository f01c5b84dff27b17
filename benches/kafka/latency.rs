//! How long it takes from a click's making until a reader of committed records has it, through `relay`.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::consumer::BaseConsumer;
use rdkafka::message::Message;
use serde::Deserialize;

use crate::loops::consumer;
use crate::topics::Cluster;

/// Clicks a second.
pub(crate) const RATE: u64 = 5_000;
/// How long they come.
const SECONDS: u64 = 20;
/// The beginning does not count: connections are made, caches are cold.
const WARM: u64 = 4;

#[derive(Deserialize)]
struct Relayed {
    at: i64,
}

/// A process that ends with the bench.
pub(crate) struct Running(Child);

impl Running {
    /// Whether it goes on. A bad end is a panic.
    pub(crate) fn goes_on(&mut self) -> bool {
        let ended = self.0.try_wait().expect("it is our child");
        assert!(ended.is_none_or(|status| status.success()), "{ended:?}");
        ended.is_none()
    }

    fn end(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

pub(crate) fn start(program: &Path, args: &[&str]) -> Running {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Running(command.spawn().expect("the examples are built"))
}

/// A `relay` that runs, clicks that come for it, and a reader of what it commits. All end with this value.
pub(crate) struct Live {
    _job: Running,
    load: Running,
    reader: BaseConsumer,
}

impl Live {
    /// Starts it on topics that are there, from the end of the input on, with `count` clicks to come.
    pub(crate) fn start(brokers: &str, examples: &Path, job: &[&str], input: &str, output: &str, count: u64) -> Self {
        let job = start(&examples.join("relay"), job);
        let reader = consumer(brokers, output);
        let (rate, count) = (RATE.to_string(), count.to_string());
        let load = ["--brokers", brokers, "--topic", input, "--live", "--rate", &rate, "--count", &count];
        // After the job has started, or what lay there would count as slow.
        std::thread::sleep(Duration::from_secs(3));
        Live { _job: job, load: start(&examples.join("load"), &load), reader }
    }

    /// Whether clicks still come.
    pub(crate) fn comes(&mut self) -> bool {
        self.load.0.try_wait().expect("it is our child").is_none()
    }

    /// No more clicks.
    pub(crate) fn stop(&mut self) {
        self.load.end();
    }

    /// From a click's making until it was read, in milliseconds, for as long as `on` says so and then until nothing comes for a while if
    /// `rest`; with when each was made.
    pub(crate) fn listen(&mut self, rest: bool, mut on: impl FnMut(&mut Self) -> bool) -> Vec<(i64, i64)> {
        let (mut late_ms, mut silent) = (Vec::new(), Instant::now());
        while on(self) || rest && silent.elapsed() < Duration::from_secs(3) {
            let Some(Ok(message)) = self.reader.poll(Duration::from_millis(100)) else { continue };
            let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_millis() as i64;
            silent = Instant::now();
            let Relayed { at } = serde_json::from_slice(message.payload().unwrap_or_default()).expect("it is a click");
            late_ms.push((at, now - at));
        }
        late_ms
    }
}

/// Milliseconds of every click after the first seconds, sorted.
pub(crate) fn relay(cluster: &Cluster, examples: &Path, dir: &Path, interval: &str, name: &str) -> Vec<i64> {
    let brokers = cluster.brokers();
    let (input, output) = (format!("{name}-in"), format!("{name}-out"));
    cluster.create(&input);
    cluster.create(&output);
    let state = dir.join(name);
    let state = state.to_str().expect("a temporary directory is text");
    let job = ["run", "--brokers", brokers, "--input", &input, "--output", &output, "--state", state, "--job", name];
    let job = [&job[..], &["--checkpoint-interval", interval]].concat();
    let mut live = Live::start(brokers, examples, &job, &input, &output, RATE * SECONDS);
    let began = Instant::now();
    let all = live.listen(true, |live| {
        assert!(began.elapsed() < Duration::from_secs(3 * SECONDS), "the relay does not come to its end");
        live.comes()
    });
    let first = all.first().map_or(0, |(at, _)| *at);
    let warm = all.iter().filter(|(at, _)| at - first > WARM as i64 * 1_000);
    let mut late_ms: Vec<_> = warm.map(|(_, late_ms)| *late_ms).collect();
    late_ms.sort_unstable();
    let expected = RATE * (SECONDS - WARM) * 8 / 10;
    assert!(late_ms.len() as u64 > expected, "{} clicks came through", late_ms.len());
    cluster.delete(&input);
    cluster.delete(&output);
    late_ms
}
