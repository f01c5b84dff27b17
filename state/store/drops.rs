//! Dropped prefixes of several files, asked entry by entry.

use std::ops::Range;

use hashbrown::HashMap;

use super::footer::Dropped;

/// The prefixes that files dropped, for one operator.
#[derive(Debug, Default)]
pub(crate) struct Drops {
    by_prefix: HashMap<Vec<u8>, Vec<Reach>>,
    /// The different lengths of prefixes: as a rule one or two, so that an entry costs one or two look-ups.
    lengths: Vec<usize>,
    newest: usize,
}

#[derive(Debug)]
struct Reach {
    file: usize,
    groups: Range<u16>,
}

impl Drops {
    /// Adds what `file` (0 is the oldest) dropped.
    pub(crate) fn add(&mut self, file: usize, drops: &[Dropped]) {
        for dropped in drops {
            let reach = Reach { file, groups: dropped.from..dropped.to };
            self.by_prefix.entry_ref(dropped.prefix.as_slice()).or_default().push(reach);
            if !self.lengths.contains(&dropped.prefix.len()) {
                self.lengths.push(dropped.prefix.len());
            }
            self.newest = self.newest.max(file);
        }
    }

    /// Whether a file newer than `file` dropped this key.
    #[inline]
    pub(crate) fn after(&self, file: usize, group: u16, key: &[u8]) -> bool {
        file < self.newest && self.any(group, key, |reach| reach.file > file)
    }

    /// Whether any of the files dropped this key.
    pub(crate) fn ever(&self, group: u16, key: &[u8]) -> bool {
        self.any(group, key, |_| true)
    }

    fn any(&self, group: u16, key: &[u8], counts: impl Fn(&Reach) -> bool) -> bool {
        self.lengths.iter().filter_map(|length| self.by_prefix.get(key.get(..*length)?)).any(|reaches| {
            // Newest last, and the newest reaches furthest.
            reaches.iter().rev().any(|reach| reach.groups.contains(&group) && counts(reach))
        })
    }

    /// All of them as one file's, equal prefixes of neighbouring groups joined.
    pub(crate) fn union(&self) -> Vec<Dropped> {
        let each = |(prefix, reaches): (&Vec<u8>, &Vec<Reach>)| {
            let of_prefix =
                |reach: &Reach| Dropped { prefix: prefix.clone(), from: reach.groups.start, to: reach.groups.end };
            reaches.iter().map(of_prefix).collect::<Vec<_>>()
        };
        let mut all: Vec<Dropped> = self.by_prefix.iter().flat_map(each).collect();
        all.sort();
        let mut union: Vec<Dropped> = Vec::with_capacity(all.len());
        for dropped in all {
            match union.last_mut() {
                Some(last) if last.prefix == dropped.prefix && dropped.from <= last.to => {
                    last.to = last.to.max(dropped.to)
                }
                _ => union.push(dropped),
            }
        }
        union
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dropped(prefix: &[u8], from: u16, to: u16) -> Dropped {
        Dropped { prefix: prefix.to_vec(), from, to }
    }

    #[test]
    fn a_prefix_reaches_older_files_of_its_groups_only() {
        let mut drops = Drops::default();
        drops.add(2, &[dropped(b"w1", 0, 512)]);
        assert!(drops.after(1, 511, b"w1/key"));
        assert!(drops.after(0, 0, b"w1"));
        assert!(!drops.after(2, 0, b"w1/key"), "not its own entries");
        assert!(!drops.after(1, 512, b"w1/key"), "not another worker's groups");
        assert!(!drops.after(1, 0, b"w"), "not a shorter key");
        assert!(drops.ever(0, b"w1/key"));
    }

    #[test]
    fn unions_join_neighbours() {
        let mut drops = Drops::default();
        drops.add(0, &[dropped(b"a", 0, 512), dropped(b"", 3, 4)]);
        drops.add(1, &[dropped(b"a", 512, 1024), dropped(b"b", 1, 2)]);
        drops.add(2, &[dropped(b"a", 100, 200), dropped(b"b", 3, 4)]);
        let expected = [dropped(b"", 3, 4), dropped(b"a", 0, 1024), dropped(b"b", 1, 2), dropped(b"b", 3, 4)];
        assert_eq!(drops.union(), expected);
    }
}
