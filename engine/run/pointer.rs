//! The manifest decider: for jobs whose outputs are all followers. What decides is one small file, `committed`, replaced atomically.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use crate::sink::{Commit, Decider, Outgoing};
use crate::{Exit, Fault};

/// Commits by replacing the file `committed` of a job's home.
pub(crate) struct Pointer {
    home: PathBuf,
}

impl Pointer {
    pub(crate) fn new(home: PathBuf) -> Self {
        Pointer { home }
    }

    fn path(&self) -> PathBuf {
        self.home.join("committed")
    }

    fn replace(&self, record: &str) -> std::io::Result<()> {
        let aside = self.home.join("committed.new");
        let mut file = fs::File::create(&aside)?;
        file.write_all(format!("{record}\n").as_bytes())?;
        file.sync_all()?;
        fs::rename(&aside, self.path())?;
        fs::File::open(&self.home)?.sync_all()
    }
}

impl Decider for Pointer {
    fn look(&mut self) -> Result<Option<String>, Fault> {
        match fs::read_to_string(self.path()) {
            Ok(text) => Ok(Some(text.trim_end().to_owned())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Fault::new(Exit::Retry, format!("cannot read {}", self.path().display())).because(error)),
        }
    }
    fn fence(&mut self) -> Result<Option<String>, Fault> {
        self.look()
    }
    fn evidence(&mut self) -> Result<Option<String>, Fault> {
        Ok(None)
    }
    fn create(&mut self, _: u32) -> Result<(), Fault> {
        Ok(())
    }
    fn partitions(&self, _: u32) -> u32 {
        1
    }
    fn stage(&mut self, _: &Outgoing) -> Result<(), Fault> {
        Ok(())
    }
    fn commit(&mut self, commit: &Commit<'_>) -> Result<(), Fault> {
        self.replace(commit.record).map_err(|error| {
            Fault::new(Exit::Retry, format!("cannot replace {}", self.path().display())).because(error)
        })
    }
    fn publish(&mut self) -> Result<(), Fault> {
        Ok(())
    }
}
