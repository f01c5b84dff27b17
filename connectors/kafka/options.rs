//! A cluster by command line, environment and file.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use millpond_engine::{Exit, Fault};

use super::{Kafka, fault};

/// Options of a job that talks to Kafka: part of the job's own, with `#[command(flatten)]`.
///
/// A setting given as an option counts before one of the environment (`MILLPOND_KAFKA`), and that before one of the file.
///
/// ```no_run
/// use millpond_connectors::{Json, KafkaOptions};
/// #[derive(clap::Args)]
/// struct Own {
///     #[command(flatten)]
///     kafka: KafkaOptions,
///     /// Topic of the clicks
///     #[arg(long, default_value = "clicks")]
///     input: String,
/// }
/// fn clicks(own: &Own) -> Result<(), millpond_engine::Fault> {
///     let clicks = own.kafka.kafka()?.read::<u64>(&own.input, Json);
///     # let _ = clicks;
///     Ok(())
/// }
/// ```
#[derive(Clone, Default, clap::Args)]
pub struct KafkaOptions {
    /// Brokers of the Kafka cluster: host:port, several separated by commas
    #[arg(long, value_name = "BROKERS", env = "MILLPOND_BROKERS", hide_env_values = true)]
    brokers: Option<String>,
    /// A setting of librdkafka, such as client.rack=eu-1; may be repeated. By environment several, separated by commas or lines
    #[arg(long, value_name = "NAME=VALUE", env = ENVIRONMENT, hide_env_values = true)]
    kafka: Vec<String>,
    /// A file of such settings, a line each
    #[arg(long, value_name = "FILE", env = "MILLPOND_KAFKA_PROPERTIES", hide_env_values = true)]
    kafka_properties: Option<PathBuf>,
}

const ENVIRONMENT: &str = "MILLPOND_KAFKA";

impl KafkaOptions {
    /// Whether a cluster is named at all.
    #[must_use]
    pub fn given(&self) -> bool {
        let environment = std::env::var(ENVIRONMENT).unwrap_or_default();
        let mut parts = self.kafka.iter().flat_map(|text| split(text)).chain(split(&environment));
        let named = parts.any(|part| part.split('=').next().is_some_and(|name| name.trim() == "bootstrap.servers"));
        self.brokers.is_some() || self.kafka_properties.is_some() || named
    }

    /// The cluster.
    ///
    /// # Errors
    /// When no brokers are named, the file cannot be read, or a setting is unknown, wrong, or the connector's own.
    pub fn kafka(&self) -> Result<Kafka, Fault> {
        let file = match &self.kafka_properties {
            None => String::new(),
            Some(path) => fs::read_to_string(path).map_err(|error| {
                Fault::new(Exit::Usage, format!("cannot read the Kafka settings in {}", path.display())).because(error)
            })?,
        };
        // Read here too: clap takes it only when there is no option.
        let environment = std::env::var(ENVIRONMENT).unwrap_or_default();
        self.merged(&file, &environment)
    }

    fn merged(&self, file: &str, environment: &str) -> Result<Kafka, Fault> {
        let mut settings = BTreeMap::new();
        let lines = file.lines().map(str::trim).enumerate();
        let mut lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with(['#', '!']));
        lines.try_for_each(|(at, line)| {
            let name = self.kafka_properties.as_deref().unwrap_or(Path::new("a file"));
            put(&mut settings, line, || format!("line {} of the Kafka settings in {}", at + 1, name.display()))
        })?;
        split(environment).try_for_each(|part| put(&mut settings, part, || format!("a part of {ENVIRONMENT}")))?;
        let options = self.kafka.iter().flat_map(|text| split(text));
        options.into_iter().try_for_each(|part| put(&mut settings, part, || "an option --kafka".to_owned()))?;
        // A file for other clients names them too.
        let named = settings.remove("bootstrap.servers");
        let given = self.brokers.clone().or(named).filter(|brokers| !brokers.trim().is_empty());
        let brokers = given.ok_or_else(|| {
            Fault::new(Exit::Usage, "no Kafka brokers are named: give --brokers host:port, or MILLPOND_BROKERS")
        })?;
        let mut kafka = Kafka::brokers(brokers);
        kafka.settings = settings;
        let checked = kafka.config(&[], &[])?.create_native_config();
        checked.map_err(|error| fault::client(&kafka.brokers, &error))?;
        Ok(kafka)
    }
}

/// Parts of a list: commas and line ends separate where a `name=` follows, so that values may hold commas.
fn split(list: &str) -> impl Iterator<Item = &str> {
    let begins = |rest: &str| {
        let name = rest.split('=').next().unwrap_or_default().trim();
        let plain = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c));
        rest.contains('=') && !name.is_empty() && plain
    };
    let mut rest = list;
    std::iter::from_fn(move || {
        let ends = rest.match_indices([',', '\n']).map(|(at, _)| at);
        let end = ends.into_iter().find(|at| begins(&rest[at + 1..])).unwrap_or(rest.len());
        let part = &rest[..end];
        let more = end < rest.len();
        rest = if more { &rest[end + 1..] } else { "" };
        (more || !part.is_empty()).then_some(part.trim())
    })
    .filter(|part| !part.is_empty())
}

