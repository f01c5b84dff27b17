//! One process, one writer: a lock file held for the writer's life.
//!
//! A stopped (SIGSTOP) holder keeps the lock, so the newcomer is refused, which is right: a file cannot be fenced. On a network file
//! system a lock proves nothing, so those are refused as well.

use std::fs::{self, File, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::LogError;

const NETWORK: [&str; 9] = ["nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "ceph", "fuse.glusterfs"];

/// The lock of one writer; released when dropped, or when the process ends in any way.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock in `dir` or says who holds it.
    pub(super) fn take(dir: &Path, writer: &str) -> Result<Lock, LogError> {
        let path = dir.join("lock");
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(LogError::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                // The holder may be writing it just now; its name is a help, not the reason.
                let _ = file.read_to_string(&mut pid);
                let pid = pid.trim();
                let pid = if pid.is_empty() { "unknown" } else { pid }.to_owned();
                return Err(LogError::Locked { writer: writer.to_owned(), pid, file: path });
            }
            Err(TryLockError::Error(source)) => return Err(LogError::io("lock", &path)(source)),
        }
        // The writer may have been deleted between opening and locking.
        if file.metadata().map_err(LogError::io("read", &path))?.nlink() == 0 {
            return Err(LogError::io("lock", &path)(std::io::ErrorKind::NotFound.into()));
        }
        let said = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
        said.map_err(LogError::io("write", &path))?;
        Ok(Lock { file })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough: a child process that another thread is just starting has the file open until it becomes its program.
        // Should this fail, closing does it a moment later.
        let _ = self.file.unlock();
    }
}

/// Refuses a directory on a network file system.
pub(super) fn check_local(dir: &Path) -> Result<(), LogError> {
    let Ok(mounts) = fs::read_to_string("/proc/mounts") else { return Ok(()) };
    let dir = fs::canonicalize(dir).map_err(LogError::io("open", dir))?;
    match network_mount(&mounts, &dir) {
        Some(kind) => Err(LogError::Invalid(format!(
            "{} lies on a network file system ({kind}), where locks prove nothing; put the log on a local disk",
            dir.display()
        ))),
        None => Ok(()),
    }
}

fn network_mount<'a>(mounts: &'a str, dir: &Path) -> Option<&'a str> {
    let mut deepest = (0, "");
    for line in mounts.lines() {
        let mut words = line.split(' ');
        let (Some(_), Some(at), Some(kind)) = (words.next(), words.next(), words.next()) else { continue };
        let at = at.replace("\\040", " ");
        let depth = Path::new(&at).components().count();
        // Of two mounts on one place the later one counts.
        if dir.starts_with(&at) && depth >= deepest.0 {
            deepest = (depth, kind);
        }
    }
    NETWORK.contains(&deepest.1).then_some(deepest.1)
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn the_deepest_mount_says_what_a_directory_lies_on() {
        let mounts = "/dev/vda / ext4 rw 0 0\nhost:/x /mnt/far\\040away nfs4 rw 0 0\n/dev/vdb /mnt/far\\040away/near ext4 rw 0 0\n";
        assert_eq!(network_mount(mounts, Path::new("/mnt/far away/log")), Some("nfs4"));
        assert_eq!(network_mount(mounts, Path::new("/mnt/far away/near/log")), None);
        assert_eq!(network_mount(mounts, Path::new("/home/log")), None);
    }

    #[test]
    fn a_dropped_lock_is_free_while_other_threads_start_processes() {
        let dir = tempfile::tempdir().unwrap();
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    Command::new("true").status().unwrap();
                }
            });
            let taken = (0..300).try_for_each(|_| Lock::take(dir.path(), "feeder").map(drop));
            done.store(true, Ordering::Relaxed);
            taken.unwrap();
        });
    }

    #[test]
    fn the_second_holder_is_told_who_the_first_is() {
        let dir = tempfile::tempdir().unwrap();
        let first = Lock::take(dir.path(), "feeder").unwrap();
        let Err(LogError::Locked { writer, pid, .. }) = Lock::take(dir.path(), "feeder") else { panic!("not refused") };
        assert_eq!((writer.as_str(), pid), ("feeder", std::process::id().to_string()));
        drop(first);
        Lock::take(dir.path(), "feeder").unwrap();
    }
}
