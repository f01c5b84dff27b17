//! Kafka as a job's source and sink, and as what decides its commits.
//!
//! [`Kafka::brokers`] names a cluster and its settings, and touches nothing: the engine connects. Settings are librdkafka's, by its names;
//! those that exactly-once delivery rests on are the connector's own and are refused.

use std::collections::BTreeMap;
use std::fmt;

/// A Kafka cluster: its brokers, and librdkafka's settings for every client of it.
///
/// ```
/// use millpond_connectors::Kafka;
/// let kafka = Kafka::brokers("localhost:9092").set("client.rack", "eu-1").set("sasl.password", "secret");
/// assert!(!format!("{kafka:?}").contains("secret"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Kafka {
    brokers: String,
    settings: BTreeMap<String, String>,
}

impl Kafka {
    /// The cluster that these brokers belong to: `host:port`, several separated by commas.
    pub fn brokers(brokers: impl Into<String>) -> Self {
        Kafka { brokers: brokers.into(), settings: BTreeMap::new() }
    }

    /// A setting of librdkafka for every client of this cluster.
    #[must_use]
    pub fn set(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.insert(name.into(), value.into());
        self
    }
}

/// Whether a setting's value must not be shown.
fn secret(name: &str) -> bool {
    ["password", "secret", "key.pem", "oauthbearer", "jaas"].iter().any(|part| name.contains(part))
}

impl fmt::Debug for Kafka {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.settings.iter().map(|(name, value)| (name, if secret(name) { "***" } else { value }));
        f.debug_struct("Kafka").field("brokers", &self.brokers).field("settings", &shown.collect::<Vec<_>>()).finish()
    }
}
