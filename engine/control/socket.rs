//! The control socket, both ends of it.

use std::fs::{self, Permissions};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::Report;
use super::path::reach;
use crate::{Exit, Fault};

/// Requests are words.
const REQUEST_MOST: u64 = 256;
/// How long a client may take over its line; others wait meanwhile.
const CLIENT_PATIENCE: Duration = Duration::from_secs(1);
/// How long a job may take to answer.
const JOB_PATIENCE: Duration = Duration::from_secs(5);

/// What a job is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Commit what is open and leave.
    Stop,
    /// Close the open epoch now.
    Close,
}

/// A served control socket; gone, file and all, when it is dropped.
#[derive(Debug)]
pub(crate) struct Control {
    home: PathBuf,
    /// Device and inode of the socket file, to remove only our own.
    file: (u64, u64),
    leaving: Arc<AtomicBool>,
}

impl Control {
    /// Serves `report` and hands on orders in the state directory `home`, whose run lock the caller holds.
    pub(crate) fn serve(home: &Path, report: Report, tell: impl Fn(Order) + Send + 'static) -> io::Result<Control> {
        let at = reach(home)?;
        match fs::remove_file(&at.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&at.path)?;
        // Whoever may connect may stop the job.
        fs::set_permissions(&at.path, Permissions::from_mode(0o600))?;
        let file = identity(&at.path)?;
        let leaving = Arc::new(AtomicBool::new(false));
        let left = Arc::clone(&leaving);
        std::thread::Builder::new().name("control".to_owned()).spawn(move || {
            for client in listener.incoming() {
                if left.load(Ordering::SeqCst) {
                    return;
                }
                let served = client.and_then(|client| serve(&client, &report, &tell));
                if let Err(error) = served {
                    // A client that left or said nothing; or no descriptors are free, and then not at once again.
                    tracing::debug!(%error, "a control request failed");
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
        })?;
        Ok(Control { home: home.to_owned(), file, leaving })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.leaving.store(true, Ordering::SeqCst);
        let Ok(at) = reach(&self.home) else { return };
        // The next instance may have begun already and put its own in this place; ours still listens, so that its inode is not used again.
        if identity(&at.path).is_ok_and(|file| file == self.file) {
            // Connecting ends the thread.
            let _ = UnixStream::connect(&at.path);
            let _ = fs::remove_file(&at.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

fn serve(client: &UnixStream, report: &Report, tell: &impl Fn(Order)) -> io::Result<()> {
    client.set_read_timeout(Some(CLIENT_PATIENCE))?;
    client.set_write_timeout(Some(CLIENT_PATIENCE))?;
    let mut line = String::new();
    BufReader::new(client.take(REQUEST_MOST)).read_line(&mut line)?;
    let answer = match line.trim_end() {
        "status" => serde_json::to_value(report())?,
        "stop" => {
            tell(Order::Stop);
            serde_json::json!({ "stopping": true })
        }
        "close" => {
            // The newest real epoch as it was before.
            let epoch = report().epoch;
            tell(Order::Close);
            serde_json::json!({ "epoch": epoch })
        }
        other => {
            serde_json::json!({ "error": format!("{other:?} is no request; known are \"status\", \"stop\" and \"close\"") })
        }
    };
    let mut client = client;
    client.write_all(format!("{answer}\n").as_bytes())
}

/// Asks the job that runs on the state directory `home`; `None` when none runs there.
///
/// # Errors
/// When one runs and does not answer.
pub(crate) fn ask(home: &Path, request: &str) -> Result<Option<serde_json::Value>, Fault> {
    let fault = |error: io::Error| {
        let text = format!("the job that runs on {} does not answer on its control socket", home.display());
        Fault::new(Exit::Retry, text).because(error)
    };
    let stream = match reach(home).and_then(|at| UnixStream::connect(&at.path)) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(fault(error)),
    };
    let mut answer = String::new();
    let asked = stream.set_read_timeout(Some(JOB_PATIENCE)).and_then(|()| {
        (&stream).write_all(format!("{request}\n").as_bytes())?;
        BufReader::new(&stream).read_line(&mut answer)
    });
    asked.map_err(fault)?;
    if answer.is_empty() {
        // It was just leaving.
        return Ok(None);
    }
    serde_json::from_str(&answer).map(Some).map_err(|error| fault(error.into()))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::Status;

    fn serve(home: &Path, job: &str) -> (Control, Arc<AtomicUsize>) {
        let (stops, job) = (Arc::new(AtomicUsize::new(0)), job.to_owned());
        let counted = Arc::clone(&stops);
        let report = move || Status { job: job.clone(), epoch: 7, ..Status::default() };
        let stop = move |order| {
            counted.fetch_add(usize::from(order == Order::Stop), Ordering::SeqCst);
        };
        (Control::serve(home, Arc::new(report), stop).unwrap(), stops)
    }

    fn status(home: &Path) -> Status {
        serde_json::from_value(ask(home, "status").unwrap().unwrap()).unwrap()
    }

    #[test]
    fn a_running_job_answers_and_one_that_left_is_not_there() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(ask(home.path(), "status").unwrap(), None, "nobody was ever there");
        let (control, stops) = serve(home.path(), "flights");
        assert_eq!((status(home.path()).job.as_str(), status(home.path()).epoch), ("flights", 7));
        assert_eq!(ask(home.path(), "close").unwrap().unwrap()["epoch"], 7);
        assert_eq!(stops.load(Ordering::SeqCst), 0);
        ask(home.path(), "stop").unwrap().unwrap();
        assert_eq!(stops.load(Ordering::SeqCst), 1);
        let refused = ask(home.path(), "make tea").unwrap().unwrap();
        assert!(refused["error"].as_str().unwrap().contains("\"make tea\" is no request"), "{refused}");
        let mode = fs::metadata(home.path().join("control.sock")).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600, "only its owner may stop a job");
        drop(control);
        assert!(!home.path().join("control.sock").exists());
        assert_eq!(ask(home.path(), "status").unwrap(), None);
    }

    #[test]
    fn a_path_longer_than_an_address_leads_there_too() {
        let root = tempfile::tempdir().unwrap();
        let home = root.path().join("d".repeat(120)).join("flights@1");
        fs::create_dir_all(&home).unwrap();
        let (control, _) = serve(&home, "far");
        assert!(home.join("control.sock").exists(), "the file lies in the directory itself");
        assert_eq!(status(&home).job, "far");
        drop(control);
        assert!(!home.join("control.sock").exists());
        assert_eq!(ask(&home, "status").unwrap(), None);
    }

    #[test]
    fn a_stale_socket_is_replaced_and_that_of_a_successor_is_let_alone() {
        let home = tempfile::tempdir().unwrap();
        drop(UnixListener::bind(home.path().join("control.sock")).unwrap());
        assert_eq!(ask(home.path(), "status").unwrap(), None, "a killed job leaves a file that nobody serves");
        let (first, _) = serve(home.path(), "first");
        assert_eq!(status(home.path()).job, "first");
        let (second, _) = serve(home.path(), "second");
        drop(first);
        assert_eq!(status(home.path()).job, "second");
        drop(second);
        assert!(!home.path().join("control.sock").exists());
    }

    #[test]
    fn a_client_that_says_nothing_or_too_much_stops_nobody() {
        let home = tempfile::tempdir().unwrap();
        let (_control, stops) = serve(home.path(), "flights");
        let silent = UnixStream::connect(home.path().join("control.sock")).unwrap();
        let loud = UnixStream::connect(home.path().join("control.sock")).unwrap();
        let _ = (&loud).write_all(&[b'x'; 4096]);
        drop(loud);
        assert_eq!(status(home.path()).job, "flights");
        assert_eq!(stops.load(Ordering::SeqCst), 0);
        drop(silent);
    }
}
