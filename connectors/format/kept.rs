//! Values beside the very bytes they were read from, for what must be written on unchanged.

use std::ops::Deref;

use millpond_state::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Format, FormatError, Incoming, Unpack};

/// Where there is no key.
const NO_KEY: u32 = u32::MAX;

/// A value and the message it came in: key, value, headers and timestamp as they lay in the log, so that a late or a bad record can be
/// written on without a byte changed. It is used like the value itself.
///
/// Keeping costs an allocation and a copy of the bytes.
///
/// ```
/// use millpond_connectors::{Json, Kept, log::Log};
/// use millpond_engine::Untimed;
/// use millpond_state::Timestamp;
/// #[derive(Clone, serde::Serialize, serde::Deserialize)]
/// struct Click { page: String, at: i64 }
/// let clicks = Log::at("state/log").read::<Click>("clicks", Json).kept();
/// let clicks = clicks.event_time(|click: &Kept<Click>| Timestamp::from_millis(click.at));
/// # let _ = clicks;
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept<T> {
    value: T,
    /// Key, value, and each header as length, name, length, value.
    #[serde(with = "serde_bytes")]
    bytes: Box<[u8]>,
    key_len: u32,
    value_len: u32,
    timestamp: Timestamp,
}

impl<T> Kept<T> {
    /// What the bytes mean.
    pub fn value(&self) -> &T {
        &self.value
    }

    /// The value without its bytes.
    pub fn into_value(self) -> T {
        self.value
    }

    /// The message's key.
    pub fn key(&self) -> Option<&[u8]> {
        (self.key_len != NO_KEY).then(|| &self.bytes[..self.value_start()])
    }

    /// The message's value, as it lay in the log.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.value_start()..self.headers_start()]
    }

    /// The message's headers, in their order.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let mut rest = &self.bytes[self.headers_start()..];
        std::iter::from_fn(move || {
            let mut part = || {
                let len = u32::from_be_bytes(*rest.split_off(..4)?.as_array()?) as usize;
                rest.split_off(..len)
            };
            let (name, value) = (part()?, part()?);
            // They were text when they were written here.
            Some((std::str::from_utf8(name).unwrap_or_default(), value))
        })
    }

    /// The timestamp its writer gave it; [`Timestamp::MIN`] where there was none.
    pub fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    fn value_start(&self) -> usize {
        if self.key_len == NO_KEY { 0 } else { self.key_len as usize }
    }

    fn headers_start(&self) -> usize {
        self.value_start() + self.value_len as usize
    }
}

impl<T> Deref for Kept<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

/// The value as [`Kept`]. A tombstone has none and is refused.
#[derive(Clone, Copy, Debug)]
pub struct Keeping<F>(pub F);

impl<T, F: Format<T>> Unpack<Kept<T>> for Keeping<F> {
    #[inline]
    fn unpack<'a, H: Iterator<Item = (&'a str, &'a [u8])>>(
        &self,
        incoming: Incoming<'a, H>,
    ) -> Result<Kept<T>, FormatError> {
        let Incoming { key, value: original, headers, timestamp } = incoming;
        let original = original.ok_or_else(super::message::tombstone)?;
        let value = self.0.decode(original)?;
        let mut bytes = Vec::with_capacity(key.map_or(0, <[u8]>::len) + original.len());
        bytes.extend_from_slice(key.unwrap_or_default());
        bytes.extend_from_slice(original);
        for (name, value) in headers {
            for part in [name.as_bytes(), value] {
                bytes.extend_from_slice(&length(part)?.to_be_bytes());
                bytes.extend_from_slice(part);
            }
        }
        let bytes = bytes.into_boxed_slice();
        let key_len = key.map_or(Ok(NO_KEY), length)?;
        Ok(Kept { value, bytes, key_len, value_len: length(original)?, timestamp })
    }
}

fn length(part: &[u8]) -> Result<u32, FormatError> {
    let len = u32::try_from(part.len()).ok().filter(|len| *len != NO_KEY);
    len.ok_or_else(|| FormatError::new(format!("{} bytes are more than can be kept", part.len())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Json;

    type Headers<'a> = &'a [(&'a str, &'a [u8])];

    fn incoming<'a>(
        key: Option<&'a [u8]>,
        value: Option<&'a [u8]>,
        headers: Headers<'a>,
    ) -> Incoming<'a, impl Iterator<Item = (&'a str, &'a [u8])>> {
        Incoming { key, value, headers: headers.iter().copied(), timestamp: Timestamp::from_secs(3) }
    }

    #[test]
    fn every_byte_is_kept_beside_the_value() {
        let keeping = Keeping(Json);
        let headers: Headers<'_> = &[("trace", b"1"), ("", b""), ("trace", b"\xff")];
        for (key, headers) in [(None, &headers[..0]), (Some(&b""[..]), headers), (Some(b"k\xff"), &headers[..1])] {
            let kept: Kept<u64> = keeping.unpack(incoming(key, Some(b" 7 "), headers)).unwrap();
            assert_eq!((kept.value(), kept.key(), kept.bytes()), (&7, key, &b" 7 "[..]));
            assert_eq!(kept.headers().collect::<Vec<_>>(), headers);
            assert_eq!(kept.timestamp(), Timestamp::from_secs(3));
            let mut written = Vec::new();
            millpond_state::encode_into(&kept, &mut written).unwrap();
            assert_eq!(millpond_state::decode::<Kept<u64>>(&written).unwrap(), kept);
            assert_eq!(kept.into_value(), 7);
        }
    }

    #[test]
    fn a_tombstone_and_what_does_not_decode_are_refused() {
        let keeping = Keeping(Json);
        for value in [None, Some(&b"x"[..])] {
            assert!(Unpack::<Kept<u64>>::unpack(&keeping, incoming(Some(b"k"), value, &[])).is_err());
        }
    }
}
