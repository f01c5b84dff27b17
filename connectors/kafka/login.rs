//! Whether brokers let a client in: what they say to one whose password or certificate they do not take. Pure.
//!
//! librdkafka tries again for ever, and answers every question with no more than that there was no answer. What was wrong it reports once: of the
//! same trouble with the same broker it says nothing for half a minute. So the last that was heard of each broker counts until something
//! else is heard of it, or there is an answer.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use millpond_engine::{Exit, Fault};

use super::Kafka;

/// How long a broker may refuse a job that starts. Brokers that start themselves may do so for a moment.
const START: Duration = Duration::from_secs(3);
/// How long it must have hung up, as soon as they are connected, to be why a start had no answer: brokers do that with who does not log in, or
/// speaks without TLS where they speak with it, and for a moment while they stop. What stands before a broker that is away does it as well, a
/// balancer or a tunnel: so a start waits for it as for one that gives no answer, and a job that runs as long as it takes.
const SPEECHLESS: Duration = Duration::from_secs(8);
/// A connection that ends sooner was not wanted.
const SOON_MS: u32 = 1_000;
/// How long it may refuse a job that runs, and was let in before: whoever changes passwords changes them here and there, in some order.
const RUNNING: Duration = Duration::from_mins(5);

/// A broker that refuses a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    broker: String,
    text: String,
    why: Why,
    since: Instant,
}

/// What was heard of a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// It does not take a password or a certificate, or we do not take its.
    Refused,
    /// It hung up, as its text says.
    HungUp,
    /// Something else.
    Other,
}

impl Why {
    /// By librdkafka's text, which is all it says of a connection that was closed, `.. Disconnected .. (after 3ms in state UP)`, and of every other
    /// failure of TLS.
    pub(super) fn closed(report: &str) -> Why {
        if report.contains("SSL routines:") {
            return Why::Refused;
        }
        let state = report.rsplit_once("(after ").and_then(|(_, state)| state.split_once("ms in state "));
        let soon = state.is_some_and(|(ms, state)| {
            let met = ["UP", "APIVERSION_QUERY", "SSL_HANDSHAKE", "AUTH"].iter().any(|met| state.starts_with(met));
            met && ms.parse().is_ok_and(|ms: u32| ms < SOON_MS)
        });
        if soon && report.contains("Disconnected") { Why::HungUp } else { Why::Other }
    }
}

impl Refusal {
    fn lasts(&self, why: Why, most: Duration, now: Instant) -> bool {
        self.why == why && now.saturating_duration_since(self.since) >= most
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} refuses the client: {}", self.broker, self.text)
    }
}

/// What a client heard of brokers last.
#[derive(Debug, Default)]
pub(super) struct Refusals(BTreeMap<String, Refusal>);

impl Refusals {
    /// Something went wrong: `report` begins with the broker's name.
    pub(super) fn heard(&mut self, report: &str, why: Why, now: Instant) {
        let Some((broker, text)) = report.split_once(": ") else { return };
        if why == Why::Other {
            self.0.remove(broker);
            return;
        }
        let since = self.0.get(broker).filter(|before| before.why == why).map_or(now, |before| before.since);
        self.0.insert(broker.to_owned(), Refusal { broker: broker.to_owned(), text: text.to_owned(), why, since });
    }

    /// There was an answer: whoever refuses us now has begun to since.
    pub(super) fn answered(&mut self) {
        self.0.clear();
    }

    /// The broker that has refused for the longest time, if one does.
    pub(super) fn longest(&self) -> Option<&Refusal> {
        self.0.values().min_by_key(|refusal| refusal.since)
    }

    /// The broker that has refused for longer than a job waits that starts, or runs.
    pub(super) fn lasting(&self, starting: bool, now: Instant) -> Option<&Refusal> {
        let most = if starting { START } else { RUNNING };
        self.0.values().find(|refusal| refusal.lasts(Why::Refused, most, now))
    }

    /// The broker that is why a start had no answer for as long as it waited.
    pub(super) fn decisive(&self, now: Instant) -> Option<&Refusal> {
        let mute = || self.0.values().find(|refusal| refusal.lasts(Why::HungUp, SPEECHLESS, now));
        self.lasting(true, now).or_else(mute)
    }
}

