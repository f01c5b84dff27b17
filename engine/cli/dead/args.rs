//! What may be said to `dead-letters`, as clap knows it.

use clap::{Arg, ArgAction, Command, value_parser};

use super::choose::Named;
use crate::Fault;
use crate::cli::JobMain;
use crate::cli::command::{json, leaf, option, switch};
use crate::cli::options::{self, id};
use crate::redrive::Mark;

const MANY: &str = "Which: as `list` names them (partition:offset in the dead-letter topic), or by where the record lay \
                    (source/partition/offset)";

pub(in crate::cli) fn command(job: &JobMain) -> Result<Command, Fault> {
    let leaf = |name, about, args| leaf(job, name, about, args);
    let ids = || Arg::new(id::IDS).value_name("ID").value_parser(|text: &str| text.parse::<Named>());
    let many = || ids().help(MANY).action(ArgAction::Append);
    let with = |own: Vec<Arg>| [own, filters()].concat();
    let chosen = || {
        let all = switch(id::ALL, "All that are open").conflicts_with(id::IDS);
        let dry = switch(id::DRY_RUN, "Say what would happen, and change nothing");
        with(vec![many(), all, dry, switch(id::YES, "Do not ask")])
    };
    Ok(Command::new("dead-letters")
        .about("Look at records that could not be used, and send them through the job again")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(leaf(
            "list",
            "List dead letters: how many of each kind, and how they stand",
            with(vec![json(), status(), limit()]),
        )?)
        .subcommand(leaf(
            "show",
            "Show one dead letter with all it has",
            vec![ids().help(MANY).required(true), json()],
        )?)
        .subcommand(leaf("redrive", "Send dead letters through the job again, each once", chosen())?)
        .subcommand(leaf("drop", "Let dead letters be: they are not sent again with --all", chosen())?))
}

fn filters() -> Vec<Arg> {
    vec![
        option(id::TOPIC, "TOPIC", "Only records of this input, by its topic or by the source's name"),
        option(id::PARTITION, "N", "Only records of this partition of the input").value_parser(value_parser!(u32)),
        option(id::OFFSET, "N", "Only records of this offset of the input").value_parser(value_parser!(u64)),
        option(id::ERROR, "TEXT", "Only those whose error or step contains this text"),
        option(id::SINCE, "TIME", "Only records with this timestamp or a later one, an RFC 3339 time")
            .value_parser(options::parse_time),
        option(id::UNTIL, "TIME", "Only records with an earlier timestamp").value_parser(options::parse_time),
    ]
}

fn status() -> Arg {
    option(id::STATUS, "STATUS", "Only those that stand so").value_parser(Mark::NAMES)
}

fn limit() -> Arg {
    option(id::LIMIT, "N", "List at most so many; all are counted").default_value("20").value_parser(value_parser!(u64))
}
