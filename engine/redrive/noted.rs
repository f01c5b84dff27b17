//! Pairs in the notes of a manifest: a name or number and a number each, in their order, and only the newest of many.

use std::fmt::Display;
use std::str::FromStr;

use millpond_state::store::Manifest;

/// The pairs under this name, written `a:b c:d`. Those that are none are left out.
pub(super) fn pairs<T: FromStr>(manifest: &Manifest, under: &str) -> Vec<(T, u64)> {
    let text = manifest.extra.get(under).map(String::as_str).unwrap_or_default();
    let pair = |pair: &str| {
        let (one, other) = pair.split_once(':')?;
        Some((one.parse().ok()?, other.parse().ok()?))
    };
    text.split(' ').filter_map(pair).collect()
}

/// Writes the newest of them, so many.
pub(super) fn note<T: Display>(manifest: &mut Manifest, under: &str, pairs: &[(T, u64)], most: usize) {
    let newest = &pairs[pairs.len().saturating_sub(most)..];
    let text: Vec<_> = newest.iter().map(|(one, other)| format!("{one}:{other}")).collect();
    manifest.extra.insert(under.to_owned(), text.join(" "));
}
