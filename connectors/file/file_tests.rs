//! Files: broken, damaged, compressed, resumed.

use std::io::Write as _;

use millpond_engine::source::{Read, Reader as _};
use millpond_state::Timestamp;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::*;
use crate::trial::{self, Taken};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Row {
    name: String,
    count: i32,
    note: Option<String>,
}

fn row(name: &str, count: i32, note: Option<&str>) -> Row {
    Row { name: name.into(), count, note: note.map(str::to_owned) }
}

fn write(dir: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = dir.path().join(name);
    let bytes = if name.ends_with(".gz") {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    } else if name.ends_with(".zst") {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.include_checksum(true).unwrap();
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    } else {
        bytes.to_owned()
    };
    std::fs::write(&path, bytes).unwrap();
    path
}

fn reader<T: Data, R: Rows<T>>(source: &FileSource<T, R>, next: u64) -> FileReader<T, R> {
    let partitions = source.paths.len() as u32;
    let assigned: Vec<_> = (0..partitions).map(|partition| Assigned { partition, next, end: None }).collect();
    source.open(&trial::env(), &assigned, trial::waker()).unwrap()
}

fn fault<T: Data, R: Rows<T>>(source: &FileSource<T, R>, next: u64) -> Fault {
    let mut reader = reader(source, next);
    loop {
        match reader.read(0, 10, &mut Taken::default()) {
            Err(fault) => return fault,
            Ok(Read::Finished) => panic!("no fault"),
            Ok(_) => std::thread::yield_now(),
        }
    }
}

#[test]
fn csv_is_read_by_the_names_of_its_header() {
    let dir = tempfile::tempdir().unwrap();
    let text = b"count,note,name\n1,,a\n-2,\"x, \"\"y\"\"\nz\",b\n\n3,n,c";
    for name in ["t.csv", "t.csv.gz", "t.csv.zst"] {
        let source = File::csv::<Row>(write(&dir, name, text));
        let all = [row("a", 1, None), row("b", -2, Some("x, \"y\"\nz")), row("c", 3, Some("n"))];
        assert_eq!(trial::read_all(&mut reader(&source, 0), 0, 100).values(), all);
    }
}

#[test]
fn broken_csv_lines_are_refused_with_their_bytes_and_the_rest_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let text = b"name,count,note\na,1,\nb,1\nc,x,\n\xff,1,\nd,1,2,3\ne,5,\nf,1,\"open\ng,6,\n";
    let source = File::csv::<Row>(write(&dir, "t.csv", text));
    let mut reader = reader(&source, 0);
    let taken = trial::read_all(&mut reader, 0, 100);
    assert_eq!(taken.values(), [row("a", 1, None), row("e", 5, None), row("g", 6, None)]);
    assert_eq!(taken.offsets(), [0, 5, 7]);
    let path = dir.path().join("t.csv");
    let reasons: Vec<_> = taken.refused.iter().map(|(at, reason)| (at.offset, reason.as_str())).collect();
    assert_eq!(reasons.len(), 5, "{reasons:?}");
    for ((offset, reason), (expected, line, part)) in reasons.iter().zip([
        (1, 3, "2 fields, and the header has 3"),
        (2, 4, "column \"count\": invalid digit"),
        (3, 5, "column \"name\": "),
        (4, 6, "4 fields, and the header has 3"),
        (6, 8, "a quote is opened and never closed"),
    ]) {
        assert_eq!(*offset, expected);
        assert!(reason.starts_with(&format!("{} line {line}: ", path.display())), "{reason}");
        assert!(reason.contains(part), "{reason}");
    }
    assert_eq!(reader.original(0, 2).map(|original| original.value), None, "only the last batch is kept");
}

#[test]
fn original_bytes_are_there_for_the_batch_read_last() {
    let dir = tempfile::tempdir().unwrap();
    let source = File::json_lines::<Row>(write(&dir, "t.jsonl", b"{}\n\n[1,2] \r\n{\"name\":\"a\",\"count\":1}\n"));
    for most in [1, 2, 100] {
        let mut reader = reader(&source, 0);
        let mut taken = Taken::default();
        let mut kept = Vec::new();
        while reader.read(0, most, &mut taken).unwrap() != Read::Finished {
            for (arrival, reason) in taken.refused.drain(..) {
                kept.push((reader.original(0, arrival.offset).unwrap().value.unwrap(), reason));
            }
        }
        assert_eq!(kept.iter().map(|(bytes, _)| bytes.as_slice()).collect::<Vec<_>>(), [&b"{}"[..], b"[1,2] "]);
        assert!(kept[0].1.contains("t.jsonl line 1: not the JSON expected: missing field `name`"), "{}", kept[0].1);
        assert!(kept[1].1.contains("t.jsonl line 3: "), "{}", kept[1].1);
        assert_eq!((taken.values(), taken.offsets()), (vec![row("a", 1, None)], vec![2]));
    }
}

#[test]
fn every_position_is_a_place_to_go_on_from() {
    let dir = tempfile::tempdir().unwrap();
    // Several blocks: a record is some 20 KiB long.
    let line = |n: usize| format!("{n}{}", "é".repeat(10_000));
    let text: String = (0..60).map(|n| line(n) + "\n").collect();
    for name in ["t.txt", "t.txt.gz", "t.txt.zst"] {
        let source = File::lines(write(&dir, name, text.as_bytes()));
        for next in [0, 1, 11, 12, 13, 14, 30, 59, 60] {
            let taken = trial::read_all(&mut reader(&source, next), 0, 7);
            assert_eq!(taken.offsets(), (next..60).collect::<Vec<_>>());
            assert!(taken.values().iter().zip(next..).all(|(value, n)| *value == line(n as usize)));
        }
        let fault = fault(&source, 61);
        assert_eq!(fault.exit(), Exit::Restore);
        assert!(fault.to_string().contains("has 60 records and the job stands at 61"), "{fault}");
    }
}

