//! What tells a topic from another of the same name: its id. One request, which the caller waits for.

use std::ffi::{CStr, CString};
use std::time::Duration;

use rdkafka::bindings as rd;
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::RDKafkaErrorCode;

/// The id that a topic was given when it was made; `None` where brokers are too old to have such ids. Any broker knows it: `broker` is asked.
///
/// # Errors
/// What the cluster or the client says: the topic is unknown, nobody answered in time, ...
pub(in crate::kafka) fn topic_id<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    broker: i32,
    within: Duration,
) -> Result<Option<String>, RDKafkaErrorCode> {
    let topic = CString::new(topic).map_err(|_| RDKafkaErrorCode::InvalidTopic)?;
    let millis = i32::try_from(within.as_millis()).unwrap_or(i32::MAX).max(1);
    let mut names = [topic.as_ptr()];
    // SAFETY: everything made here is given back below, whatever the answer; names are copied; the request ends within its time-out, and
    // the queue gets the one event that it ends with.
    unsafe {
        let topics = rd::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
        let queue = rd::rd_kafka_queue_new(client.native_ptr());
        let op = rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
        let options = rd::rd_kafka_AdminOptions_new(client.native_ptr(), op);
        let mut text = [0; 256];
        // Both can be refused only for numbers out of range; then the defaults hold, which are a minute and the controller.
        rd::rd_kafka_AdminOptions_set_request_timeout(options, millis, text.as_mut_ptr(), text.len());
        rd::rd_kafka_AdminOptions_set_broker(options, broker, text.as_mut_ptr(), text.len());
        rd::rd_kafka_DescribeTopics(client.native_ptr(), topics, options, queue);
        // A little longer than the request may take, so that it is the request that says what was wrong.
        let event = rd::rd_kafka_queue_poll(queue, millis.saturating_add(1_000));
        let id = if event.is_null() { Err(RDKafkaErrorCode::OperationTimedOut) } else { answer(event) };
        if !event.is_null() {
            rd::rd_kafka_event_destroy(event);
        }
        rd::rd_kafka_AdminOptions_destroy(options);
        rd::rd_kafka_queue_destroy(queue);
        rd::rd_kafka_TopicCollection_destroy(topics);
        id
    }
}

/// # Safety
/// `event` must be an event that librdkafka handed out and that lives beyond this call.
unsafe fn answer(event: *mut rd::rd_kafka_event_t) -> Result<Option<String>, RDKafkaErrorCode> {
    let none = rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
    // SAFETY: all that is looked at belongs to the event; the list has as many pointers as its count says.
    unsafe {
        let error = rd::rd_kafka_event_error(event);
        if error != none {
            return Err(error.into());
        }
        let result = rd::rd_kafka_event_DescribeTopics_result(event);
        if result.is_null() {
            return Err(RDKafkaErrorCode::BadMessage);
        }
        let mut count = 0;
        let topics = rd::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        if count != 1 {
            return Err(RDKafkaErrorCode::UnknownTopicOrPartition);
        }
        let topic = *topics;
        let error = rd::rd_kafka_error_code(rd::rd_kafka_TopicDescription_error(topic));
        if error != none {
            return Err(error.into());
        }
        let id = rd::rd_kafka_TopicDescription_topic_id(topic);
        let known =
            rd::rd_kafka_Uuid_most_significant_bits(id) != 0 || rd::rd_kafka_Uuid_least_significant_bits(id) != 0;
        Ok(known.then(|| CStr::from_ptr(rd::rd_kafka_Uuid_base64str(id)).to_string_lossy().into_owned()))
    }
}
