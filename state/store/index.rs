//! An index of the manifests in sled: lineage, which file holds what, and how many checkpoints refer to it.
//!
//! It makes letting go of checkpoints a look-up. Nothing is in it that the manifests do not say: it is rebuilt at every start, after
//! every error, and recovery never asks it, so that sled's integrity decides nothing. sled locks its folder to one process, hence a
//! folder for each run, which the next run removes.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sled::transaction::{ConflictableTransactionError, TransactionError, TransactionalTree};
use sled::{Transactional, Tree};

use super::retain::Lineage;
use super::{CheckpointId, FileRef, Manifest, RunId};

/// More than the index of a thousand checkpoints needs; sled's own default is a gigabyte.
const CACHE_BYTES: u64 = 8 << 20;

/// The open index of a run.
pub(crate) struct Index {
    /// Checkpoint -> [`Listed`].
    manifests: Tree,
    /// File name -> [`Referred`].
    files: Tree,
}

#[derive(Debug, Serialize, Deserialize)]
struct Listed {
    lineage: Lineage,
    files: Vec<String>,
}

/// A file that manifests refer to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Referred {
    pub(crate) file: FileRef,
    pub(crate) references: u32,
}

impl Index {
    /// Removes the indexes in `dir`, and makes that of `run` from `manifests`.
    pub(crate) fn rebuild(dir: &Path, run: RunId, manifests: impl IntoIterator<Item = Manifest>) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_name().to_str().is_some_and(|name| name.parse::<RunId>().is_ok()) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        // Durability would be wasted on what is rebuilt.
        let config =
            sled::Config::new().path(dir.join(run.to_string())).cache_capacity(CACHE_BYTES).flush_every_ms(None);
        let db = config.open()?;
        let index = Index { manifests: db.open_tree("manifests")?, files: db.open_tree("files")? };
        for manifest in manifests {
            index.add(&manifest)?;
        }
        Ok(index)
    }

    /// Takes a manifest in; one that is known already changes nothing.
    pub(crate) fn add(&self, manifest: &Manifest) -> io::Result<()> {
        let lineage = Lineage { id: manifest.id, parent: manifest.parent };
        let listed = Listed { lineage, files: manifest.files.iter().map(|file| file.name.clone()).collect() };
        let key = manifest.id.to_string();
        self.change(|manifests, files| {
            if manifests.get(&key)?.is_some() {
                return Ok(());
            }
            for file in &manifest.files {
                let known: Option<Referred> = get(files, &file.name)?;
                let references = known.map_or(0, |known| known.references) + 1;
                put(files, &file.name, &Referred { file: file.clone(), references })?;
            }
            put(manifests, &key, &listed)
        })
    }

    /// Forgets checkpoints, and answers with the files that none of the others refers to.
    pub(crate) fn remove(&self, ids: &[CheckpointId]) -> io::Result<BTreeSet<String>> {
        self.change(|manifests, files| {
            let mut free = BTreeSet::new();
            for id in ids {
                let key = id.to_string();
                let Some(listed) = get::<Listed>(manifests, &key)? else { continue };
                manifests.remove(key.as_bytes())?;
                for name in listed.files {
                    let Some(mut known) = get::<Referred>(files, &name)? else { continue };
                    known.references -= 1;
                    if known.references > 0 {
                        put(files, &name, &known)?;
                    } else {
                        files.remove(name.as_bytes())?;
                        free.insert(name);
                    }
                }
            }
            Ok(free)
        })
    }

    /// All checkpoints, in no order.
    pub(crate) fn lineage(&self) -> io::Result<Vec<Lineage>> {
        self.manifests.iter().values().map(|value| Ok(decode::<Listed>(&value?)?.lineage)).collect()
    }

    /// All files that a checkpoint refers to, in the order of their names.
    pub(crate) fn files(&self) -> io::Result<Vec<Referred>> {
        self.files.iter().values().map(|value| decode(&value?)).collect()
    }

    fn change<T>(
        &self,
        change: impl Fn(&TransactionalTree, &TransactionalTree) -> Result<T, ConflictableTransactionError<io::Error>>,
    ) -> io::Result<T> {
        let done = (&self.manifests, &self.files).transaction(|(manifests, files)| change(manifests, files));
        done.map_err(|error| match error {
            TransactionError::Abort(error) => error,
            TransactionError::Storage(error) => error.into(),
        })
    }
}

fn get<T: DeserializeOwned>(
    tree: &TransactionalTree,
    key: &str,
) -> Result<Option<T>, ConflictableTransactionError<io::Error>> {
    let value = tree.get(key)?;
    value.map(|value| decode(&value)).transpose().map_err(ConflictableTransactionError::Abort)
}

fn put<T: Serialize>(
    tree: &TransactionalTree,
    key: &str,
    value: &T,
) -> Result<(), ConflictableTransactionError<io::Error>> {
    let value = serde_json::to_vec(value).map_err(|error| ConflictableTransactionError::Abort(error.into()))?;
    tree.insert(key.as_bytes(), value)?;
    Ok(())
}

fn decode<T: DeserializeOwned>(value: &[u8]) -> io::Result<T> {
    serde_json::from_slice(value).map_err(io::Error::from)
}
