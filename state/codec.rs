//! The codec: how keys, values and offsets are written in checkpoints and between workers.
//!
//! bincode 1.3, fixed width, little-endian. No length or type is written beside a value, so a reader must know the type: shapes
//! are compared before anything is decoded, and the codec's version stands in every manifest and envelope.

use serde::{Serialize, de::DeserializeOwned};

use bincode::Options;

/// The version of the codec *and* of [`stable_hash`](crate::stable_hash): bytes written under another one are not read.
pub const CODEC_VERSION: u16 = 1;

/// Bytes and types that do not fit together. Who knows the file and the offset adds them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// A value's own `Serialize` failed, or it asks for something the codec does not have (a sequence of unknown length).
    #[error("a value of type {of} cannot be encoded: {reason}")]
    Encode {
        /// The type's name.
        of: &'static str,
        /// What serde said.
        reason: String,
    },
    /// The bytes are not a whole value of the type, or there are bytes left over.
    #[error("{len} bytes are not a value of type {of}: {reason}")]
    Decode {
        /// The type's name.
        of: &'static str,
        /// How many bytes there were.
        len: usize,
        /// What serde said.
        reason: String,
    },
    /// An entry's key does not belong to the key group it was stored in: damaged, or written with another hash.
    #[error("an entry of key group {stored} has a key that hashes to key group {hashed}")]
    Group {
        /// The group it lies in.
        stored: usize,
        /// The group its key has.
        hashed: usize,
    },
    /// An entry's key does not begin as any state handle of the operator begins its keys.
    #[error("an entry's key of {len} bytes belongs to no state of this operator (tag {tag:?})")]
    Stray {
        /// How many bytes the key has.
        len: usize,
        /// Its first byte.
        tag: Option<u8>,
    },
}

#[inline]
fn options() -> impl Options {
    bincode::DefaultOptions::new().with_fixint_encoding().with_little_endian().reject_trailing_bytes()
}

/// Appends the encoded value to `out`.
///
/// # Errors
/// [`CodecError::Encode`]; `out` may then end in a part of the value.
///
/// ```
/// let mut bytes = Vec::new();
/// millpond_state::encode_into(&(7u16, "LGA"), &mut bytes).unwrap();
/// assert_eq!(bytes, [7, 0, 3, 0, 0, 0, 0, 0, 0, 0, b'L', b'G', b'A']);
/// assert_eq!(millpond_state::decode::<(u16, String)>(&bytes).unwrap(), (7, "LGA".to_owned()));
/// ```
#[inline]
pub fn encode_into<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
    options().serialize_into(out, value).map_err(|error| refused::<T>(&error))
}

/// Decodes a value that takes exactly these bytes.
///
/// # Errors
/// [`CodecError::Decode`] when they end too early, say something the type does not have, or go on behind the value.
#[inline]
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    options().deserialize(bytes).map_err(|error| broken::<T>(bytes.len(), &error))
}

#[cold]
fn refused<T: ?Sized>(error: &bincode::Error) -> CodecError {
    CodecError::Encode { of: std::any::type_name::<T>(), reason: error.to_string() }
}

#[cold]
fn broken<T>(len: usize, error: &bincode::Error) -> CodecError {
    CodecError::Decode { of: std::any::type_name::<T>(), len, reason: error.to_string() }
}

/// Eight bytes that sort as the number does, for windows and times that stand before a key.
///
/// ```
/// use millpond_state::{decode_ordered, encode_ordered};
/// assert!(encode_ordered(-5) < encode_ordered(3));
/// assert_eq!(decode_ordered(encode_ordered(-5)), -5);
/// ```
#[inline]
#[must_use]
pub const fn encode_ordered(number: i64) -> [u8; 8] {
    (number as u64 ^ 1 << 63).to_be_bytes()
}

/// The number that [`encode_ordered`] wrote.
#[inline]
#[must_use]
pub const fn decode_ordered(bytes: [u8; 8]) -> i64 {
    (u64::from_be_bytes(bytes) ^ 1 << 63) as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Visit {
        Page { name: String, at: i64 },
        Gone,
    }

    fn encoded<T: Serialize>(value: &T) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode_into(value, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn the_bytes_are_those_of_version_one() {
        assert_eq!(CODEC_VERSION, 1);
        assert_eq!(
            encoded(&Visit::Page { name: "ab".into(), at: -2 }),
            [0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, b'a', b'b', 254, 255, 255, 255, 255, 255, 255, 255]
        );
        assert_eq!(encoded(&Visit::Gone), [1, 0, 0, 0]);
        assert_eq!(encoded(&(Some(1u8), None::<u8>, 'x', true, 1.5f64)), [1, 1, 0, b'x', 1, 0, 0, 0, 0, 0, 0, 248, 63]);
        assert_eq!(encoded(&300u32), [44, 1, 0, 0]);
    }

    #[test]
    fn every_cut_and_every_byte_too_many_is_an_error() {
        let whole = encoded(&vec![Visit::Page { name: "page".into(), at: 5 }, Visit::Gone]);
        for end in 0..whole.len() {
            assert!(decode::<Vec<Visit>>(&whole[..end]).is_err(), "cut at {end}");
        }
        let mut longer = whole.clone();
        longer.push(0);
        assert!(decode::<Vec<Visit>>(&longer).is_err());
        assert!(decode::<Vec<Visit>>(&whole).is_ok());
    }

    #[test]
    fn absurd_lengths_and_variants_are_errors() {
        assert!(decode::<String>(&[255; 8]).is_err());
        assert!(decode::<Vec<u64>>(&[255; 8]).is_err());
        assert!(decode::<Visit>(&[2, 0, 0, 0]).is_err());
        assert!(decode::<bool>(&[2]).is_err());
    }

    #[test]
    fn an_error_names_the_type() {
        let error = decode::<u64>(&[1, 2]).unwrap_err().to_string();
        assert!(error.starts_with("2 bytes are not a value of type u64"), "{error}");
        struct Never;
        impl Serialize for Never {
            fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(serde::ser::Error::custom("not today"))
            }
        }
        let error = encode_into(&Never, &mut Vec::new()).unwrap_err().to_string();
        assert!(error.contains("Never") && error.ends_with("not today"), "{error}");
    }

    #[test]
    fn ordered_bytes_sort_as_numbers_do() {
        let numbers = [i64::MIN, i64::MIN + 1, -256, -1, 0, 1, 255, 256, i64::MAX - 1, i64::MAX];
        assert!(numbers.windows(2).all(|pair| encode_ordered(pair[0]) < encode_ordered(pair[1])));
        assert!(numbers.iter().all(|&number| decode_ordered(encode_ordered(number)) == number));
    }
}
