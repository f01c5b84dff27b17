//! One test's world: topics, a job name and a state directory of its own.

use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use tempfile::TempDir;

use crate::broker;
use crate::cluster::Cluster;
use crate::model::{self, Views};
use crate::processes::example;
use crate::producers::{CLICKS, Writer};
use crate::reader::{Record, read};
use crate::runs::Process;

/// A number that no other call gives.
pub(crate) fn nanos() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64
}

/// Topics `NAME-clicks`, `NAME-views`, `NAME-late` and `NAME-relayed`, and the job `NAME`.
pub(crate) struct World {
    pub(crate) cluster: Cluster,
    pub(crate) name: String,
    pub(crate) dir: TempDir,
    /// Settings for every run.
    pub(crate) more: Vec<String>,
}

impl World {
    /// On the broker that all tests share, with an empty input of so many partitions.
    pub(crate) fn new(name: &str, partitions: u32) -> World {
        World::on(broker::shared().cluster(), name, partitions)
    }

    pub(crate) fn on(cluster: Cluster, name: &str, partitions: u32) -> World {
        // A broker that outlives a failed test still has its topics.
        let name = format!("{name}-{}", nanos() % 1_000_000_000);
        let world = World { cluster, name, dir: tempfile::tempdir().unwrap(), more: Vec::new() };
        world.cluster.create(&world.topic("clicks"), partitions);
        world
    }

    pub(crate) fn topic(&self, which: &str) -> String {
        format!("{}-{which}", self.name)
    }

    pub(crate) fn input(&self) -> String {
        self.topic("clicks")
    }

    /// Writes so many clicks to the input.
    pub(crate) fn feed(&self, count: u64) {
        self.writer().clicks(&CLICKS, 0..count);
    }

    pub(crate) fn writer(&self) -> Writer {
        Writer::plain(&self.cluster, &self.input())
    }

    pub(crate) fn state(&self) -> &Path {
        self.dir.path()
    }

    /// `page_views` with one of its commands, on this world's topics: only what starts it is told of them, the others know from the registry.
    pub(crate) fn page_views(&self, command: &str, args: &[&str]) -> Command {
        self.job("page_views", command, &["--output", &self.topic("views"), "--late", &self.topic("late")], args)
    }

    /// `relay` likewise.
    pub(crate) fn relay(&self, command: &str, args: &[&str]) -> Command {
        self.job("relay", command, &["--output", &self.topic("relayed")], args)
    }

    fn job(&self, job: &str, command: &str, topics: &[&str], args: &[&str]) -> Command {
        let mut run = Command::new(example(job));
        run.args([command, "--job", &self.name, "--state"]).arg(self.state());
        // By environment, so that a test can say otherwise by option.
        run.env("MILLPOND_BROKERS", &self.cluster.brokers);
        if ["run", "replay"].contains(&command) {
            run.env("MILLPOND_INPUT", self.input()).args(topics);
        }
        run.args(&self.more).args(args).env("MILLPOND_CHECKPOINT_INTERVAL", "50ms");
        run
    }

    /// Starts a job.
    pub(crate) fn start(&self, job: Command) -> Process {
        Process::start(job, self.state())
    }

    /// Starts `page_views run` with more arguments.
    pub(crate) fn run(&self, args: &[&str]) -> Process {
        self.start(self.page_views("run", args))
    }

    /// Starts `relay run` with more arguments.
    pub(crate) fn relay_process(&self, args: &[&str]) -> Process {
        self.start(self.relay("run", args))
    }

    /// Runs `page_views` to the end of its input.
    pub(crate) fn finish(&self, args: &[&str]) {
        self.run(&[&["--until-end"], args].concat()).succeed();
    }

    /// The job's group.
    pub(crate) fn group(&self) -> String {
        let mine = |group: &String| group.contains(&self.name);
        let groups: Vec<_> = self.cluster.groups().into_iter().filter(mine).collect();
        let [group] = &groups[..] else { panic!("groups of {}: {groups:?}", self.name) };
        group.clone()
    }

    /// What `status --json` says of the running job.
    pub(crate) fn status(&self, job: &str) -> serde_json::Value {
        let mut status =
            if job == "relay" { self.relay("status", &["--json"]) } else { self.page_views("status", &["--json"]) };
        let output = status.output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or(serde_json::Value::Null)
    }

    /// What is committed in the outputs of `page_views`.
    pub(crate) fn seen(&self) -> Views {
        let (views, late) = (read(&self.cluster, &self.topic("views")), read(&self.cluster, &self.topic("late")));
        self.origins(&views);
        self.origins(&late);
        Views { views: model::lines(&views), late: model::lines(&late) }
    }

    /// Every record says which run and epoch of this job wrote it, and epochs never go back within a partition.
    fn origins(&self, topic: &[Vec<Record>]) {
        for partition in topic {
            let mut newest = 0;
            for record in partition {
                let (job, run, epoch) = record.origin();
                assert_eq!(job, format!("{}@1", self.name));
                assert!(!run.is_empty() && epoch >= newest, "{record:?} after epoch {newest}");
                newest = epoch;
            }
        }
    }

    /// The oracle: what is committed is what the model makes of the input.
    #[track_caller]
    pub(crate) fn check(&self) {
        let input = read(&self.cluster, &self.input());
        let (want, seen) = (model::page_views(&input), self.seen());
        assert!(!want.views.is_empty(), "there is something to see");
        same("views", &seen.views, &want.views);
        same("late clicks", &seen.late, &want.late);
    }
}

impl World {
    /// How many clicks `relay` has committed.
    pub(crate) fn relayed_count(&self) -> usize {
        read(&self.cluster, &self.topic("relayed")).iter().map(Vec::len).sum()
    }

    /// Whether `relay` has committed at least so many clicks.
    pub(crate) fn relayed(&self, count: usize) -> bool {
        self.relayed_count() >= count
    }

    /// Whether `relay` has committed as many clicks as the model gives.
    pub(crate) fn relayed_all(&self) -> bool {
        self.relayed(model::relay(&read(&self.cluster, &self.input())).len())
    }

    /// The oracle for `relay`.
    #[track_caller]
    pub(crate) fn check_relay(&self) {
        let input = read(&self.cluster, &self.input());
        let relayed = read(&self.cluster, &self.topic("relayed"));
        self.origins(&relayed);
        let want = model::relay(&input);
        assert!(!want.is_empty(), "there is something to see");
        same("relayed clicks", &model::lines(&relayed), &want);
    }
}

/// Fails with what is missing and what is too much, not with two long lists.
#[track_caller]
pub(crate) fn same(what: &str, seen: &[model::Line], want: &[model::Line]) {
    if seen == want {
        return;
    }
    let mut rest: Vec<_> = want.to_vec();
    let mut more = Vec::new();
    for line in seen {
        match rest.binary_search(line) {
            Ok(at) => drop(rest.remove(at)),
            Err(_) => more.push(line),
        }
    }
    let first = |lines: &[String]| lines.iter().take(3).cloned().collect::<Vec<_>>().join("\n  ");
    let (rest, more): (Vec<_>, Vec<_>) =
        (rest.iter().map(|line| format!("{line:?}")).collect(), more.iter().map(|line| format!("{line:?}")).collect());
    panic!(
        "{what}: {} seen of {}; {} are missing:\n  {}\n{} are too much:\n  {}",
        seen.len(),
        want.len(),
        rest.len(),
        first(&rest),
        more.len(),
        first(&more)
    );
}
