//! Style as a test: file length, layering, forbidden calls, docstrings, essays and maps.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const CRATES: [&str; 4] = ["state", "engine", "operators", "connectors"];

/// Longest file, in lines.
const LONGEST: usize = 400;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file of the project, with its path from the root.
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> =
        CRATES.iter().chain(&["examples", "benches", "tests"]).map(|dir| root().join(dir)).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.expect("the project's folders can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = fs::read_to_string(&path).expect("a source file is text");
                found.push((path.strip_prefix(root()).expect("it lies below").display().to_string(), text));
            }
        }
    }
    let lib = fs::read_to_string(root().join("lib.rs")).expect("the facade is there");
    found.push(("lib.rs".to_owned(), lib));
    found.sort();
    assert!(found.len() > 80, "the walk finds the project");
    found
}

fn is_test(path: &str) -> bool {
    path.ends_with("tests.rs") || path.contains("/tests/") || path.starts_with("tests/")
}

/// The lines of a file that are code and belong to no test module at its end.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let end = text.find("\n#[cfg(test)]\nmod ").unwrap_or(text.len());
    text[..end]
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(n, line)| (n + 1, line))
}

fn report(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

#[test]
fn no_file_is_too_long_to_read() {
    let long = sources().into_iter().filter(|(_, text)| text.lines().count() > LONGEST);
    let long: Vec<_> = long.map(|(path, text)| format!("{path}: {} lines", text.lines().count())).collect();
    report("a file is one noun, at most 400 lines", &long);
}

#[test]
fn crates_depend_downwards_only() {
    let allowed = |name: &str| -> &[&str] {
        match name {
            "state" => &[],
            "engine" => &["state"],
            _ => &["state", "engine"],
        }
    };
    let mut wrong = Vec::new();
    for name in CRATES {
        let manifest = fs::read_to_string(root().join(name).join("Cargo.toml")).expect("a crate has a manifest");
        let dependencies = manifest.split("[dev-dependencies]").next().unwrap_or_default();
        for other in CRATES.iter().filter(|other| **other != name) {
            if dependencies.contains(&format!("millpond-{other}")) && !allowed(name).contains(other) {
                wrong.push(format!("{name}/Cargo.toml depends on {other}"));
            }
        }
        if !manifest.contains("[lints]\nworkspace = true") {
            wrong.push(format!("{name}/Cargo.toml does not take the workspace's lints"));
        }
    }
    for (path, text) in sources().iter().filter(|(path, _)| !is_test(path)) {
        let own = path.split('/').next().unwrap_or_default();
        if !CRATES.contains(&own) {
            continue;
        }
        for (line, code) in code(text) {
            for other in CRATES.iter().filter(|other| **other != own && !allowed(own).contains(other)) {
                if code.contains(&format!("millpond_{other}")) {
                    wrong.push(format!("{path}:{line} uses {other}"));
                }
            }
        }
    }
    report("state <- engine <- operators, connectors", &wrong);
}

#[test]
fn only_the_host_speaks_timelys_operator_api() {
    let allowed = |path: &str| path.starts_with("engine/host/") || path == "engine/run/worker.rs";
    let mut wrong = Vec::new();
    for (path, text) in sources().iter().filter(|(path, _)| !allowed(path) && path != "tests/tidy.rs") {
        wrong
            .extend(code(text).filter(|(_, code)| code.contains("timely::")).map(|(line, _)| format!("{path}:{line}")));
    }
    let worker = fs::read_to_string(root().join("engine/run/worker.rs")).expect("the worker is there");
    wrong.extend(
        code(&worker)
            .filter(|(_, code)| code.contains("timely::dataflow"))
            .map(|(line, _)| format!("worker.rs:{line}")),
    );
    report("timely stays behind engine/host", &wrong);
}

/// What may look at clocks, start threads, touch files: the edges.
fn edge(path: &str, what: &str) -> bool {
    let within = |places: &[&str]| places.iter().any(|place| path.starts_with(place));
    match what {
        "clock" => within(&["engine/clock.rs", "engine/cli/", "connectors/", "operators/testing"]),
        "randomness" => within(&["engine/clock.rs", "connectors/generator", "connectors/log/topic.rs"]),
        // A fail point holds a thread up, in tests only.
        "thread" => within(&[
            "engine/failpoint.rs",
            "engine/run/",
            "engine/cli/",
            "engine/control/",
            "connectors/",
            "operators/testing",
        ]),
        _ => within(&[
            "engine/run/",
            "engine/cli/",
            "engine/control/",
            "engine/compare/sorted.rs",
            "state/store/",
            "connectors/",
            "operators/testing",
        ]),
    }
}

#[test]
fn clocks_threads_and_files_live_at_the_edge() {
    let forbidden = [
        ("Instant::now(", "clock"),
        ("SystemTime::now(", "clock"),
        ("RandomState", "randomness"),
        ("thread::spawn", "thread"),
        ("thread::Builder", "thread"),
        ("thread::sleep", "thread"),
        ("std::fs", "files"),
        ("File::open", "files"),
        ("std::net", "files"),
        ("println!", "files"),
    ];
    let mut wrong = Vec::new();
    let sources = sources();
    let engine = sources
        .iter()
        .filter(|(path, _)| !is_test(path) && CRATES.iter().any(|name| path.starts_with(&format!("{name}/"))));
    for (path, text) in engine {
        for (line, code) in code(text) {
            for (call, what) in forbidden {
                if code.contains(call) && !edge(path, what) {
                    wrong.push(format!("{path}:{line} {call}.. ({what})"));
                }
            }
        }
    }
    report("the core is pure", &wrong);
}

#[test]
fn every_public_item_says_what_it_is() {
    let items = ["fn ", "struct ", "enum ", "trait ", "type ", "const ", "static ", "unsafe "];
    let mut bare = Vec::new();
    for (path, text) in sources().iter().filter(|(path, _)| !is_test(path)) {
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in code(text) {
            let Some(item) = line.trim_start().strip_prefix("pub ") else { continue };
            // In a macro the docstring is an argument.
            if !items.iter().any(|kind| item.starts_with(kind)) || item.contains('$') {
                continue;
            }
            let before = lines[..number - 1].iter().rev().map(|line| line.trim());
            let documented = before
                .take_while(|line| {
                    !line.is_empty() && !line.ends_with('}') && !line.ends_with(';') && !line.ends_with('{')
                })
                .any(|line| line.starts_with("///") || line.starts_with("#[doc"));
            // A long attribute may end with a brace or hold blank lines; the compiler's own lint sees through those.
            let attributed = lines[..number - 1].last().is_some_and(|line| line.trim_start().starts_with(")]"));
            if !documented && !attributed {
                bare.push(format!("{path}:{number} {}", line.trim()));
            }
        }
    }
    report("a docstring for each public item", &bare);
}

#[test]
fn every_crate_opens_with_an_essay_and_a_map() {
    let mut wrong = Vec::new();
    for lib in CRATES.map(|name| format!("{name}/lib.rs")).iter().chain(&["lib.rs".to_owned()]) {
        let text = fs::read_to_string(root().join(lib)).expect("a crate has a lib.rs");
        let essay: Vec<_> = text.lines().take_while(|line| line.starts_with("//!")).collect();
        if essay.len() < 12 {
            wrong.push(format!("{lib}: the essay has {} lines", essay.len()));
        }
        let map = essay.join("\n");
        let Some((_, map)) = map.split_once("# Map") else {
            wrong.push(format!("{lib}: no map"));
            continue;
        };
        let modules: BTreeSet<_> = code(&text)
            .filter_map(|(_, line)| line.strip_prefix("mod ").or_else(|| line.strip_prefix("pub mod ")))
            .filter_map(|rest| rest.strip_suffix(';'))
            .collect();
        wrong.extend(
            modules
                .iter()
                .filter(|name| !map.contains(&format!("`{name}`")))
                .map(|name| format!("{lib}: {name} is not on the map")),
        );
    }
    report("essays and maps", &wrong);
}

#[test]
fn every_module_says_what_it_is_for() {
    let silent = sources().into_iter().filter(|(path, text)| !text.starts_with("//!") && !path.ends_with("_tests.rs"));
    let silent: Vec<_> = silent.map(|(path, _)| path).collect();
    report("a module opens with its contract", &silent);
}

#[test]
fn no_forbidden_words() {
    let forbidden = ["Manager", "Util", "Helper", "TODO", "FIXME", "dbg!("];
    let mut wrong = Vec::new();
    for (path, text) in sources().iter().filter(|(path, _)| path != "tests/tidy.rs") {
        for (number, line) in text.lines().enumerate() {
            wrong.extend(
                forbidden
                    .iter()
                    .filter(|word| line.contains(**word))
                    .map(|word| format!("{path}:{} {word}", number + 1)),
            );
        }
    }
    report("words we do not use", &wrong);
}

#[test]
fn the_top_level_is_what_the_readme_says() {
    let expected = [
        ".ci",
        ".git",
        ".github",
        ".gitignore",
        ".millpond",
        ".kafka",
        "target",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "Cargo.lock",
        "Cargo.toml",
        "LICENSE-APACHE",
        "LICENSE-MIT",
        "README.md",
        "benches",
        "clippy.toml",
        "connectors",
        "deny.toml",
        "docs",
        "engine",
        "examples",
        "lib.rs",
        "operators",
        "rustfmt.toml",
        "state",
        "tests",
    ];
    let found = fs::read_dir(root()).expect("the root can be read").map(|entry| entry.expect("an entry").file_name());
    let strange: Vec<_> =
        found.filter_map(|name| name.into_string().ok()).filter(|name| !expected.contains(&name.as_str())).collect();
    report("the top level", &strange);
}

#[test]
fn examples_print_so_that_a_reader_may_go() {
    let panics = ["println!(", "print!(", "dbg!("];
    let mut wrong = Vec::new();
    for (path, text) in sources().iter().filter(|(path, _)| path.starts_with("examples/")) {
        let found = code(text).filter(|(_, code)| panics.iter().any(|panics| code.contains(panics)));
        wrong.extend(found.map(|(line, _)| format!("{path}:{line}")));
    }
    report("`| head` must not make an example panic: `millpond::print` and `say`, or a writer", &wrong);
}

/// Names of metrics in a text: what begins with the project's name and stands by itself between two of `around`.
fn metrics(text: &str, around: char) -> impl Iterator<Item = &str> {
    text.split(around).filter(|word| {
        let rest = word.strip_prefix("millpond_").unwrap_or_default();
        !rest.is_empty() && rest.chars().all(|c| c.is_ascii_lowercase() || c == '_')
    })
}

#[test]
fn every_metric_is_in_the_table_and_every_one_of_the_table_is_there() {
    let page = fs::read_to_string(root().join("docs/operations.md")).expect("the page is there");
    let table: BTreeSet<_> =
        page.lines().filter(|line| line.starts_with("| `millpond_")).flat_map(|line| metrics(line, '`')).collect();
    let sources = sources();
    let made = |path: &str| CRATES.iter().any(|name| path.starts_with(&format!("{name}/"))) && !is_test(path);
    // Crates of the workspace have such names too.
    let crates = CRATES.map(|name| format!("millpond_{name}"));
    let served: BTreeSet<_> = sources
        .iter()
        .filter(|(path, _)| made(path))
        .flat_map(|(_, text)| code(text).flat_map(|(_, code)| metrics(code, '"')))
        .filter(|name| !crates.iter().any(|other| other == name))
        .collect();
    assert!(served.len() > 25, "the walk finds them: {served:?}");
    let missing: Vec<_> = served.symmetric_difference(&table).map(|name| (*name).to_owned()).collect();
    report("docs/operations.md and the metrics that are served differ", &missing);
}
