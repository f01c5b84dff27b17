//! What a producer reports: records that were not taken, errors, its log, and which of its requests were never answered.
//!
//! The last is heard through interceptors, which the crate knows nothing of: librdkafka repeats requests by itself, and neither a call's outcome
//! nor the log tells. An interceptor is told the end of every request, before anything follows from it: with a response, or without one where
//! the connection broke or the time was over. A request without one may still be on its way.

use std::ffi::{CStr, c_char, c_int, c_void};

use rdkafka::bindings as rd;
use rdkafka::client::ClientContext as _;
use rdkafka::config::{NativeClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::super::client::Context;

/// Requests that change a transaction, by their numbers in Kafka's protocol: Produce, AddPartitionsToTxn, AddOffsetsToTxn, EndTxn, TxnOffsetCommit.
const CHANGES: [i16; 5] = [0, 24, 25, 26, 28];

/// Has a client, which is made of these settings with a [`Context`], report to that context.
pub(super) fn reports(settings: &NativeClientConfig) {
    let settings = settings.ptr();
    // SAFETY: the settings are alive. The callbacks are functions, and what they are given is said at each.
    unsafe {
        rd::rd_kafka_conf_set_dr_msg_cb(settings, Some(delivered));
        rd::rd_kafka_conf_set_error_cb(settings, Some(failed));
        rd::rd_kafka_conf_set_log_cb(settings, Some(logged));
        let name = c"millpond".as_ptr();
        // It can be refused only when it is there already.
        rd::rd_kafka_conf_interceptor_add_on_new(settings, name, Some(made), std::ptr::null_mut());
    }
}

/// # Safety
/// `opaque` must be what a client made with a `Context` was given by the crate: a pointer to that context, which outlives the client.
unsafe fn context<'a>(opaque: *mut c_void) -> &'a Context {
    // SAFETY: as promised. The crate keeps the context in an `Arc` beside the client and drops it after it.
    unsafe { &*opaque.cast::<Context>() }
}

/// # Safety
/// `text` must be null or a C string that lives until the end of the callback.
unsafe fn text<'a>(text: *const c_char) -> std::borrow::Cow<'a, str> {
    // SAFETY: as promised.
    if text.is_null() { "".into() } else { unsafe { CStr::from_ptr(text) }.to_string_lossy() }
}

// All of them are called by librdkafka alone, with what it promises: a client that is alive, strings that live as long as the call, and the
// opaque pointer of the client's settings, which is its context's.

unsafe extern "C" fn delivered(_: *mut rd::rd_kafka_t, message: *const rd::rd_kafka_message_t, opaque: *mut c_void) {
    // SAFETY: see above; a report's message has a topic.
    unsafe {
        let message = &*message;
        if message.err != rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            context(opaque).undelivered(message.err.into(), &text(rd::rd_kafka_topic_name(message.rkt)));
        }
    }
}

unsafe extern "C" fn failed(_: *mut rd::rd_kafka_t, error: c_int, reason: *const c_char, opaque: *mut c_void) {
    // SAFETY: see above.
    let (context, reason) = unsafe { (context(opaque), text(reason)) };
    // A code that these bindings do not know is none that is acted on.
    let code = rd::rd_kafka_resp_err_t::try_from(error).map_or(RDKafkaErrorCode::Unknown, RDKafkaErrorCode::from);
    context.error(KafkaError::Global(code), reason.trim());
}

unsafe extern "C" fn logged(client: *const rd::rd_kafka_t, level: c_int, fac: *const c_char, line: *const c_char) {
    // SAFETY: see above.
    let (context, fac, line) = unsafe { (context(rd::rd_kafka_opaque(client)), text(fac), text(line)) };
    let level = match level {
        ..=3 => RDKafkaLogLevel::Error,
        4..=6 => RDKafkaLogLevel::Info,
        _ => RDKafkaLogLevel::Debug,
    };
    context.log(level, fac.trim(), line.trim());
}

unsafe extern "C" fn made(
    client: *mut rd::rd_kafka_t,
    _: *const rd::rd_kafka_conf_t,
    _: *mut c_void,
    _: *mut c_char,
    _: usize,
) -> rd::rd_kafka_resp_err_t {
    // SAFETY: the client is being made and has its settings, with their opaque pointer.
    unsafe {
        let context = rd::rd_kafka_opaque(client);
        rd::rd_kafka_interceptor_add_on_response_received(client, c"millpond".as_ptr(), Some(ended), context)
    }
}

/// The end of a request, on whichever thread. Without a response it has no bytes.
unsafe extern "C" fn ended(
    _: *mut rd::rd_kafka_t,
    _: c_int,
    _: *const c_char,
    _: i32,
    kind: i16,
    _: i16,
    _: i32,
    bytes: usize,
    _: i64,
    _: rd::rd_kafka_resp_err_t,
    opaque: *mut c_void,
) -> rd::rd_kafka_resp_err_t {
    if bytes == 0 && CHANGES.contains(&kind) {
        // SAFETY: see above.
        unsafe { context(opaque) }.unanswered_request();
    }
    rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
}
