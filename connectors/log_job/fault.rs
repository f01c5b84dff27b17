//! Errors of the log as faults: the exit code says what helps.

use millpond_engine::{Exit, Fault};

use crate::log::LogError;

impl From<LogError> for Fault {
    fn from(error: LogError) -> Self {
        let exit = match &error {
            LogError::Locked { .. } => Exit::AlreadyRunning,
            LogError::OwnedByOther { .. } | LogError::Invalid(_) | LogError::NoSuchTopic { .. } => Exit::Usage,
            LogError::Expired { .. } | LogError::BeyondEnd { .. } | LogError::Corrupt { .. } => Exit::Restore,
            LogError::Newer { .. } => Exit::NewVersion,
            LogError::TopicExists { .. } | LogError::Poisoned { .. } | LogError::Io { .. } => Exit::Retry,
        };
        Fault::new(exit, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn an_error_tells_what_helps() {
        let file = || PathBuf::from("log/lock");
        let of = |error: LogError| Fault::from(error).exit();
        assert_eq!(of(LogError::Locked { writer: "w".into(), pid: "7".into(), file: file() }), Exit::AlreadyRunning);
        assert_eq!(of(LogError::Corrupt { file: file(), offset: 3, what: "x" }), Exit::Restore);
        assert_eq!(of(LogError::Newer { file: file(), version: 2, known: 1 }), Exit::NewVersion);
        let io = LogError::Io { doing: "write", file: file(), source: std::io::ErrorKind::StorageFull.into() };
        assert!(Fault::from(io).to_string().starts_with("cannot write log/lock: "));
        let owned = LogError::OwnedByOther { topic: "t".into(), owner: "a".into(), writer: "b".into() };
        assert_eq!(of(owned), Exit::Usage);
    }
}
