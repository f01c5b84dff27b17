//! TLS and SASL/SCRAM: the broker's other listeners, with a certificate of an authority that is made for the test.

use std::time::{Duration, Instant};

use millpond::Exit;

use crate::broker::{self, Broker};
use crate::producers::CLICKS;
use crate::runs::Process;
use crate::world::World;

/// `relay` to the end of its input, through a listener.
fn through(world: &World, listener: &str, settings: &[&str]) -> Process {
    let mut job = world.relay("run", &["--until-end", "--brokers", listener]);
    settings.iter().for_each(|setting| _ = job.args(["--kafka", setting]));
    world.start(job)
}

#[test]
fn a_job_runs_through_tls() {
    let world = World::new("tls", 2);
    world.feed(3_000);
    let authority = format!("ssl.ca.location={}", broker::shared().authority().display());
    through(&world, &broker::shared().tls(), &["security.protocol=ssl", &authority]).succeed();
    world.check_relay();
}

#[test]
fn a_job_runs_through_tls_with_a_password() {
    for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let world = World::new("scram", 2);
        world.feed(3_000);
        let authority = format!("ssl.ca.location={}", broker::shared().authority().display());
        let mechanism = format!("sasl.mechanism={mechanism}");
        let settings =
            ["security.protocol=sasl_ssl", &authority, &mechanism, "sasl.username=mill", "sasl.password=pond"];
        through(&world, &broker::shared().sasl(), &settings).succeed();
        world.check_relay();
    }
}

/// Settings for the listener with a password.
fn login(broker: &Broker, password: &str) -> Vec<String> {
    let authority = format!("ssl.ca.location={}", broker.authority().display());
    let password = format!("sasl.password={password}");
    let rest = ["security.protocol=sasl_ssl", "sasl.mechanism=SCRAM-SHA-512", "sasl.username=mill"].map(str::to_owned);
    rest.into_iter().chain([authority, password]).collect()
}

#[test]
fn who_is_not_let_in_is_told_soon_and_without_the_password() {
    let broker = broker::shared();
    let authority = format!("ssl.ca.location={}", broker.authority().display());
    let ssl = "security.protocol=ssl".to_owned();
    let cases = [
        (broker.sasl(), login(broker, "hunter2"), ["SCRAM-SHA-512 as user mill", "uthentication"]),
        (broker.sasl(), vec![ssl.clone(), authority], ["without a user", "Disconnected"]),
        (broker.tls(), vec![ssl], ["security.protocol ssl", "certificate"]),
        (broker.tls(), Vec::new(), ["security.protocol plaintext", "Disconnected"]),
    ];
    std::thread::scope(|scope| {
        for (listener, settings, words) in cases {
            scope.spawn(move || {
                let world = World::new("intruder", 1);
                let settings: Vec<_> = settings.iter().map(String::as_str).collect();
                let began = Instant::now();
                let said = through(&world, &listener, &settings).fail(Exit::Usage);
                println!("after {:?}", began.elapsed());
                // Whoever is hung up on waits as for a cluster that gives no answer.
                assert!(began.elapsed() < Duration::from_secs(100), "it took {:?}", began.elapsed());
                for word in
                    words.iter().chain(&[listener.as_str(), "does not let the job in", "check security.protocol"])
                {
                    assert!(said.contains(word), "{word:?} is not in\n{said}");
                }
                assert!(!said.contains("hunter2"), "{said}");
            });
        }
    });
}

#[test]
fn a_job_that_was_let_in_waits_while_its_password_is_not_taken_and_says_so() {
    let broker = broker::other();
    let world = World::on(broker.cluster(), "rotation", 1);
    world.feed(500);
    let mut job = world.relay("run", &["--brokers", &broker.sasl()]);
    login(&broker, "pond").iter().for_each(|setting| _ = job.args(["--kafka", setting]));
    let mut job = world.start(job);
    job.until("everything relayed", || world.relayed_all());
    broker.password("lake");
    // Whoever is in stays in, until the connection is a new one.
    broker.call("kill9").unwrap();
    broker.call("start").unwrap();
    job.until("the status saying that it is not let in", || {
        let status = world.status("relay");
        status["waiting"].as_str().is_some_and(|waiting| waiting.contains("refuses the client"))
    });
    world.writer().clicks(&CLICKS, 500..1_000);
    broker.password("pond");
    job.until("everything relayed", || world.relayed_all());
    job.stop();
    job.succeed();
    world.check_relay();
}
