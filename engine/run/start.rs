//! The start of a run, in the order that makes it safe: lock, fence, read the record, find the checkpoint it names, compare plans, and
//! only then build a dataflow.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read as _, Seek, Write};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crossbeam::channel::Sender;
use millpond_state::store::{CheckpointId, Manifest, PartitionState, RunId, SourceState, Store};
use millpond_state::Timestamp;

use super::coordinator::{Committed, Coordinator, Routes};
use super::lanes::{Lane, Lanes, Standing};
use super::pointer::Pointer;
use super::shared::{Event, Shared};
use super::writer::store_fault;
use super::{Ended, Run, keep, worker, writer};
use crate::host::graph::{Graph, Resume};
use crate::metrics::Metrics;
use crate::plan::{Node, Plan};
use crate::protocol::CommitRecord;
use crate::sink::{Opened, System};
use crate::source::{Env, From};
use crate::status::{PartitionStatus, Status};
use crate::{Exit, Fault, clock};

/// Draws a job into a graph.
pub type Draw = dyn for<'s> Fn(&Rc<Graph<'s>>, &Env) -> Result<(), Fault> + Send + Sync;

/// Draws the job without running it: the plan, or all that is wrong with it.
///
/// # Errors
/// Every reason why the job cannot run.
pub fn draw(draw: &Draw, env: &Env) -> Result<Plan, Fault> {
    plan_of(&*drawn(draw, env)?, env)
}

pub(crate) fn drawn<'s>(draw: &Draw, env: &Env) -> Result<Rc<Graph<'s>>, Fault> {
    let graph = Graph::new();
    draw(&graph, env)?;
    Ok(graph)
}

fn plan_of(graph: &Graph<'_>, env: &Env) -> Result<Plan, Fault> {
    graph.plan().map_err(|reasons| {
        let list = reasons.join("\n  ");
        Fault::new(Exit::FixJob, format!("job {} cannot run as it is drawn:\n  {list}", env.identity()))
    })
}

/// A job that runs in the background.
pub struct Running {
    shared: Option<Arc<Shared>>,
    events: Option<Sender<Event>>,
    thread: Option<JoinHandle<Result<Ended, Fault>>>,
    early: Option<Ended>,
    committed: Arc<Mutex<Committed>>,
    status: Status,
    metrics: Metrics,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("status", &self.status).finish_non_exhaustive()
    }
}

impl Running {
    /// Asks the job to stop: commit the open epoch and leave, open windows kept. Does not wait.
    pub fn stop(&self) {
        if let Some(events) = &self.events {
            // A coordinator that has left needs no telling.
            let _ = events.send(Event::Stop);
        }
    }

    /// Something that stops the job, for a signal handler.
    #[must_use]
    pub fn stopper(&self) -> impl Fn() + Send + Sync + 'static {
        let events = self.events.clone();
        move || {
            if let Some(events) = &events {
                let _ = events.send(Event::Stop);
            }
        }
    }

    /// Whether it has ended.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// What stopped the job.
    pub fn join(mut self) -> Result<Ended, Fault> {
        if let Some(early) = self.early.take() {
            return Ok(early);
        }
        let thread = self.thread.take().expect("a run is joined once");
        thread.join().unwrap_or_else(|_| Err(Fault::new(Exit::Retry, "the coordinator panicked; this is a bug of millpond")))
    }

    /// The job's metrics.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// What `status` answers, as a function that other threads can call.
    #[must_use]
    pub fn reporter(&self) -> impl Fn() -> Status + Send + Sync + 'static {
        let (shared, committed) = (self.shared.clone(), Arc::clone(&self.committed));
        let (status, metrics) = (self.status.clone(), self.metrics.clone());
        let held = Mutex::new(None);
        move || report(&status, shared.as_deref(), &committed, &metrics, &held)
    }

    /// What `status` answers.
    #[must_use]
    pub fn status(&self) -> Status {
        self.reporter()()
    }
}

type Held = Mutex<Option<(String, u32, Timestamp, i64)>>;

