//! librdkafka's batch calls, which the crate `rdkafka` does not offer: what the best loop we know is made of. The one place of the benches
//! that is allowed `unsafe`.

#![expect(unsafe_code, reason = "calls into librdkafka through rdkafka's bindings; each says why it is sound")]

use std::ffi::{CString, c_void};
use std::ptr::null_mut;
use std::slice;

use rdkafka::bindings as rd;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, Producer};

/// Records a call.
const BATCH: usize = 1_000;
/// The payload is copied: librdkafka's `RD_KAFKA_MSG_F_COPY`.
const COPY: i32 = 2;

/// What a consumer's queue gives.
pub(crate) enum Event<'a> {
    Record {
        partition: usize,
        key: &'a [u8],
        value: &'a [u8],
    },
    /// The end of a partition.
    End(usize),
}

/// The one queue of all of a consumer's partitions.
pub(crate) struct Queue<'c> {
    queue: *mut rd::rd_kafka_queue_t,
    batch: Vec<*mut rd::rd_kafka_message_t>,
    _consumer: &'c BaseConsumer,
}

impl<'c> Queue<'c> {
    pub(crate) fn of(consumer: &'c BaseConsumer) -> Self {
        // Sound: the client is alive, and the queue that is returned is counted and given back in `drop`.
        let queue = unsafe { rd::rd_kafka_queue_get_consumer(consumer.client().native_ptr()) };
        assert!(!queue.is_null(), "a consumer with a group has a queue");
        Queue { queue, batch: vec![null_mut(); BATCH], _consumer: consumer }
    }

    /// Takes what there is, waiting for the first record only; a batch call for many would wait until it is full.
    pub(crate) fn take(&mut self, mut each: impl FnMut(Event<'_>)) -> usize {
        let mut fetch = |timeout_ms, most: usize| {
            // Sound: `batch` has room for `most` pointers, and `queue` is alive.
            unsafe { rd::rd_kafka_consume_batch_queue(self.queue, timeout_ms, self.batch.as_mut_ptr(), most) }
        };
        let mut count = fetch(0, BATCH);
        if count == 0 {
            count = fetch(100, 1);
        }
        assert!(count >= 0, "the queue cannot be read");
        for message in &self.batch[..count as usize] {
            // Sound: librdkafka gave `count` valid messages, which are ours until they are destroyed, each once, below.
            unsafe {
                let record = &**message;
                let partition = record.partition as usize;
                match record.err {
                    rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => each(Event::Record {
                        partition,
                        key: bytes(record.key, record.key_len),
                        value: bytes(record.payload, record.len),
                    }),
                    rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__PARTITION_EOF => each(Event::End(partition)),
                    error => panic!("the input cannot be read: {error:?}"),
                }
                rd::rd_kafka_message_destroy(*message);
            }
        }
        count as usize
    }
}

/// Sound when `at` points to `length` bytes that live for `'a`, or is null.
unsafe fn bytes<'a>(at: *const std::ffi::c_void, length: usize) -> &'a [u8] {
    if at.is_null() {
        &[]
    } else {
        // Sound by what the caller promises.
        unsafe { slice::from_raw_parts(at.cast(), length) }
    }
}

impl Drop for Queue<'_> {
    fn drop(&mut self) {
        // Sound: it was counted for us by `rd_kafka_queue_get_consumer`.
        unsafe { rd::rd_kafka_queue_destroy(self.queue) }
    }
}

/// A topic of a producer, written a batch and a partition at a time, or, where records have a header and a time, one by one: the batch call
/// has no place for either.
pub(crate) struct Topic<'p> {
    producer: &'p BaseProducer,
    topic: *mut rd::rd_kafka_topic_t,
    partitions: Vec<Waiting>,
    batch: Vec<rd::rd_kafka_message_t>,
    /// Each record's header.
    header: Option<(&'static str, Vec<u8>)>,
    line: Vec<u8>,
}

/// Records of one partition that wait for a batch to be full.
#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// Ends of key and value in `bytes`.
    ends: Vec<(usize, usize)>,
}

