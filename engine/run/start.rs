//! The start of a run, in the order that makes it safe: lock, fence, read the record, find the checkpoint it names, compare plans, and
//! only then build a dataflow.

use std::collections::BTreeMap;
use std::fs;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use millpond_state::store::{Manifest, Newer, RunId, Store};

use super::coordinator::{Committed, Coordinator, HEARTBEAT, Routes};
use super::lanes::{Lane, Lanes, Standing};
use super::pointer::Pointer;
use super::reached::{reached, savepoint};
use super::recover::{Found, check_sources, genesis, recover};
use super::running::Running;
use super::savepoint::begin::{Begins, may_go_on};
use super::shared::{Event, Shared};
use super::writer::store_fault;
use super::{Ended, Run, growth, hold, keep, throttle, watch, worker, writer};
use crate::host::graph::{DrawnSource, Graph, Resume};
use crate::metrics::Metrics;
use crate::plan::Plan;
use crate::protocol::CommitRecord;
use crate::redrive;
use crate::sink::{Begin, Commit, Decider, Opened, Outlet, Patience, System};
use crate::source::Env;
use crate::status::{Reached, Status};
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
    let plan = match (graph.plan(), entangled(graph, env)) {
        (Ok(plan), entangled) if entangled.is_empty() => Ok(plan),
        (drawn, entangled) => Err(drawn.err().unwrap_or_default().into_iter().chain(entangled).collect::<Vec<_>>()),
    };
    plan.map_err(|reasons| {
        let list = reasons.join("\n  ");
        Fault::new(Exit::FixJob, format!("job {} cannot run as it is drawn:\n  {list}", env.identity()))
    })
}

