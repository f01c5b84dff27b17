//! Random lives of a job against a map: epochs of several workers, rescaling, merges, releases, crashes, restores on other numbers of
//! workers. A failure names its seed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use super::disk_tests::Faulty;
use super::store_tests::rows;
use super::*;
use crate::{KeyGroup, Section};

type Model = BTreeMap<(String, u16, Vec<u8>), Vec<u8>>;

/// SplitMix64: tests have no other randomness.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
    fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
    fn key(&mut self) -> Vec<u8> {
        let mut key = vec![b'a' + self.below(3) as u8];
        key.extend((0..self.below(3)).map(|_| self.below(3) as u8 * 0x7f));
        // Some keys are equal in their first 8 bytes, some longer than others of which they are the beginning.
        if self.one_in(4) { [&[b'z'; 8], key.as_slice()].concat() } else { key }
    }
}

const UIDS: [&str; 3] = ["views", "late", "views/window"];

fn ranges(workers: usize) -> Vec<Range<u16>> {
    let start = |worker| {
        KeyGroup::all().find(|group| group.worker(workers) >= worker).map_or(1024, |group| group.index() as u16)
    };
    (0..workers).map(|worker| start(worker)..start(worker + 1)).collect()
}

/// What one worker does in an epoch, in the delta and in the model.
fn change(random: &mut Random, groups: &Range<u16>, model: &mut Model) -> Delta {
    let mut sections = Vec::new();
    for _ in 0..random.below(4) {
        let uid = UIDS[random.below(3) as usize];
        if sections.iter().any(|section: &Section| section.uid() == uid) {
            continue;
        }
        let mut section = Section::new(uid);
        for _ in 0..if random.one_in(3) { random.below(3) } else { 0 } {
            let mut prefix = random.key();
            prefix.truncate(random.below(3) as usize);
            model.retain(|(of, group, key), _| of != uid || !groups.contains(group) || !key.starts_with(&prefix));
            section.drop_prefix(&prefix);
        }
        for _ in 0..random.below(60) {
            // Few groups, some at the borders, so that keys meet again.
            let width = u64::from(groups.end - groups.start);
            let group = [0, width - 1, width / 2, 7 % width][random.below(4) as usize] as u16 + groups.start;
            let key = random.key();
            if random.one_in(3) {
                section.delete(KeyGroup::new(group), |out| out.extend_from_slice(&key));
                model.remove(&(uid.to_owned(), group, key));
            } else {
                let length = if random.one_in(200) { 150_000 } else { random.below(30) as usize };
                let value = vec![random.next() as u8; length];
                section.put(
                    KeyGroup::new(group),
                    |out| out.extend_from_slice(&key),
                    |out| out.extend_from_slice(&value),
                );
                model.insert((uid.to_owned(), group, key), value);
            }
        }
        sections.push(section);
    }
    Delta { sections }
}

fn check(store: &Store, manifest: &Manifest, workers: usize, model: &Model) {
    let mut found = Model::new();
    for groups in ranges(workers) {
        let rows = rows(store.restore(manifest, groups.clone(), None).unwrap()).unwrap();
        assert!(rows.is_sorted_by(|a, b| (&a.0, a.1, &a.2) < (&b.0, b.1, &b.2)), "in order, each key once");
        assert!(rows.iter().all(|row| groups.contains(&row.1)));
        found.extend(rows.into_iter().map(|(uid, group, key, value)| ((uid, group, key), value)));
    }
    assert!(&found == model, "{} on {workers} workers: {} entries, {} expected", manifest.id, found.len(), model.len());
}

fn merge_some(random: &mut Random, store: &Store, files: &mut Vec<FileRef>) {
    let chosen = choose(files);
    let merge = chosen.or_else(|| {
        let (from, to) = (random.below(files.len() as u64 + 1) as usize, random.below(files.len() as u64 + 1) as usize);
        let into = if from == 0 { FileKind::Base } else { FileKind::Delta };
        (from < to).then(|| Merge { files: files[from..to].to_vec(), into })
    });
    if let Some(merge) = merge {
        let result = store.merge(&merge).unwrap();
        assert!(merge.replace(files, result));
    }
}

