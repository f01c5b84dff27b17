//! The command line from its words to its exit codes, without a process of its own.

use std::cell::RefCell;
use std::ffi::OsString;
use std::fs;
use std::rc::Rc;
use std::sync::Arc;

use clap::{Args as _, FromArgMatches as _};
use millpond_state::Timestamp;
use millpond_state::store::{CheckpointId, Manifest, RunId, Store};

use super::options::{self, id};
use super::{JobMain, command, execute};
use crate::{CommitRecord, Draw, Exit, Fault};

#[derive(Clone, Debug, PartialEq, clap::Args)]
struct Own {
    /// How late a flight may be
    #[arg(long, default_value_t = 120)]
    lateness_min: u64,
    /// Write it all
    #[arg(long)]
    everything: bool,
}

/// A job that draws nothing, and what its own options were when it was asked to.
fn job() -> (JobMain, Rc<RefCell<Vec<Own>>>) {
    let asked = Rc::new(RefCell::new(Vec::new()));
    let note = Rc::clone(&asked);
    let mut job = JobMain::new(
        "flights",
        1,
        Box::new(move |matches| {
            note.borrow_mut().push(Own::from_arg_matches(matches).expect("parsed with these options"));
            let draw: Arc<Draw> = Arc::new(|_, _| Ok(()));
            Ok(draw)
        }),
    );
    job.augment = Own::augment_args;
    (job, asked)
}

fn call(job: &JobMain, words: &str) -> Result<Exit, Fault> {
    execute(job, std::iter::once("flights").chain(words.split_whitespace()).map(OsString::from).collect())
}

#[test]
fn bad_usage_has_its_own_code_and_help_has_none() {
    let (job, asked) = job();
    for words in [
        "fly",
        "run --workers 0",
        "run --workers 2000",
        "run --checkpoint-interval 1",
        "run --checkpoint-interval 0s",
        "run --from yesterday",
        "run --job a/b",
        "run --job ..",
        "run --job-version 0",
        "run --lateness-min many",
        "plan --json --dot",
        "checkpoints",
        "checkpoints verify nonsense",
        "status --workers 2",
        "",
    ] {
        assert_eq!(call(&job, words), Ok(Exit::Usage), "{words}");
    }
    for words in ["--help", "run --help", "--version", "checkpoints verify --help"] {
        assert_eq!(call(&job, words), Ok(Exit::Finished), "{words}");
    }
    assert!(asked.borrow().is_empty(), "nothing was drawn");
}

#[test]
fn what_clap_refuses_is_said_in_two_lines() {
    let (job, _) = job();
    let said = |words: &str| {
        let words = std::iter::once("flights").chain(words.split_whitespace());
        let refused = command::command(&job).unwrap().try_get_matches_from(words).unwrap_err();
        super::two_lines(&refused.to_string())
    };
    assert_eq!(
        said("run --until-ned"),
        "error: unexpected argument '--until-ned' found\nhelp: a similar argument exists: '--until-end'; see flights run --help"
    );
    assert_eq!(
        said("replay"),
        "error: the following required arguments were not provided: <VERSION>\nhelp: see flights replay --help"
    );
    assert_eq!(
        said("run --workers 0"),
        "error: invalid value '0' for '--workers <N>': 0 is not in 1..=1024\nhelp: see --help"
    );
}

#[test]
fn a_version_is_said_once() {
    let (job, _) = job();
    for words in ["replay 2", "compare 1 2", "promote 2", "rollback 2", "retire 2", "tail out --version 2"] {
        let words = format!("{words} --job-version 3");
        assert_eq!(call(&job, &words), Ok(Exit::Usage), "{words}");
    }
}

#[test]
fn the_jobs_own_options_reach_its_drawing() {
    let (job, asked) = job();
    let refused = call(&job, "plan --lateness-min 7 --everything").unwrap_err();
    assert_eq!(refused.exit(), Exit::FixJob);
    assert!(refused.to_string().contains("the job reads nothing"), "{refused}");
    assert_eq!(*asked.borrow(), [Own { lateness_min: 7, everything: true }]);
}

#[test]
fn without_arguments_the_default_ones_are_taken() {
    let (mut job, asked) = job();
    job.default_args = vec!["run".into(), "--until-end".into(), "--lateness-min".into(), "9".into()];
    assert_eq!(call(&job, "").unwrap_err().exit(), Exit::FixJob);
    assert_eq!(*asked.borrow(), [Own { lateness_min: 9, everything: false }]);
    assert_eq!(call(&job, "--help"), Ok(Exit::Finished));
}

#[test]
fn a_job_that_takes_our_names_or_has_none_of_its_own_is_told() {
    let (mut job, _) = job();
    job.augment = |command| command.arg(clap::Arg::new("w").long("workers"));
    let refused = call(&job, "plan").unwrap_err();
    assert_eq!(refused.exit(), Exit::FixJob);
    assert!(refused.to_string().contains("its own option --workers"), "{refused}");
    let (mut job, _) = self::job();
    job.name = "my job".into();
    assert_eq!(call(&job, "plan").unwrap_err().exit(), Exit::Usage);
}

