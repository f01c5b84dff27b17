//! A topic of a cluster in memory (librdkafka's own) as source: every position, ends, growth, errors. Transactions need a real broker; they
//! are tested there.

use std::time::{Duration, Instant};

use millpond_engine::source::{Assigned, From, Read, Reader as _, Waker};
use millpond_engine::{Exit, Untimed as _};
use millpond_state::Timestamp;
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::Kafka;
use crate::trial::{self, Taken};
use crate::{Json, Kept, Message, Raw};

type Cluster = MockCluster<'static, DefaultProducerContext>;

fn cluster(partitions: i32) -> (Cluster, Kafka) {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("t", partitions, 1).unwrap();
    let kafka = Kafka::brokers(cluster.bootstrap_servers());
    (cluster, kafka)
}

/// Writes the numbers of `range` to each partition.
fn write(cluster: &Cluster, partitions: i32, range: std::ops::Range<u64>) {
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", cluster.bootstrap_servers()).create().unwrap();
    for n in range {
        for partition in 0..partitions {
            let value = n.to_string();
            let header = |value| Header { key: "h", value: Some(value) };
            let headers = OwnedHeaders::new().insert(header("1")).insert(header("2"));
            let record = BaseRecord::to("t").partition(partition).key("key").payload(&value).headers(headers);
            let mut record = Some(record.timestamp((n as i64 + 1) * 10));
            while let Some(sending) = record.take() {
                if let Err((_, back)) = producer.send(sending) {
                    producer.poll(Duration::from_millis(1));
                    record = Some(back);
                }
            }
        }
    }
    producer.flush(Duration::from_secs(20)).unwrap();
}

fn assigned(partition: u32, next: u64, end: Option<u64>) -> Assigned {
    Assigned { partition, next, end }
}

#[test]
fn every_position_is_a_place_to_go_on_from_and_ends_hold() {
    let (cluster, kafka) = cluster(1);
    write(&cluster, 1, 0..20_000);
    let source = kafka.read::<u64>("t", Json);
    let found = source.connect(&trial::env(), &From::Earliest).unwrap();
    assert_eq!((found.len(), found[0].start, found[0].end), (1, 0, 20_000));
    for (next, most) in [(0, 2_048), (1, 7_777), (8_191, 1_000), (19_999, 1), (20_000, 5)] {
        let mut reader = source.open(&trial::env(), &[assigned(0, next, None)], trial::waker()).unwrap();
        let taken = trial::read_until(&mut reader, 0, most, Read::AtEnd);
        assert_eq!(taken.offsets(), (next..20_000).collect::<Vec<_>>());
        assert_eq!(taken.values(), taken.offsets());
        assert_eq!((reader.end(0), reader.log_end(0)), (Some(20_000), Some(20_000)));
    }
    for (next, end) in [(0, 1), (0, 10_000), (9_999, 10_000), (7_000, 20_000)] {
        let mut reader = source.open(&trial::env(), &[assigned(0, next, Some(end))], trial::waker()).unwrap();
        assert_eq!(trial::read_until(&mut reader, 0, 3_000, Read::Finished).offsets(), (next..end).collect::<Vec<_>>());
    }
}

#[test]
fn a_start_is_a_number_whatever_it_was_said_by() {
    let (cluster, kafka) = cluster(2);
    write(&cluster, 2, 0..100);
    let source = kafka.read::<u64>("t", Json);
    let starts = |from| {
        let found = source.connect(&trial::env(), &from).unwrap();
        found.iter().map(|partition| (partition.partition, partition.start, partition.end)).collect::<Vec<_>>()
    };
    assert_eq!(starts(From::Earliest), [(0, 0, 100), (1, 0, 100)]);
    assert_eq!(starts(From::Latest), [(0, 100, 100), (1, 100, 100)]);
    assert_eq!(starts(From::Offsets(vec![(1, 7)])), [(0, 0, 100), (1, 7, 100)]);
    let beyond = source.connect(&trial::env(), &From::Offsets(vec![(0, 101)])).unwrap_err();
    assert_eq!(beyond.exit(), Exit::Usage);
    assert!(beyond.to_string().contains("from 0 up to 100, and reading cannot begin at 101"), "{beyond}");
}

