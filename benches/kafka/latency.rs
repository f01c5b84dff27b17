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
const RATE: u64 = 5_000;
/// How long they come.
const SECONDS: u64 = 20;
/// The beginning does not count: connections are made, caches are cold.
const WARM: u64 = 4;

#[derive(Deserialize)]
struct Relayed {
    at: i64,
}

/// A process that ends with the bench.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn start(program: &Path, args: &[&str]) -> Running {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Running(command.spawn().expect("the examples are built"))
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
    let _job = start(&examples.join("relay"), &[&job[..], &["--checkpoint-interval", interval]].concat());
    let reader: BaseConsumer = consumer(brokers, &output);
    let (rate, count) = (RATE.to_string(), (RATE * SECONDS).to_string());
    let load = ["--brokers", brokers, "--topic", &input, "--live", "--rate", &rate, "--count", &count];
    // After the job has started, or what lay there would count as slow.
    std::thread::sleep(Duration::from_secs(3));
    let mut load = start(&examples.join("load"), &load);
    let (mut late_ms, began, mut silent) = (Vec::new(), Instant::now(), Instant::now());
    let mut first = None;
    while silent.elapsed() < Duration::from_secs(3) || load.0.try_wait().expect("it is our child").is_none() {
        assert!(began.elapsed() < Duration::from_secs(3 * SECONDS), "the relay does not come to its end");
        let Some(Ok(message)) = reader.poll(Duration::from_millis(100)) else { continue };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_millis() as i64;
        silent = Instant::now();
        let Relayed { at } = serde_json::from_slice(message.payload().unwrap_or_default()).expect("it is a click");
        if at - *first.get_or_insert(at) > WARM as i64 * 1_000 {
            late_ms.push(now - at);
        }
    }
    late_ms.sort_unstable();
    let expected = RATE * (SECONDS - WARM) * 8 / 10;
    assert!(late_ms.len() as u64 > expected, "{} clicks came through", late_ms.len());
    cluster.delete(&input);
    cluster.delete(&output);
    late_ms
}
