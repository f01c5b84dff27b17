//! The store as its callers see it: write, name, restore; and what changed bytes do.

use std::fs;
use std::path::Path;

use super::*;
use crate::{KeyGroup, Section, Timestamp};

pub(crate) type Rows = Vec<(String, u16, Vec<u8>, Vec<u8>)>;

pub(crate) fn rows(mut restore: Restore) -> Result<Rows, StoreError> {
    let mut rows = Vec::new();
    while let Some(entry) = restore.next_entry()? {
        rows.push((entry.uid.to_owned(), entry.group.index() as u16, entry.key.to_vec(), entry.value.to_vec()));
    }
    Ok(rows)
}

pub(crate) fn id(epoch: u64) -> CheckpointId {
    CheckpointId { epoch, run: RunId::new(0xa11ce) }
}

fn put(section: &mut Section, group: u16, key: &[u8], value: &[u8]) {
    section.put(KeyGroup::new(group), |out| out.extend_from_slice(key), |out| out.extend_from_slice(value));
}

fn delete(section: &mut Section, group: u16, key: &[u8]) {
    section.delete(KeyGroup::new(group), |out| out.extend_from_slice(key));
}

/// Two epochs of two workers: entries of two operators, one large, deletions, dropped prefixes.
fn two_epochs(store: &Store) -> (Manifest, u32) {
    let mut files = Vec::new();
    for (worker, groups) in [(0, 0..512), (1, 512..1024)] {
        let mut counts = Section::new("counts");
        for key in 0..200_u32 {
            put(&mut counts, groups.start + (key % 7) as u16, &key.to_be_bytes(), &[b'x'; 300]);
        }
        put(&mut counts, groups.start, b"large", &vec![7; 200_000]);
        let mut window = Section::new("window");
        put(&mut window, groups.start + 1, b"w1/a", b"1");
        put(&mut window, groups.start + 1, b"w2/a", b"1");
        let delta = Delta { sections: vec![window, counts] };
        files.extend(store.write_part(id(1), worker, groups, &delta).unwrap());
    }
    let mut window = Section::new("window");
    put(&mut window, 1, b"w1/b", b"old");
    put(&mut window, 1, b"w1/b", b"new");
    delete(&mut window, 2, b"never there");
    window.drop_prefix(b"w1/");
    let mut counts = Section::new("counts");
    delete(&mut counts, 0, b"large");
    files.extend(store.write_part(id(2), 0, 0..512, &Delta { sections: vec![window, counts] }).unwrap());
    let manifest = Manifest { files, created: Timestamp::from_secs(1), ..Manifest::new(id(2)) };
    let checksum = store.write_manifest(&manifest).unwrap();
    (manifest, checksum)
}

#[test]
fn what_was_written_is_restored() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), id(0).run).unwrap();
    let (written, checksum) = two_epochs(&store);
    let manifest = store.manifest_checked(id(2), checksum).unwrap();
    assert_eq!(manifest, written);
    assert_eq!(store.manifests().unwrap(), [id(2)]);

    let all = rows(store.restore(&manifest, 0..1024, None).unwrap()).unwrap();
    assert!(all.is_sorted());
    assert_eq!(all.iter().filter(|row| row.0 == "counts").count(), 401);
    let window: Vec<_> = all.iter().filter(|row| row.0 == "window").collect();
    let row = |group, key: &[u8], value: &[u8]| ("window".to_owned(), group, key.to_vec(), value.to_vec());
    // The drop of worker 0 reaches its own groups only, and not what it wrote itself.
    assert_eq!(
        window,
        [&row(1, b"w1/b", b"new"), &row(1, b"w2/a", b"1"), &row(513, b"w1/a", b"1"), &row(513, b"w2/a", b"1")]
    );

    let mut pieces = rows(store.restore(&manifest, 0..2, Some("window")).unwrap()).unwrap();
    pieces.extend(rows(store.restore(&manifest, 2..513, Some("window")).unwrap()).unwrap());
    pieces.extend(rows(store.restore(&manifest, 513..1024, Some("window")).unwrap()).unwrap());
    assert_eq!(pieces.iter().collect::<Vec<_>>(), window);
}

#[test]
fn an_empty_delta_needs_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), id(0).run).unwrap();
    let delta = Delta { sections: vec![Section::new("a")] };
    assert_eq!(store.write_part(id(1), 0, 0..1024, &delta).unwrap(), None);
    store.write_manifest(&Manifest::new(id(1))).unwrap();
    let manifest = store.manifest(id(1)).unwrap();
    assert_eq!(rows(store.restore(&manifest, 0..1024, None).unwrap()).unwrap(), []);
}

