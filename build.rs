//! Tells the program what it was built with, for `herder version`.

use std::env;
use std::process::Command;

fn main() {
    // The commit comes from the environment, not from git: a source archive has none, and watching .git would
    // build the crate anew after each commit.
    println!("cargo::rerun-if-env-changed=HERDER_COMMIT");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-env=BUILD_TARGET={}", variable("TARGET"));
    println!("cargo::rustc-env=BUILD_COMPILER={}", compiler());
}

fn compiler() -> String {
    let output = Command::new(variable("RUSTC")).arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.unwrap_or_else(|_| "unknown".to_owned())
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| "unknown".to_owned())
}
