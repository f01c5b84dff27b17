//! Any format for a type, behind a pointer.

use std::fmt;
use std::rc::Rc;

use super::{Format, FormatError};

/// Some format for `T`. Where users write a source's type of records, `read::<Click>(..)`, this keeps them from writing the format's too.
pub struct AnyFormat<T>(Rc<dyn Erased<T>>);

trait Erased<T> {
    fn decode(&self, bytes: &[u8]) -> Result<T, FormatError>;
    fn encode(&self, value: &T, out: &mut Vec<u8>) -> Result<(), FormatError>;
}

impl<T, F: Format<T>> Erased<T> for F {
    fn decode(&self, bytes: &[u8]) -> Result<T, FormatError> {
        Format::decode(self, bytes)
    }
    fn encode(&self, value: &T, out: &mut Vec<u8>) -> Result<(), FormatError> {
        Format::encode(self, value, out)
    }
}

impl<T: 'static> AnyFormat<T> {
    /// This format.
    pub fn new(format: impl Format<T>) -> Self {
        AnyFormat(Rc::new(format))
    }
}

impl<T: 'static> Format<T> for AnyFormat<T> {
    #[inline]
    fn decode(&self, bytes: &[u8]) -> Result<T, FormatError> {
        self.0.decode(bytes)
    }
    #[inline]
    fn encode(&self, value: &T, out: &mut Vec<u8>) -> Result<(), FormatError> {
        self.0.encode(value, out)
    }
}

impl<T> Clone for AnyFormat<T> {
    fn clone(&self) -> Self {
        AnyFormat(Rc::clone(&self.0))
    }
}

impl<T> fmt::Debug for AnyFormat<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyFormat")
    }
}