fn report(base: &Status, shared: Option<&Shared>, committed: &Mutex<Committed>, metrics: &Metrics, held: &Held) -> Status {
    let committed = committed.lock().expect("no holder of this lock panics").clone();
    let mut status = base.clone();
    status.epoch = committed.epoch;
    status.last_commit = committed.clock.map(Timestamp::micros);
    status.checkpoint_bytes = committed.files.iter().map(|file| file.bytes).sum();
    status.records_written = committed.written;
    let Some(shared) = shared else { return status };
    status.records_read = metrics.total("millpond_records_read_total") as u64;
    status.late = metrics.total("millpond_late_records_total") as u64;
    status.bad = (metrics.total("millpond_skipped_records_total") + metrics.total("millpond_dead_letters_total")) as u64;
    status.in_flight = shared.credits.in_flight();
    status.budget = shared.credits.budget();
    status.in_flight_peak = shared.credits.peak();
    let holder = shared.lanes.iter().filter(|lane| lane.standing() != Standing::Idle).min_by_key(|lane| lane.watermark());
    let now = clock::wall().micros();
    let mut since = None;
    if let Some(lane) = holder {
        status.watermark = lane.watermark().to_string();
        let mut held = held.lock().expect("no holder of this lock panics");
        let is = (lane.source.clone(), lane.partition, lane.watermark());
        match &*held {
            Some((source, partition, watermark, from)) if (source, *partition, *watermark) == (&is.0, is.1, is.2) => {
                since = Some(*from);
            }
            _ => {
                *held = Some((is.0, is.1, is.2, now));
                since = Some(now);
            }
        }
    }
    status.partitions = shared.lanes.iter().map(|lane| partition_status(lane, holder, since)).collect();
    status
}

fn partition_status(lane: &Lane, holder: Option<&Lane>, since: Option<i64>) -> PartitionStatus {
    let holds = holder.is_some_and(|holder| std::ptr::eq(holder, lane)) && lane.standing() != Standing::Finished;
    let end = (lane.end() > 0).then(|| lane.end());
    PartitionStatus {
        source: lane.source.clone(),
        partition: lane.partition,
        next: lane.next(),
        end,
        lag: end.map(|end| end.saturating_sub(lane.next())),
        watermark: lane.watermark().to_string(),
        standing: match lane.standing() {
            Standing::Reading => "reading",
            Standing::AtEnd => "at end",
            Standing::Idle => "idle",
            Standing::Finished => "finished",
        }
        .to_owned(),
        holds_watermark: holds,
        holds_since: if holds { since } else { None },
    }
}

