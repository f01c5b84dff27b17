//! Whole messages: keys, headers, timestamps and tombstones beside the value.

use millpond_state::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Format, FormatError};

/// A message of a log with all it has, for jobs that look at more than values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message<T> {
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value; `None` is a tombstone.
    pub value: Option<T>,
    /// Its headers, in their order.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The timestamp its writer gave it.
    pub timestamp: Timestamp,
}

/// A message as it lies in a log, nothing copied.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a, H> {
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value.
    pub value: Option<&'a [u8]>,
    /// Its headers, in their order.
    pub headers: H,
    /// The timestamp its writer gave it.
    pub timestamp: Timestamp,
}

/// How a message becomes what the job reads.
pub trait Unpack<T>: Clone + 'static {
    /// What the job gets for this message.
    ///
    /// # Errors
    /// When the message cannot be used; what becomes of it is the job's policy.
    fn unpack<'a, H: Iterator<Item = (&'a str, &'a [u8])>>(&self, incoming: Incoming<'a, H>) -> Result<T, FormatError>;
}

/// The value alone. A tombstone has none and is refused.
#[derive(Clone, Copy, Debug)]
pub struct Values<F>(pub F);

impl<T, F: Format<T>> Unpack<T> for Values<F> {
    #[inline]
    fn unpack<'a, H: Iterator<Item = (&'a str, &'a [u8])>>(&self, incoming: Incoming<'a, H>) -> Result<T, FormatError> {
        match incoming.value {
            Some(value) => self.0.decode(value),
            None => Err(tombstone()),
        }
    }
}

pub(super) fn tombstone() -> FormatError {
    FormatError::new("it has no value (a tombstone); read whole messages with `.messages()` to see those")
}

/// The whole [`Message`].
#[derive(Clone, Copy, Debug)]
pub struct Messages<F>(pub F);

impl<T, F: Format<T>> Unpack<Message<T>> for Messages<F> {
    fn unpack<'a, H: Iterator<Item = (&'a str, &'a [u8])>>(
        &self,
        incoming: Incoming<'a, H>,
    ) -> Result<Message<T>, FormatError> {
        Ok(Message {
            key: incoming.key.map(<[u8]>::to_owned),
            value: incoming.value.map(|value| self.0.decode(value)).transpose()?,
            headers: incoming.headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            timestamp: incoming.timestamp,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Json;

    fn incoming(value: Option<&[u8]>) -> Incoming<'_, impl Iterator<Item = (&str, &[u8])>> {
        let headers = [("trace", &b"1"[..]), ("trace", b"2")].into_iter();
        Incoming { key: Some(b"k"), value, headers, timestamp: Timestamp::from_secs(3) }
    }

    #[test]
    fn a_message_has_everything_the_log_has() {
        let message: Message<u8> = Messages(Json).unpack(incoming(Some(b"7"))).unwrap();
        let headers = vec![("trace".to_owned(), b"1".to_vec()), ("trace".to_owned(), b"2".to_vec())];
        assert_eq!(
            message,
            Message { key: Some(b"k".to_vec()), value: Some(7), headers, timestamp: Timestamp::from_secs(3) }
        );
        let tombstone: Message<u8> = Messages(Json).unpack(incoming(None)).unwrap();
        assert_eq!(tombstone.value, None);
        assert!(Unpack::<Message<u8>>::unpack(&Messages(Json), incoming(Some(b"x"))).is_err());
    }

    #[test]
    fn a_tombstone_is_no_value() {
        assert_eq!(Unpack::<u8>::unpack(&Values(Json), incoming(Some(b"7"))).unwrap(), 7);
        let error = Unpack::<u8>::unpack(&Values(Json), incoming(None)).unwrap_err().to_string();
        assert!(error.contains(".messages()"), "{error}");
    }
}
