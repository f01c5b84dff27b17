//! `--metrics ADDR`: GET `/metrics` in Prometheus' text format, GET `/status` as JSON. Nothing listens unless it is asked for.

use std::sync::Arc;
use std::thread::JoinHandle;

use millpond_state::Timestamp;
use tiny_http::{Header, Method, Request, Response, Server};

use super::Report;
use crate::{Exit, Fault, Metrics, Status};

const HELP: &str = "/metrics  for Prometheus\n/status   as JSON\n";

/// An address that is listened on; requests wait until [`Http::serve`].
pub(crate) struct Http {
    server: Arc<Server>,
    thread: Option<JoinHandle<()>>,
}

impl Http {
    /// Listens on `address`, `host:port`.
    ///
    /// # Errors
    /// When it cannot; the message names the address.
    pub(crate) fn listen(address: &str) -> Result<Http, Fault> {
        let server = Server::http(address)
            .map_err(|error| Fault::new(Exit::Usage, format!("cannot serve metrics on {address:?}: {error}")))?;
        Ok(Http { server: Arc::new(server), thread: None })
    }

    /// Where it listens: the port the system chose, when port 0 was asked for.
    pub(crate) fn address(&self) -> String {
        self.server.server_addr().to_string()
    }

    /// Answers requests from now on, until it is dropped.
    pub(crate) fn serve(&mut self, metrics: Metrics, report: Report) -> std::io::Result<()> {
        let server = Arc::clone(&self.server);
        let answer = move || {
            for request in server.incoming_requests() {
                respond(request, &metrics, &report);
            }
        };
        self.thread = Some(std::thread::Builder::new().name("metrics".to_owned()).spawn(answer)?);
        Ok(())
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        self.server.unblock();
        if let Some(thread) = self.thread.take() {
            // Its panic has been told by the hook.
            let _ = thread.join();
        }
    }
}

fn respond(request: Request, metrics: &Metrics, report: &Report) {
    let text = "text/plain; charset=utf-8";
    let path = request.url().split('?').next().unwrap_or_default();
    let (code, kind, body) = match (request.method(), path) {
        (Method::Get | Method::Head, "/metrics") => {
            (200, "text/plain; version=0.0.4; charset=utf-8", metrics.render() + &gauges(&report()).render())
        }
        (Method::Get | Method::Head, "/status") => {
            let json = serde_json::to_string(&report()).expect("a status is plain data");
            (200, "application/json", json + "\n")
        }
        (Method::Get | Method::Head, "/") => (200, text, HELP.to_owned()),
        (Method::Get | Method::Head, _) => (404, text, format!("not found; there are\n{HELP}")),
        _ => (405, text, "only GET is understood\n".to_owned()),
    };
    let header = Header::from_bytes("Content-Type", kind).expect("a header of plain letters");
    // A client that has gone needs no answer.
    let _ = request.respond(Response::from_string(body).with_status_code(code).with_header(header));
}

