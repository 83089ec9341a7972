//! `cargo xtask test`: everything that continuous integration demands, cheapest first.

use std::process::Command;

use anyhow::{Context, Result};

use crate::{firmware, paths::Paths, process, progress::note, suite, toolchain::host_cargo};

/// Runs all checks; the first that fails ends it.
pub fn test(paths: &Paths) -> Result<()> {
    stage("formatting");
    process::run(host_cargo(paths, "fmt").args(["--all", "--check"])).context("run `cargo fmt --all`")?;
    stage("lints, host");
    process::run(once(paths, "clippy").args(["--workspace", "--all-targets", "--", "--deny", "warnings"]))?;
    stage("tests, host");
    process::run(once(paths, "test").args(["--workspace", "--quiet"]))?;
    stage("build");
    firmware::build(paths)?;
    stage("lints, firmware");
    firmware::clippy(paths)?;
    stage("lints, tools");
    suite::tool::clippy(paths)?;
    stage("tests under QEMU");
    suite::run(paths, None, None)
}

/// A cargo that keeps nothing for the next time: it would be gigabytes.
fn once(paths: &Paths, subcommand: &str) -> Command {
    let mut command = host_cargo(paths, subcommand);
    command.env("CARGO_INCREMENTAL", "0");
    command
}

fn stage(name: &str) {
    note(format!("=== {name}"));
}
