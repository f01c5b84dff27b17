//! Bytes and text as they are.

use super::{Format, FormatError, text};

/// Bytes as they are.
///
/// ```
/// use millpond_connectors::{Format, Raw};
/// assert_eq!(Raw.decode(b"\x00\xff").unwrap(), b"\x00\xff");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Raw;

impl Format<Vec<u8>> for Raw {
    #[inline]
    fn decode(&self, bytes: &[u8]) -> Result<Vec<u8>, FormatError> {
        Ok(bytes.to_owned())
    }

    #[inline]
    fn encode(&self, value: &Vec<u8>, out: &mut Vec<u8>) -> Result<(), FormatError> {
        out.extend_from_slice(value);
        Ok(())
    }
}

/// UTF-8 text as it is, without quotes.
///
/// ```
/// use millpond_connectors::{Format, Text};
/// assert_eq!(Text.decode("Zürich".as_bytes()).unwrap(), "Zürich");
/// assert_eq!(Text.decode(b"Z\xfcrich").unwrap_err().to_string(), "not UTF-8 at byte 1");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Text;

impl Format<String> for Text {
    #[inline]
    fn decode(&self, bytes: &[u8]) -> Result<String, FormatError> {
        text(bytes).map(str::to_owned)
    }

    #[inline]
    fn encode(&self, value: &String, out: &mut Vec<u8>) -> Result<(), FormatError> {
        out.extend_from_slice(value.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_was_given() {
        let mut out = b"before ".to_vec();
        Text.encode(&"a \"b\"\n".to_owned(), &mut out).unwrap();
        Raw.encode(&vec![0, 255], &mut out).unwrap();
        assert_eq!(out, b"before a \"b\"\n\x00\xff");
    }
}