/// What only a status knows, as gauges.
fn gauges(status: &Status) -> Metrics {
    let gauges = Metrics::default();
    let set = |name: &str, help: &str, labels: &[(&str, &str)], value: i64| gauges.gauge(name, help, labels).set(value);
    let whole = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let watermark = |text: &str| Timestamp::parse(text).ok().map(Timestamp::secs);
    let mut lag = None;
    for partition in &status.partitions {
        let number = partition.partition.to_string();
        let labels = [("source", partition.source.as_str()), ("partition", number.as_str())];
        set("millpond_partition_position", "offset of the next record", &labels, whole(partition.next));
        if let Some(behind) = partition.lag {
            *lag.get_or_insert(0_u64) += behind;
            set("millpond_partition_lag_records", "records that wait to be read", &labels, whole(behind));
        }
        if let Some(at) = watermark(&partition.watermark) {
            set("millpond_partition_watermark_seconds", "watermark, event time since 1970", &labels, at);
        }
        let idle = i64::from(partition.standing == "idle");
        set("millpond_partition_idle", "1 while it is silent and follows the others", &labels, idle);
        let holds = i64::from(partition.holds_watermark);
        let open = whole(partition.in_open_transactions);
        let help = "offsets that cannot be read before somebody's transaction ends";
        set("millpond_partition_open_transaction_offsets", help, &labels, open);
        set("millpond_partition_holds_watermark", "1 for the one that holds the job's watermark", &labels, holds);
    }
    if let Some(lag) = lag {
        set("millpond_lag_records", "records that wait to be read, all partitions", &[], whole(lag));
    }
    if let Some(at) = watermark(&status.watermark) {
        set("millpond_watermark_seconds", "the job's watermark, event time since 1970", &[], at);
    }
    if let Some(at) = status.last_commit {
        set(
            "millpond_last_commit_seconds",
            "when the newest epoch became real, since 1970",
            &[],
            at.div_euclid(1_000_000),
        );
    }
    set("millpond_in_flight_bytes", "bytes read and not committed", &[], status.in_flight);
    set("millpond_in_flight_peak_bytes", "the most there have been", &[], status.in_flight_peak);
    set("millpond_in_flight_budget_bytes", "how many there may be", &[], status.budget);
    set("millpond_checkpoint_bytes", "bytes of the committed checkpoint's files", &[], whole(status.checkpoint_bytes));
    set("millpond_workers", "worker threads", &[], i64::try_from(status.workers).unwrap_or(i64::MAX));
    gauges
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;

    use super::*;
    use crate::PartitionStatus;

    fn request(address: &str, line: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "{line} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn partition(number: u32, watermark: &str, lag: Option<u64>) -> PartitionStatus {
        let (source, watermark, standing) = ("a\"b".to_owned(), watermark.to_owned(), "idle".to_owned());
        PartitionStatus { source, partition: number, next: 5, lag, watermark, standing, ..PartitionStatus::default() }
    }

    #[test]
    fn prometheus_and_people_are_served_until_the_end() {
        let mut http = Http::listen("127.0.0.1:0").unwrap();
        let address = http.address();
        let metrics = Metrics::default();
        metrics.counter("millpond_records_read_total", "records read", &[]).add(3);
        let partitions = vec![partition(0, "1970-01-01T00:01:00.500Z", Some(7)), partition(1, "-infinity", None)];
        let status = Status { job: "flights".into(), partitions, last_commit: Some(-1), ..Status::default() };
        http.serve(metrics, Arc::new(move || status.clone())).unwrap();
        let answer = request(&address, "GET /metrics");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("version=0.0.4"), "{answer}");
        for line in [
            "millpond_records_read_total 3",
            "# TYPE millpond_partition_lag_records gauge",
            "millpond_partition_lag_records{source=\"a\\\"b\",partition=\"0\"} 7",
            "millpond_partition_watermark_seconds{source=\"a\\\"b\",partition=\"0\"} 60",
            "millpond_partition_idle{source=\"a\\\"b\",partition=\"1\"} 1",
            "millpond_partition_open_transaction_offsets{source=\"a\\\"b\",partition=\"1\"} 0",
            "millpond_lag_records 7",
            "millpond_last_commit_seconds -1",
        ] {
            assert!(answer.lines().any(|found| found == line), "{line} is not in\n{answer}");
        }
        assert!(
            !answer.contains("watermark_seconds{source=\"a\\\"b\",partition=\"1\"}"),
            "no number for what is unknown"
        );
        assert!(!answer.lines().any(|line| line.starts_with("millpond_watermark_seconds ")), "{answer}");
        let json = request(&address, "GET /status?pretty");
        assert!(json.contains("application/json") && json.contains("\"job\":\"flights\""), "{json}");
        assert!(request(&address, "GET /nothing").starts_with("HTTP/1.1 404"));
        assert!(request(&address, "POST /metrics").starts_with("HTTP/1.1 405"));
        drop(http);
        // The thread that accepts leaves by itself, a little later.
        let gone = (0..500).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            TcpStream::connect(&address).is_err()
        });
        assert!(gone, "nothing listens after the end");
    }

    #[test]
    fn an_address_that_cannot_be_had_is_named() {
        let taken = Http::listen("127.0.0.1:0").unwrap();
        let fault = Http::listen(&taken.address()).err().unwrap();
        assert_eq!(fault.exit(), Exit::Usage);
        assert!(fault.to_string().contains(&taken.address()), "{fault}");
        assert!(Http::listen("nowhere").is_err());
    }
}