/// Outputs that would be read again as input, for ever, or that two sinks share: nobody could tell which rows are whose.
fn entangled(graph: &Graph<'_>, env: &Env) -> Vec<String> {
    let mut reasons = Vec::new();
    let sinks = graph.sinks.borrow();
    let topics = sinks.iter().filter(|sink| sink.system.ledger().is_some());
    let places: Vec<_> = topics.map(|sink| (&sink.uid, sink.system.identity(), env.output(&sink.outlet.to))).collect();
    for (at, (uid, system, topic)) in places.iter().enumerate() {
        let same = |(_, of, to): &&(&String, String, String)| of == system && to == topic;
        if let Some((other, ..)) = places[..at].iter().find(same) {
            reasons.push(format!(
                "sinks {other:?} and {uid:?} both write {topic}: unite their streams, or name another output"
            ));
        }
        let reads = |source: &&Rc<DrawnSource>| source.system.as_ref() == Some(system) && source.from == *topic;
        if let Some(source) = graph.sources.borrow().iter().find(reads) {
            let source = &source.uid;
            reasons.push(format!("sink {uid:?} writes {topic}, which source {source:?} reads: name another output"));
        }
    }
    reasons
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
    fs::create_dir_all(&home).map_err(|error| {
        Fault::new(Exit::Usage, format!("cannot make the state directory {}", home.display())).because(error)
    })?;
    let run_id = RunId::new(clock::random());
    let mut routes = routes(&graph, env)?;
    let takes_over = routes.decider.takes_over();
    let hold = if takes_over { hold::run(&home, run_id)? } else { hold::directory(&home)? };
    let store =
        Store::open(&home, run_id).map_err(|error| store_fault("the checkpoint store cannot be opened", &error))?;
    let store = Arc::new(store);
    let host = hostname();
    if takes_over && let Some(record) = parse(env, routes.decider.look()?)? {
        watch::until_quiet(env, &record, &host, routes.decider.as_mut())?;
    }
    let record = parse(env, routes.decider.fence()?)?;
    let instance = format!("{host}:{}", std::process::id());
    let patience = Patience::default();
    let known = record.as_ref().map(|record| record.id);
    let here = (home.as_path(), run_id);
    let found = recover(&run, &plan, &store, record.as_ref(), routes.decider.as_mut());
    let found = found.map_err(|fault| watch::or_taken_over(fault, here, routes.decider.as_mut(), known, &patience))?;
    let committed = Arc::new(Mutex::new(Committed {
        epoch: 0,
        clock: None,
        files: Vec::new(),
        written: 0,
        reached: Reached::default(),
    }));
    let metrics = Metrics::default();
    let base = Status {
        job: env.job.clone(),
        version: env.version,
        state: "running".to_owned(),
        run: run_id.to_string(),
        delivery: run.delivery.name().to_owned(),
        workers: run.workers,
        until_end: run.until_end,
        period_ms: run.interval.max(HEARTBEAT).as_millis() as u64,
        ..Status::default()
    };
    if let (Found::Goes(manifest), Some(from)) = (&found, &run.savepoint) {
        may_go_on(from, env, manifest.id, manifest)?;
    }
    let mut begins = None;
    let (mut manifest, genesis) = match found {
        Found::Goes(manifest) => (*manifest, false),
        Found::Begins(epoch) => {
            let mut manifest = genesis(&run, &graph, &plan, run_id, epoch)?;
            if let Some(from) = &run.savepoint {
                let begin = Begins::of(from, env, &graph, &plan)?;
                begin.fits(env)?;
                begin.fill(&run, &graph, &plan, &mut manifest)?;
                begins = Some(begin);
            }
            (manifest, true)
        }
    };
    let base =
        Status { savepoint: savepoint(&manifest).map(str::to_owned), life: redrive::Life::of(&manifest).name, ..base };
    if manifest.finished {
        let ended = Ended { finished: true, before: true, epoch: manifest.id.epoch };
        {
            let mut committed = committed.lock().expect("no holder of this lock panics");
            (committed.epoch, committed.reached) = (ended.epoch, reached(&manifest));
        }
        let status = Status { state: "finished".to_owned(), ..base };
        return Ok(Running {
            shared: None,
            events: None,
            thread: None,
            early: Some(ended),
            from: Some(manifest.id.epoch),
            committed,
            status,
            metrics,
        });
    }
    check_sources(&run, &graph, &mut manifest)?;
    if let Some(begins) = begins {
        begins.import(env, &graph, &plan, &store, &mut manifest)?;
        crate::failpoint::hit("imported");
    }
    let most = manifest.sources.values().map(|source| source.partitions.len()).max().unwrap_or(1);
    routes.decider.create(u32::try_from(most.max(1)).expect("a topic has less than four billion partitions"))?;
    let begin = Begin { run: run_id.to_string(), delivery: run.delivery, patience: patience.clone() };
    routes.decider.begin(&begin);
    let period = run.interval.max(HEARTBEAT);
    if genesis {
        crate::failpoint::hit("genesis");
        let written = store.write_manifest(&manifest);
        let written = written.map_err(|error| store_fault("the first manifest cannot be written", &error));
        let checksum =
            written.map_err(|fault| watch::or_taken_over(fault, here, routes.decider.as_mut(), known, &patience))?;
        let (job, version) = (env.job.clone(), env.version);
        let parent = known;
        let id = manifest.id;
        let (instance, period_ms) = (instance.clone(), period.as_millis() as u64);
        let record = CommitRecord { job, version, id, parent, checksum, instance, clock: clock::wall(), period_ms };
        let record = record.to_string();
        routes.decider.commit(&Commit {
            epoch: manifest.id.epoch,
            record: &record,
            output: &[],
            mirror: &[],
            period,
        })?;
        crate::failpoint::hit("begun");
    }
    if takes_over {
        hold::forget_dead(&home, run_id);
    }
    // Only what the committed checkpoint needs is kept; parts of runs that died are not. Where another instance may take over at any
    // moment, what is newer than our checkpoint may be that one's.
    let newer = if takes_over { Newer::Keep } else { Newer::Discard };
    let discarded = store.discard_unfinished(Some(&manifest), &[], newer);
    let discarded = discarded.map_err(|error| store_fault("leftovers of an earlier run cannot be removed", &error));
    discarded
        .map_err(|fault| watch::or_taken_over(fault, here, routes.decider.as_mut(), Some(manifest.id), &patience))?;
    let partitions = sink_partitions(&graph, &routes);
    let (events, event_queue) = crossbeam::channel::unbounded();
    let (closed, closed_queue) = crossbeam::channel::unbounded();
    let (chores, chore_queue) = crossbeam::channel::unbounded();
    let lanes = lanes(&manifest, run.tuning.align);
    let cut = manifest.id.epoch;
    let shared = Shared::new(
        env.identity(),
        run_id,
        run.workers,
        run.tuning.clone(),
        lanes,
        metrics.clone(),
        cut,
        events.clone(),
        closed,
        patience,
    );
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
        committed.reached = reached(&coordinator.newest);
    }
    let (resume, plan) = (Arc::new(resume), Arc::new(plan));
    let look = growth::Look::of(&run, &graph, &resume.manifest);
    let (for_thread, for_look) = ((Arc::clone(&shared), events.clone()), Arc::clone(&draw));
    if shared.debt.is_some() {
        let shared = Arc::clone(&shared);
        spawn("throttle", move || throttle::wake(&shared))?;
    }
    let thread = spawn("coordinator", move || {
        let (shared, events) = for_thread;
        let writer = {
            let (store, events) = (Arc::clone(&store), events.clone());
            spawn("checkpoint-writer", move || writer::write_parts(&store, &closed_queue, &events))?
        };
        let keeper = {
            let (store, events, shared) = (Arc::clone(&store), events.clone(), Arc::clone(&shared));
            spawn("checkpoint-keeper", move || keep::keep(&store, &chore_queue, &events, &shared))?
        };
        let workers = {
            let (shared, events) = (Arc::clone(&shared), events.clone());
            spawn("workers", move || {
                if let Err(fault) = worker::work(&shared, &resume, &plan, &draw) {
                    let _ = events.send(Event::Fault(fault));
                }
            })?
        };
        // Nobody waits for it: it may be in the middle of a question.
        let (over, until) = crossbeam::channel::bounded(0);
        if let Some(look) = look {
            let shared = Arc::downgrade(&shared);
            spawn("source-look", move || look.run(&shared, &until, &*for_look))?;
        }
        let ended = coordinator.run(&event_queue).map_err(|fault| {
            shared.abort();
            let known = Some(coordinator.parent);
            watch::or_taken_over(fault, (&home, run_id), coordinator.routes.decider.as_mut(), known, &shared.patience)
        });
        drop(over);
        shared.abort();
        drop(coordinator);
        let _ = workers.join();
        drop(shared);
        // It deletes and merges files of this state: nobody may have the lock while it does. The writer has nothing left to write, and
        // ends with the last `Shared`.
        let _ = keeper.join();
        drop(writer);
        drop(hold);
        ended
    })?;
    Ok(Running {
        shared: Some(shared),
        events: Some(events),
        thread: Some(thread),
        early: None,
        from: (!genesis).then_some(cut),
        committed,
        status: base,
        metrics,
    })
}

