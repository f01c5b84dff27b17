//! A disk that is full: a limit on the size of files, and a file system of a few megabytes.

use std::process::{Command, Output, Stdio};

use millpond::Delivery;

use crate::model::{answer, month};
use crate::runs::{done, finished, flights, text};
use crate::trial::{self, feed, finish, process, undisturbed};

/// Runs a command where no file may grow beyond so many blocks of 512 bytes; writing more gives an error, as on a full disk.
fn limited(command: &Command, blocks: u64) -> Output {
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
    let mut limited = Command::new("sh");
    limited.args(["-c", &script, "sh"]).arg(command.get_program()).args(command.get_args());
    limited.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    limited.stdin(Stdio::null());
    done(limited)
}

fn refused(output: &Output) {
    let said = text(output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("error: ") && said.contains("help: start the job again"), "{said}");
    let error = said.lines().find(|line| line.contains("error: ")).unwrap();
    assert!(error.contains(".log") || error.contains("@1/"), "it names the file: {said}");
    println!("{error}");
}

#[test]
fn files_that_cannot_grow_stop_the_job_which_then_goes_on() {
    let want = undisturbed();
    let mut stopped = 0;
    for blocks in [0, 1, 2, 4, 8, 16, 32, 64] {
        let state = tempfile::tempdir().unwrap();
        feed(state.path());
        // Twice, so that a start on what the first left is tried as well.
        for _ in 0..2 {
            let output = limited(&process(Delivery::ExactlyOnce, state.path()), blocks);
            if !output.status.success() {
                refused(&output);
                stopped += 1;
            }
        }
        let ended = finish(state.path());
        assert!(ended.unwrap().finished);
        assert!(trial::answer(state.path()).unwrap() == want, "{blocks} blocks");
    }
    assert!(stopped >= 8, "{stopped}");
}

#[test]
fn a_log_that_cannot_grow_stops_the_feeding_and_holds_each_line_once_afterwards() {
    let want = answer(&month(), 30, 120);
    for blocks in [1, 64, 4096] {
        let state = tempfile::tempdir().unwrap();
        refused(&limited(&flights(state.path(), &[]), blocks));
        assert_eq!(finished(state.path(), &[]), want, "{blocks} blocks");
    }
}

/// A mounted file system, gone when dropped.
struct Mounted(tempfile::TempDir);

impl Mounted {
    fn of(kib: u64) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let size = format!("size={kib}k");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(dir.path()).output();
        mount.is_ok_and(|output| output.status.success()).then_some(Mounted(dir))
    }

    fn grow(&self, kib: u64) {
        let size = format!("remount,size={kib}k");
        assert!(Command::new("mount").args(["-o", &size]).arg(self.0.path()).status().unwrap().success());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_stops_the_job_which_goes_on_when_there_is_room() {
    let want = answer(&month(), 30, 120);
    // The fed log has about seven megabytes: the first sizes are too small for it, the later ones for the job.
    for kib in [256, 4_096, 8_192, 9_216] {
        let Some(disk) = Mounted::of(kib) else {
            println!("not root, or mounting is not allowed: only the limit on files was tried");
            return;
        };
        let output = done(flights(disk.0.path(), &[]));
        println!("{kib} KiB: {}", output.status);
        if !output.status.success() {
            refused(&output);
            assert!(text(&output).contains("No space left on device"), "{}", text(&output));
        }
        assert!(kib > 4_096 || !output.status.success(), "{kib} KiB are too few");
        disk.grow(65_536);
        assert_eq!(finished(disk.0.path(), &[]), want, "{kib} KiB");
    }
}