#[test]
fn a_seek_goes_back_within_a_block_and_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let text: String = (0..100_000).map(|n| format!("{n:010}\n")).collect();
    let source = File::lines(write(&dir, "t.txt", text.as_bytes()));
    let mut reader = reader(&source, 0);
    assert_eq!(trial::read_all(&mut reader, 0, 3_000).taken.len(), 100_000);
    for offset in [99_999, 99_000, 17, 0, 60_000] {
        reader.seek(0, offset).unwrap();
        let taken = trial::read_all(&mut reader, 0, 3_000);
        assert_eq!(taken.offsets(), (offset..100_000).collect::<Vec<_>>());
        assert_eq!(taken.values()[0], format!("{offset:010}"));
    }
}

#[test]
fn several_files_are_partitions_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let paths = ["a", "b", "c"].map(|name| write(&dir, name, format!("{name}1\n{name}2\n").as_bytes()));
    let source = File::lines(&paths[0]).and_all(&paths[1..]);
    assert_eq!(source.plan().from, "a, b, c");
    let found = source.connect(&trial::env(), &From::Offsets(vec![(1, 1)])).unwrap();
    assert_eq!(found.iter().map(|found| (found.partition, found.start)).collect::<Vec<_>>(), [(0, 0), (1, 1), (2, 0)]);
    let mut reader = reader(&source, 1);
    for (slot, name) in ["a2", "b2", "c2"].iter().enumerate() {
        assert_eq!(trial::read_all(&mut reader, slot, 5).values(), [*name]);
    }
}

#[test]
fn empty_files_and_files_with_a_header_alone_have_no_records() {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [("a.csv", &b""[..]), ("b.csv", b"name,count,note"), ("c.csv", b"\n\n"), ("d.csv.gz", b"")] {
        assert!(trial::read_all(&mut reader(&File::csv::<Row>(write(&dir, name, text)), 0), 0, 5).taken.is_empty());
    }
    std::fs::write(dir.path().join("e.gz"), b"").unwrap();
    assert!(trial::read_all(&mut reader(&File::lines(dir.path().join("e.gz")), 0), 0, 5).taken.is_empty());
}

#[test]
fn a_damaged_or_missing_file_is_a_fault_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let text: Vec<u8> =
        (0..200_000).flat_map(|n: u32| format!("{}\n", n.wrapping_mul(2_654_435_761)).into_bytes()).collect();
    for name in ["t.gz", "t.zst"] {
        let path = write(&dir, name, &text);
        let bytes = std::fs::read(&path).unwrap();
        let mut flipped = bytes.clone();
        flipped[bytes.len() / 2] ^= 0x55;
        for damaged in [&bytes[..bytes.len() / 2], &bytes[..bytes.len() - 3], &flipped] {
            std::fs::write(&path, damaged).unwrap();
            let fault = fault(&File::lines(&path), 0);
            assert_eq!(fault.exit(), Exit::Usage);
            assert!(fault.to_string().contains(name) && fault.to_string().contains("damaged or cut short"), "{fault}");
        }
    }
    let missing = File::lines(dir.path().join("nothing.txt"));
    let fault = missing.connect(&trial::env(), &From::Earliest).unwrap_err();
    assert_eq!(fault.exit(), Exit::Usage);
    assert!(fault.to_string().contains("nothing.txt: No such file"), "{fault}");
    let folder = File::lines(dir.path()).connect(&trial::env(), &From::Earliest).unwrap_err();
    assert!(folder.to_string().contains("is no regular file"), "{folder}");
}

#[test]
fn a_fingerprint_knows_another_file_and_allows_growth() {
    let dir = tempfile::tempdir().unwrap();
    let text = "0123456789".repeat(1_000);
    let print = |text: &str| fingerprint(&write(&dir, "t", text.as_bytes())).unwrap();
    let whole = print(&text);
    assert_eq!(print(&(text.clone() + "more")), whole);
    assert_ne!(print(&text.replacen('7', "8", 1)), whole);
    assert_ne!(print("short"), print("other"));
}

#[test]
fn a_first_start_knows_no_times_in_files() {
    let dir = tempfile::tempdir().unwrap();
    let source = File::lines(write(&dir, "t", b"x\n"));
    for from in [From::Latest, From::Time(Timestamp::EPOCH)] {
        assert_eq!(source.connect(&trial::env(), &from).unwrap_err().exit(), Exit::Usage);
    }
}

#[test]
fn a_record_may_be_longer_than_a_block() {
    let dir = tempfile::tempdir().unwrap();
    let long = "x".repeat(3 << 20);
    let source =
        File::csv::<(String, u8)>(write(&dir, "t.csv", format!("a,b\n\"{long}\",1\n{long},2\nz,3\n").as_bytes()));
    let taken = trial::read_all(&mut reader(&source, 0), 0, 10);
    assert_eq!(
        taken.values().iter().map(|(text, n)| (text.len(), *n)).collect::<Vec<_>>(),
        [(3 << 20, 1), (3 << 20, 2), (1, 3)]
    );
}
