//! What may be asked of a job binary, as clap knows it.

use clap::builder::FalseyValueParser;
use clap::{Arg, ArgAction, Command, value_parser};
use millpond_state::store::CheckpointId;

use super::options::{self, id};
use super::{JobMain, dead, lives, replay};
use crate::{Exit, Fault};

/// More workers than key groups would leave some without a key.
const WORKERS_MOST: i64 = millpond_state::KeyGroup::COUNT as i64;

/// The whole command line of `job`.
///
/// # Errors
/// When the job's name is none, or an option of its own has the name of one of Millpond's.
pub(super) fn command(job: &JobMain) -> Result<Command, Fault> {
    let name =
        options::parse_name(&job.name).map_err(|text| Fault::new(Exit::Usage, format!("the job's name {text}")))?;
    if job.version == 0 {
        return Err(Fault::new(Exit::Usage, format!("job {name} has version 0; versions begin with 1")));
    }
    let version = format!("version {} (millpond {})", job.version, env!("CARGO_PKG_VERSION"));
    let leaf = |name: &'static str, about: &'static str, args: Vec<Arg>| leaf(job, name, about, args);
    let checkpoints = Command::new("checkpoints")
        .about("Look at the checkpoints")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(leaf("list", "List the checkpoints that are kept", vec![json()])?)
        .subcommand(leaf(
            "verify",
            "Read every byte of the checkpoints and say whether they are sound",
            vec![json(), checkpoint()],
        )?);
    let savepoints = Command::new("savepoints")
        .about("Look at savepoints")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(leaf("list", "List those in the state directory", vec![json()])?)
        .subcommand(leaf("show", "Show what is in one", vec![lives::dir().required(true), json()])?)
        .subcommand(leaf("verify", "Read every byte of one", vec![lives::dir().required(true), json()])?);
    Ok(Command::new(name)
        .about(job.about.clone())
        .version(version)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .subcommand(leaf("run", "Run the job; it goes on from its last commit", run_args())?)
        .subcommand(leaf("replay", "Run a version from the beginning of the log, beside the others", replay_args())?)
        .subcommand(leaf("plan", "Show what the job does, without running it", vec![json(), dot()])?)
        .subcommand(leaf("status", "Show how the job stands, whether it runs or not", vec![json()])?)
        .subcommand(checkpoints)
        .subcommand(dead::command(job)?)
        .subcommand(leaf(
            "savepoint",
            "Write a savepoint of the job, for another version to start from",
            lives::savepoint(),
        )?)
        .subcommand(savepoints)
        .subcommand(leaf("versions", "List the job's versions and how the live line runs", vec![json()])?)
        .subcommand(leaf(
            "compare",
            "Compare what two versions wrote, over the event time both have behind them",
            lives::compare(),
        )?)
        .subcommand(leaf("promote", "Make a version the live one", lives::promote())?)
        .subcommand(leaf("rollback", "Go back to the version that was live before", lives::rollback())?)
        .subcommand(leaf("retire", "Stop a version and delete everything it owns", lives::retire())?)
        .subcommand(leaf("tail", "Print committed records of an output", lives::tail())?))
}

/// Arguments that say which version is meant.
const VERSIONS: [&str; 4] = [id::REPLAYED, id::VERSION, id::LEAVE, id::OF_VERSION];

pub(super) fn leaf(job: &JobMain, name: &'static str, about: &'static str, args: Vec<Arg>) -> Result<Command, Fault> {
    // Where an argument says which version, nothing else does.
    let says = |arg: &Arg| VERSIONS.iter().any(|version| arg.get_id() == *version);
    let said = args.iter().any(says);
    let whose = whose().into_iter().filter(|arg| !(said && arg.get_id() == id::JOB_VERSION));
    let ours = Command::new(name).about(about).args(args).args(whose);
    let own = (job.augment)(Command::new(name));
    for own in own.get_arguments() {
        let taken = |arg: &Arg| arg.get_long().is_some() && arg.get_long() == own.get_long();
        if let Some(taken) = ours.get_arguments().find(|arg| taken(arg)).and_then(Arg::get_long) {
            return Err(Fault::new(
                Exit::FixJob,
                format!(
                    "job {}: its own option --{taken} has the name of one of millpond's; call it something else",
                    job.name
                ),
            ));
        }
    }
    let all = (job.augment)(ours.next_help_heading(format!("Options of {}", job.name)));
    // What the job's options say of themselves is not what the command does.
    Ok(all.about(about).long_about(None).mut_args(from_environment))
}

