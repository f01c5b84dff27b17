//! What is kept, what is deleted, and what the index has to do with it: nothing that could be lost.

use std::fs;
use std::path::Path;

use super::store_tests::{id, rows};
use super::*;
use crate::{KeyGroup, Section};

fn epoch(store: &Store, parent: Option<&Manifest>, epoch: u64) -> Manifest {
    let id = CheckpointId { epoch, run: store.run() };
    let mut section = Section::new("counts");
    section.put(KeyGroup::new(3), |out| out.extend_from_slice(&epoch.to_be_bytes()), |out| out.extend_from_slice(b"v"));
    let part = store.write_part(id, 0, 0..1024, &Delta { sections: vec![section] }).unwrap();
    let mut files = parent.map_or_else(Vec::new, |parent| parent.files.clone());
    files.extend(part);
    let manifest = Manifest { parent: parent.map(|parent| parent.id), files, ..Manifest::new(id) };
    store.write_manifest(&manifest).unwrap();
    manifest
}

fn chain(store: &Store, last: u64) -> Vec<Manifest> {
    let mut manifests: Vec<Manifest> = Vec::new();
    for number in 1..=last {
        manifests.push(epoch(store, manifests.last(), number));
    }
    manifests
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_merged_file_goes_when_the_last_checkpoint_that_names_it_goes() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), id(0).run).unwrap();
    let old = chain(&store, 2);
    let merge = Merge { files: old[1].files.clone(), into: FileKind::Base };
    let mut files = old[1].files.clone();
    assert!(merge.replace(&mut files, store.merge(&merge).unwrap()));
    let merged = Manifest { parent: Some(id(2)), files, ..Manifest::new(id(3)) };
    store.write_manifest(&merged).unwrap();
    assert_eq!(store.release(&merged, &[]).unwrap(), [format!("{}.manifest", id(1))]);
    let next = epoch(&store, Some(&merged), 4);
    let deleted = store.release(&next, &[]).unwrap();
    assert_eq!(deleted, [format!("{}.manifest", id(2)), format!("{}-0.part", id(1)), format!("{}-0.part", id(2))]);
    assert_eq!(rows(store.restore(&next, 0..1024, None).unwrap()).unwrap().len(), 3);
    assert_eq!(store.release(&next, &[]).unwrap(), Vec::<String>::new());
}

#[test]
fn nothing_is_released_for_a_checkpoint_that_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), id(0).run).unwrap();
    chain(&store, 3);
    let error = store.release(&Manifest::new(id(9)), &[]).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Missing);
    assert_eq!(store.manifests().unwrap().len(), 3);
}

#[test]
fn what_could_not_be_deleted_goes_with_the_next_release() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), id(0).run).unwrap();
    let manifests = chain(&store, 3);
    // A folder in the place of the oldest manifest cannot be deleted as a file.
    store.with_index(Index::lineage).unwrap();
    let path = dir.path().join(format!("checkpoints/{}.manifest", id(1)));
    let bytes = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(store.release(&manifests[2], &[]).unwrap_err().to_string().contains(path.to_str().unwrap()));
    fs::remove_dir(&path).unwrap();
    fs::write(&path, bytes).unwrap();
    let next = epoch(&store, manifests.last(), 4);
    assert_eq!(store.release(&next, &[]).unwrap().len(), 2);
}

