//! What may be said to the commands about versions, as clap knows it.

use std::path::PathBuf;

use clap::{Arg, ArgAction, value_parser};

use super::command::{json, option, switch};
use super::options::{self, id};
use crate::compare::Tolerances;

fn number(id: &'static str, name: &'static str, help: &'static str) -> Arg {
    Arg::new(id).value_name(name).help(help).value_parser(value_parser!(u32).range(1..)).required(true)
}

fn lead() -> Arg {
    option(
        id::LEAD,
        "SPAN",
        "How far beyond everything written so far the line changes, so that readers learn of it before",
    )
    .default_value("10s")
    .value_parser(options::parse_span)
}

fn dry_run() -> Arg {
    switch(id::DRY_RUN, "Say what would happen, and change nothing")
}

pub(super) fn compare() -> Vec<Arg> {
    let tolerance = |text: &str| Tolerances::default().add(text).map(|()| text.to_owned());
    vec![
        number(id::FIRST, "A", "The version that is known to be right"),
        number(id::VERSION, "B", "The version that is looked at"),
        json(),
        option(id::ONLY, "OUTPUT", "Only this output; may be given several times").action(ArgAction::Append),
        option(id::TOLERANCE, "COLUMN=MOST", "How far numbers of a column may be off: total=0.01, share=1%, *=0.5")
            .action(ArgAction::Append)
            .value_parser(tolerance),
        option(id::EXPECT, "FILE", "What differences are meant, as JSON: docs/lifecycle.md")
            .value_parser(value_parser!(PathBuf)),
        option(id::SINCE, "TIME", "Only event times from here on, an RFC 3339 time").value_parser(options::parse_time),
        option(id::UNTIL, "TIME", "Only event times before this one").value_parser(options::parse_time),
        option(id::SCRATCH, "DIR", "Where rows are written aside [default: scratch in the state directory]")
            .value_parser(value_parser!(PathBuf)),
        option(id::MEMORY_MIB, "MIB", "Memory for sorting")
            .default_value("256")
            .value_parser(value_parser!(u64).range(1..1 << 20)),
        option(id::SAMPLES, "N", "How many differences to show").default_value("10").value_parser(value_parser!(u64)),
    ]
}

pub(super) fn promote() -> Vec<Arg> {
    vec![
        number(id::VERSION, "VERSION", "The version"),
        dry_run(),
        lead(),
        option(id::MAX_LAG, "N", "How many records it may still have to read")
            .default_value("1000")
            .value_parser(value_parser!(u64)),
        option(id::COMPARED_WITHIN, "SPAN", "How long ago it may have been compared with the live version")
            .default_value("24h")
            .value_parser(options::parse_span),
        switch(id::UNCOMPARED, "Do without a comparison"),
    ]
}

pub(super) fn rollback() -> Vec<Arg> {
    let leave = number(
        id::LEAVE,
        "VERSION",
        "The version to leave; nothing happens when it is not live. To be said where the line can go back more than one step",
    );
    vec![leave.required(false), dry_run(), lead()]
}

pub(super) fn retire() -> Vec<Arg> {
    vec![number(id::VERSION, "VERSION", "The version"), dry_run(), switch(id::YES, "Do not ask")]
}

pub(super) fn tail() -> Vec<Arg> {
    vec![
        Arg::new(id::OUTPUT).value_name("OUTPUT").help("The output, as version 1 calls it").required(true),
        option(id::OF_VERSION, "N", "What this version wrote").value_parser(value_parser!(u32).range(1..)),
        switch(id::LIVE, "What the live line holds; so it is without --version too").conflicts_with(id::OF_VERSION),
        switch(id::FOLLOW, "Go on with what is committed from now on"),
        json(),
    ]
}

pub(super) fn savepoint() -> Vec<Arg> {
    vec![
        dir().help(
            "Where it is to lie, a folder that is not there yet [default: one in savepoints/ of the state directory]",
        ),
        json(),
    ]
}

pub(super) fn dir() -> Arg {
    Arg::new(id::DIR).value_name("DIR").help("The folder of the savepoint").value_parser(value_parser!(PathBuf))
}

pub(super) fn from_savepoint() -> Arg {
    let help = "Begin a first start with the state and positions of another version's savepoint; looked at only then";
    option(id::FROM_SAVEPOINT, "DIR", help).value_parser(value_parser!(PathBuf)).conflicts_with(id::NEW)
}

pub(super) fn drop() -> Arg {
    let help = "Leave the state of this step behind in the savepoint; may be given several times";
    option(id::DROP, "STEP", help).action(ArgAction::Append).requires(id::FROM_SAVEPOINT)
}
