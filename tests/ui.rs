//! Wrong jobs do not compile, and the compiler's message says what to do. What types cannot tell, the start of a job refuses, before
//! anything runs.
//!
//! Each program in `tests/ui` is given to rustc beside the library that this test was built with. It must be refused with every phrase in
//! its lines that begin with `//~`; one without such lines must compile.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use millpond::source::Source;
use millpond::{Collected, Exit, Flow, Job, Run, Timestamp, Tumbling, Untimed, vec};

/// Checks a program against a build of the library.
fn compiled(program: &Path, library: &Path, folder: &Path) -> Output {
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.args([
        "--edition",
        "2024",
        "--emit",
        "metadata",
        "--color",
        "never",
        "-A",
        "warnings",
        "--diagnostic-width",
        "160",
        "-o",
    ]);
    rustc.arg(folder.join("program")).arg("--extern").arg(format!("millpond={}", library.display()));
    rustc
        .arg("-L")
        .arg(format!("dependency={}", library.parent().expect("a file lies somewhere").display()))
        .arg(program);
    rustc.output().expect("rustc is there, since this was compiled")
}

/// The library's newest build.
fn library() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows where it is");
    let beside = test.parent().expect("a file lies somewhere").read_dir().expect("it can be read");
    let built = beside.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        name.starts_with("libmillpond-") && name.ends_with(".rlib")
    });
    built
        .max_by_key(|path| path.metadata().and_then(|found| found.modified()).ok())
        .expect("cargo built the library first")
}

#[test]
fn wrong_jobs_do_not_compile_and_the_message_says_what_to_do() {
    let (library, folder) = (library(), tempfile::tempdir().expect("a directory can be made"));
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ui");
    let (mut right, mut wrong) = (0, 0);
    for entry in programs.read_dir().expect("the programs are there") {
        let program = entry.expect("they can be read").path();
        let text = std::fs::read_to_string(&program).expect("a program is text");
        let phrases: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("//~ ")).collect();
        let output = compiled(&program, &library, folder.path());
        let message = String::from_utf8_lossy(&output.stderr);
        println!("{}:\n{message}", program.display());
        assert_eq!(output.status.success(), phrases.is_empty(), "{}:\n{message}", program.display());
        for phrase in &phrases {
            assert!(message.contains(phrase), "{}: {phrase:?} is not in:\n{message}", program.display());
        }
        *if phrases.is_empty() { &mut right } else { &mut wrong } += 1;
    }
    assert!(right >= 1 && wrong >= 4, "{right} right programs, {wrong} wrong ones");
}

/// What the start of a job says that is drawn like this.
fn refused(draw: impl for<'s> Fn(&Flow<'s>) + Send + Sync + 'static) -> String {
    let state = tempfile::tempdir().expect("a directory can be made");
    let fault = Job::new("wrong").start(Run::new("wrong", 1, state.path()), draw).expect_err("this job is wrong");
    assert_eq!(fault.exit(), Exit::FixJob);
    fault.to_string()
}

fn numbers() -> impl Source<Item = u64> {
    vec(vec![vec![1u64, 2, 3]]).event_time(|n| Timestamp::from_secs(*n as i64))
}

fn minute() -> Tumbling {
    Tumbling::of(Duration::from_secs(60))
}

#[test]
fn nodes_of_one_name_are_refused() {
    let text = refused(|flow| flow.source("numbers", numbers()).sink("numbers", Collected::new().sink()));
    assert!(text.contains("2 nodes are called \"numbers\" (source, sink); names must differ"), "{text}");
}

#[test]
fn two_windows_below_one_name_must_be_named_and_then_they_may_be() {
    fn draw(flow: &Flow<'_>, names: Option<[&str; 2]>) {
        let numbers = flow.source("numbers", numbers());
        for (index, sink) in ["one", "other"].into_iter().enumerate() {
            let windowed = numbers.clone().key_by(|n| *n).window(minute());
            let windowed = match names {
                Some(names) => windowed.named(names[index]),
                None => windowed,
            };
            windowed.aggregate(|w| w.count()).sink(sink, Collected::new().sink());
        }
    }
    let text = refused(|flow| draw(flow, None));
    assert!(text.contains("2 steps of kind window would both be called \"numbers/window\""), "{text}");
    assert!(text.contains("give each a name with `.named(\"..\")`"), "{text}");
    let text = refused(|flow| draw(flow, Some(["counts", "counts"])));
    assert!(text.contains("\"counts\""), "{text}");
    let state = tempfile::tempdir().expect("a directory can be made");
    let ended = Job::new("right").run(Run::new("right", 1, state.path()), |flow| draw(flow, Some(["here", "there"])));
    assert!(ended.expect("this job is right").finished);
}

#[test]
fn a_stream_that_goes_nowhere_is_refused() {
    let text = refused(|flow| {
        let _ = flow.source("numbers", numbers()).map(|n| n + 1);
    });
    assert!(text.contains("\"numbers/map\" goes nowhere; end it with `.sink(..)`"), "{text}");
}

#[test]
fn a_window_without_event_time_is_refused() {
    let text = refused(|flow| {
        let untimed = vec(vec![vec![1u64]]).no_event_time();
        let counts = flow.source("numbers", untimed).key_by(|n| *n).window(minute()).aggregate(|w| w.count());
        counts.sink("counts", Collected::new().sink());
    });
    assert!(text.contains("needs event time") && text.contains("call `.event_time(|record| ..)`"), "{text}");
}

#[test]
fn a_window_over_late_records_is_refused() {
    let text = refused(|flow| {
        let windowed = flow.source("numbers", numbers()).key_by(|n| *n).window(minute()).split_late();
        let (counts, late) = windowed.aggregate(|w| w.count());
        counts.sink("counts", Collected::new().sink());
        let again = late.key_by(|n| *n).window(minute()).named("again").aggregate(|w| w.count());
        again.sink("late", Collected::new().sink());
    });
    assert!(text.contains("needs event time"), "{text}");
}

#[test]
fn a_job_that_reads_nothing_is_refused() {
    let text = refused(|_| {});
    assert!(text.contains("the job reads nothing; add a source with `flow.source(..)`"), "{text}");
}
