//! A producer: its records and its transactions, and what it reports.
//!
//! The crate's own `send` sets no flags and looks a topic up by name for each record; its `commit_transaction` waits in slices of 100 ms;
//! and it has no way to ask which requests were answered, which decides whether a producer may be used again.

use std::ffi::{CStr, CString, c_void};
use std::ptr;
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::bindings as rd;
use rdkafka::client::Client;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaResult, RDKafkaErrorCode};
use rdkafka::types::RDKafkaType;

use super::super::client::Context;
use super::super::failure::Failure;
use super::hear;

/// How long one look takes whether everything is delivered. librdkafka's own take up to 10 ms, since deliveries that need no report wake nobody.
const STEP: Duration = Duration::from_millis(1);
/// How long what is thrown away may take to be reported.
const PURGED: Duration = Duration::from_millis(500);

/// A producer with handles of the topics it writes.
pub(in crate::kafka) struct Producer {
    // Dropped by hand before the client.
    topics: Vec<*mut rd::rd_kafka_topic_t>,
    client: Client<Context>,
}

// SAFETY: librdkafka's handles may be used from any thread, and the pointers are this value's own.
unsafe impl Send for Producer {}

/// One record to be written.
#[derive(Clone, Copy, Debug)]
pub(in crate::kafka) struct Produced<'a> {
    /// The topic's number, from [`Producer::topic`].
    pub(in crate::kafka) topic: usize,
    /// Its partition.
    pub(in crate::kafka) partition: u32,
    /// Milliseconds since 1970; 0 is the broker's or client's own time.
    pub(in crate::kafka) timestamp: i64,
    /// Its key.
    pub(in crate::kafka) key: Option<&'a [u8]>,
    /// Its value; none is a tombstone.
    pub(in crate::kafka) value: Option<&'a [u8]>,
    /// Its headers.
    pub(in crate::kafka) headers: &'a [(&'a str, &'a [u8])],
    /// One more header.
    pub(in crate::kafka) also: Option<(&'a str, &'a [u8])>,
}

impl Producer {
    /// A producer that reports to `context`.
    ///
    /// # Errors
    /// When its settings are wrong.
    pub(in crate::kafka) fn new(config: &ClientConfig, context: Context) -> KafkaResult<Self> {
        let native = config.create_native_config()?;
        hear::reports(&native);
        let client = Client::new(config, native, RDKafkaType::RD_KAFKA_PRODUCER, context)?;
        Ok(Producer { topics: Vec::new(), client })
    }

    /// The client, for everything that the crate has a safe way for.
    pub(in crate::kafka) fn client(&self) -> &Client<Context> {
        &self.client
    }

    /// Hears everything that the producer has to report so far.
    pub(in crate::kafka) fn poll(&self) {
        // SAFETY: the client lives; what is reported goes to the callbacks of `hear`.
        unsafe { rd::rd_kafka_poll(self.client.native_ptr(), 0) };
    }

