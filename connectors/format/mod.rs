//! Formats: how values are written outside, in messages and files.
//!
//! A [`Format`] reads a value from borrowed bytes and appends one to a buffer. It is not the codec of state and checkpoints: formats are
//! what other programs read. Text is written plainly, as UTF-8 without quotes, unless the format itself quotes ([`Json`], [`Csv`]).
//!
//! A message of a log is more than its value. [`Unpack`] says how a whole message becomes what the job reads: the value alone ([`Values`]),
//! a [`Message`] with key, headers, timestamp and tombstones ([`Messages`]), or the value beside its unchanged bytes ([`Kept`]).

mod any;
mod bincode;
mod csv;
mod json;
mod kept;
mod message;
mod plain;

pub use self::any::AnyFormat;
pub use self::bincode::Bincode;
pub use self::csv::Csv;
pub use self::json::Json;
pub use self::kept::{Keeping, Kept};
pub use self::message::{Incoming, Message, Messages, Unpack, Values};
pub use self::plain::{Raw, Text};

pub(crate) use self::csv::{Row, reason as csv_reason};

/// Why bytes are not a value, or a value has no bytes: a reason for people, with the place inside the record where there is one.
///
/// ```
/// use millpond_connectors::{Format, Json};
/// let error = Format::<u8>::decode(&Json, b"300").unwrap_err();
/// assert!(error.to_string().contains("line 1 column 3"), "{error}");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FormatError(String);

impl FormatError {
    /// An error with this reason: lower case, no full stop.
    pub fn new(reason: impl Into<String>) -> Self {
        FormatError(reason.into())
    }
}

/// How values of type `T` are read from bytes and written to them.
///
/// ```
/// use millpond_connectors::{Format, Json, Text};
/// let mut bytes = Vec::new();
/// Json.encode(&"LGA".to_owned(), &mut bytes).unwrap();
/// assert_eq!(bytes, b"\"LGA\"");
/// assert_eq!(Format::<String>::decode(&Text, b"LGA").unwrap(), "LGA");
/// ```
#[diagnostic::on_unimplemented(
    message = "the format `{Self}` does not read and write `{T}`",
    note = "`Json`, `Csv` and `Bincode` take what derives serde's traits, `Text` takes `String`, `Raw` takes `Vec<u8>`"
)]
pub trait Format<T>: Clone + 'static {
    /// The value that these bytes are.
    ///
    /// # Errors
    /// When they are none, with the place in them.
    fn decode(&self, bytes: &[u8]) -> Result<T, FormatError>;

    /// Appends the value's bytes. After an error `out` may end in a part of them.
    ///
    /// # Errors
    /// When the format has nothing for the value.
    fn encode(&self, value: &T, out: &mut Vec<u8>) -> Result<(), FormatError>;
}

/// The text that these bytes are.
#[inline]
pub(crate) fn text(bytes: &[u8]) -> Result<&str, FormatError> {
    std::str::from_utf8(bytes).map_err(|error| FormatError(format!("not UTF-8 at byte {}", error.valid_up_to())))
}
