//! Reads a partition: a queue of its own, which the worker empties many messages at a time and never waits on.
//!
//! A partition is started with its queue (`rd_kafka_consume_start_queue`), not assigned and split off later: so nothing can be fetched into
//! another queue in between and be lost. A partition that is not read fills its queue up to librdkafka's bound and is then not fetched any
//! more; that is how the engine pauses one. When a queue that was empty has something, librdkafka calls back, and the callback wakes the
//! worker.

use std::ffi::{CStr, CString, c_void};
use std::ptr::{self, NonNull};
use std::rc::Rc;
use std::slice;
use std::sync::atomic::{AtomicBool, Ordering};

use millpond_engine::source::Waker;
use rdkafka::bindings as rd;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode;

/// A topic of a consumer. The consumer lives at least as long.
pub(in crate::kafka) struct Topic<C: ConsumerContext + 'static> {
    consumer: Rc<BaseConsumer<C>>,
    topic: NonNull<rd::rd_kafka_topic_t>,
}

impl<C: ConsumerContext + 'static> Topic<C> {
    /// `None` when librdkafka does not take the name.
    pub(in crate::kafka) fn new(consumer: Rc<BaseConsumer<C>>, name: &str) -> Option<Rc<Self>> {
        let name = CString::new(name).ok()?;
        // SAFETY: the client is alive; the name is copied; a null configuration means that of the client.
        let topic = unsafe { rd::rd_kafka_topic_new(consumer.client().native_ptr(), name.as_ptr(), ptr::null_mut()) };
        Some(Rc::new(Topic { consumer, topic: NonNull::new(topic)? }))
    }

    pub(in crate::kafka) fn consumer(&self) -> &BaseConsumer<C> {
        &self.consumer
    }
}

impl<C: ConsumerContext + 'static> Drop for Topic<C> {
    fn drop(&mut self) {
        // SAFETY: made by `rd_kafka_topic_new`, given back once, before the client.
        unsafe { rd::rd_kafka_topic_destroy(self.topic.as_ptr()) }
    }
}

/// Whether a message is needed beyond the call that showed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::kafka) enum Keep {
    /// No: its memory is used again while it is still in the cache.
    No,
    /// Until the next [`PartitionQueue::take`].
    UntilNext,
}

/// One partition that is being read.
pub(in crate::kafka) struct PartitionQueue<C: ConsumerContext + 'static> {
    topic: Rc<Topic<C>>,
    partition: i32,
    queue: NonNull<rd::rd_kafka_queue_t>,
    /// Made from a box, which `drop` frees. No box: librdkafka holds its address too, and a box that is moved would be its only owner.
    signal: NonNull<Signal>,
    /// What was taken last and is kept, by offset.
    held: Vec<Message>,
    pointers: Vec<*mut rd::rd_kafka_message_t>,
}

/// What the callback touches.
struct Signal {
    some: AtomicBool,
    waker: Waker,
}

/// Called by librdkafka when an empty queue got something, by one of its threads, under the queue's lock.
unsafe extern "C" fn on_some(_: *mut rd::rd_kafka_t, signal: *mut c_void) {
    // SAFETY: it is the address of what the queue's `PartitionQueue` owns and only shares, and frees after it has unregistered this.
    let signal = unsafe { &*signal.cast::<Signal>() };
    signal.some.store(true, Ordering::Release);
    signal.waker.wake();
}