fn spawn<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> Result<JoinHandle<T>, Fault> {
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work);
    thread.map_err(|error| Fault::new(Exit::Retry, format!("the thread {name} cannot be started")).because(error))
}

pub(super) fn parse(env: &Env, record: Option<String>) -> Result<Option<CommitRecord>, Fault> {
    record.map(|text| text.parse::<CommitRecord>()).transpose().map_err(|error| {
        Fault::new(Exit::Restore, format!("job {}: the newest commit record cannot be read", env.identity()))
            .because(error)
    })
}

pub(crate) fn hostname() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name: String =
        name.trim().chars().filter(|c| c.is_ascii_alphanumeric() || "-._".contains(*c)).take(64).collect();
    if name.is_empty() { "host".to_owned() } else { name }
}

/// The systems that a job's sinks belong to, by identity, each with its sinks.
pub(super) fn systems(graph: &Graph<'_>) -> BTreeMap<String, (Rc<dyn System>, Vec<Outlet>)> {
    let mut systems = BTreeMap::new();
    for sink in graph.sinks.borrow().iter() {
        let entry: &mut (_, Vec<_>) =
            systems.entry(sink.system.identity()).or_insert_with(|| (Rc::clone(&sink.system), Vec::new()));
        entry.1.push(sink.outlet.clone());
    }
    systems
}

fn routes(graph: &Graph<'_>, env: &Env) -> Result<Routes, Fault> {
    let systems = systems(graph);
    let mut decider: Option<(String, Box<dyn Decider>)> = None;
    let mut followers = Vec::new();
    let mut following = BTreeMap::new();
    for (identity, (system, outlets)) in systems {
        match system.open(env, &outlets)? {
            Opened::Decider(opened) => {
                if let Some((other, ..)) = &decider {
                    return Err(Fault::new(
                        Exit::FixJob,
                        format!(
                            "job {} writes to {other} and to {identity}; one of them must decide, and both want to",
                            env.identity()
                        ),
                    ));
                }
                decider = Some((identity, opened));
            }
            Opened::Follower(follower) => {
                following.extend(outlets.iter().map(|outlet| (outlet.sink, followers.len())));
                followers.push(follower);
            }
        }
    }
    let (decides, decider) = match decider {
        Some((identity, decider)) => (Some(identity), decider),
        None => (None, Box::new(Pointer::new(env.home())) as Box<dyn Decider>),
    };
    let sources = graph.sources.borrow();
    let beside = sources.iter().filter(|source| source.system.is_some() && source.system == decides);
    let mirrored = beside.map(|source| (source.uid.clone(), source.from.clone())).collect();
    Ok(Routes { decider, followers, following, mirrored })
}

fn sink_partitions(graph: &Graph<'_>, routes: &Routes) -> BTreeMap<u32, u32> {
    let sinks = graph.sinks.borrow();
    let decided = sinks.iter().filter(|sink| !routes.following.contains_key(&sink.outlet.sink));
    decided.map(|sink| (sink.outlet.sink, routes.decider.partitions(sink.outlet.sink).max(1))).collect()
}

fn lanes(manifest: &Manifest, align: std::time::Duration) -> Lanes {
    let lanes = manifest.sources.iter().flat_map(|(uid, source)| {
        source.partitions.iter().map(move |partition| {
            let end = partition.end.unwrap_or(0);
            let asked = redrive::is_requests(uid) && partition.idle;
            let standing = match partition.finished {
                true => Standing::Finished,
                false if asked => Standing::Idle,
                false => Standing::Reading,
            };
            Lane::new(uid, partition.partition, partition.watermark, partition.next, end, standing)
        })
    });
    Lanes::new(lanes.collect(), align)
}