/// Starts a job. Returns once its dataflow may be built; everything that can be refused has been by then.
///
/// # Errors
/// When another instance runs, the plan is refused, state is missing or does not fit, or a source or sink cannot be opened.
pub fn start(run: Run, draw: Arc<Draw>) -> Result<Running, Fault> {
    let env = &run.env;
    let graph = drawn(&*draw, env)?;
    let plan = plan_of(&graph, env)?;
    let home = env.home();
    fs::create_dir_all(&home)
        .map_err(|error| Fault::new(Exit::Usage, format!("cannot make the state directory {}", home.display())).because(error))?;
    let lock = lock(&home)?;
    let run_id = RunId::new(clock::random());
    let store = Store::open(&home, run_id).map_err(|error| store_fault("the checkpoint store cannot be opened", &error))?;
    let store = Arc::new(store);
    let mut routes = routes(&graph, env)?;
    let record = routes.decider.fence()?;
    let record = record.map(|text| text.parse::<CommitRecord>()).transpose().map_err(|error| {
        Fault::new(Exit::Restore, format!("job {}: the newest commit record cannot be read", env.identity())).because(error)
    })?;
    let instance = format!("{}:{}", hostname(), std::process::id());
    let found = recover(&run, &plan, &store, record.as_ref(), routes.decider.as_mut())?;
    let committed = Arc::new(Mutex::new(Committed { epoch: 0, clock: None, files: Vec::new(), written: 0 }));
    let metrics = Metrics::default();
    let base = Status {
        job: env.job.clone(),
        version: env.version,
        state: "running".to_owned(),
        run: run_id.to_string(),
        delivery: run.delivery.name().to_owned(),
        workers: run.workers,
        ..Status::default()
    };
    let (manifest, genesis) = match found {
        // Nothing has been read yet: where the log's oldest record has moved on meanwhile, the start is resolved again.
        Found::Goes(manifest) if manifest.id.epoch == 0 && check_sources(&graph, env, &manifest).is_err() => {
            (genesis(&run, &graph, &plan, run_id, 0)?, true)
        }
        Found::Goes(manifest) => (*manifest, false),
        Found::Begins(epoch) => (genesis(&run, &graph, &plan, run_id, epoch)?, true),
    };
    if manifest.finished {
        let ended = Ended { finished: true, before: true, epoch: manifest.id.epoch };
        committed.lock().expect("no holder of this lock panics").epoch = ended.epoch;
        let status = Status { state: "finished".to_owned(), ..base };
        return Ok(Running { shared: None, events: None, thread: None, early: Some(ended), committed, status, metrics });
    }
    check_sources(&graph, env, &manifest)?;
    let most = manifest.sources.values().map(|source| source.partitions.len()).max().unwrap_or(1);
    routes.decider.create(u32::try_from(most.max(1)).expect("a topic has less than four billion partitions"))?;
    routes.decider.begin(&run_id.to_string());
    let period_ms = run.interval.as_millis().max(2_000) as u64;
    if genesis {
        let checksum = store.write_manifest(&manifest).map_err(|error| store_fault("the first manifest cannot be written", &error))?;
        let (job, version) = (env.job.clone(), env.version);
        let parent = record.as_ref().map(|record| record.id);
        let id = manifest.id;
        let instance = instance.clone();
        let record = CommitRecord { job, version, id, parent, checksum, instance, clock: clock::wall(), period_ms };
        routes.decider.commit(manifest.id.epoch, &record.to_string())?;
    }
    // Only what the committed checkpoint needs is kept; parts of runs that died are not.
    let discarded = store.discard_unfinished(Some(&manifest), &[]);
    discarded.map_err(|error| store_fault("leftovers of an earlier run cannot be removed", &error))?;
    let partitions = sink_partitions(&graph, &routes);
    let (events, event_queue) = crossbeam::channel::unbounded();
    let (closed, closed_queue) = crossbeam::channel::unbounded();
    let (chores, chore_queue) = crossbeam::channel::unbounded();
    let lanes = lanes(&manifest, run.tuning.align);
    let cut = manifest.id.epoch;
    let shared =
        Shared::new(env.identity(), run_id, run.workers, run.tuning.clone(), lanes, metrics.clone(), cut, events.clone(), closed);
    let resume = Resume {
        env: env.clone(),
        manifest: manifest.clone(),
        store: Arc::clone(&store),
        partitions,
        until_end: run.until_end,
    };
    let mut coordinator = Coordinator::new(
        Arc::clone(&shared),
        Arc::clone(&store),
        routes,
        run.interval,
        run.delivery,
        instance,
        (env.job.clone(), env.version),
        chores,
        Arc::clone(&committed),
        manifest,
    );
    {
        let mut committed = committed.lock().expect("no holder of this lock panics");
        committed.epoch = cut;
        committed.files.clone_from(&coordinator.newest.files);
    }
    let (resume, plan) = (Arc::new(resume), Arc::new(plan));
    let for_thread = (Arc::clone(&shared), events.clone());
    let thread = spawn("coordinator", move || {
        let (shared, events) = for_thread;
        let writer = {
            let (store, events) = (Arc::clone(&store), events.clone());
            spawn("checkpoint-writer", move || writer::write_parts(&store, &closed_queue, &events))?
        };
        let keeper = {
            let (store, events) = (Arc::clone(&store), events.clone());
            spawn("checkpoint-keeper", move || keep::keep(&store, &chore_queue, &events))?
        };
        let workers = {
            let (shared, events) = (Arc::clone(&shared), events.clone());
            spawn("workers", move || {
                if let Err(fault) = worker::work(&shared, &resume, &plan, &draw) {
                    let _ = events.send(Event::Fault(fault));
                }
            })?
        };
        let ended = coordinator.run(&event_queue);
        shared.abort();
        drop(coordinator);
        let _ = workers.join();
        drop(shared);
        // Dropping what the threads wait on ends them; the writer's queue goes with the last `Shared`.
        drop(keeper);
        drop(writer);
        drop(lock);
        ended
    })?;
    Ok(Running {
        shared: Some(shared),
        events: Some(events),
        thread: Some(thread),
        early: None,
        committed,
        status: base,
        metrics,
    })
}

fn spawn<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> Result<JoinHandle<T>, Fault> {
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work);
    thread.map_err(|error| Fault::new(Exit::Retry, format!("the thread {name} cannot be started")).because(error))
}

