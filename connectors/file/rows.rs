//! What a record of a file is: a line in a format, or the columns of a CSV header.

use csv::ByteRecord;
use millpond_state::Data;

use super::frame::Framing;
use crate::format::{Row, csv_reason};
use crate::{Format, FormatError};

/// How the records of a file are found and read.
pub trait Rows<T>: Clone + 'static {
    /// What ends a record.
    fn framing(&self) -> Framing;

    /// Reads one record.
    ///
    /// # Errors
    /// When its bytes are no value.
    fn row(&mut self, header: Option<&ByteRecord>, bytes: &[u8]) -> Result<T, FormatError>;
}

/// Lines in a format.
#[derive(Clone, Debug)]
pub struct Lined<F> {
    format: F,
    skip_blank: bool,
}

impl<F> Lined<F> {
    pub(super) fn every(format: F) -> Self {
        Lined { format, skip_blank: false }
    }
    pub(super) fn skipping_blanks(format: F) -> Self {
        Lined { format, skip_blank: true }
    }
}

impl<T: Data, F: Format<T>> Rows<T> for Lined<F> {
    fn framing(&self) -> Framing {
        Framing::Lines { skip_blank: self.skip_blank }
    }
    #[inline]
    fn row(&mut self, _: Option<&ByteRecord>, bytes: &[u8]) -> Result<T, FormatError> {
        self.format.decode(bytes)
    }
}

/// CSV records by the names in the header.
#[derive(Default)]
pub struct Columns {
    row: Row,
}

impl Clone for Columns {
    fn clone(&self) -> Self {
        Columns::default()
    }
}

impl std::fmt::Debug for Columns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Columns")
    }
}

impl<T: Data> Rows<T> for Columns {
    fn framing(&self) -> Framing {
        Framing::Csv
    }
    fn row(&mut self, header: Option<&ByteRecord>, bytes: &[u8]) -> Result<T, FormatError> {
        let (record, _) = self.row.read(bytes);
        if let Some(header) = header
            && header.len() != record.len()
        {
            return Err(FormatError::new(format!("{} fields, and the header has {}", record.len(), header.len())));
        }
        record.deserialize(header).map_err(|error| csv_reason(&error, header))
    }
}
