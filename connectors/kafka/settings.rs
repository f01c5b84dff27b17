//! Which of librdkafka's settings are not for users, and which are not for eyes.

use millpond_engine::{Exit, Fault};

/// Settings that exactly-once delivery or reading rests on, with what to do instead.
const OWNED: [(&str, &str); 20] = [
    ("bootstrap.servers", "brokers are named by `Kafka::brokers` and --brokers"),
    ("metadata.broker.list", "brokers are named by `Kafka::brokers` and --brokers"),
    ("group.id", "the group is the job's name and version"),
    ("group.instance.id", "partitions are assigned by the job"),
    ("group.protocol", "partitions are assigned by the job"),
    ("partition.assignment.strategy", "partitions are assigned by the job"),
    ("enable.auto.commit", "positions are committed with the output"),
    ("auto.commit.enable", "positions are committed with the output"),
    ("auto.commit.interval.ms", "positions are committed with the output"),
    ("enable.auto.offset.store", "positions are committed with the output"),
    ("auto.offset.reset", "where a first start begins is said with --from"),
    ("enable.partition.eof", "the end of a partition is what a bounded run ends at"),
    ("isolation.level", "`.read_uncommitted()` on the source reads what is not committed yet"),
    ("allow.auto.create.topics", "a missing input is an error, and outputs are created with the right partitions"),
    ("transactional.id", "it is the job's name and version, and keeps a second instance out"),
    ("enable.idempotence", "nothing would be written exactly once without it"),
    ("acks", "nothing would be written exactly once with less than all"),
    ("request.required.acks", "nothing would be written exactly once with less than all"),
    ("delivery.report.only.error", "the connector reads no reports of success"),
    ("plugin.library.paths", "what a plugin does to records cannot be checked"),
];

/// Refuses what no topic can be called (Kafka's `Topic.validate`).
pub(super) fn check_topic(name: &str) -> Result<(), Fault> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || name.len() > 249 || [".", ".."].contains(&name) || !name.chars().all(fits) {
        let text = format!("{name:?} cannot name a topic: use up to 249 letters, digits, ., _ and -");
        return Err(Fault::new(Exit::Usage, text));
    }
    Ok(())
}

/// Refuses settings that the connector owns.
pub(super) fn check<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<(), Fault> {
    for name in names {
        if let Some((_, instead)) = OWNED.iter().find(|(owned, _)| *owned == name) {
            return Err(Fault::new(Exit::Usage, format!("the Kafka setting {name} cannot be set: {instead}")));
        }
    }
    Ok(())
}

/// Whether a setting's value must not be shown.
pub(super) fn secret(name: &str) -> bool {
    ["password", "secret", "key.pem", "oauthbearer", "jaas"].iter().any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_connector_owns_is_refused_with_the_way_out() {
        assert_eq!(check(["client.rack", "fetch.wait.max.ms"]), Ok(()));
        for (name, instead) in OWNED {
            let fault = check(["client.rack", name]).unwrap_err();
            assert_eq!(fault.exit(), Exit::Usage);
            assert_eq!(fault.to_string(), format!("the Kafka setting {name} cannot be set: {instead}"));
        }
    }

    #[test]
    fn what_opens_doors_is_secret() {
        for name in ["sasl.password", "ssl.key.password", "ssl.key.pem", "sasl.oauthbearer.client.secret"] {
            assert!(secret(name), "{name}");
        }
        for name in ["sasl.username", "ssl.ca.location", "client.id"] {
            assert!(!secret(name), "{name}");
        }
    }
}