    /// Ends every earlier producer of this transactional id. May be called again after a failure that says so.
    ///
    /// # Errors
    /// As librdkafka classes them.
    pub(in crate::kafka) fn init(&self, within: Duration) -> Result<(), Failure> {
        // SAFETY: the client lives; the error, if any, is taken over.
        unsafe { failed(rd::rd_kafka_init_transactions(self.client.native_ptr(), millis(within))) }
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// As librdkafka classes them.
    pub(in crate::kafka) fn begin(&self) -> Result<(), Failure> {
        // SAFETY: the client lives; the error, if any, is taken over.
        unsafe { failed(rd::rd_kafka_begin_transaction(self.client.native_ptr())) }
    }

    /// Puts what `group`, which nobody joins, commits into the transaction. May be called again after a failure that says so.
    ///
    /// # Errors
    /// As librdkafka classes them.
    pub(in crate::kafka) fn offsets(
        &self,
        group: &str,
        offsets: &TopicPartitionList,
        within: Duration,
    ) -> Result<(), Failure> {
        let group = CString::new(group).map_err(|_| {
            Failure::new(RDKafkaErrorCode::InvalidGroupId, false, true, "a group's name holds a zero".to_owned())
        })?;
        // SAFETY: the client and the list live, and both are only read; the group is made and given back here; the error is taken over.
        unsafe {
            let group = rd::rd_kafka_consumer_group_metadata_new(group.as_ptr());
            let error = rd::rd_kafka_send_offsets_to_transaction(
                self.client.native_ptr(),
                offsets.ptr(),
                group,
                millis(within),
            );
            rd::rd_kafka_consumer_group_metadata_destroy(group);
            failed(error)
        }
    }

    /// A handle of a topic, by number.
    ///
    /// # Errors
    /// When the name is none.
    pub(in crate::kafka) fn topic(&mut self, name: &str) -> Result<usize, RDKafkaErrorCode> {
        let name = CString::new(name).map_err(|_| RDKafkaErrorCode::InvalidTopic)?;
        // SAFETY: the client lives as long as `self`, the name is copied, and no settings means the client's own.
        let topic = unsafe { rd::rd_kafka_topic_new(self.client.native_ptr(), name.as_ptr(), ptr::null_mut()) };
        if topic.is_null() {
            return Err(RDKafkaErrorCode::InvalidTopic);
        }
        self.topics.push(topic);
        Ok(self.topics.len() - 1)
    }

    /// Hands a record over; its bytes are copied.
    ///
    /// # Errors
    /// When it is not taken. `QueueFull` passes.
    pub(in crate::kafka) fn produce(&self, record: &Produced<'_>) -> Result<(), RDKafkaErrorCode> {
        type Argument = rd::rd_kafka_vu_s__bindgen_ty_1;
        let (kind, with) =
            (rd::rd_kafka_vtype_t::RD_KAFKA_VTYPE_RKT, |vtype, u: Argument| rd::rd_kafka_vu_t { vtype, u });
        let bytes = |bytes: Option<&[u8]>| {
            let (ptr, size) = bytes.map_or((ptr::null_mut(), 0), |bytes| (bytes.as_ptr() as *mut c_void, bytes.len()));
            Argument { mem: rd::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 { ptr, size } }
        };
        use rd::rd_kafka_vtype_t as vtype;
        // SAFETY: the pointers live until the call returns, which copies what they point to. The headers belong to librdkafka once the
        // record is taken, and are given back here when it is not.
        unsafe {
            let headers = rd::rd_kafka_headers_new(record.headers.len());
            for (name, value) in record.headers.iter().chain(&record.also) {
                let (name, name_len) = (name.as_ptr().cast(), name.len() as isize);
                rd::rd_kafka_header_add(headers, name, name_len, value.as_ptr().cast(), value.len() as isize);
            }
            let arguments = [
                with(kind, Argument { rkt: self.topics[record.topic] }),
                with(vtype::RD_KAFKA_VTYPE_PARTITION, Argument { i32_: record.partition as i32 }),
                with(vtype::RD_KAFKA_VTYPE_MSGFLAGS, Argument { i: rd::RD_KAFKA_MSG_F_COPY }),
                with(vtype::RD_KAFKA_VTYPE_TIMESTAMP, Argument { i64_: record.timestamp }),
                with(vtype::RD_KAFKA_VTYPE_KEY, bytes(record.key)),
                with(vtype::RD_KAFKA_VTYPE_VALUE, bytes(record.value)),
                with(vtype::RD_KAFKA_VTYPE_HEADERS, Argument { headers }),
            ];
            let client = self.client.native_ptr();
            let error = rd::rd_kafka_produceva(client, arguments.as_ptr(), arguments.len());
            if error.is_null() {
                return Ok(());
            }
            let code = rd::rd_kafka_error_code(error);
            rd::rd_kafka_error_destroy(error);
            rd::rd_kafka_headers_destroy(headers);
            Err(code.into())
        }
    }

    /// Flushes, and ends the transaction. May be called again after a failure that says so.
    ///
    /// # Errors
    /// As librdkafka classes them.
    pub(in crate::kafka) fn commit(&self, within: Duration) -> Result<(), Failure> {
        let began = Instant::now();
        // Where the time is over, the call itself says so, or what else is wrong.
        let _ = self.flush(within / 2);
        let rest = within.saturating_sub(began.elapsed()).max(STEP);
        // SAFETY: the client lives; the error, if any, is taken over.
        unsafe { failed(rd::rd_kafka_commit_transaction(self.client.native_ptr(), millis(rest))) }
    }

    /// Waits until everything handed over is delivered or has failed.
    ///
    /// # Errors
    /// When that takes longer.
    pub(in crate::kafka) fn flush(&self, within: Duration) -> Result<(), RDKafkaErrorCode> {
        let began = Instant::now();
        loop {
            // SAFETY: the client lives.
            match unsafe { rd::rd_kafka_flush(self.client.native_ptr(), millis(STEP)) } {
                rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => return Ok(()),
                rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__TIMED_OUT if began.elapsed() < within => {}
                error => return Err(error.into()),
            }
        }
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        // What is left belongs to a transaction that somebody else has to end: nothing waits for it.
        // SAFETY: the client lives.
        unsafe {
            rd::rd_kafka_purge(self.client.native_ptr(), rd::RD_KAFKA_PURGE_F_QUEUE | rd::RD_KAFKA_PURGE_F_INFLIGHT)
        };
        let _ = self.flush(PURGED);
        for topic in self.topics.drain(..) {
            // SAFETY: each handle was made by `topic`, is given back once, and the client still lives.
            unsafe { rd::rd_kafka_topic_destroy(topic) };
        }
    }
}

fn millis(within: Duration) -> i32 {
    i32::try_from(within.as_millis()).unwrap_or(i32::MAX)
}

/// # Safety
/// `error` must be null or an error that librdkafka gave away.
unsafe fn failed(error: *mut rd::rd_kafka_error_t) -> Result<(), Failure> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: it is alive until it is given back below; its text is copied before.
    unsafe {
        let failure = Failure::new(
            rd::rd_kafka_error_code(error).into(),
            rd::rd_kafka_error_is_retriable(error) != 0,
            rd::rd_kafka_error_txn_requires_abort(error) != 0,
            CStr::from_ptr(rd::rd_kafka_error_string(error)).to_string_lossy().into_owned(),
        );
        rd::rd_kafka_error_destroy(error);
        Err(failure)
    }
}