impl<C: ConsumerContext + 'static> PartitionQueue<C> {
    /// Starts reading at `offset`.
    ///
    /// # Errors
    /// When librdkafka refuses; nothing has been asked of a broker yet.
    pub(in crate::kafka) fn start(
        topic: &Rc<Topic<C>>,
        partition: u32,
        offset: u64,
        waker: Waker,
    ) -> Result<Self, RDKafkaErrorCode> {
        let partition = i32::try_from(partition).map_err(|_| RDKafkaErrorCode::UnknownPartition)?;
        let offset = i64::try_from(offset).map_err(|_| RDKafkaErrorCode::OffsetOutOfRange)?;
        // SAFETY: the client is alive; a new queue is never null.
        let queue = unsafe { rd::rd_kafka_queue_new(topic.consumer.client().native_ptr()) };
        let queue = NonNull::new(queue).expect("librdkafka ends the process when it has no memory");
        let signal = NonNull::from(Box::leak(Box::new(Signal { some: AtomicBool::new(false), waker })));
        // SAFETY: the queue is alive, and the address is good until `drop` unregisters it.
        unsafe { rd::rd_kafka_queue_cb_event_enable(queue.as_ptr(), Some(on_some), signal.as_ptr().cast()) };
        let this = PartitionQueue {
            topic: Rc::clone(topic),
            partition,
            queue,
            signal,
            held: Vec::new(),
            pointers: Vec::new(),
        };
        // SAFETY: topic and queue are alive.
        let started =
            unsafe { rd::rd_kafka_consume_start_queue(topic.topic.as_ptr(), partition, offset, this.queue.as_ptr()) };
        if started == -1 {
            // SAFETY: no arguments; it reads a value of this thread.
            return Err(unsafe { rd::rd_kafka_last_error() }.into());
        }
        Ok(this)
    }

    fn signal(&self) -> &Signal {
        // SAFETY: it lives until `drop`, and is only ever shared.
        unsafe { self.signal.as_ref() }
    }

    /// Shows at most `most` messages that are here, in order; errors and the end of the partition come as messages too. Answers how many
    /// there were; with fewer than `most` the queue was empty, and the waker will be called. Never blocks.
    pub(in crate::kafka) fn take(&mut self, most: usize, mut each: impl FnMut(&Message) -> Keep) -> usize {
        self.held.clear();
        // Cleared before the queue is looked at, so that what comes in between is not missed.
        if most == 0 || !self.signal().some.swap(false, Ordering::AcqRel) {
            return 0;
        }
        self.pointers.clear();
        self.pointers.reserve(most);
        // SAFETY: there is room for `most` pointers; a time-out of 0 does not wait. It answers how many it wrote, -1 on wrong arguments.
        let count =
            unsafe { rd::rd_kafka_consume_batch_queue(self.queue.as_ptr(), 0, self.pointers.as_mut_ptr(), most) };
        let count = usize::try_from(count).expect("a queue and room for messages are all that it asks for");
        assert!(count <= most, "librdkafka wrote {count} messages where there was room for {most}");
        // SAFETY: so many were written.
        unsafe { self.pointers.set_len(count) };
        if count == most {
            self.signal().some.store(true, Ordering::Release);
        }
        // All are owned before the first is shown: a panic in `each` frees them too.
        for message in Owned(&self.pointers, 0) {
            if each(&message) == Keep::UntilNext {
                self.held.push(message);
            }
        }
        count
    }

    /// A kept message of the last [`take`](Self::take).
    pub(in crate::kafka) fn kept(&self, offset: u64) -> Option<&Message> {
        let at = self.held.binary_search_by_key(&offset, Message::offset).ok()?;
        Some(&self.held[at])
    }

    /// The next message shown will be that of `offset`, or the first after it.
    ///
    /// # Errors
    /// When the partition is not being read any more.
    pub(in crate::kafka) fn seek(&mut self, offset: u64) -> Result<(), RDKafkaErrorCode> {
        self.held.clear();
        let offset = i64::try_from(offset).map_err(|_| RDKafkaErrorCode::OffsetOutOfRange)?;
        // SAFETY: the topic is alive; with a time-out of 0 it only asks, and what was fetched before is dropped by its version.
        let error = unsafe { rd::rd_kafka_seek(self.topic.topic.as_ptr(), self.partition, offset, 0) };
        self.signal().some.store(true, Ordering::Release);
        match error {
            rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
            error => Err(error.into()),
        }
    }

    /// The high watermark by the newest fetch: one past the newest record of the log, readable or not. `None` before the first fetch.
    pub(in crate::kafka) fn high_watermark(&self) -> Option<u64> {
        let (mut low, mut high) = (0, 0);
        // SAFETY: client and topic are alive, the name belongs to the topic, both results are written to.
        let error = unsafe {
            let name = rd::rd_kafka_topic_name(self.topic.topic.as_ptr());
            let client = self.topic.consumer.client().native_ptr();
            rd::rd_kafka_get_watermark_offsets(client, name, self.partition, &raw mut low, &raw mut high)
        };
        (error == rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| u64::try_from(high).ok()).flatten()
    }
}

impl<C: ConsumerContext + 'static> Drop for PartitionQueue<C> {
    fn drop(&mut self) {
        self.held.clear();
        // SAFETY: topic and queue are alive. Stopping waits for librdkafka's own thread, not for a broker; once the callback is
        // unregistered (under the queue's lock) nobody has the signal's address, which was a box's; the queue frees what is left in it.
        unsafe {
            rd::rd_kafka_consume_stop(self.topic.topic.as_ptr(), self.partition);
            rd::rd_kafka_queue_cb_event_enable(self.queue.as_ptr(), None, ptr::null_mut());
            rd::rd_kafka_queue_destroy(self.queue.as_ptr());
            drop(Box::from_raw(self.signal.as_ptr()));
        }
    }
}

