//! The brokers that tests run against: one that all share and leave alone, and another that is there to be killed.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::{fs, io};

use crate::cluster::Cluster;

/// A broker of Apache Kafka on this machine.
pub(crate) struct Broker {
    port: u16,
    home: PathBuf,
}

/// The broker that all tests share. It also listens for TLS and SASL/SCRAM.
pub(crate) fn shared() -> &'static Broker {
    static SHARED: OnceLock<Result<Broker, String>> = OnceLock::new();
    SHARED.get_or_init(Broker::start).as_ref().unwrap_or_else(|error| panic!("no broker to test with: {error}"))
}

/// A second broker, for the test alone that holds it: to be killed, paused, or a cluster of its own.
pub(crate) fn other() -> MutexGuard<'static, Broker> {
    static OTHER: OnceLock<Result<Mutex<Broker>, String>> = OnceLock::new();
    // Two tests that start at once must not fetch Kafka at once.
    shared();
    let other = OTHER.get_or_init(|| Broker::start().map(Mutex::new));
    let other = other.as_ref().unwrap_or_else(|error| panic!("no broker to test with: {error}"));
    // A test that failed may have left it dead.
    let broker = other.lock().unwrap_or_else(PoisonError::into_inner);
    broker.call("resume").ok();
    broker.call("start").unwrap();
    broker
}

impl Broker {
    fn start() -> Result<Broker, String> {
        let all = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kafka");
        sweep(&all).map_err(|error| format!("{}: {error}", all.display()))?;
        let port = free_port();
        let broker = Broker { port, home: all.join(std::process::id().to_string()) };
        fs::create_dir_all(&broker.home).map_err(|error| format!("{}: {error}", broker.home.display()))?;
        wipe_when_this_process_is_gone(&broker);
        broker.call("start")?;
        Ok(broker)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kafka/broker.sh"));
        command.env("BROKER_HOME", &self.home).env("BROKER_PORT", self.port.to_string()).env("BROKER_SECURE", "1");
        command.env("BROKER_ADVERTISE", (self.port + 5).to_string());
        command
    }

    /// Has broker.sh do something; what it printed on stderr when it could not.
    pub(crate) fn call(&self, what: &str) -> Result<(), String> {
        self.call_with(what, &[])
    }

    fn call_with(&self, what: &str, arguments: &[&str]) -> Result<(), String> {
        let mut command = self.command();
        // To files, not to pipes: the broker itself would hold a pipe open.
        let said = self.home.join(format!("{}-{}.err", self.port, crate::world::nanos()));
        command
            .arg(what)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&said).unwrap());
        let status = command.status().map_err(|error| format!("broker.sh does not run: {error}"))?;
        if status.success() { Ok(()) } else { Err(fs::read_to_string(&said).unwrap_or_default()) }
    }

    /// Leaves everybody but one right to a topic: `read`, or `alter`, without which not even that it is there can be seen.
    pub(crate) fn only(&self, topic: &str, right: &str) {
        self.call_with("only", &[topic, right]).unwrap();
    }

    /// Changes the password of the listener with SASL/SCRAM.
    #[cfg(feature = "tls")]
    pub(crate) fn password(&self, word: &str) {
        self.call_with("password", &[word]).unwrap();
    }

    /// Gives back whatever was withdrawn.
    pub(crate) fn allow(&self, topic: &str) {
        self.call_with("allow", &[topic]).unwrap();
    }

    /// As a client sees it.
    pub(crate) fn cluster(&self) -> Cluster {
        Cluster::at(&format!("127.0.0.1:{}", self.port))
    }

    /// Where a proxy has to listen for the clients that this broker sends there, and where the broker itself does for it.
    pub(crate) fn before(&self) -> (u16, u16) {
        (self.port + 5, self.port + 4)
    }

    /// Whether these bytes lie in the files of a topic as they are.
    pub(crate) fn holds(&self, topic: &str, bytes: &[u8]) -> bool {
        let dirs = fs::read_dir(self.home.join(self.port.to_string()).join("data")).unwrap();
        let dirs = dirs.map(|dir| dir.unwrap().path());
        let of_it = dirs.filter(|dir| dir.file_name().unwrap().to_string_lossy().starts_with(&format!("{topic}-")));
        let files: Vec<_> = of_it.flat_map(|dir| fs::read_dir(dir).unwrap()).map(|file| file.unwrap().path()).collect();
        let logs = files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "log"));
        logs.map(|log| fs::read(log).unwrap()).any(|log| log.windows(bytes.len()).any(|window| window == bytes))
    }

    /// The address of its listener with TLS.
    #[cfg(feature = "tls")]
    pub(crate) fn tls(&self) -> String {
        format!("localhost:{}", self.port + 2)
    }

    /// The address of its listener with TLS and SASL/SCRAM.
    #[cfg(feature = "tls")]
    pub(crate) fn sasl(&self) -> String {
        format!("localhost:{}", self.port + 3)
    }

    /// The certificate to trust.
    #[cfg(feature = "tls")]
    pub(crate) fn authority(&self) -> PathBuf {
        self.home.join(self.port.to_string()).join("ca.pem")
    }
}

/// Six ports in a row that nobody listens on, below those that the system gives to clients.
fn free_port() -> u16 {
    let mut random = crate::seeded::Seeded(u64::from(std::process::id()) ^ crate::world::nanos());
    loop {
        let port = 20_000 + random.below(12_000) as u16;
        let held: Vec<_> = (port..port + 6).map_while(|port| TcpListener::bind(("127.0.0.1", port)).ok()).collect();
        if held.len() == 6 {
            return port;
        }
    }
}

/// A shell waits for the end of its standard input, which comes when this process ends, in whatever way.
fn wipe_when_this_process_is_gone(broker: &Broker) {
    let mut watch = Command::new("bash");
    let wipe = concat!(
        "trap '' INT TERM HUP; read -r _; '",
        env!("CARGO_MANIFEST_DIR"),
        "/tests/kafka/broker.sh' wipe; rmdir \"$BROKER_HOME\" || { sleep 3; rm -rf \"$BROKER_HOME\"; }"
    );
    watch.args(["-c", wipe]).env("BROKER_HOME", &broker.home).env("BROKER_PORT", broker.port.to_string());
    let child = watch.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // Kept open for ever: the pipe is closed by the end of this process.
    std::mem::forget(child);
}

/// Wipes the brokers of test runs that are gone and could not, after a loss of power for example.
fn sweep(all: &Path) -> io::Result<()> {
    let Ok(entries) = fs::read_dir(all) else { return Ok(()) };
    for home in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let owner = home.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if Command::new("kill").args(["-0", &owner]).stderr(Stdio::null()).status()?.success() {
            continue;
        }
        for port in fs::read_dir(&home)?.filter_map(|entry| entry.ok()?.file_name().to_string_lossy().parse().ok()) {
            Broker { port, home: home.clone() }.call("wipe").ok();
        }
        fs::remove_dir_all(&home).ok();
    }
    Ok(())
}
