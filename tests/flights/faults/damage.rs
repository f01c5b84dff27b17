//! Bytes flipped, files cut short and files gone, one after the other, everywhere in a stopped job's state directory.

use std::fs;
use std::path::{Path, PathBuf};

use millpond::state::store::Checkpoints;
use millpond::{Exit, Fault};

use crate::runs::{done, finished, flights, text};
use crate::seeded::Seeded;
use crate::trial::{Answer, answer, copy, feed, finish, half_way, undisturbed};

/// What is done to a file.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Damage {
    /// One bit at this part of its length, in thousandths.
    Flip(u64),
    /// What is behind this part of its length is gone.
    Cut(u64),
    Missing,
}

impl Damage {
    fn apply(self, path: &Path) {
        let mut bytes = fs::read(path).unwrap();
        match self {
            Damage::Flip(place) => {
                let place = (bytes.len() as u64 - 1) * place / 1000;
                bytes[place as usize] ^= 0x10;
            }
            Damage::Cut(part) => bytes.truncate((bytes.len() as u64 * part / 1000) as usize),
            Damage::Missing => return fs::remove_file(path).unwrap(),
        }
        fs::write(path, bytes).unwrap();
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// A job stopped in the middle, and what it will have computed at its end.
struct Stopped {
    state: tempfile::TempDir,
    want: Answer,
}

/// What became of one damage.
enum Outcome {
    Refused(Fault),
    /// The job ran to its end, and the answer was right, or could not be read for the reason said.
    WentOn(Option<String>),
}

impl Stopped {
    fn new() -> Self {
        let state = tempfile::tempdir().unwrap();
        feed(state.path());
        half_way(state.path());
        Stopped { state, want: undisturbed() }
    }

    /// The files whose paths have this in them.
    fn files(&self, part: &str) -> Vec<PathBuf> {
        let all = files(self.state.path()).into_iter();
        let all = all.map(|path| path.strip_prefix(self.state.path()).unwrap().to_owned());
        all.filter(|path| path.to_str().unwrap().contains(part)).collect()
    }

    /// Damages a file of a copy and starts the job. Whatever comes of it: no wrong answer, and the file put back, the right one.
    fn with(&self, file: &Path, damage: Damage) -> Outcome {
        let copied = tempfile::tempdir().unwrap();
        let state = copied.path();
        copy(self.state.path(), state);
        damage.apply(&state.join(file));
        let what = format!("{damage:?} of {}", file.display());
        match finish(state) {
            Ok(ended) => {
                assert!(ended.finished, "{what}");
                match answer(state) {
                    Ok(got) => {
                        assert!(got == self.want, "{what}: went on, and the answer is another");
                        Outcome::WentOn(None)
                    }
                    Err(error) => Outcome::WentOn(Some(error.to_string())),
                }
            }
            Err(fault) => {
                fs::copy(self.state.path().join(file), state.join(file)).unwrap();
                let again = finish(state).map_err(|again| format!("{what}: {fault}; and put back: {again}"));
                assert!(again.unwrap().finished);
                assert!(answer(state).unwrap() == self.want, "{what}: put back, and the answer is another");
                Outcome::Refused(fault)
            }
        }
    }

    /// All damages to these files must be refused, each with the code and a sentence that names the file.
    fn refused(&self, files: &[PathBuf], damages: &[Damage], exit: Exit) {
        assert!(!files.is_empty());
        for file in files {
            for damage in damages {
                match self.with(file, *damage) {
                    Outcome::Refused(fault) => {
                        let said = fault.to_string();
                        assert_eq!(fault.exit(), exit, "{damage:?} of {}: {said}", file.display());
                        let name = file.file_name().unwrap().to_str().unwrap();
                        assert!(said.contains(name) || said.contains(file.to_str().unwrap()), "{damage:?}: {said}");
                    }
                    Outcome::WentOn(error) => panic!("{damage:?} of {} went on, {error:?}", file.display()),
                }
            }
        }
    }

    fn goes_on(&self, files: &[PathBuf], damages: &[Damage]) {
        assert!(!files.is_empty());
        for file in files {
            for damage in damages {
                match self.with(file, *damage) {
                    Outcome::WentOn(None) => {}
                    Outcome::WentOn(Some(error)) => panic!("{damage:?} of {}: {error}", file.display()),
                    Outcome::Refused(fault) => panic!("{damage:?} of {}: {fault}", file.display()),
                }
            }
        }
    }

    /// The committed checkpoint: its manifest, and the files that this names. What a merge has only just made lies beside them.
    fn checkpoint(&self) -> Vec<PathBuf> {
        let checkpoints = Checkpoints::open(&self.state.path().join("trial@1")).unwrap();
        let newest = checkpoints.manifests().unwrap().into_iter().max_by_key(|id| id.epoch).unwrap();
        let named = checkpoints.manifest(newest).unwrap().files.into_iter().map(|file| file.name);
        let names: Vec<_> = named.chain([format!("{newest}.manifest")]).collect();
        self.files("/checkpoints/").into_iter().filter(|file| names.iter().any(|name| file.ends_with(name))).collect()
    }
}

const ALL: [Damage; 6] =
    [Damage::Flip(0), Damage::Flip(500), Damage::Flip(1000), Damage::Cut(500), Damage::Cut(0), Damage::Missing];

#[test]
fn damage_to_the_committed_checkpoint_is_refused() {
    let stopped = Stopped::new();
    let needed = stopped.checkpoint();
    for kind in ["manifest", "base", "part"] {
        assert!(needed.iter().any(|file| file.extension().unwrap() == kind), "{needed:?} without a {kind}");
    }
    stopped.refused(&needed, &ALL, Exit::Restore);
}

#[test]
fn what_is_not_needed_may_be_damaged() {
    let stopped = Stopped::new();
    let needed = stopped.checkpoint();
    let older: Vec<_> = stopped.files("/checkpoints/").into_iter().filter(|file| !needed.contains(file)).collect();
    stopped.goes_on(&older, &ALL);
    let index: Vec<_> = stopped.files("/index/").into_iter().filter(|file| !file.ends_with("blobs")).collect();
    stopped.goes_on(&index, &ALL);
    let locks: Vec<_> = stopped.files("lock").into_iter().filter(|lock| !lock.starts_with("log/lock")).collect();
    stopped.goes_on(&locks, &ALL);
    stopped.goes_on(&stopped.files("log/lock"), &[Damage::Missing]);
}

#[test]
fn damage_to_the_commit_log_and_to_topics_settings_is_refused() {
    let stopped = Stopped::new();
    stopped.refused(&stopped.files("trial@1/commits.log"), &ALL, Exit::Restore);
    stopped.refused(&stopped.files("feeder/commits.log"), &ALL[..5], Exit::Restore);
    stopped.refused(&stopped.files("topic.json"), &ALL, Exit::Restore);
}

#[test]
fn damage_to_input_that_is_still_to_be_read_is_refused() {
    let stopped = Stopped::new();
    let input =
        stopped.files("topics/hits/").into_iter().filter(|file| file.extension().is_some_and(|end| end == "log"));
    // The first half has been read; what becomes of it does not matter to the job.
    let damages = [Damage::Flip(900), Damage::Cut(900), Damage::Cut(0)];
    stopped.refused(&input.collect::<Vec<_>>(), &damages, Exit::Restore);
}

#[test]
fn damage_to_output_is_refused_at_the_start_or_when_it_is_read() {
    let stopped = Stopped::new();
    for topic in ["copies/0", "sums/1", "late/2"] {
        let files = stopped.files(&format!("topics/{topic}/"));
        for file in files.iter().filter(|file| file.extension().is_some_and(|end| end == "log")) {
            for damage in ALL {
                let (said, exit) = match stopped.with(file, damage) {
                    Outcome::Refused(fault) => (fault.to_string(), fault.exit()),
                    // Records of older commits are looked at by readers only: those who read the results are told.
                    Outcome::WentOn(Some(error)) => (error, Exit::Restore),
                    Outcome::WentOn(None) => panic!("{damage:?} of {} was not seen", file.display()),
                };
                assert_eq!(exit, Exit::Restore, "{said}");
                assert!(said.contains(file.to_str().unwrap()) && said.contains("restore"), "{said}");
            }
        }
    }
}

/// The binary says the same, with its exit code.
#[test]
fn the_binary_names_the_damage_and_the_way_out_and_loses_nothing() {
    let fresh = tempfile::tempdir().unwrap();
    let want = finished(fresh.path(), &[]);
    let state = tempfile::tempdir().unwrap();
    let mut command = flights(state.path(), &["--checkpoint-interval", "1ms"]);
    command.env("MILLPOND_FAILPOINT", "committed:1");
    assert!(!done(command).status.success(), "killed after its first commit");
    let mut random = Seeded::new();
    let mut paths = files(&state.path().join("flights@1/checkpoints"));
    paths.push(state.path().join("log/writers/flights@1/commits.log"));
    let mut refused = 0;
    for path in paths {
        let copied = tempfile::tempdir().unwrap();
        copy(state.path(), copied.path());
        let damaged = copied.path().join(path.strip_prefix(state.path()).unwrap());
        Damage::Flip(random.below(1000)).apply(&damaged);
        let output = done(flights(copied.path(), &[]));
        if !output.status.success() {
            let said = text(&output);
            assert_eq!(output.status.code(), Some(74), "{said}");
            assert!(said.contains(path.file_name().unwrap().to_str().unwrap()) && said.contains("help: "), "{said}");
            fs::copy(&path, &damaged).unwrap();
            refused += 1;
        }
        assert_eq!(finished(copied.path(), &[]), want, "{}", path.display());
    }
    assert!(refused >= 2, "the newest manifest, its part");
}