/// Messages that were handed out, each owned once.
struct Owned<'a>(&'a [*mut rd::rd_kafka_message_t], usize);

impl Iterator for Owned<'_> {
    type Item = Message;
    fn next(&mut self) -> Option<Message> {
        let pointer = *self.0.get(self.1)?;
        self.1 += 1;
        Some(Message(NonNull::new(pointer).expect("librdkafka hands out messages, not nulls")))
    }
}

impl Drop for Owned<'_> {
    fn drop(&mut self) {
        self.by_ref().for_each(drop);
    }
}

/// A message, or an error that took the place of one. Frees itself.
pub(in crate::kafka) struct Message(NonNull<rd::rd_kafka_message_t>);

impl Message {
    fn raw(&self) -> &rd::rd_kafka_message_t {
        // SAFETY: librdkafka handed it to us, and it lives until it is destroyed in `drop`.
        unsafe { self.0.as_ref() }
    }

    /// What it is instead of a message; [`RDKafkaErrorCode::PartitionEOF`] at the end of the partition.
    #[inline]
    pub(in crate::kafka) fn error(&self) -> Option<RDKafkaErrorCode> {
        match self.raw().err {
            rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => None,
            error => Some(error.into()),
        }
    }

    /// Its offset; at the end of the partition that of the next record to come.
    #[inline]
    pub(in crate::kafka) fn offset(&self) -> u64 {
        // Errors that have no offset have -1001.
        u64::try_from(self.raw().offset).unwrap_or(0)
    }

    #[inline]
    pub(in crate::kafka) fn key(&self) -> Option<&[u8]> {
        bytes(self.raw().key, self.raw().key_len)
    }

    /// Its value; of an error, its text.
    #[inline]
    pub(in crate::kafka) fn value(&self) -> Option<&[u8]> {
        bytes(self.raw().payload, self.raw().len)
    }

    /// Milliseconds since 1970, when it has a timestamp.
    #[inline]
    pub(in crate::kafka) fn millis(&self) -> Option<i64> {
        let mut kind = rd::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is alive, and the kind is written to.
        let millis = unsafe { rd::rd_kafka_message_timestamp(self.0.as_ptr(), &raw mut kind) };
        (kind != rd::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE).then_some(millis)
    }

    /// Its headers, in their order. They are taken apart only when the first is asked for.
    #[inline]
    pub(in crate::kafka) fn headers(&self) -> Headers<'_> {
        Headers { of: self, list: None, at: 0 }
    }
}

impl Drop for Message {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: it is ours, and destroyed once.
        unsafe { rd::rd_kafka_message_destroy(self.0.as_ptr()) }
    }
}

/// An absent field is null, an empty one is not.
#[inline]
fn bytes<'a>(start: *mut c_void, len: usize) -> Option<&'a [u8]> {
    // SAFETY: callers give a field of a message that they borrow, so many bytes long, for no longer than that.
    (!start.is_null()).then(|| unsafe { slice::from_raw_parts(start.cast::<u8>(), len) })
}

/// The headers of a message. A header without a value is shown with an empty one.
pub(in crate::kafka) struct Headers<'a> {
    of: &'a Message,
    list: Option<*mut rd::rd_kafka_headers_t>,
    at: usize,
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a str, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let list = *self.list.get_or_insert_with(|| {
            let mut list = ptr::null_mut();
            // SAFETY: the message is alive and on this thread only; the list stays the message's. It stays null when there are none.
            unsafe { rd::rd_kafka_message_headers(self.of.0.as_ptr(), &raw mut list) };
            list
        });
        if list.is_null() {
            return None;
        }
        let (mut name, mut value, mut len) = (ptr::null(), ptr::null(), 0);
        // SAFETY: the list lives as long as the message; all three are written to when there is such a header.
        let error = unsafe { rd::rd_kafka_header_get_all(list, self.at, &raw mut name, &raw mut value, &raw mut len) };
        if error != rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return None;
        }
        self.at += 1;
        // SAFETY: a name is a C string that lives as long as the message.
        let name: &'a CStr = unsafe { CStr::from_ptr(name) };
        // Kafka's names are UTF-8; of another the part that is.
        let name = name.to_bytes().utf8_chunks().next().map_or("", |chunk| chunk.valid());
        Some((name, bytes(value.cast_mut(), len).unwrap_or_default()))
    }
}
