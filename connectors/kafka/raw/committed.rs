//! A group's committed position in one partition, with its metadata as bytes: the crate's own accessor panics on what is not UTF-8.

use std::ffi::CString;
use std::slice;
use std::time::Duration;

use rdkafka::bindings as rd;
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::RDKafkaErrorCode;

/// What a group has committed in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::kafka) struct Position {
    /// The offset.
    pub(in crate::kafka) offset: i64,
    /// What was written beside it.
    pub(in crate::kafka) metadata: Vec<u8>,
}

/// The position that the group of a consumer has committed; `None` only when the group's coordinator says that there is none.
///
/// # Errors
/// Of the call, or of this partition.
pub(in crate::kafka) fn committed<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    partition: i32,
    within: Duration,
) -> Result<Option<Position>, RDKafkaErrorCode> {
    let topic = CString::new(topic).map_err(|_| RDKafkaErrorCode::InvalidTopic)?;
    let millis = i32::try_from(within.as_millis()).unwrap_or(i32::MAX);
    let none = rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
    // SAFETY: the list is made and given back here and nothing of it leaves but copies; `elems` has `cnt` elements, the one added.
    unsafe {
        let list = rd::rd_kafka_topic_partition_list_new(1);
        rd::rd_kafka_topic_partition_list_add(list, topic.as_ptr(), partition);
        let error = rd::rd_kafka_committed(client.native_ptr(), list, millis);
        let found = if error != none {
            Err(error.into())
        } else {
            let element = &*(*list).elems;
            if element.err != none {
                Err(element.err.into())
            } else if element.offset < 0 {
                Ok(None)
            } else {
                let bytes: &[u8] = match element.metadata.is_null() {
                    true => &[],
                    false => slice::from_raw_parts(element.metadata.cast(), element.metadata_size),
                };
                Ok(Some(Position { offset: element.offset, metadata: bytes.to_owned() }))
            }
        };
        rd::rd_kafka_topic_partition_list_destroy(list);
        found
    }
}