/// Whatever can be given as an option can be given as `MILLPOND_<NAME>` too.
fn from_environment(arg: Arg) -> Arg {
    let Some(long) = arg.get_long().filter(|_| arg.get_env().is_none()) else { return arg };
    let name = format!("MILLPOND_{}", long.to_uppercase().replace('-', "_"));
    match arg.get_action() {
        ArgAction::SetTrue => arg.env(name).value_parser(FalseyValueParser::new()).hide_env_values(true),
        ArgAction::Set | ArgAction::Append => arg.env(name).hide_env_values(true),
        _ => arg,
    }
}

pub(super) fn option(id: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(id).long(long(id)).value_name(value).help(help)
}

pub(super) fn switch(id: &'static str, help: &'static str) -> Arg {
    Arg::new(id).long(long(id)).help(help).action(ArgAction::SetTrue)
}

pub(super) fn long(id: &'static str) -> &'static str {
    id.strip_prefix("millpond.").unwrap_or(id)
}

pub(super) fn json() -> Arg {
    switch(id::JSON, "Print JSON, for programs")
}

fn dot() -> Arg {
    switch(id::DOT, "Print the graph in the language of Graphviz").conflicts_with(id::JSON)
}

fn checkpoint() -> Arg {
    let help = "Only this one, as `list` names it";
    Arg::new(id::CHECKPOINT).value_name("CHECKPOINT").help(help).value_parser(|text: &str| text.parse::<CheckpointId>())
}

/// Whose state is meant: the same options for every command.
fn whose() -> [Arg; 3] {
    [
        option(id::STATE, "DIR", "Where state lies [default: .millpond/<job>]")
            .value_parser(value_parser!(std::path::PathBuf)),
        option(id::JOB, "NAME", "Give the job another name, and with it state of its own")
            .value_parser(options::parse_name),
        option(id::JOB_VERSION, "N", "Run or look at this version of the job")
            .value_parser(value_parser!(u32).range(1..)),
    ]
}

fn run_args() -> Vec<Arg> {
    vec![
        option(id::WORKERS, "N", "How many worker threads")
            .default_value("1")
            .value_parser(value_parser!(u32).range(1..=WORKERS_MOST)),
        option(id::CHECKPOINT_INTERVAL, "SPAN", "How often results are committed: 50ms, 1s, 2m")
            .default_value("1s")
            .value_parser(options::parse_interval),
        switch(
            id::UNTIL_END,
            "End where the input ended at the first start with this option: every window fires, and the job is finished",
        ),
        option(
            id::FROM,
            "WHERE",
            "Where a first start begins: earliest, latest, an RFC 3339 time, or offsets like 0:1200,1:0",
        )
        .default_value("earliest")
        .value_parser(options::parse_from),
        lives::from_savepoint(),
        lives::drop(),
        switch(id::NEW, "Begin again although there is output already, which is then written twice"),
        switch(id::UNTIL_CAUGHT_UP, "Stop once everything that is there has been read, with open windows kept")
            .conflicts_with(id::UNTIL_END),
        option(id::THROTTLE, "RATE", "Read at most this much a second: 5000 records, 10MB")
            .value_parser(replay::parse_throttle),
        option(id::METRICS, "ADDR", "Serve Prometheus metrics on this address, such as 127.0.0.1:9464, at /metrics"),
        switch(id::NO_CREATE_TOPICS, "Do not create missing output topics"),
    ]
}

fn replay_args() -> Vec<Arg> {
    let mut args = vec![
        Arg::new(id::REPLAYED)
            .value_name("VERSION")
            .help("The version")
            .value_parser(value_parser!(u32).range(1..))
            .required(true),
        switch(id::CHECK, "Say what can make the result differ from the first run, and run nothing"),
        json().requires(id::CHECK),
        switch(id::FROM_OLDEST, "Begin with what is there, although retention has taken the beginning"),
    ];
    args.extend(run_args());
    args
}
