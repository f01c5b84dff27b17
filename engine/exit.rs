//! Exit codes of job binaries: one enum, so that supervisors can tell what helps.

use std::fmt;
use std::process::ExitCode;

/// Why a job's process ended. Numbers are part of the interface: they never change their meaning.
///
/// ```
/// use millpond_engine::Exit;
/// assert_eq!(Exit::Finished.code(), 0);
/// assert!(Exit::AlreadyRunning.advice().contains("wait"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exit {
    /// The run ended as it was asked to: finished, or stopped by a signal with everything committed.
    Finished,
    /// An error that may be gone at the next start: start it again.
    Retry,
    /// A comparison found differences that nobody expected.
    Differs,
    /// A bounded run was stopped before its end; what it committed stays.
    StoppedEarly,
    /// A gate is closed: a version is behind, not compared, live, or needed by readers.
    Refused,
    /// A savepoint does not fit the job: nothing was started.
    NeedsReplay,
    /// The command line, a file it names or a name in it is wrong.
    Usage,
    /// The job itself must change: its plan is refused, a record cannot be read, a function of the user failed.
    FixJob,
    /// Another instance of this job@version runs: wait long before trying again.
    AlreadyRunning,
    /// State that must be there is missing or damaged: restore it, nothing was guessed.
    Restore,
    /// There is output of this job but no state: a person must decide (`run --new`, or a new version).
    New,
    /// The plan and the state do not fit each other: start a new version.
    NewVersion,
    /// A second signal asked to leave at once.
    Interrupted,
}

impl Exit {
    /// The process's exit code.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Exit::Finished => 0,
            Exit::Retry => 1,
            Exit::Differs => 2,
            Exit::StoppedEarly => 3,
            Exit::Refused => 4,
            Exit::NeedsReplay => 5,
            Exit::Usage => 64,
            Exit::FixJob => 65,
            Exit::AlreadyRunning => 69,
            Exit::Restore => 74,
            Exit::New => 75,
            Exit::NewVersion => 78,
            Exit::Interrupted => 130,
        }
    }

    /// What helps, in one sentence.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Exit::Finished => "nothing is left to do",
            Exit::Retry => "start the job again; it goes on from its last commit",
            Exit::Differs => "look at the rows that differ; what is meant can be stated with --expect FILE",
            Exit::Refused => "nothing was changed; do what the message names, then ask again",
            Exit::NeedsReplay => {
                "start the version from the beginning of the log with `replay`, or see with --check which steps can be dropped or upgraded"
            }
            Exit::StoppedEarly => "start the same command again; it goes on from its last commit",
            Exit::Usage => "see --help",
            Exit::FixJob => "mend what the message names, then start the job again; nothing was lost",
            Exit::AlreadyRunning => "another instance does the work; wait until it has ended",
            Exit::Restore => {
                "restore the state directory from a copy, or start a new version from the beginning of the log"
            }
            Exit::New => {
                "if the earlier output may be doubled, start with `run --new`; otherwise restore the state directory"
            }
            Exit::NewVersion => "start the changed job as a new version, or go back to the build that wrote this state",
            Exit::Interrupted => "start the job again; it goes on from its last commit",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code())
    }
}
