//! How a record of Kafka is handed over: decoded where it lies in the fetched bytes.

use millpond_engine::source::{Arrival, Collect};
use millpond_state::Timestamp;

use super::raw::Message;
use crate::format::{Incoming, Unpack};
use crate::topic::Asked;

/// A record; `Err` when it does not decode, which the job was told.
#[inline]
pub(super) fn hand_over<T, U: Unpack<T>, C: Collect<T>>(unpack: &U, message: &Message, into: &mut C) -> Result<(), ()> {
    let (key, value, arrival) = (message.key(), message.value(), arrival(message));
    match unpack.unpack(Incoming { key, value, headers: message.headers(), timestamp: arrival.stamp }) {
        Ok(value) => {
            into.take(arrival, value);
            Ok(())
        }
        Err(error) => {
            into.refuse(arrival, error.to_string());
            Err(())
        }
    }
}

/// A record of a topic of requests, to the source called `name`.
#[cold]
pub(super) fn hand_again<T, U: Unpack<T>, C: Collect<T>>(
    name: &str,
    unpack: &U,
    message: &Message,
    into: &mut C,
) -> Result<(), ()> {
    let (key, value, headers) = (message.key(), message.value(), message.headers().collect());
    Asked { arrival: arrival(message), key, value, headers }.hand_over(name, unpack, into)
}

#[inline]
fn arrival(message: &Message) -> Arrival {
    let len = message.value().map_or(0, <[u8]>::len) + message.key().map_or(0, <[u8]>::len);
    let timestamp = message.millis().map(Timestamp::from_millis);
    Arrival {
        offset: message.offset(),
        stamp: timestamp.unwrap_or(Timestamp::MIN),
        logged: timestamp.unwrap_or(Timestamp::MAX),
        bytes: u32::try_from(len).unwrap_or(u32::MAX),
    }
}
