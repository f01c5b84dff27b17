//! Checkpoints of earlier versions of the format stay loadable: `fixtures/v<n>/` holds one as it was written then.

use std::fs;
use std::path::{Path, PathBuf};

use super::store_tests::{Rows, rows};
use super::*;
use crate::{KeyGroup, Section, Timestamp};

fn fixture(version: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("store/fixtures/v{version}"))
}

fn id(epoch: u64) -> CheckpointId {
    CheckpointId { epoch, run: RunId::new(0x00f3_a9b2_c4d5_e6f7) }
}

/// Writes the checkpoint of `fixtures/v1`: a base, a merge and a part, of two workers, with deletions and dropped prefixes.
fn write(dir: &Path) {
    let store = Store::open(dir, id(0).run).unwrap();
    let part = |epoch: u64, worker: u32, groups: Range<u16>| {
        let mut counts = Section::new("counts");
        for key in 0..6 {
            let group = KeyGroup::new(groups.start + 100 * key);
            if u64::from(key) == epoch {
                counts.delete(group, |out| out.push(key as u8));
            } else {
                let value = format!("epoch {epoch}, worker {worker}");
                counts.put(group, |out| out.push(key as u8), |out| out.extend_from_slice(value.as_bytes()));
            }
        }
        let mut window = Section::new("views/window");
        window.drop_prefix(format!("w{}/", epoch - 1).as_bytes());
        let key = format!("w{epoch}/page");
        window.put(KeyGroup::new(groups.start + 7), |out| out.extend_from_slice(key.as_bytes()), |out| out.push(9));
        store.write_part(id(epoch), worker, groups, &Delta { sections: vec![counts, window] }).unwrap().unwrap()
    };
    let oldest = vec![part(1, 0, 0..512), part(1, 1, 512..1024)];
    let middle = vec![part(2, 0, 0..1024), part(3, 0, 0..1024)];
    let base = store.merge(&Merge { files: oldest.clone(), into: FileKind::Base }).unwrap();
    let merge = store.merge(&Merge { files: middle.clone(), into: FileKind::Delta }).unwrap();
    let files = base.into_iter().chain(merge).chain([part(4, 0, 0..1024)]).collect();
    let at = |secs: i64| Timestamp::from_secs(1_357_000_000 + secs);
    let clicks = PartitionState {
        partition: 2,
        next: 4_711,
        watermark: at(0),
        newest: at(5),
        end: Some(9_000),
        fingerprint: "0badcafe".into(),
        ..PartitionState::default()
    };
    let manifest = Manifest {
        job: "page-views".into(),
        job_version: 3,
        parent: Some(id(3)),
        plan: u64::MAX,
        shapes: vec![("counts".into(), serde_json::json!({ "key": "u8", "value": "str" }))],
        sources: [("clicks".into(), SourceState { partitions: vec![clicks], policy: "earliest".into() })].into(),
        fired: [("views/window".into(), vec![FiredRun { from: 0, to: 1024, watermark: Timestamp::MIN }])].into(),
        files,
        created: at(9),
        extra: [("codec".into(), "1".into())].into(),
        ..Manifest::new(id(4))
    };
    store.write_manifest(&manifest).unwrap();
    for file in oldest.iter().chain(&middle) {
        fs::remove_file(dir.join("checkpoints").join(&file.name)).unwrap();
    }
}

fn expected() -> Rows {
    let mut rows = Rows::new();
    for key in 0..6_u8 {
        // Epochs 2 to 4 were written by one worker with all groups, epoch 1 by two: the second one's keys lie in groups of their own.
        if key != 4 {
            rows.push(("counts".into(), 100 * u16::from(key), vec![key], b"epoch 4, worker 0".to_vec()));
        }
        if key != 1 {
            rows.push(("counts".into(), 512 + 100 * u16::from(key), vec![key], b"epoch 1, worker 1".to_vec()));
        }
    }
    rows.push(("views/window".into(), 7, b"w4/page".to_vec(), vec![9]));
    rows.sort();
    rows
}

#[test]
fn version_1_is_restored() {
    let checkpoints = Checkpoints::open(&fixture(1)).unwrap();
    assert_eq!(checkpoints.manifests().unwrap(), [id(4)]);
    assert!(checkpoints.verify(id(4)).unwrap().is_sound());
    let manifest = checkpoints.manifest_checked(id(4), 0xd5fd_ce7e).unwrap();
    assert_eq!(
        manifest.files.iter().map(|file| file.kind).collect::<Vec<_>>(),
        [FileKind::Base, FileKind::Delta, FileKind::Delta]
    );
    assert_eq!(manifest.sources["clicks"].partitions[0].next, 4_711);
    assert_eq!(manifest.fired["views/window"][0].watermark, Timestamp::MIN);
    assert_eq!(rows(checkpoints.restore(&manifest, 0..1024, None).unwrap()).unwrap(), expected());
}

/// A change of the format must raise its version, or older programs would read nonsense: same input, same bytes.
#[test]
fn version_1_is_what_is_written() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());
    let files = |dir: &Path| -> Vec<(String, Vec<u8>)> {
        let entries = fs::read_dir(dir.join("checkpoints")).unwrap().map(|entry| entry.unwrap());
        let mut files: Vec<_> =
            entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect();
        files.sort();
        files
    };
    let (found, fixed) = (files(dir.path()), files(&fixture(1)));
    let names = |files: &[(String, Vec<u8>)]| files.iter().map(|file| file.0.clone()).collect::<Vec<_>>();
    assert_eq!(names(&found), names(&fixed));
    for ((name, found), (_, fixed)) in found.iter().zip(&fixed) {
        assert!(found == fixed, "{name} is written with other bytes than in version 1");
    }
}