impl<'p> Topic<'p> {
    pub(crate) fn of(
        producer: &'p BaseProducer,
        topic: &str,
        partitions: usize,
        header: Option<(&'static str, Vec<u8>)>,
    ) -> Self {
        let name = CString::new(topic).expect("a topic's name has no zero byte");
        // Sound: the client is alive, the name is copied, and without a configuration the defaults are taken.
        let handle = unsafe { rd::rd_kafka_topic_new(producer.client().native_ptr(), name.as_ptr(), null_mut()) };
        assert!(!handle.is_null(), "the topic has a valid name");
        let partitions = (0..partitions).map(|_| Waiting::default()).collect();
        Topic { producer, topic: handle, partitions, batch: Vec::with_capacity(BATCH), header, line: Vec::new() }
    }

    /// Adds a record, whose value `put` appends. `at` is its event time, in milliseconds.
    pub(crate) fn write(&mut self, partition: usize, key: &[u8], at: i64, put: impl FnOnce(&mut Vec<u8>)) {
        if self.header.is_some() {
            self.line.clear();
            put(&mut self.line);
            self.send_one(partition, key, at);
            return;
        }
        let waiting = &mut self.partitions[partition];
        waiting.bytes.extend_from_slice(key);
        let end = waiting.bytes.len();
        put(&mut waiting.bytes);
        waiting.ends.push((end, waiting.bytes.len()));
        if waiting.ends.len() == BATCH {
            self.send(partition);
        }
    }

    /// Sends all that waits.
    pub(crate) fn send_all(&mut self) {
        (0..self.partitions.len()).for_each(|partition| self.send(partition));
    }

    /// Sends `line` with the header and its time, by the cheapest call there is that takes both.
    fn send_one(&self, partition: usize, key: &[u8], at: i64) {
        type Argument = rd::rd_kafka_vu_s__bindgen_ty_1;
        use rd::rd_kafka_vtype_t as vtype;
        let bytes = |bytes: &[u8]| Argument {
            mem: rd::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 {
                ptr: bytes.as_ptr() as *mut c_void,
                size: bytes.len(),
            },
        };
        let (name, value) = self.header.as_ref().expect("only such topics come here");
        loop {
            // Sound: all that is pointed to lives until the call returns, which copies it. The headers are librdkafka's once the record is
            // taken, and are given back here when it is not.
            unsafe {
                let headers = rd::rd_kafka_headers_new(1);
                let (value, len) = (value.as_ptr().cast(), value.len() as isize);
                rd::rd_kafka_header_add(headers, name.as_ptr().cast(), name.len() as isize, value, len);
                let arguments = [
                    (vtype::RD_KAFKA_VTYPE_RKT, Argument { rkt: self.topic }),
                    (vtype::RD_KAFKA_VTYPE_PARTITION, Argument { i32_: partition as i32 }),
                    (vtype::RD_KAFKA_VTYPE_MSGFLAGS, Argument { i: COPY }),
                    (vtype::RD_KAFKA_VTYPE_TIMESTAMP, Argument { i64_: at }),
                    (vtype::RD_KAFKA_VTYPE_KEY, bytes(key)),
                    (vtype::RD_KAFKA_VTYPE_VALUE, bytes(&self.line)),
                    (vtype::RD_KAFKA_VTYPE_HEADERS, Argument { headers }),
                ]
                .map(|(vtype, u)| rd::rd_kafka_vu_t { vtype, u });
                let client = self.producer.client().native_ptr();
                let error = rd::rd_kafka_produceva(client, arguments.as_ptr(), arguments.len());
                if error.is_null() {
                    return;
                }
                let code = rd::rd_kafka_error_code(error);
                rd::rd_kafka_error_destroy(error);
                rd::rd_kafka_headers_destroy(headers);
                let full = rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__QUEUE_FULL;
                assert_eq!(code, full, "the output cannot be written");
            }
            poll(self.producer);
            std::thread::sleep(std::time::Duration::from_micros(500));
        }
    }

    fn send(&mut self, partition: usize) {
        let waiting = &mut self.partitions[partition];
        self.batch.clear();
        let mut from = 0;
        for (key, value) in &waiting.ends {
            self.batch.push(rd::rd_kafka_message_t {
                err: rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR,
                rkt: null_mut(),
                partition: partition as i32,
                payload: waiting.bytes[*key..*value].as_ptr().cast_mut().cast(),
                len: value - key,
                key: waiting.bytes[from..*key].as_ptr().cast_mut().cast(),
                key_len: key - from,
                offset: 0,
                _private: null_mut(),
            });
            from = *value;
        }
        let mut left = &mut self.batch[..];
        while !left.is_empty() {
            // Sound: topic and messages are alive, and librdkafka copies what they point to before it returns.
            let taken = unsafe {
                rd::rd_kafka_produce_batch(self.topic, partition as i32, COPY, left.as_mut_ptr(), left.len() as i32)
            };
            // Those that a full queue refuses are the last ones.
            left = &mut left[taken as usize..];
            if let Some(refused) = left.first() {
                let full = rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__QUEUE_FULL;
                assert_eq!(refused.err, full, "the output cannot be written");
                poll(self.producer);
                std::thread::sleep(std::time::Duration::from_micros(500));
            }
        }
        waiting.bytes.clear();
        waiting.ends.clear();
    }
}

impl Drop for Topic<'_> {
    fn drop(&mut self) {
        // Sound: it was made by `rd_kafka_topic_new`, once.
        unsafe { rd::rd_kafka_topic_destroy(self.topic) }
    }
}

/// Serves what the producer has to report. The crate's `poll` takes all of its timeout.
fn poll(producer: &BaseProducer) {
    // Sound: the client is alive.
    unsafe { rd::rd_kafka_poll(producer.client().native_ptr(), 0) };
}

/// Commits the open transaction. The crate's own call flushes in slices of 100 ms.
pub(crate) fn commit(producer: &BaseProducer) {
    // Sound: the client is alive; the error, if there is one, is ours and is destroyed.
    unsafe {
        let error = rd::rd_kafka_commit_transaction(producer.client().native_ptr(), 60_000);
        if !error.is_null() {
            let text = std::ffi::CStr::from_ptr(rd::rd_kafka_error_string(error)).to_string_lossy().into_owned();
            rd::rd_kafka_error_destroy(error);
            panic!("the transaction cannot be committed: {text}");
        }
    }
}
