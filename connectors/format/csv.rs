//! CSV: single records without a header, and what file reading needs of it.

use std::cell::RefCell;

use csv::ByteRecord;
use csv_core::ReadRecordResult;
use serde::{Serialize, de::DeserializeOwned};

use super::{Format, FormatError};

/// One CSV record a message, without a header: fields in the order of the type's. Files have headers: see [`File::csv`](crate::File::csv).
///
/// ```
/// use millpond_connectors::{Csv, Format};
/// let mut bytes = Vec::new();
/// Csv.encode(&("a, b".to_owned(), 7_u8), &mut bytes).unwrap();
/// assert_eq!(bytes, b"\"a, b\",7");
/// assert_eq!(Format::<(String, u8)>::decode(&Csv, &bytes).unwrap(), ("a, b".to_owned(), 7));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Csv;

thread_local! {
    // Its tables take longer to make than a record takes to read.
    static ROW: RefCell<Row> = RefCell::default();
}

impl<T: Serialize + DeserializeOwned> Format<T> for Csv {
    fn decode(&self, bytes: &[u8]) -> Result<T, FormatError> {
        ROW.with_borrow_mut(|row| {
            let (record, whole) = row.read(bytes);
            if !whole {
                return Err(FormatError::new("more than one CSV record"));
            }
            record.deserialize(None).map_err(|error| reason(&error, None))
        })
    }

    fn encode(&self, value: &T, out: &mut Vec<u8>) -> Result<(), FormatError> {
        let start = out.len();
        let refused = |error: csv::Error| FormatError::new(format!("no CSV record for this value: {error}"));
        let mut writer = csv::WriterBuilder::new().has_headers(false).buffer_capacity(256).from_writer(&mut *out);
        writer.serialize(value).map_err(refused)?;
        writer.flush().map_err(|error| refused(error.into()))?;
        drop(writer);
        if out.len() > start && out.last() == Some(&b'\n') {
            out.pop();
        }
        Ok(())
    }
}

/// Splits the bytes of one record into fields, in memory that is used again.
pub(crate) struct Row {
    core: csv_core::Reader,
    output: Vec<u8>,
    ends: Vec<usize>,
    record: ByteRecord,
}

impl Default for Row {
    fn default() -> Self {
        Row { core: csv_core::Reader::new(), output: vec![0; 256], ends: vec![0; 32], record: ByteRecord::new() }
    }
}

impl Row {
    /// The fields of the first record in `bytes`, and whether nothing follows it.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> (&ByteRecord, bool) {
        self.core.reset();
        let (mut read, mut written, mut ended) = (0, 0, 0);
        loop {
            // At the end an empty input says that nothing follows.
            let (result, nin, nout, nend) =
                self.core.read_record(&bytes[read..], &mut self.output[written..], &mut self.ends[ended..]);
            read += nin;
            written += nout;
            ended += nend;
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => self.output.resize(self.output.len() * 2, 0),
                ReadRecordResult::OutputEndsFull => self.ends.resize(self.ends.len() * 2, 0),
                ReadRecordResult::Record | ReadRecordResult::End => break,
            }
        }
        self.record.clear();
        let mut start = 0;
        for end in &self.ends[..ended] {
            self.record.push_field(&self.output[start..*end]);
            start = *end;
        }
        (&self.record, bytes[read..].iter().all(|byte| b"\r\n".contains(byte)))
    }
}

/// What csv says of a record, with the column's name where there is a header.
pub(crate) fn reason(error: &csv::Error, header: Option<&ByteRecord>) -> FormatError {
    let csv::ErrorKind::Deserialize { err, .. } = error.kind() else {
        return FormatError::new(error.to_string());
    };
    let Some(field) = err.field() else { return FormatError::new(err.kind().to_string()) };
    let name = header.and_then(|header| header.get(usize::try_from(field).ok()?));
    let place = match name {
        Some(name) => format!("column {:?}", String::from_utf8_lossy(name)),
        None => format!("field {}", field + 1),
    };
    FormatError::new(format!("{place}: {}", err.kind()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_read_back_as_written() {
        for value in [("plain".to_owned(), Some(1.5)), ("a \"b\", c\nd".to_owned(), None), (String::new(), Some(0.0))] {
            let mut bytes = Vec::new();
            Csv.encode(&value, &mut bytes).unwrap();
            assert_eq!(Format::<(String, Option<f64>)>::decode(&Csv, &bytes).unwrap(), value);
        }
    }

    #[test]
    fn an_error_names_the_field() {
        let decode = |bytes: &[u8]| Format::<(String, u8)>::decode(&Csv, bytes).unwrap_err().to_string();
        assert_eq!(decode(b"a,x"), "field 2: invalid digit found in string");
        assert!(decode(b"a").contains("expected"), "{}", decode(b"a"));
        assert!(decode(b"").contains("expected"), "{}", decode(b""));
        assert_eq!(decode(b"\xff,1"), "field 1: invalid utf-8 sequence of 1 bytes from index 0");
    }

    #[test]
    fn many_and_long_fields_fit() {
        let long = "x".repeat(1_000);
        let line = vec![long.as_str(); 100].join(",");
        let mut row = Row::default();
        assert_eq!(row.read(line.as_bytes()).0.len(), 100);
        assert!(row.read(line.as_bytes()).0.iter().all(|field| field == long.as_bytes()));
        assert_eq!(row.read(b"a,").0.iter().collect::<Vec<_>>(), [&b"a"[..], b""]);
        assert!(row.read(b"a,b\r\n").1);
        assert!(!row.read(b"a,b\nc,d").1);
    }
}