/// The run lock, held for the process's life. A paused holder keeps it, which is right.
fn lock(home: &std::path::Path) -> Result<File, Fault> {
    let path = home.join("lock");
    let open = || File::options().create(true).truncate(false).read(true).write(true).open(&path);
    let cannot = |error| Fault::new(Exit::Retry, format!("cannot lock {}", path.display())).because(error);
    let mut file = open().map_err(cannot)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            let path = path.display();
            return Err(Fault::new(
                Exit::AlreadyRunning,
                format!("another instance runs on this state (process {}, lock {path})", holder.trim()),
            ));
        }
        Err(fs::TryLockError::Error(error)) => return Err(cannot(error)),
    }
    let write = (|| {
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(std::process::id().to_string().as_bytes())
    })();
    write.map_err(cannot)?;
    Ok(file)
}

fn hostname() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name: String = name.trim().chars().filter(|c| c.is_ascii_alphanumeric() || "-._".contains(*c)).take(64).collect();
    if name.is_empty() { "host".to_owned() } else { name }
}

fn routes(graph: &Graph<'_>, env: &Env) -> Result<Routes, Fault> {
    let mut systems: BTreeMap<String, (Rc<dyn System>, Vec<(u32, String)>)> = BTreeMap::new();
    for sink in graph.sinks.borrow().iter() {
        let entry = systems.entry(sink.system.identity()).or_insert_with(|| (Rc::clone(&sink.system), Vec::new()));
        entry.1.push((sink.node, sink.target.clone()));
    }
    let mut decider: Option<(String, Box<dyn crate::sink::Decider>)> = None;
    let mut followers = Vec::new();
    let mut following = BTreeMap::new();
    for (identity, (system, outlets)) in systems {
        match system.open(env, &outlets)? {
            Opened::Decider(opened) => {
                if let Some((other, _)) = &decider {
                    return Err(Fault::new(
                        Exit::FixJob,
                        format!("job {} writes to {other} and to {identity}; one of them must decide, and both want to", env.identity()),
                    ));
                }
                decider = Some((identity, opened));
            }
            Opened::Follower(follower) => {
                following.extend(outlets.iter().map(|(node, _)| (*node, followers.len())));
                followers.push(follower);
            }
        }
    }
    let decider = decider.map_or_else(|| Box::new(Pointer::new(env.home())) as Box<dyn crate::sink::Decider>, |(_, decider)| decider);
    Ok(Routes { decider, followers, following })
}

fn sink_partitions(graph: &Graph<'_>, routes: &Routes) -> BTreeMap<u32, u32> {
    let sinks = graph.sinks.borrow();
    let decided = sinks.iter().filter(|sink| !routes.following.contains_key(&sink.node));
    decided.map(|sink| (sink.node, routes.decider.partitions(sink.node).max(1))).collect()
}

enum Found {
    /// Go on from this checkpoint.
    Goes(Box<Manifest>),
    /// Begin, with this epoch as the first.
    Begins(u64),
}

fn recover(
    run: &Run,
    plan: &Plan,
    store: &Store,
    record: Option<&CommitRecord>,
    decider: &mut dyn crate::sink::Decider,
) -> Result<Found, Fault> {
    let job = run.env.identity();
    let Some(record) = record else {
        let manifests = store.manifests().map_err(|error| store_fault("the checkpoints cannot be listed", &error))?;
        // A genesis that was never committed is no checkpoint.
        if !run.new && let Some(newest) = manifests.iter().find(|id| id.epoch > 0) {
            return Err(Fault::new(
                Exit::Restore,
                format!("job {job}: checkpoint {newest} is in {}, but the output holds no commit record of it", run.env.home().display()),
            ));
        }
        if !run.new && let Some(evidence) = decider.evidence()? {
            return Err(Fault::new(
                Exit::New,
                format!("job {job} has no commit record and no checkpoint, but {evidence}: starting from the beginning would write it again"),
            ));
        }
        return Ok(Found::Begins(0));
    };
    if record.job != run.env.job || record.version != run.env.version {
        let owner = format!("{}@{}", record.job, record.version);
        return Err(Fault::new(Exit::Restore, format!("the commit record found for {job} is of {owner}")));
    }
    if run.new {
        return Ok(Found::Begins(record.id.epoch + 1));
    }
    let manifest = store.manifest_checked(record.id, record.checksum).map_err(|error| {
        store_fault(&format!("job {job}: checkpoint {} was committed and cannot be loaded", record.id), &error)
    })?;
    let old: BTreeMap<String, Node> = manifest
        .shapes
        .iter()
        .map(|(uid, node)| Ok((uid.clone(), serde_json::from_value(node.clone())?)))
        .collect::<Result<_, serde_json::Error>>()
        .map_err(|error| Fault::new(Exit::NewVersion, "the plan in the checkpoint was written by another release").because(error))?;
    if let Some(conflict) = plan.conflict(&old) {
        return Err(Fault::new(Exit::NewVersion, format!("job {job} is not the one that wrote checkpoint {}: {conflict}", manifest.id)));
    }
    Ok(Found::Goes(Box::new(manifest)))
}

