//! Retention: which segments are old enough to go.

use std::fs::File;
use std::path::Path;

use millpond_state::Timestamp;

use super::LogError;
use super::commits::Ends;
use super::index::Index;
use super::partition::complete_segments;
use super::segment;
use super::topic::Settings;

/// The least offset to keep: the beginning of a segment, and at most that of the one that grows.
pub(super) fn first_kept(dir: &Path, ends: Ends, settings: &Settings, now: Timestamp) -> Result<u64, LogError> {
    let mut start = ends.start;
    if settings.kept_bytes().is_none() && settings.kept_micros().is_none() {
        return Ok(start);
    }
    let mut complete = Vec::new();
    for (base, next) in complete_segments(dir, ends)? {
        let path = segment::path(dir, base);
        let file = File::open(&path).map_err(LogError::io("open", &path))?;
        let bytes = file.metadata().map_err(LogError::io("read", &path))?.len();
        complete.push((next, bytes, Index::of(&file, &path)?.greatest_append));
    }
    let mut after = ends.position + complete.iter().map(|(_, bytes, _)| bytes).sum::<u64>();
    for (next, bytes, newest) in complete {
        after -= bytes;
        let enough = settings.kept_bytes().is_some_and(|keep| after >= keep);
        let aged = settings.kept_micros().is_some_and(|keep| now.micros().saturating_sub(newest) > keep);
        if !(enough || aged) {
            break;
        }
        start = start.max(next);
    }
    Ok(start)
}
