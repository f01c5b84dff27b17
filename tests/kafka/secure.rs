//! TLS and SASL/SCRAM: the broker's other listeners, with a certificate of an authority that is made for the test.

use millpond::Exit;

use crate::broker;
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

#[test]
fn a_wrong_password_is_told_without_the_password() {
    let world = World::new("intruder", 1);
    world.feed(10);
    let authority = format!("ssl.ca.location={}", broker::shared().authority().display());
    let settings = [
        "security.protocol=sasl_ssl",
        &authority,
        "sasl.mechanism=SCRAM-SHA-512",
        "sasl.username=mill",
        "sasl.password=hunter2",
    ];
    let mut job = through(&world, &broker::shared().sasl(), &settings);
    let status = job.wait();
    let said = job.said();
    assert!(!status.success() && !said.contains("hunter2"), "{status} {said}");
    assert_ne!(status.code(), Some(i32::from(Exit::Finished.code())));
    assert!(said.to_lowercase().contains("authentication"), "{said}");
}
