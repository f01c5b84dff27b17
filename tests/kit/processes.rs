//! Examples as processes, for the tests that run, stop and kill them.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// An example's binary, built once a test run: `cargo test` itself builds only the examples' tests.
pub(crate) fn example(name: &str) -> PathBuf {
    static BUILT: OnceLock<()> = OnceLock::new();
    let test = std::env::current_exe().unwrap();
    let profile = test.ancestors().nth(2).unwrap();
    BUILT.get_or_init(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--locked", "--examples", "--target-dir"]).arg(profile.parent().unwrap());
        if profile.ends_with("release") {
            build.arg("--release");
        }
        if cfg!(feature = "tls") {
            build.args(["--features", "tls"]);
        }
        let built = build.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap();
        assert!(built.success(), "the examples build");
    });
    profile.join("examples").join(name)
}