/// Epoch 0: starting positions as numbers, with the policy beside them; in a bounded run also the ends.
fn genesis(run: &Run, graph: &Graph<'_>, plan: &Plan, id: RunId, epoch: u64) -> Result<Manifest, Fault> {
    let mut manifest = Manifest::new(CheckpointId { run: id, epoch });
    manifest.job.clone_from(&run.env.job);
    manifest.job_version = run.env.version;
    manifest.plan = plan.hash();
    manifest.created = clock::wall();
    for (uid, node) in plan.stateful() {
        let node = serde_json::to_value(node)
            .map_err(|error| Fault::new(Exit::FixJob, format!("the plan of {uid:?} cannot be written")).because(error))?;
        manifest.shapes.push((uid, node));
    }
    for source in graph.sources.borrow().iter() {
        let found = (source.connect)(&run.env, &run.from)?;
        let partitions = found.into_iter().map(|partition| PartitionState {
            partition: partition.partition,
            next: partition.start,
            watermark: Timestamp::MIN,
            newest: Timestamp::MIN,
            idle: false,
            finished: false,
            end: (run.until_end && !source.bounded).then_some(partition.end),
            fingerprint: partition.fingerprint,
        });
        let policy = match &run.from {
            From::Earliest => "earliest".to_owned(),
            From::Latest => "latest".to_owned(),
            From::Time(time) => time.to_string(),
            From::Offsets(offsets) => {
                let list: Vec<_> = offsets.iter().map(|(partition, offset)| format!("{partition}:{offset}")).collect();
                list.join(",")
            }
        };
        manifest.sources.insert(source.uid.clone(), SourceState { partitions: partitions.collect(), policy });
    }
    Ok(manifest)
}

/// The partitions must be the ones the checkpoint speaks of.
fn check_sources(graph: &Graph<'_>, env: &Env, manifest: &Manifest) -> Result<(), Fault> {
    for source in graph.sources.borrow().iter() {
        let Some(saved) = manifest.sources.get(&source.uid) else { continue };
        let found = (source.connect)(env, &From::Earliest)?;
        for partition in &saved.partitions {
            let place = format!("job {}: source {:?} partition {}", env.identity(), source.uid, partition.partition);
            let Some(now) = found.iter().find(|now| now.partition == partition.partition) else {
                return Err(Fault::new(Exit::Restore, format!("{place} is in the checkpoint and no longer there")));
            };
            if now.fingerprint != partition.fingerprint {
                return Err(Fault::new(
                    Exit::Restore,
                    format!("{place} is not the log the checkpoint speaks of: it was made again under the same name"),
                ));
            }
            if partition.finished {
                continue;
            }
            if partition.next < now.start {
                return Err(Fault::new(
                    Exit::Restore,
                    format!("{place} begins at offset {} and the job stands at {}: retention took what is between", now.start, partition.next),
                ));
            }
            if partition.next > now.end && !source.bounded {
                return Err(Fault::new(
                    Exit::Restore,
                    format!("{place} ends at offset {} and the job stands at {}: the log has lost records", now.end, partition.next),
                ));
            }
        }
    }
    Ok(())
}

fn lanes(manifest: &Manifest, align: std::time::Duration) -> Lanes {
    let lanes = manifest.sources.iter().flat_map(|(uid, source)| {
        source.partitions.iter().map(move |partition| {
            let end = partition.end.unwrap_or(0);
            Lane::new(uid, partition.partition, partition.watermark, partition.next, end, partition.finished)
        })
    });
    Lanes::new(lanes.collect(), align)
}
