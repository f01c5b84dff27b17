//! bincode, as the codec of state writes it.

use serde::{Serialize, de::DeserializeOwned};

use super::{Format, FormatError};

/// bincode 1.3, fixed width, little endian: small and fast, read by programs that know the type.
///
/// ```
/// use millpond_connectors::{Bincode, Format};
/// let mut bytes = Vec::new();
/// Bincode.encode(&7_u16, &mut bytes).unwrap();
/// assert_eq!(bytes, [7, 0]);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bincode;

impl<T: Serialize + DeserializeOwned> Format<T> for Bincode {
    #[inline]
    fn decode(&self, bytes: &[u8]) -> Result<T, FormatError> {
        millpond_state::decode(bytes).map_err(|error| FormatError::new(error.to_string()))
    }

    #[inline]
    fn encode(&self, value: &T, out: &mut Vec<u8>) -> Result<(), FormatError> {
        millpond_state::encode_into(value, out).map_err(|error| FormatError::new(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_too_few_and_too_many_are_errors() {
        let mut bytes = Vec::new();
        Bincode.encode(&("a".to_owned(), 1_u8), &mut bytes).unwrap();
        assert_eq!(Format::<(String, u8)>::decode(&Bincode, &bytes).unwrap(), ("a".to_owned(), 1));
        for cut in 0..bytes.len() {
            assert!(Format::<(String, u8)>::decode(&Bincode, &bytes[..cut]).is_err());
        }
        bytes.push(0);
        let error = Format::<(String, u8)>::decode(&Bincode, &bytes).unwrap_err().to_string();
        assert!(error.starts_with("11 bytes are not a value of type"), "{error}");
    }
}