#[test]
fn nothing_is_written_over() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), id(0).run).unwrap();
    let (manifest, _) = two_epochs(&store);
    assert_eq!(store.write_manifest(&manifest).unwrap_err().kind(), StoreErrorKind::Taken);
    let mut section = Section::new("a");
    put(&mut section, 0, b"k", b"v");
    let error = store.write_part(id(1), 0, 0..1024, &Delta { sections: vec![section] }).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Taken);
}

#[test]
fn a_manifest_names_only_files_that_are_there() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), id(0).run).unwrap();
    let (manifest, _) = two_epochs(&store);
    let file = dir.path().join("checkpoints").join(&manifest.files[0].name);
    fs::remove_file(&file).unwrap();
    let error = store.write_manifest(&Manifest { id: id(3), ..manifest }).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Missing);
    assert!(error.to_string().contains(file.to_str().unwrap()), "{error}");
}

fn reads(dir: &Path, checksum: u32) -> Result<Rows, StoreError> {
    let store = Store::open(dir, id(0).run)?;
    let manifest = store.manifest_checked(id(2), checksum)?;
    rows(store.restore(&manifest, 0..1024, None)?)
}

#[test]
fn every_flipped_byte_is_an_error_that_names_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let (manifest, checksum) = two_epochs(&Store::open(dir.path(), id(0).run).unwrap());
    let mut names: Vec<String> = manifest.files.iter().map(|file| file.name.clone()).collect();
    names.push(Name::Manifest(id(2)).to_string());
    for name in names {
        let path = dir.path().join("checkpoints").join(&name);
        let bytes = fs::read(&path).unwrap();
        // All of the ends, and a sample of what is between.
        let ends = bytes.len().saturating_sub(400);
        for at in (0..bytes.len()).filter(|at| *at < 300 || *at >= ends || at % 4_999 == 0) {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            fs::write(&path, &changed).unwrap();
            let error = reads(dir.path(), checksum).expect_err(&format!("{name} byte {at}"));
            assert!(
                matches!(error.kind(), StoreErrorKind::Corrupt | StoreErrorKind::Newer),
                "{name} byte {at}: {error}"
            );
            assert!(error.to_string().contains(&name) && error.to_string().contains("offset"), "{error}");
        }
        for cut in [0, 1, 11, 12, 13, 30, bytes.len() / 2, bytes.len() - 21, bytes.len() - 1] {
            fs::write(&path, &bytes[..cut]).unwrap();
            assert_eq!(reads(dir.path(), checksum).unwrap_err().kind(), StoreErrorKind::Corrupt, "{name} cut at {cut}");
        }
        fs::write(&path, [&bytes[..], b"\0"].concat()).unwrap();
        assert_eq!(reads(dir.path(), checksum).unwrap_err().kind(), StoreErrorKind::Corrupt, "{name} one byte longer");
        fs::remove_file(&path).unwrap();
        let error = reads(dir.path(), checksum).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Missing);
        assert!(error.to_string().contains(&name), "{error}");
        fs::write(&path, &bytes).unwrap();
    }
    reads(dir.path(), checksum).unwrap();
}

#[test]
fn a_whole_file_in_the_place_of_another_is_found_out() {
    let dir = tempfile::tempdir().unwrap();
    let (manifest, checksum) = two_epochs(&Store::open(dir.path(), id(0).run).unwrap());
    let path = |at: usize| dir.path().join("checkpoints").join(&manifest.files[at].name);
    let (first, second) = (fs::read(path(0)).unwrap(), fs::read(path(1)).unwrap());
    assert_eq!(first.len(), second.len(), "only the checksum can tell them apart");
    fs::write(path(0), second).unwrap();
    assert_eq!(reads(dir.path(), checksum).unwrap_err().kind(), StoreErrorKind::Corrupt);
    fs::write(path(0), first).unwrap();
    let error = reads(dir.path(), checksum ^ 1).unwrap_err();
    assert!(error.to_string().contains("commit record names"), "{error}");
}

#[test]
fn a_newer_format_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (manifest, checksum) = two_epochs(&Store::open(dir.path(), id(0).run).unwrap());
    let path = dir.path().join("checkpoints").join(&manifest.files[0].name);
    let mut bytes = fs::read(&path).unwrap();
    bytes[8] = 2;
    fs::write(&path, &bytes).unwrap();
    let error = reads(dir.path(), checksum).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Newer, "{error}");
}

#[test]
#[should_panic(expected = "key group 600 is not among 0..512")]
fn a_worker_writes_its_own_groups_only() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), id(0).run).unwrap();
    let mut section = Section::new("a");
    put(&mut section, 600, b"k", b"v");
    let _ = store.write_part(id(1), 0, 0..512, &Delta { sections: vec![section] });
}
