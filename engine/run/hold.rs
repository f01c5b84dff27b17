//! What a run holds on its state directory for as long as its process lives.
//!
//! Where nothing else keeps a second instance out, one lock of the directory does: a paused holder keeps it, which is right. A decider that
//! takes over needs no such lock, since its fence ends the other run wherever it is. There each run locks a file of its own, which stays
//! when the run ends: a file that is there and free proves the run dead, so that its successor need not wait.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use millpond_state::store::RunId;

use crate::{Exit, Fault};

/// A held lock.
#[derive(Debug)]
pub(crate) struct Hold {
    _file: File,
}

fn cannot(path: &Path) -> impl Fn(io::Error) -> Fault + '_ {
    move |error| {
        let kind = error.kind();
        // No restart makes another directory of it.
        let lasting = [ErrorKind::PermissionDenied, ErrorKind::NotADirectory, ErrorKind::ReadOnlyFilesystem];
        let exit = if lasting.contains(&kind) { Exit::Usage } else { Exit::Retry };
        Fault::new(
            exit,
            format!("cannot lock {}; the state directory must be one that this job may write", path.display()),
        )
        .because(error)
    }
}

/// The directory's one lock, or a fault that says who has it.
pub(crate) fn directory(home: &Path) -> Result<Hold, Fault> {
    let path = home.join("lock");
    let file = File::options().create(true).truncate(false).read(true).write(true).open(&path);
    let mut file = file.map_err(cannot(&path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            let (holder, path) = (holder.trim(), path.display());
            let job = home.file_name().unwrap_or_default().display();
            return Err(Fault::new(
                Exit::AlreadyRunning,
                format!("another instance of {job} runs on this state (process {holder}, lock {path})"),
            ));
        }
        Err(TryLockError::Error(error)) => return Err(cannot(&path)(error)),
    }
    write_pid(&mut file).map_err(cannot(&path))?;
    Ok(Hold { _file: file })
}

/// A lock that says this run lives.
pub(super) fn run(home: &Path, run: RunId) -> Result<Hold, Fault> {
    let path = run_path(home, run);
    let folder = home.join("runs");
    fs::create_dir_all(&folder).map_err(cannot(&folder))?;
    let mut file = File::create(&path).map_err(cannot(&path))?;
    file.lock().and_then(|()| write_pid(&mut file)).map_err(cannot(&path))?;
    Ok(Hold { _file: file })
}

/// Whether another run than this lives on this directory, whatever it does there.
pub(super) fn other_lives(home: &Path, run: RunId) -> bool {
    let own = run_path(home, run);
    let files = fs::read_dir(home.join("runs")).into_iter().flatten().flatten().map(|entry| entry.path());
    let held =
        |path: &PathBuf| File::open(path).is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)));
    files.filter(|path| *path != own).any(|path| held(&path))
}

/// Whether a run that lived on this directory of this host is proved dead.
pub(super) fn dead(home: &Path, run: RunId) -> bool {
    File::open(run_path(home, run)).is_ok_and(|file| file.try_lock().is_ok())
}

/// Removes what dead runs left, except for `keep`.
pub(super) fn forget_dead(home: &Path, keep: RunId) {
    let keep = run_path(home, keep);
    let files = fs::read_dir(home.join("runs")).into_iter().flatten().flatten().map(|entry| entry.path());
    for path in files.filter(|path| *path != keep) {
        if File::open(&path).is_ok_and(|file| file.try_lock().is_ok()) {
            // What cannot be removed now proves nothing wrong later.
            let _ = fs::remove_file(&path);
        }
    }
}

fn run_path(home: &Path, run: RunId) -> PathBuf {
    home.join("runs").join(format!("{run}.lock"))
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(std::process::id().to_string().as_bytes())
}

/// Whether a run lives on this directory of this host.
pub(crate) fn is_held(home: &Path) -> Result<bool, Fault> {
    let runs = fs::read_dir(home.join("runs")).into_iter().flatten().flatten().map(|entry| entry.path());
    for path in runs.chain([home.join("lock")]) {
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(cannot(&path)(error)),
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(true),
            Err(TryLockError::Error(error)) => return Err(cannot(&path)(error)),
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_holder_who_is_named() {
        let home = tempfile::tempdir().unwrap();
        let held = directory(home.path()).unwrap();
        let fault = directory(home.path()).unwrap_err();
        assert_eq!(fault.exit(), Exit::AlreadyRunning);
        assert!(fault.to_string().contains(&format!("process {}", std::process::id())), "{fault}");
        drop(held);
        directory(home.path()).unwrap();
    }

    #[test]
    fn a_run_is_dead_once_its_lock_is_free_and_unknown_runs_are_not() {
        let home = tempfile::tempdir().unwrap();
        let (one, two) = (RunId::new(1), RunId::new(2));
        let held = run(home.path(), one).unwrap();
        assert!(!dead(home.path(), one) && !dead(home.path(), two));
        drop(held);
        assert!(dead(home.path(), one));
        let _two = run(home.path(), two).unwrap();
        forget_dead(home.path(), two);
        assert!(!dead(home.path(), one), "what is forgotten proves nothing any more");
        assert!(home.path().join("runs").join(format!("{two}.lock")).exists());
    }
}