impl Kafka {
    /// What stops a job that brokers do not let in.
    pub(super) fn locked_out(&self, refusal: &Refusal) -> Fault {
        let set = |name: &str| self.settings.get(name).map(String::as_str);
        let protocol = set("security.protocol").unwrap_or("plaintext");
        let who = match set("sasl.mechanism").or(set("sasl.mechanisms")).filter(|_| protocol.starts_with("sasl")) {
            Some(mechanism) => format!("{mechanism} as user {}", set("sasl.username").unwrap_or("nobody")),
            None => "without a user".to_owned(),
        };
        let text = format!(
            "the Kafka cluster {} does not let the job in, {who}, security.protocol {protocol}: {refusal}; check security.protocol, \
             sasl.mechanism, sasl.username and sasl.password, and for TLS the certificate in ssl.ca.location",
            self.brokers
        );
        match refusal.why {
            Why::HungUp => {
                Fault::new(Exit::Usage, format!("{text}, and whether a broker runs behind that address")).mute()
            }
            Why::Refused | Why::Other => Fault::new(Exit::Usage, text).locked_out(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED: &str =
        "sasl_ssl://a:1/bootstrap: SASL authentication error: invalid credentials (after 3ms in state AUTH_REQ)";

    #[test]
    fn a_broker_refuses_until_something_else_is_heard_of_it_or_anybody_answers() {
        let (mut refusals, then) = (Refusals::default(), Instant::now());
        let after = |secs| then + Duration::from_secs(secs);
        refusals.heard(REFUSED, Why::Refused, then);
        refusals.heard(REFUSED, Why::Refused, after(2));
        refusals.heard("sasl_ssl://b:1/2: Connect to b:1 failed: Connection refused", Why::Other, after(2));
        let lasts = |refusals: &Refusals| refusals.longest().map(|_| refusals.lasting(true, after(4)).is_some());
        assert_eq!(lasts(&refusals), Some(true), "of another broker nothing is said");
        // It was about to stop, and that is all that was wrong.
        refusals.heard("sasl_ssl://a:1/bootstrap: Connect to a:1 failed: Connection refused", Why::Other, after(3));
        assert_eq!(lasts(&refusals), None);
        refusals.heard(REFUSED, Why::Refused, after(3));
        assert_eq!(lasts(&refusals), Some(false));
        refusals.answered();
        assert_eq!(lasts(&refusals), None);
    }

    #[test]
    fn a_connection_that_is_closed_at_once_was_not_wanted_or_nobody_is_behind_it() {
        let closed = |how: &str| format!("ssl://a:1/bootstrap: Disconnected: connection closed by peer (after {how})");
        assert_eq!(Why::closed(&closed("1ms in state UP, 1 identical error(s) suppressed")), Why::HungUp);
        assert_eq!(Why::closed("ssl://a:1/1: error:0A000086:SSL routines::certificate verify failed"), Why::Refused);
        assert_eq!(Why::closed(&closed("7ms in state APIVERSION_QUERY")), Why::HungUp);
        assert_eq!(Why::closed(&closed("90031ms in state UP")), Why::Other, "an idle one");
        assert_eq!(
            Why::closed("a: Connect to a:1 failed: Connection refused (after 0ms in state CONNECT)"),
            Why::Other
        );
        let (mut refusals, then) = (Refusals::default(), Instant::now());
        refusals.heard(&closed("1ms in state UP"), Why::HungUp, then);
        let after = |secs| then + Duration::from_secs(secs);
        let lasts = |refusals: &Refusals, starting| refusals.lasting(starting, after(100_000)).is_some();
        assert_eq!((lasts(&refusals, true), lasts(&refusals, false)), (false, false), "it ends no waiting");
        assert_eq!([7, 8].map(|secs| refusals.decisive(after(secs)).is_some()), [false, true]);
        let fault = Kafka::brokers("a:1").locked_out(refusals.longest().unwrap());
        assert!(fault.exit() == Exit::Usage && fault.is_mute() && !fault.is_locked_out(), "{fault:?}");
        // Whoever hung up and now says why has refused only since.
        refusals.heard("ssl://a:1/bootstrap: certificate verify failed", Why::Refused, after(400));
        let lasts = |secs| refusals.lasting(false, after(secs)).is_some();
        assert_eq!((lasts(699), lasts(700)), (false, true));
    }

    #[test]
    fn whoever_is_locked_out_hears_broker_mechanism_and_user_and_no_secret() {
        let mut refusals = Refusals::default();
        refusals.heard(REFUSED, Why::Refused, Instant::now());
        let kafka = Kafka::brokers("a:1").set("security.protocol", "sasl_ssl").set("sasl.mechanism", "SCRAM-SHA-512");
        let kafka = kafka.set("sasl.username", "mill").set("sasl.password", "hunter2");
        let fault = kafka.locked_out(refusals.longest().unwrap());
        let text = fault.to_string();
        assert!(fault.exit() == Exit::Usage && fault.is_locked_out() && !fault.is_missing(), "{fault:?}");
        for part in ["a:1", "SCRAM-SHA-512 as user mill", "sasl_ssl", "invalid credentials", "check security.protocol"]
        {
            assert!(text.contains(part), "{part:?} is not in {text}");
        }
        assert!(!text.contains("hunter2"), "{text}");
        let plain = Kafka::brokers("a:1").locked_out(refusals.longest().unwrap()).to_string();
        assert!(plain.contains("without a user, security.protocol plaintext"), "{plain}");
    }
}
