//! A second version from the beginning of the log, beside a live one: how fast it reads, beside the live rate and the loops that one would
//! write by hand, and what it does to the live version's latency, throttled and not.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::check::{digest, model};
use crate::latency::{Live, RATE, start};
use crate::loops::Work;
use crate::topics::Cluster;

/// How long the live version is watched alone, and beside a throttled replay.
const WATCH: Duration = Duration::from_secs(15);
/// What a throttled replay may read a second.
const THROTTLE: &str = "100000";

/// What was seen.
pub(crate) struct Seen {
    /// How long the replay took that was not throttled, seconds.
    pub(crate) wall: f64,
    /// Of the live version, milliseconds, sorted: alone, beside that replay, beside a throttled one.
    pub(crate) late_ms: [Vec<i64>; 3],
}

/// Goes over `input`, to which live clicks are appended.
pub(crate) fn beside_live(cluster: &Cluster, examples: &Path, dir: &Path, input: &str, name: &str) -> Seen {
    let brokers = cluster.brokers();
    let output = format!("{name}-out");
    let replayed = format!("{output}.v2");
    cluster.create(&output);
    cluster.create(&replayed);
    let state = dir.join(name);
    let state = state.to_str().expect("a temporary directory is text");
    let at = ["--brokers", brokers, "--input", input, "--output", &output, "--state", state, "--job", name];
    let job = [&["run", "--from", "latest", "--checkpoint-interval", "100ms"], &at[..]].concat();
    let replay = [&["replay", "2", "--until-caught-up"], &at[..]].concat();
    let mut live = Live::start(brokers, examples, &job, input, &output, 1 << 30);
    // Connections are made, caches are cold.
    let watched = |span: Duration| {
        let began = Instant::now();
        move |_: &mut Live| began.elapsed() < span
    };
    live.listen(false, watched(Duration::from_secs(4)));
    let alone = live.listen(false, watched(WATCH));
    let throttled = {
        // Another version, so that the one that is timed begins at the beginning.
        let replay = [&["replay", "3", "--throttle", THROTTLE], &at[..]].concat();
        let _replay = start(&examples.join("relay"), &replay);
        live.listen(false, watched(WATCH))
    };
    let began = Instant::now();
    let mut running = start(&examples.join("relay"), &replay);
    let beside = live.listen(false, |_| running.goes_on());
    let wall = began.elapsed().as_secs_f64();
    live.stop();
    // To the last click, so that there is one answer.
    let mut rest = start(&examples.join("relay"), &replay);
    while rest.goes_on() {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(
        digest(brokers, &replayed),
        model(brokers, input, Work::Relay).output,
        "the replay gives what the model gives"
    );
    drop(live);
    cluster.delete(&output);
    cluster.delete(&replayed);
    cluster.delete(&format!("{output}.v3"));
    let sorted = |seen: Vec<(i64, i64)>, least: Duration| {
        let mut late_ms: Vec<_> = seen.into_iter().map(|(_, late_ms)| late_ms).collect();
        assert!(late_ms.len() as u64 > RATE * least.as_secs() * 8 / 10, "{} clicks came through", late_ms.len());
        late_ms.sort_unstable();
        late_ms
    };
    let late_ms = [sorted(alone, WATCH), sorted(beside, Duration::ZERO), sorted(throttled, WATCH / 2)];
    Seen { wall, late_ms }
}