/// The index says what the manifests say, no more and no less.
fn check_index(store: &Store) {
    let manifests: Vec<Manifest> = store.list().unwrap().into_iter().map(|(_, manifest)| manifest.unwrap()).collect();
    let mut references: BTreeMap<String, (FileRef, u32)> = BTreeMap::new();
    for file in manifests.iter().flat_map(|manifest| &manifest.files) {
        references.entry(file.name.clone()).or_insert_with(|| (file.clone(), 0)).1 += 1;
    }
    let indexed = store.with_index(Index::files).unwrap().into_iter().map(|one| (one.file, one.references));
    assert!(indexed.eq(references.into_values()));
    let lineage: BTreeSet<_> = store.with_index(Index::lineage).unwrap().into_iter().collect();
    assert_eq!(
        lineage,
        manifests.iter().map(|manifest| Lineage { id: manifest.id, parent: manifest.parent }).collect()
    );
}

fn life(seed: u64) {
    let mut random = Random(seed);
    let dir = tempfile::tempdir().unwrap();
    let open = |run| Store::open_on(dir.path(), RunId::new(run), Box::new(Faulty::default())).unwrap();
    let (mut run, mut workers) = (1, 1);
    let mut store = open(run);
    let mut committed = Manifest::new(CheckpointId { epoch: 0, run: store.run() });
    store.write_manifest(&committed).unwrap();
    let mut models = BTreeMap::from([(committed.id, Model::new())]);
    let (mut marker, mut parents) = (committed.id, BTreeMap::from([(committed.id, None)]));
    let mut tip = committed.clone();
    for epoch in 1..=12 {
        if random.one_in(4) {
            // A crash, often with something half done; the next run has another number of workers.
            if random.one_in(2) {
                let id = CheckpointId { epoch, run: store.run() };
                let _ = store.write_part(id, 0, 0..1024, &change(&mut random, &(0..1024), &mut Model::new()));
            }
            drop(store);
            run += 1;
            workers = [1, 2, 3, 6][random.below(4) as usize];
            store = open(run);
            store.discard_unfinished(Some(&committed), &[marker], Newer::Discard).unwrap();
            tip = committed.clone();
        }
        let mut model = models[&tip.id].clone();
        let id = CheckpointId { epoch, run: store.run() };
        let mut files = tip.files.clone();
        for (worker, groups) in ranges(workers).into_iter().enumerate() {
            let delta = change(&mut random, &groups, &mut model);
            files.extend(store.write_part(id, worker as u32, groups, &delta).unwrap());
        }
        if random.one_in(2) {
            merge_some(&mut random, &store, &mut files);
        }
        tip = Manifest { parent: Some(tip.id), files, ..Manifest::new(id) };
        store.write_manifest(&tip).unwrap();
        models.insert(id, model);
        if !random.one_in(3) {
            committed = tip.clone();
            if random.one_in(2) {
                marker = committed.id;
            }
            if random.one_in(2) {
                store.release(&committed, &[marker]).unwrap();
            }
        }
        check(&store, &committed, [1, 2, 3, 6][random.below(4) as usize], &models[&committed.id]);
        for (id, manifest) in store.list().unwrap() {
            let manifest = manifest.unwrap();
            parents.insert(id, manifest.parent);
            if random.one_in(3) {
                check(&store, &manifest, 1, &models[&id]);
                assert!(store.verify(id).unwrap().is_sound());
            }
        }
        let chain =
            std::iter::successors(Some(committed.id), |id| parents[id]).take_while(|id| id.epoch >= marker.epoch);
        assert!(chain.clone().any(|id| id == marker));
        chain.for_each(|id| drop(store.manifest(id).expect("a follower still needs it")));
        check_index(&store);
    }
    drop(store);
    let store = open(run + 1);
    store.discard_unfinished(Some(&committed), &[], Newer::Discard).unwrap();
    let mut needed: BTreeSet<String> = committed.files.iter().map(|file| file.name.clone()).collect();
    for id in committed.parent.into_iter().chain([committed.id]) {
        if let Ok(manifest) = store.manifest(id) {
            needed.extend(manifest.files.into_iter().map(|file| file.name).chain([Name::Manifest(id).to_string()]));
        }
    }
    let names = fs::read_dir(dir.path().join("checkpoints"))
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.collect::<BTreeSet<_>>(), needed);
}

#[test]
fn any_life_of_a_job_restores_to_what_a_map_holds() {
    for seed in 0..120 {
        if let Err(panic) = std::panic::catch_unwind(|| life(seed)) {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
