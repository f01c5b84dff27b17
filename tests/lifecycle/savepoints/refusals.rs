//! What cannot be started from: each is said before anything is made, with an exit code of its own.

use std::fs;
use std::process::Command;

use millpond::Exit;

use super::world::{World, json, names};

#[test]
fn what_does_not_fit_is_shown_step_by_step_and_starts_nothing() {
    let world = World::saved();
    let words = World::from_saved(2, &world);
    let code = Some(Exit::NeedsReplay.code().into());
    for (drawn, part) in [
        ("changed", "partial: the value was (u64, u128), is now (u64, u128, [u64])"),
        ("windows", "window was"),
        ("fewer", "--drop halves"),
    ] {
        for words in [format!("{words} --check"), words.clone()] {
            let said = world.call_drawn(drawn, &words);
            assert_eq!(said.code, code, "{drawn}: {said:?}");
            let table = format!("{}{}", said.out, said.err);
            assert!(said.err.contains("cannot start from the savepoint") && table.contains(part), "{drawn}: {said:?}");
            assert!(table.contains("does not fit: nothing is started") && table.contains("kept"), "{drawn}: {said:?}");
        }
    }
    let said = world.call_drawn("panics", &format!("{words} --drop nothing"));
    assert!(said.code == Some(64) && said.err.contains("no such step"), "{said:?}");
    assert!(
        !world.path("saved@2").exists() && names(&world.path("log/topics")).iter().all(|name| !name.ends_with(".v2"))
    );
    // What is left behind on request.
    let said = world.call_drawn("fewer", &format!("{words} --drop halves"));
    assert_eq!(said.code, Some(0), "{said:?}");
    world.check(2, &["sums", "visits", "copies", "late"]);
    assert!(world.sorted(2, "slides").is_empty());
    // A step whose accumulator changed may begin with nothing, when that is said.
    let said = world.call_drawn("changed", &format!("{} --drop minutes", World::from_saved(3, &world)));
    assert_eq!(said.code, Some(0), "{said:?}");
    world.check(3, &["slides", "visits", "copies"]);
    // Of sessions that begin with nothing no row is ever known to be whole.
    world.well(&format!("{} --drop calls", World::from_saved(4, &world)));
    world.check(4, &["sums", "slides", "copies", "late"]);
    world.refused("compare 1 4 --only visits", 4, "visits: it is never known to be whole in version 4");
    world.refused("promote 4 --uncompared", 4, "visits of version 4 of job saved is never known to be whole");
}

#[test]
fn a_version_with_state_of_its_own_the_saved_one_and_another_job_are_refused() {
    let world = World::saved();
    let saved = world.path("saved");
    let from = |words: &str| format!("{words} --from-savepoint {}", saved.display());
    let refused = |words: &str, part: &str| world.refused(&from(words), 4, part);
    refused("run --job-version 1", "did not begin with a savepoint");
    refused("run --job-version 1 --job other", "is of job saved, and this is job other");
    world.well("run --job-version 2 --until-end");
    refused("replay 2", "has committed epoch");
    // With its state gone, its output is there, and so are its commits.
    fs::remove_dir_all(world.path("saved@2")).unwrap();
    world.refused(&from("replay 2"), 74, "saved@2");
    // The saved one where nothing is left of it.
    let elsewhere = World::new();
    elsewhere.refused(&from("run"), 4, "of saved@1 itself");
    world.well(&World::from_saved(3, &world));
    world.well("savepoint");
    let other = fs::read_dir(world.path("savepoints")).unwrap().next().unwrap().unwrap().path();
    let same = world.call(&format!("replay 3 --from-savepoint {}", other.display()));
    assert_eq!(same.code, Some(0), "the same checkpoint in another folder: {same:?}");
    // An input that was made again under its name is not the one that was saved.
    elsewhere.refused(&from("replay 2"), 74, "made again under the same name");
    world.refused("savepoint --job-version 3", 4, "has finished");
    world.refused("savepoint --job-version 9", 64, "has not run");
    assert_eq!(world.call("run --job-version 4 --drop sums").code, Some(64));
}

#[test]
fn damage_is_found_out_wherever_it_is_and_nothing_is_made() {
    let world = World::saved();
    let saved = world.path("saved");
    let words = World::from_saved(2, &world);
    let verify = format!("savepoints verify {}", saved.display());
    let base = saved.join(names(&saved).into_iter().find(|name| name.ends_with(".base")).unwrap());
    let (state, description) = (fs::read(&base).unwrap(), fs::read(saved.join("savepoint.json")).unwrap());
    for at in [0, 8, 13, state.len() / 2, state.len() - 30, state.len() - 1] {
        let mut flipped = state.clone();
        flipped[at] ^= 4;
        fs::write(&base, flipped).unwrap();
        // Of the format's number a flip makes a newer one.
        let code = if at == 8 { 78 } else { 74 };
        world.refused(&verify, 74, "");
        world.refused(&words, code, "cannot be restored");
    }
    fs::remove_file(&base).unwrap();
    world.refused(&verify, 74, "is damaged");
    world.refused(&words, 74, "is missing");
    fs::write(&base, &state).unwrap();
    let text = String::from_utf8(description.clone()).unwrap();
    fs::write(saved.join("savepoint.json"), text.replace("\"version\": 1", "\"version\": 3")).unwrap();
    world.refused(&words, 74, "its checksum is");
    fs::write(saved.join("savepoint.json"), text.replace("\"format\": 1", "\"format\": 2")).unwrap();
    world.refused(&words, 78, "a newer release wrote it");
    fs::remove_file(saved.join("savepoint.json")).unwrap();
    world.refused(&words, 64, "is no savepoint");
    fs::write(saved.join("savepoint.json"), description).unwrap();
    world.well(&words);
    world.check(2, &["sums"]);
    // Of a stopped job whose own files are damaged no savepoint is taken.
    let part = fs::read_dir(world.path("saved@1/checkpoints")).unwrap().map(|entry| entry.unwrap().path());
    for path in part.filter(|path| path.extension().is_some_and(|end| end == "part" || end == "base" || end == "merge"))
    {
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).unwrap();
    }
    world.refused(&format!("savepoint {}", world.path("second").display()), 74, "no savepoint of saved@1");
    assert!(!world.path("second").exists() && !world.path("second.tmp").exists());
    assert_eq!(json(&world.well("versions --json"))["live"], 1);
}

#[test]
fn a_full_disk_leaves_no_savepoint_and_no_version_and_both_can_be_asked_for_again() {
    let world = World::saved();
    let (second, words) = (world.path("second"), World::from_saved(2, &world));
    for (words, blocks) in [(format!("savepoint {}", second.display()), 1), (words.clone(), 1), (words.clone(), 8)] {
        // Where no file may grow beyond so many blocks of 512 bytes, writing more fails as on a full disk.
        let command = world.command(&words);
        let mut limited = Command::new("sh");
        limited.args(["-c", &format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\""), "sh"]);
        limited.arg(command.get_program()).args(command.get_args());
        limited.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let said = limited.output().unwrap();
        assert_eq!(said.status.code(), Some(1), "{words}: {said:?}");
        let err = String::from_utf8_lossy(&said.stderr);
        assert!(err.contains("make room on that disk") || err.contains("File too large"), "{words}: {err}");
        assert!(!second.exists() && !world.path("second.tmp").exists());
    }
    world.well(&format!("savepoint {}", second.display()));
    world.well(&words);
    world.check(2, &["sums", "copies"]);
}
