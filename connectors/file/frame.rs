//! Framing: where records begin and end in the bytes of a file.
//!
//! Positions are record numbers, so a start from any of them must find the same records. For CSV this follows csv-core's rules to the
//! letter (quotes, doubled quotes, line breaks within them), since the bytes of one record are then parsed by it alone.

/// What ends a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// A line break.
    Lines {
        /// Whether blank lines are skipped.
        skip_blank: bool,
    },
    /// A line break outside quotes; blank lines are skipped. The first record is the header.
    Csv,
}

/// A record's place in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) start: u32,
    pub(super) end: u32,
    /// The line it begins on, from 1.
    pub(super) line: u64,
    /// It opens a quote that is never closed.
    pub(super) open_quote: bool,
}

/// A record longer than this is not read.
pub(super) const LONGEST: usize = 64 << 20;
/// A quote open for longer than this is taken for one that is never closed, so that a slip costs one line and not the rest of the file.
const QUOTED: usize = 1 << 20;
const BOM: &[u8] = b"\xef\xbb\xbf";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    StartRecord,
    StartField,
    Field,
    Quoted,
    Quote,
}

/// Cuts bytes into records as they come.
#[derive(Debug)]
pub(super) struct Framer {
    framing: Framing,
    /// What is not handed over yet.
    pub(super) bytes: Vec<u8>,
    /// Up to where it was looked at.
    scanned: usize,
    /// Where the record being looked at begins, and on which line.
    begin: usize,
    begin_line: u64,
    /// The line at `scanned`.
    line: u64,
    state: State,
    /// The first line break within a quote of the record being looked at.
    broken_at: Option<usize>,
    started: bool,
    places: Vec<Place>,
}

impl Framer {
    pub(super) fn new(framing: Framing) -> Self {
        let (bytes, places) = (Vec::new(), Vec::new());
        let state = State::StartRecord;
        Framer {
            framing,
            bytes,
            scanned: 0,
            begin: 0,
            begin_line: 1,
            line: 1,
            state,
            broken_at: None,
            started: false,
            places,
        }
    }

    /// The line on which the record being looked at begins.
    pub(super) fn begin_line(&self) -> u64 {
        self.begin_line
    }

    /// Bytes of the record that has begun and not ended.
    pub(super) fn unfinished(&self) -> usize {
        self.bytes.len() - self.begin
    }

    /// Looks at what was added to `bytes`; with `last` the end of the file ends the last record.
    pub(super) fn scan(&mut self, last: bool) {
        if !self.started {
            if self.bytes.starts_with(BOM) {
                (self.scanned, self.begin) = (BOM.len(), BOM.len());
            } else if !last && BOM.starts_with(&self.bytes) {
                return;
            }
            self.started = true;
        }
        match self.framing {
            Framing::Lines { skip_blank } => self.scan_lines(skip_blank, last),
            Framing::Csv => self.scan_csv(last),
        }
    }

    fn scan_lines(&mut self, skip_blank: bool, last: bool) {
        loop {
            let rest = &self.bytes[self.scanned..];
            let end = match rest.iter().position(|byte| *byte == b'\n') {
                Some(at) => self.scanned + at,
                None if last && self.begin < self.bytes.len() => self.bytes.len(),
                None => {
                    self.scanned = self.bytes.len();
                    return;
                }
            };
            let line = &self.bytes[self.begin..end];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if !skip_blank || !line.trim_ascii().is_empty() {
                let end = self.begin + line.len();
                self.place(end, false);
            }
            self.line += 1;
            self.scanned = (end + 1).min(self.bytes.len());
            self.start();
        }
    }

    fn scan_csv(&mut self, last: bool) {
        while self.scanned < self.bytes.len() || (last && self.state != State::StartRecord) {
            let Some(&byte) = self.bytes.get(self.scanned) else {
                if self.state == State::Quoted {
                    self.give_up_quote();
                } else {
                    self.end_csv_record();
                }
                continue;
            };
            let ends = byte == b'\n' || byte == b'\r';
            if self.state == State::StartRecord {
                self.start();
                if !ends {
                    self.state = State::StartField;
                }
            }
            self.state = match (self.state, byte) {
                (State::StartRecord, _) => State::StartRecord,
                (State::Quoted, b'"') => State::Quote,
                (State::Quoted, _) => {
                    if byte == b'\n' && self.broken_at.is_none() {
                        self.broken_at = Some(self.scanned);
                    }
                    if self.scanned - self.begin > QUOTED && self.broken_at.is_some() {
                        self.give_up_quote();
                        continue;
                    }
                    State::Quoted
                }
                (State::StartField | State::Quote, b'"') => State::Quoted,
                (_, b',') => State::StartField,
                (_, b'\n' | b'\r') => {
                    self.end_csv_record();
                    State::StartRecord
                }
                _ => State::Field,
            };
            self.line += u64::from(byte == b'\n');
            self.scanned += 1;
            if self.state == State::StartRecord {
                self.start();
            }
        }
    }

    fn end_csv_record(&mut self) {
        self.place(self.scanned, false);
        self.state = State::StartRecord;
        self.start();
    }

    /// Takes the line that the open quote's record begins on, or all there is, for a broken record, and goes on behind it.
    fn give_up_quote(&mut self) {
        let end = self.broken_at.unwrap_or(self.bytes.len());
        let line = &self.bytes[self.begin..end];
        let trimmed = self.begin + line.strip_suffix(b"\r").unwrap_or(line).len();
        self.place(trimmed, true);
        self.state = State::StartRecord;
        self.line = self.begin_line + u64::from(self.broken_at.is_some());
        self.scanned = (end + 1).min(self.bytes.len());
        self.start();
    }

