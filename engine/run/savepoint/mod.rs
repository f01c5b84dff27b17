//! Savepoints on disk: `folder` is one as it lies there, `take` makes it, `begin` is the start of a version from it.
//!
//! A savepoint is taken by another process than the job's. It asks the job, where it runs, to close an epoch, reads which checkpoint is
//! committed, and opens that one's files. From then on the job may merge and delete what it likes: an open file stays readable. Should it
//! have been quicker, there is a newer commit, and that is taken.

pub(crate) mod begin;
pub(crate) mod folder;
pub(crate) mod take;