#[test]
fn files_that_are_not_ours_are_let_alone() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("checkpoints");
    let manifests = chain(&Store::open(dir.path(), id(0).run).unwrap(), 4);
    let foreign =
        ["notes.txt", "notes.tmp", "000000000000dead-1-0.part.bak", "DEAD-1-0.part", "000000000000dead-01.manifest"];
    let dead = ["000000000000dead-9-0.part", "000000000000dead-9-1.base.tmp", "000000000000dead-9.manifest"];
    for name in foreign.iter().chain(&dead) {
        fs::write(folder.join(name), b"x").unwrap();
    }
    fs::create_dir_all(dir.path().join("index/mine")).unwrap();
    fs::create_dir_all(dir.path().join("index/000000000000dead")).unwrap();
    let store = Store::open(dir.path(), RunId::new(2)).unwrap();
    let mut deleted = store.discard_unfinished(Some(&manifests[3]), &[], Newer::Discard).unwrap();
    deleted.retain(|name| name.contains("dead"));
    deleted.sort();
    assert_eq!(deleted, dead);
    assert!(foreign.iter().all(|name| folder.join(name).exists()));
    assert_eq!(names(&dir.path().join("index")), ["0000000000000002", "mine"]);
}

#[test]
fn what_a_dead_run_wrote_beyond_the_committed_checkpoint_goes() {
    let dir = tempfile::tempdir().unwrap();
    let dead = Store::open(dir.path(), id(0).run).unwrap();
    let manifests = chain(&dead, 4);
    drop(dead);
    let store = Store::open(dir.path(), RunId::new(2)).unwrap();
    // The new run's own files are not touched, whatever they are.
    let own = store.write_part(CheckpointId { epoch: 3, run: store.run() }, 0, 0..1024, &{
        let mut section = Section::new("a");
        section.drop_prefix(b"");
        Delta { sections: vec![section] }
    });
    store.discard_unfinished(Some(&manifests[1]), &[], Newer::Discard).unwrap();
    assert_eq!(store.manifests().unwrap(), [id(1), id(2)]);
    let parts = [format!("{}-0.part", id(1)), format!("{}-0.part", id(2)), own.unwrap().unwrap().name];
    let mut found = names(&dir.path().join("checkpoints"));
    found.retain(|name| name.ends_with(".part"));
    let mut expected = parts.to_vec();
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn a_first_start_leaves_nothing_of_runs_that_never_committed() {
    let dir = tempfile::tempdir().unwrap();
    chain(&Store::open(dir.path(), id(0).run).unwrap(), 2);
    let store = Store::open(dir.path(), RunId::new(2)).unwrap();
    store.discard_unfinished(None, &[], Newer::Discard).unwrap();
    assert_eq!(names(&dir.path().join("checkpoints")), Vec::<String>::new());
}

#[test]
fn nothing_is_discarded_while_a_needed_manifest_cannot_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let manifests = chain(&Store::open(dir.path(), id(0).run).unwrap(), 4);
    let store = Store::open(dir.path(), RunId::new(2)).unwrap();
    let marked = dir.path().join(format!("checkpoints/{}.manifest", id(1)));
    let bytes = fs::read(&marked).unwrap();
    fs::write(&marked, &bytes[1..]).unwrap();
    let error = store.discard_unfinished(Some(&manifests[3]), &[id(1)], Newer::Discard).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{error}");
    assert_eq!(store.manifests().unwrap().len(), 4);
    // As soon as nobody needs it, it goes.
    store.discard_unfinished(Some(&manifests[3]), &[], Newer::Discard).unwrap();
    assert_eq!(store.manifests().unwrap(), [id(3), id(4)]);
}