#[test]
fn options_say_what_a_run_does() {
    let (job, _) = job();
    let words = "flights run --workers 3 --checkpoint-interval 50ms --until-end --new --job other --job-version 4 --no-create-topics --from 0:7";
    let matches = command::command(&job).unwrap().try_get_matches_from(words.split(' ')).unwrap();
    let run = options::run(&job, matches.subcommand().unwrap().1);
    assert_eq!(run.env.identity(), "other@4");
    assert_eq!(run.env.home(), std::path::Path::new(".millpond/other/other@4"));
    assert!(run.until_end && run.new && !run.env.create);
    assert_eq!((run.workers, run.interval.as_millis()), (3, 50));
    assert_eq!(run.from, crate::source::From::Offsets(vec![(0, 7)]));
    let matches = command::command(&job).unwrap().try_get_matches_from(["flights", "run"]).unwrap();
    let run = options::run(&job, matches.subcommand().unwrap().1);
    assert_eq!((run.workers, run.interval.as_secs(), run.until_end, run.new), (1, 1, false, false));
    assert_eq!(run.env.home(), std::path::Path::new(".millpond/flights/flights@1"));
    assert!(run.env.create);
}

#[test]
fn every_option_can_be_given_by_environment() {
    let (job, _) = job();
    let command = command::command(&job).unwrap();
    let run = command.find_subcommand("run").unwrap();
    for arg in run.get_arguments().filter(|arg| arg.get_long() != Some("help")) {
        let long = arg.get_long().unwrap();
        let expected = format!("MILLPOND_{}", long.to_uppercase().replace('-', "_"));
        assert_eq!(arg.get_env().unwrap().to_str(), Some(expected.as_str()), "--{long}");
    }
    assert!(run.get_arguments().any(|arg| arg.get_long() == Some("everything")));
    assert_eq!(run.get_arguments().filter(|arg| arg.get_id().as_str() == id::STATE).count(), 1);
}

#[test]
fn exit_codes_differ_and_only_success_is_zero() {
    let all = [
        Exit::Finished,
        Exit::Retry,
        Exit::Differs,
        Exit::StoppedEarly,
        Exit::Refused,
        Exit::NeedsReplay,
        Exit::Usage,
        Exit::FixJob,
        Exit::AlreadyRunning,
        Exit::Restore,
        Exit::New,
        Exit::NewVersion,
        Exit::Interrupted,
    ];
    let codes: std::collections::BTreeSet<_> = all.iter().map(|exit| exit.code()).collect();
    assert_eq!(codes.len(), all.len());
    assert_eq!(all.iter().filter(|exit| exit.code() == 0).count(), 1);
}

#[test]
fn a_job_that_never_ran_has_no_status_and_no_checkpoints() {
    let (job, _) = job();
    let state = tempfile::tempdir().unwrap();
    for command in ["status", "checkpoints list", "checkpoints verify"] {
        let refused = call(&job, &format!("{command} --state {}", state.path().display())).unwrap_err();
        assert_eq!(refused.exit(), Exit::Usage, "{command}");
        assert!(refused.to_string().contains("has not run"), "{refused}");
    }
}

#[test]
fn checkpoints_are_listed_and_a_flipped_byte_is_found() {
    let (job, _) = job();
    let state = tempfile::tempdir().unwrap();
    let home = state.path().join("flights@1");
    fs::create_dir_all(&home).unwrap();
    let store = Store::open(&home, RunId::new(7)).unwrap();
    let ids = (0..4).map(|epoch| CheckpointId { run: RunId::new(7), epoch });
    let checksums: Vec<_> = ids.map(|id| (id, store.write_manifest(&Manifest::new(id)).unwrap())).collect();
    drop(store);
    let at = format!("--state {}", state.path().display());
    let unnamed = call(&job, &format!("status {at}")).unwrap_err();
    assert_eq!(unnamed.exit(), Exit::Restore);
    assert!(unnamed.to_string().contains("no commit record names it"), "{unnamed}");
    let (id, checksum) = checksums[2];
    let record = CommitRecord {
        job: "flights".into(),
        version: 1,
        id,
        parent: None,
        checksum,
        instance: "here:1".into(),
        clock: Timestamp::EPOCH,
        period_ms: 2_000,
    };
    fs::write(home.join("committed"), format!("{record}\n")).unwrap();
    for command in ["status", "status --json", "checkpoints list", "checkpoints list --json", "checkpoints verify"] {
        assert_eq!(call(&job, &format!("{command} {at}")), Ok(Exit::Finished), "{command}");
    }
    let folder = home.join("checkpoints");
    let files = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let manifest = files.filter(|path| path.is_file()).max().unwrap();
    let mut bytes = fs::read(&manifest).unwrap();
    let last = bytes.len() - 2;
    bytes[last] ^= 1;
    fs::write(&manifest, bytes).unwrap();
    let refused = call(&job, &format!("checkpoints verify --json {at}")).unwrap_err();
    assert_eq!(refused.exit(), Exit::Restore);
    assert!(refused.to_string().contains("0000000000000007-"), "{refused}");
    assert_eq!(call(&job, &format!("checkpoints list {at}")), Ok(Exit::Finished), "what can be read is listed");
    let missing = call(&job, &format!("checkpoints verify 0000000000000007-9 {at}")).unwrap_err();
    assert_eq!(missing.exit(), Exit::Restore);
}