/// What is wrong is told by its place: a line without a `=` may be a secret.
fn put(settings: &mut BTreeMap<String, String>, part: &str, place: impl Fn() -> String) -> Result<(), Fault> {
    let (name, value) = part
        .split_once('=')
        .filter(|(name, _)| !name.trim().is_empty())
        .ok_or_else(|| Fault::new(Exit::Usage, format!("{} is not name=value", place())))?;
    settings.insert(name.trim().to_owned(), value.trim().to_owned());
    Ok(())
}

impl fmt::Debug for KafkaOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names only: a name that is mistyped is not known for a secret's.
        let names: Vec<_> =
            self.kafka.iter().flat_map(|text| split(text)).filter_map(|part| part.split_once('=')).collect();
        let names: Vec<_> = names.into_iter().map(|(name, _)| name).collect();
        f.debug_struct("KafkaOptions")
            .field("brokers", &self.brokers)
            .field("kafka", &names)
            .field("kafka_properties", &self.kafka_properties)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(kafka: &[&str]) -> KafkaOptions {
        let kafka = kafka.iter().map(|text| (*text).to_owned()).collect();
        KafkaOptions { brokers: Some("b:9092".to_owned()), kafka, kafka_properties: None }
    }

    #[test]
    fn an_option_counts_before_the_environment_and_that_before_the_file() {
        let file = "# for all\n\n client.id = file \nclient.rack=file\nbroker.address.family=v4\n! no\n";
        let kafka = options(&["client.id=option"]).merged(file, "client.id=env,client.rack=env").unwrap();
        let settings: Vec<_> = kafka.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(settings, [("broker.address.family", "v4"), ("client.id", "option"), ("client.rack", "env")]);
    }

    #[test]
    fn lists_are_separated_by_commas_or_lines_and_values_may_hold_both_signs() {
        let parts = |list| split(list).collect::<Vec<_>>();
        assert_eq!(parts("a.b=1,c=2"), ["a.b=1", "c=2"]);
        assert_eq!(parts("a.b=1\n c=2,\n"), ["a.b=1", "c=2,"]);
        assert_eq!(parts("debug=broker,topic,client.id=x"), ["debug=broker,topic", "client.id=x"]);
        assert_eq!(parts("sasl.password=a=b,c"), ["sasl.password=a=b,c"]);
        assert_eq!(parts(""), [""; 0]);
    }

    #[test]
    fn brokers_may_come_from_the_file_and_must_come_from_somewhere() {
        let none = KafkaOptions::default();
        assert!(!none.given());
        let named = KafkaOptions { brokers: None, ..options(&["client.id=x,bootstrap.servers=o:1"]) };
        assert!(named.given() && options(&[]).given());
        assert_eq!(named.merged("bootstrap.servers=f:1", "").unwrap(), Kafka::brokers("o:1").set("client.id", "x"));
        assert_eq!(none.merged("bootstrap.servers=f:1", "").unwrap(), Kafka::brokers("f:1"));
        assert_eq!(options(&[]).merged("bootstrap.servers=f:1", "").unwrap(), Kafka::brokers("b:9092"));
        for none in [none, KafkaOptions { brokers: Some(" ".to_owned()), ..KafkaOptions::default() }] {
            let fault = none.merged("", "").unwrap_err();
            assert!(fault.exit() == Exit::Usage && fault.to_string().contains("--brokers"), "{fault}");
        }
    }

    #[test]
    fn what_is_wrong_is_a_usage_error_and_no_secret_is_told() {
        for (setting, text) in [
            ("no.such.setting=1", "the Kafka setting no.such.setting is refused: No such configuration property"),
            ("fetch.wait.max.ms=soon", "the Kafka setting fetch.wait.max.ms is refused"),
            ("enable.auto.commit=true", "enable.auto.commit cannot be set: positions are committed with the output"),
            ("hunter2", "an option --kafka is not name=value"),
            ("=hunter2", "an option --kafka is not name=value"),
            ("sasl.passwrd=hunter2", "the Kafka setting sasl.passwrd is refused"),
        ] {
            let options = options(&[setting]);
            let fault = options.merged("", "").unwrap_err();
            assert!(fault.exit() == Exit::Usage && fault.to_string().contains(text), "{fault}");
            assert!(!fault.to_string().contains("hunter2"), "{fault}");
            assert!(!format!("{options:?}").contains("hunter2"), "{options:?}");
        }
        let named = KafkaOptions { kafka_properties: Some("k.properties".into()), ..options(&[]) };
        let fault = named.merged("# one\na=b\nhunter2", "").unwrap_err();
        assert_eq!(fault.to_string(), "line 3 of the Kafka settings in k.properties is not name=value");
        let secret = options(&["sasl.password=hunter2,client.id=x"]);
        assert!(!format!("{secret:?}").contains("hunter2"), "{secret:?}");
        assert!(!format!("{:?}", secret.merged("", "").unwrap()).contains("hunter2"));
        let mistyped = Kafka::brokers("b:1").set("sasl.passwrd", "hunter2");
        assert!(!format!("{mistyped:?}").contains("hunter2"), "{mistyped:?}");
    }
}
