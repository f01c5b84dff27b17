//! Requests, as a source reads them: the record as it lay in the log when it was read first, to the decoder that there is now.

use millpond_engine::redrive::Opened;
use millpond_engine::source::{Arrival, Collect};

use crate::format::{Incoming, Unpack};

/// A record of a topic of requests.
pub(crate) struct Asked<'a> {
    pub(crate) arrival: Arrival,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: Vec<(&'a str, &'a [u8])>,
}

impl Asked<'_> {
    /// Hands over what is asked of the source called `name`; everything else there is passed. `Err` when it does not decode.
    pub(crate) fn hand_over<T, U: Unpack<T>, C: Collect<T>>(
        self,
        name: &str,
        unpack: &U,
        into: &mut C,
    ) -> Result<(), ()> {
        let Asked { mut arrival, key, value, headers } = self;
        let opened = Opened::of(headers, |header| *header).filter(|opened| {
            let request = &opened.request;
            request.source == name && !request.drop
        });
        let Some(Opened { request, headers }) = opened else {
            into.passed(arrival.offset + 1);
            return Ok(());
        };
        if !into.again(arrival.offset, &request) {
            into.passed(arrival.offset + 1);
            return Ok(());
        }
        arrival.stamp = request.stamp;
        match unpack.unpack(Incoming { key, value, headers: headers.into_iter(), timestamp: request.stamp }) {
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
}
