//! Counts words. Three minutes to read, and the place to start changing things.
//!
//! `cargo run --release --example word_count` counts a poem that comes with it; `.. --example word_count -- run --until-end < FILE` counts
//! a file. docs/word_count.md tells what to try.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use millpond::log::{Log, Start};
use millpond::{Changes, Env, Fault, File, Flow, Job, Json, Stream, Untimed, print, stdin_lines};

/// The poem that is counted when nothing else is said.
const POEM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/poem.txt");

#[derive(Clone, Debug, clap::Args)]
struct Options {
    /// Count this file instead of standard input
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
}

fn main() -> ExitCode {
    Job::new("word_count")
        .about("Counts the words of standard input, or of a file")
        .without_arguments(["run", "--until-end", "--text", POEM])
        .options::<Options>()
        .after(|env, _, _| show(env))
        .main(draw)
}

/// The topic of results: the newest record of each word is its count.
const COUNTS: &str = "word-counts";

fn draw(flow: &Flow<'_>, options: &Options) {
    let lines = match &options.text {
        Some(file) => flow.source("lines", File::lines(file).no_event_time()),
        None => flow.source("lines", stdin_lines().no_event_time()),
    };
    // A count is never final, so what leaves are changes: an insert, then updates with the old count and the new, one a word and epoch.
    counts(lines).sink("counts", Log::at(flow.state_dir().join("log")).write(COUNTS, Json).upsert());
}

fn counts(lines: Stream<'_, String>) -> Changes<'_, String, u64> {
    lines.flat_map(words).key_by(String::clone).count()
}

fn words(line: String) -> Vec<String> {
    let words = line.split(|c: char| !c.is_alphanumeric() && c != '\'');
    words.filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
}

/// The ten most frequent words, from what is committed.
fn show(env: &Env) -> Result<(), Fault> {
    let log = Log::at(env.state.join("log"));
    let topic = env.output(COUNTS);
    let mut newest = BTreeMap::new();
    for partition in 0..log.topic(&topic)?.settings.partition_count() {
        let mut reader = log.reader(&topic, partition, Start::Earliest)?;
        while let Some(block) = reader.read_block(1 << 20)? {
            for record in block.records() {
                let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
                newest.insert(text(record.key), text(record.value).parse::<u64>().unwrap_or(0));
            }
        }
    }
    let mut words: Vec<_> = newest.into_iter().collect();
    words.sort_by_key(|(word, count)| (std::cmp::Reverse(*count), word.clone()));
    let mut text = format!("\n{} words in topic {topic} of {}; the most frequent:\n", words.len(), log.dir().display());
    text.extend(words.iter().take(10).map(|(word, count)| format!("{count:>6}  {word}\n")));
    print(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_counted_whatever_their_case() {
        let mut test = Job::test(|lines| counts(lines).changelog());
        test.push(millpond::Timestamp::EPOCH, "The mill, the pond;".to_owned());
        let mut found: Vec<_> = test.finish().into_iter().map(millpond::Change::into_new).collect();
        found.sort();
        assert_eq!(found, [("mill".into(), Some(1)), ("pond".into(), Some(1)), ("the".into(), Some(2))]);
    }
}
