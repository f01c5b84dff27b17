//! The first start of a version from a savepoint: what is refused, and the files it begins with.

use std::collections::BTreeSet;

use millpond_state::store::{CheckpointId, Fate, Manifest, Store};

use super::folder::Folder;
use crate::host::graph::Graph;
use crate::plan::{Plan, Role};
use crate::run::local::caught;
use crate::run::reached::savepoint;
use crate::run::{FromSavepoint, Run};
use crate::savepoint::{Build, Fit, PARTIAL, Upgrade, Verdict, begin};
use crate::{Env, Exit, Fault};

/// A savepoint that a version begins with.
#[derive(Debug)]
pub(crate) struct Begins {
    pub(crate) folder: Folder,
    pub(crate) fit: Fit,
}

impl Begins {
    /// Reads a savepoint and compares it with what is drawn. Whether it fits is in [`Begins::fit`].
    ///
    /// # Errors
    /// When it cannot be read, is of another job, or of this very version.
    pub(crate) fn of(from: &FromSavepoint, env: &Env, graph: &Graph<'_>, plan: &Plan) -> Result<Begins, Fault> {
        let folder = Folder::open(&from.dir)?;
        let saved = &folder.description;
        let dir = from.dir.display();
        if saved.job != env.job {
            return Err(Fault::new(
                Exit::Refused,
                format!("the savepoint in {dir} is of job {}, and this is job {}", saved.job, env.job),
            ));
        }
        if saved.version == env.version {
            return Err(Fault::new(
                Exit::Refused,
                format!(
                    "the savepoint in {dir} is of {} itself: started from it again, that version would write twice what it has written \
                     since; start another version",
                    env.identity()
                ),
            ));
        }
        let upgrades = graph.upgrades.borrow();
        let takes = |uid: &str, shape: &millpond_state::Shape| find(upgrades.get(uid), shape).is_some();
        let sinks = graph.sinks.borrow();
        let tables = sinks.iter().filter(|sink| sink.outlet.upsert).map(|sink| sink.uid.clone()).collect();
        let sizes = graph.sizes.borrow();
        let build = Build { plan, takes: &takes, sizes: &sizes, tables };
        let drop: BTreeSet<String> = from.drop.iter().cloned().collect();
        let fit = Fit::of(&saved.steps, &build, &drop).map_err(|text| Fault::new(Exit::Usage, text))?;
        Ok(Begins { folder, fit })
    }

    /// Where a source goes on reading a partition, if it goes on.
    pub(crate) fn position(&self, source: &str, partition: u32) -> Option<u64> {
        let saved = self.folder.description.sources.get(source).filter(|_| self.fit.goes_on(source))?;
        saved.partitions.iter().find(|saved| saved.partition == partition).map(|saved| saved.next)
    }

    /// Refuses what does not fit.
    ///
    /// # Errors
    /// [`Exit::NeedsReplay`], with the steps that do not.
    pub(crate) fn fits(&self, env: &Env) -> Result<(), Fault> {
        match self.fit.refusal() {
            None => Ok(()),
            Some(why) => Err(Fault::new(
                Exit::NeedsReplay,
                format!("{} cannot start from the savepoint {}: {why}", env.identity(), self.folder.description.name()),
            )),
        }
    }

    /// Fills in the first manifest of the version, but for its files.
    ///
    /// # Errors
    /// When only a run that ends can go on from it.
    pub(crate) fn fill(&self, run: &Run, graph: &Graph<'_>, plan: &Plan, manifest: &mut Manifest) -> Result<(), Fault> {
        let sources = graph.sources.borrow();
        let endless = sources.iter().filter(|source| !source.bounded).map(|source| source.uid.clone()).collect();
        let sizes = graph.sizes.borrow();
        begin(&self.folder.description, &self.fit, plan, &sizes, &endless, run.until_end, manifest).map_err(|why| {
            Fault::new(Exit::Refused, format!("{} cannot start from the savepoint: {why}", run.env.identity()))
        })
    }

    /// Writes the state that goes on, upgraded where that was asked for, as the first file of the version's own store.
    ///
    /// # Errors
    /// When a file of the savepoint is not what was written, an upgrade fails, or the disk is full or fails.
    pub(crate) fn import(
        &self,
        env: &Env,
        graph: &Graph<'_>,
        plan: &Plan,
        store: &Store,
        manifest: &mut Manifest,
    ) -> Result<(), Fault> {
        let stateful = plan.nodes.iter().filter(|node| node.role == Role::Stateful);
        let upgrades = graph.upgrades.borrow();
        let upgraded = |uid: &str| -> Option<&Upgrade> {
            if self.fit.verdict(uid) != Some(Verdict::Upgraded) {
                return None;
            }
            let shapes = &self.folder.description.steps.get(uid)?.shapes;
            let (_, shape) = shapes.iter().find(|(name, _)| name == PARTIAL)?;
            find(upgrades.get(uid), &serde_json::from_value(shape.clone()).ok()?)
        };
        let goes_on: Vec<_> = stateful
            .filter(|node| self.fit.goes_on(&node.uid))
            .map(|node| (node.uid.as_str(), upgraded(&node.uid)))
            .collect();
        let mut wrong = None;
        let written = self.folder.restore()?.write_base(store.folder(), manifest.id, |entry, out| {
            let Some((_, upgrade)) = goes_on.iter().find(|(uid, _)| *uid == entry.uid) else { return Fate::Dropped };
            let Some(upgrade) = upgrade else { return Fate::Kept };
            let why = match caught(|| upgrade.convert(entry.key, entry.value, out)) {
                Ok(Ok(())) => return Fate::Changed,
                Ok(Err(error)) => error.to_string(),
                Err(text) => format!("it panicked: {text}"),
            };
            wrong = Some(Fault::new(
                Exit::FixJob,
                format!("{}: the state of {:?} cannot be upgraded: {why}", env.identity(), entry.uid),
            ));
            Fate::Stop
        });
        let file = written.map_err(|error| self.folder.broken(&error))?;
        if let Some(fault) = wrong {
            return Err(fault);
        }
        manifest.files = file.into_iter().collect();
        Ok(())
    }
}

/// The function of a step that takes state of this shape.
fn find<'a>(upgrades: Option<&'a Vec<Upgrade>>, shape: &millpond_state::Shape) -> Option<&'a Upgrade> {
    upgrades?.iter().find(|upgrade| shape.difference(upgrade.from()).is_none())
}

/// Whether a version that has state may be started with this savepoint: it may when it began with that very one, and then goes on.
///
/// # Errors
/// [`Exit::Refused`] when it began otherwise.
pub(crate) fn may_go_on(from: &FromSavepoint, env: &Env, at: CheckpointId, manifest: &Manifest) -> Result<(), Fault> {
    let refused = |why: String| {
        Err(Fault::new(
            Exit::Refused,
            format!(
                "{} has committed epoch {} already, and {why}: a savepoint starts only a version that has no state and no output, or what \
                 it wrote would be doubled; start it without the savepoint, or start another version",
                env.identity(),
                at.epoch
            ),
        ))
    };
    let Some(began) = savepoint(manifest) else { return refused("did not begin with a savepoint".to_owned()) };
    match Folder::open(&from.dir) {
        Ok(folder) if folder.description.name() != began => {
            refused(format!("began with the savepoint {began}, not with {}", folder.description.name()))
        }
        // It was needed once.
        Err(_) => Ok(()),
        Ok(_) => Ok(()),
    }
}