    /// A record begins where was scanned up to.
    fn start(&mut self) {
        (self.begin, self.begin_line, self.broken_at) = (self.scanned, self.line, None);
    }

    fn place(&mut self, end: usize, open_quote: bool) {
        let narrow = |at: usize| u32::try_from(at).expect("a block ends long before 4 GiB");
        self.places.push(Place { start: narrow(self.begin), end: narrow(end), line: self.begin_line, open_quote });
    }

    /// Whether records have ended that were not taken.
    pub(super) fn any(&self) -> bool {
        !self.places.is_empty()
    }

    /// The records that have ended, with their bytes. What follows them is kept, in `spare`.
    pub(super) fn take(&mut self, mut spare: Vec<u8>) -> (Vec<u8>, Vec<Place>) {
        spare.clear();
        spare.extend_from_slice(&self.bytes[self.begin..]);
        let mut bytes = std::mem::replace(&mut self.bytes, spare);
        bytes.truncate(self.begin);
        self.scanned -= self.begin;
        self.broken_at = self.broken_at.map(|at| at - self.begin);
        self.begin = 0;
        (bytes, std::mem::take(&mut self.places))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The records of `text`, given in pieces of `size` bytes, with their lines.
    fn framed(framing: Framing, text: &[u8], size: usize) -> Vec<(Vec<u8>, u64, bool)> {
        let mut framer = Framer::new(framing);
        let mut found = Vec::new();
        for piece in text.chunks(size).chain([&[][..]]) {
            framer.bytes.extend_from_slice(piece);
            framer.scan(piece.is_empty());
            let (bytes, places) = framer.take(Vec::new());
            found.extend(places.iter().map(|place| {
                (bytes[place.start as usize..place.end as usize].to_owned(), place.line, place.open_quote)
            }));
        }
        assert_eq!(framer.unfinished(), 0);
        found
    }

    fn seeded(seed: u64, len: usize) -> Vec<u8> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        (0..len).map(|_| b"\"\",,\n\r\nab"[(next() % 9) as usize]).collect()
    }

    #[test]
    fn lines_end_at_line_breaks_and_at_the_end() {
        for size in 1..9 {
            let all = framed(Framing::Lines { skip_blank: false }, b"\xef\xbb\xbfa\r\n\n bc\nd", size);
            let expected = [(&b"a"[..], 1), (b"", 2), (b" bc", 3), (b"d", 4)];
            assert_eq!(all, expected.map(|(line, number)| (line.to_owned(), number, false)));
            let some = framed(Framing::Lines { skip_blank: true }, b"a\n \t\r\nb\n", size);
            assert_eq!(some, [(b"a".to_vec(), 1, false), (b"b".to_vec(), 3, false)]);
            assert!(framed(Framing::Lines { skip_blank: false }, b"", size).is_empty());
        }
    }

    #[test]
    fn csv_records_are_those_that_the_csv_crate_finds() {
        for seed in 0..3_000 {
            let text = seeded(seed, (seed % 60) as usize);
            let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(&text[..]);
            let expected: Vec<_> = reader.byte_records().map(|record| record.unwrap()).collect();
            for size in [1, 3, 100] {
                let found = framed(Framing::Csv, &text, size);
                // A quote that is never closed is where we part.
                if found.iter().any(|(_, _, open_quote)| *open_quote) {
                    continue;
                }
                let mut row = crate::format::Row::default();
                let parsed: Vec<_> = found.iter().map(|(bytes, _, _)| row.read(bytes).0.clone()).collect();
                assert_eq!(parsed, expected, "{:?}", String::from_utf8_lossy(&text));
                let lines: Vec<_> = text.split(|byte| *byte == b'\n').collect();
                for (bytes, line, _) in found.iter().filter(|_| !text.contains(&b'\r')) {
                    assert!(bytes.starts_with(lines[*line as usize - 1]), "{:?}", String::from_utf8_lossy(&text));
                }
            }
        }
    }

    #[test]
    fn the_size_of_pieces_changes_nothing() {
        for seed in 0..500 {
            let text = seeded(seed, 200);
            let whole = framed(Framing::Csv, &text, 1_000);
            for size in [1, 2, 7, 50] {
                assert_eq!(framed(Framing::Csv, &text, size), whole, "{:?}", String::from_utf8_lossy(&text));
            }
        }
    }

    #[test]
    fn a_quote_that_is_never_closed_costs_its_line() {
        let mut text = b"a,b\n1,\"open\n2,x\n".to_vec();
        let short = framed(Framing::Csv, &text, 5);
        let expected = [(&b"a,b"[..], 1, false), (b"1,\"open", 2, true), (b"2,x", 3, false)];
        assert_eq!(short, expected.map(|(bytes, line, open)| (bytes.to_owned(), line, open)));
        for number in 0..200_000 {
            text.extend_from_slice(format!("{number},y\n").as_bytes());
        }
        let long = framed(Framing::Csv, &text, 1 << 16);
        assert_eq!(long.len(), 200_003);
        assert_eq!(long[..3], short[..3]);
        assert_eq!(long[200_002], (b"199999,y".to_vec(), 200_003, false));
    }
}