#[test]
fn a_missing_topic_is_named_and_a_position_outside_the_log_stops() {
    let (cluster, kafka) = cluster(1);
    write(&cluster, 1, 0..10);
    let missing = kafka.read::<u64>("nowhere", Json).connect(&trial::env(), &From::Earliest).unwrap_err();
    assert_eq!(missing.exit(), Exit::Usage);
    assert!(missing.to_string().contains("has no topic nowhere; create it, or name another"), "{missing}");
    let source = kafka.read::<u64>("t", Json);
    let mut reader = source.open(&trial::env(), &[assigned(0, 99, None)], trial::waker()).unwrap();
    let fault = fault(&mut reader);
    assert_eq!(fault.exit(), Exit::Restore);
    assert!(fault.to_string().contains("does not hold offset 99, where the job stands"), "{fault}");
}

/// Reads until it fails.
fn fault<T: Clone, R: millpond_engine::source::Reader<T>>(reader: &mut R) -> millpond_engine::Fault {
    let begun = Instant::now();
    loop {
        match reader.read(0, 10, &mut Taken::default()) {
            Err(fault) => return fault,
            Ok(_) => assert!(begun.elapsed() < Duration::from_secs(20), "no error"),
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn arrivals_have_the_timestamp_and_originals_all_bytes() {
    let (cluster, kafka) = cluster(1);
    write(&cluster, 1, 0..10);
    let source = kafka.read::<String>("t", Json);
    let mut reader = source.open(&trial::env(), &[assigned(0, 3, None)], trial::waker()).unwrap();
    let mut taken: Taken<String> = Taken::default();
    while taken.refused.len() < 6 {
        let before = taken.refused.len();
        reader.read(0, 3, &mut taken).unwrap();
        for (arrival, reason) in &taken.refused[before..] {
            assert_eq!((arrival.stamp.millis(), arrival.logged), ((arrival.offset as i64 + 1) * 10, arrival.stamp));
            assert!(reason.contains("invalid type: integer"), "{reason}");
            let original = reader.original(0, arrival.offset).unwrap();
            assert_eq!((original.key.as_deref(), original.stamp), (Some(&b"key"[..]), Some(arrival.stamp)));
            assert_eq!(original.value, Some(arrival.offset.to_string().into_bytes()));
            assert_eq!(original.headers, [("h".to_owned(), b"1".to_vec()), ("h".to_owned(), b"2".to_vec())]);
        }
    }
    assert_eq!(reader.original(0, 99), None);
    // Those that are used are kept only where somebody asks.
    let source = kafka.read::<u64>("t", Json);
    for wanted in [false, true] {
        let mut reader = source.open(&trial::env(), &[assigned(0, 0, None)], trial::waker()).unwrap();
        if wanted {
            reader.keep_originals();
        }
        let mut taken: Taken<u64> = Taken::default();
        while taken.taken.is_empty() {
            reader.read(0, 5, &mut taken).unwrap();
        }
        assert_eq!(reader.original(0, 0).is_some(), wanted);
    }
}

#[test]
fn whole_messages_have_keys_and_headers() {
    let (cluster, kafka) = cluster(1);
    write(&cluster, 1, 0..3);
    let source = kafka.read::<Vec<u8>>("t", Raw).messages();
    let mut reader = source.open(&trial::env(), &[assigned(0, 0, Some(3))], trial::waker()).unwrap();
    let headers = vec![("h".to_owned(), b"1".to_vec()), ("h".to_owned(), b"2".to_vec())];
    let expected = |n: u64| Message {
        key: Some(b"key".to_vec()),
        value: Some(n.to_string().into_bytes()),
        headers: headers.clone(),
        timestamp: Timestamp::from_millis((n as i64 + 1) * 10),
    };
    assert_eq!(trial::read_all(&mut reader, 0, 10).values(), (0..3).map(expected).collect::<Vec<_>>());
}

#[test]
fn kept_values_have_every_byte() {
    let (cluster, kafka) = cluster(1);
    write(&cluster, 1, 0..3);
    let source = kafka.read::<u64>("t", Json).kept();
    let mut reader = source.open(&trial::env(), &[assigned(0, 0, Some(3))], trial::waker()).unwrap();
    let kept: Vec<Kept<u64>> = trial::read_all(&mut reader, 0, 10).values();
    for (kept, n) in kept.iter().zip(0_u64..) {
        assert_eq!((**kept, kept.key(), kept.bytes()), (n, Some(&b"key"[..]), n.to_string().as_bytes()));
        assert_eq!(kept.headers().collect::<Vec<_>>(), [("h", &b"1"[..]), ("h", b"2")]);
        assert_eq!(kept.timestamp().millis(), (n as i64 + 1) * 10);
    }
    assert_eq!(kept.len(), 3);
}

#[test]
fn what_passes_is_asked_again_and_what_does_not_is_told() {
    let (cluster, kafka) = cluster(1);
    write(&cluster, 1, 0..10);
    let errors = |of, error, times| cluster.request_errors(of, &vec![error; times]);
    errors(RDKafkaApiKey::ListOffsets, RDKafkaRespErr::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE, 2);
    errors(RDKafkaApiKey::Fetch, RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, 2);
    let source = kafka.read::<u64>("t", Json);
    assert_eq!(source.connect(&trial::env(), &From::Latest).unwrap()[0].start, 10);
    let mut reader = source.open(&trial::env(), &[assigned(0, 0, None)], trial::waker()).unwrap();
    assert_eq!(trial::read_until(&mut reader, 0, 100, Read::AtEnd).offsets(), (0..10).collect::<Vec<_>>());
    cluster.topic_error("t", RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED).unwrap();
    let denied = source.connect(&trial::env(), &From::Earliest).unwrap_err();
    assert_eq!(denied.exit(), Exit::Usage);
    assert!(denied.to_string().contains("refuses the description of t"), "{denied}");
}

#[test]
fn what_is_written_later_wakes_the_reader_and_a_seek_goes_back() {
    let (cluster, kafka) = cluster(2);
    write(&cluster, 2, 0..10);
    let (send, woken) = std::sync::mpsc::channel();
    let waker = Waker::new(move || send.send(()).unwrap_or(()));
    let source = kafka.read::<u64>("t", Json);
    let mut reader = source.open(&trial::env(), &[assigned(0, 0, None), assigned(1, 5, None)], waker).unwrap();
    assert_eq!(trial::read_until(&mut reader, 0, 4, Read::AtEnd).offsets(), (0..10).collect::<Vec<_>>());
    assert_eq!(trial::read_until(&mut reader, 1, 4, Read::AtEnd).offsets(), (5..10).collect::<Vec<_>>());
    while woken.try_recv().is_ok() {}
    write(&cluster, 2, 10..20);
    woken.recv_timeout(Duration::from_secs(20)).unwrap();
    for slot in 0..2 {
        let mut taken: Taken<u64> = Taken::default();
        while taken.taken.len() < 10 {
            if reader.read(slot, 100, &mut taken).unwrap() != Read::More {
                woken.recv_timeout(Duration::from_secs(20)).unwrap();
            }
        }
        assert_eq!(taken.offsets(), (10..20).collect::<Vec<_>>());
    }
    reader.seek(1, 15).unwrap();
    assert_eq!(trial::read_until(&mut reader, 1, 2, Read::AtEnd).offsets(), (15..20).collect::<Vec<_>>());
    assert_eq!(trial::read_until(&mut reader, 0, 2, Read::AtEnd).offsets(), [0_u64; 0]);
}

#[test]
fn a_partition_that_is_not_read_waits_and_loses_nothing() {
    let (cluster, kafka) = cluster(2);
    write(&cluster, 2, 0..30_000);
    let kafka = kafka.set("queued.max.messages.kbytes", "1");
    let source = kafka.read::<u64>("t", Json);
    let mut reader = source.open(&trial::env(), &[assigned(0, 0, None), assigned(1, 0, None)], trial::waker()).unwrap();
    let all: Vec<u64> = (0..30_000).collect();
    assert_eq!(trial::read_until(&mut reader, 0, 2_048, Read::AtEnd).offsets(), all);
    assert_eq!(trial::read_until(&mut reader, 1, 777, Read::AtEnd).offsets(), all);
}