#[test]
fn the_index_may_vanish_or_rot_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let index = dir.path().join("index");
    {
        let store = Store::open(dir.path(), id(0).run).unwrap();
        let manifests = chain(&store, 3);
        assert_eq!(store.release(&manifests[2], &[]).unwrap().len(), 1);
        assert_eq!(names(&index), [id(0).run.to_string()]);
        // Taken away while it is open.
        fs::remove_dir_all(&index).unwrap();
        let next = epoch(&store, manifests.last(), 4);
        assert_eq!(store.release(&next, &[]).unwrap(), [format!("{}.manifest", id(2))]);
        assert_eq!(rows(store.restore(&next, 0..1024, None).unwrap()).unwrap().len(), 4);
    }
    // Bytes changed, and the lock of a process that is gone.
    let store = Store::open(dir.path(), id(0).run).unwrap();
    store.with_index(Index::lineage).unwrap();
    drop(store);
    for file in fs::read_dir(index.join(id(0).run.to_string())).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            let length = fs::metadata(&path).unwrap().len() as usize;
            fs::write(&path, vec![0x5a; length]).unwrap();
        }
    }
    let store = Store::open(dir.path(), id(0).run).unwrap();
    let newest = store.manifest(id(4)).unwrap();
    let next = epoch(&store, Some(&newest), 5);
    assert_eq!(store.release(&next, &[]).unwrap(), [format!("{}.manifest", id(3))]);
    assert_eq!(store.with_index(Index::files).unwrap().len(), 5);
    // A file where the folder should be: an error that says so, and the checkpoints are as they were.
    drop(store);
    fs::remove_dir_all(&index).unwrap();
    fs::write(&index, b"in the way").unwrap();
    let store = Store::open(dir.path(), RunId::new(2)).unwrap();
    let error = store.release(&next, &[]).unwrap_err();
    assert!(error.to_string().contains(index.to_str().unwrap()), "{error}");
    assert_eq!(store.list().unwrap().len(), 2);
}

#[test]
fn other_processes_of_a_run_write_while_the_leader_has_the_index() {
    let dir = tempfile::tempdir().unwrap();
    let leader = Store::open(dir.path(), id(0).run).unwrap();
    let manifests = chain(&leader, 3);
    leader.release(&manifests[2], &[]).unwrap();
    let other = Store::open(dir.path(), id(0).run).unwrap();
    let mut section = Section::new("counts");
    section.put(KeyGroup::new(900), |out| out.push(1), |out| out.push(1));
    let part = other.write_part(id(4), 1, 512..1024, &Delta { sections: vec![section] }).unwrap();
    let files = manifests[2].files.iter().cloned().chain(part).collect();
    let next = Manifest { parent: Some(id(3)), files, ..Manifest::new(id(4)) };
    leader.write_manifest(&next).unwrap();
    assert_eq!(leader.release(&next, &[]).unwrap().len(), 1);
    assert_eq!(rows(other.restore(&next, 512..1024, None).unwrap()).unwrap().len(), 1);
}

#[test]
fn verify_finds_what_a_restore_of_some_groups_does_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), id(0).run).unwrap();
    let mut section = Section::new("counts");
    for key in 0..2_000_u32 {
        let group = KeyGroup::new((key / 2) as u16);
        section.put(group, |out| out.extend_from_slice(&key.to_be_bytes()), |out| out.extend_from_slice(&[1; 200]));
    }
    let part = store.write_part(id(1), 0, 0..1024, &Delta { sections: vec![section] }).unwrap().unwrap();
    let manifest = Manifest { files: vec![part.clone()], ..Manifest::new(id(1)) };
    let checksum = store.write_manifest(&manifest).unwrap();
    let report = Checkpoints::open(dir.path()).unwrap().verify(id(1)).unwrap();
    assert!(report.is_sound());
    assert_eq!((report.checksum, report.files[0].entries), (checksum, 2_000));

    let path = dir.path().join("checkpoints").join(&part.name);
    let mut bytes = fs::read(&path).unwrap();
    bytes[300_000] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert_eq!(rows(store.restore(&manifest, 0..100, None).unwrap()).unwrap().len(), 200);
    let report = store.verify(id(1)).unwrap();
    assert!(!report.is_sound());
    let problem = report.files[0].problem.as_ref().unwrap();
    assert!(problem.to_string().contains(&part.name) && problem.to_string().contains("offset 262"), "{problem}");

    fs::remove_file(&path).unwrap();
    let report = store.verify(id(1)).unwrap();
    assert_eq!(report.files[0].problem.as_ref().unwrap().kind(), StoreErrorKind::Missing);
    assert_eq!(store.verify(id(7)).unwrap_err().kind(), StoreErrorKind::Missing);
}
