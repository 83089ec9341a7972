//! `cargo xtask test`: everything that continuous integration demands, cheapest first.

use anyhow::{Context, Result};

use crate::{firmware, paths::Paths, process, progress::note, suite, toolchain::host_cargo};

/// Runs all checks; the first that fails ends it.
pub fn test(paths: &Paths) -> Result<()> {
    stage("formatting");
    process::run(host_cargo(paths, "fmt").args(["--all", "--check"])).context("run `cargo fmt --all`")?;
    stage("lints, host");
    process::run(host_cargo(paths, "clippy").args([
        "--workspace",
        "--all-targets",
        "--",
        "--deny",
        "warnings",
    ]))?;
    stage("tests, host");
    process::run(host_cargo(paths, "test").args(["--workspace", "--quiet"]))?;
    stage("build");
    firmware::build(paths)?;
    stage("lints, firmware");
    firmware::clippy(paths)?;
    stage("lints, tools");
    suite::tool::clippy(paths)?;
    stage("tests under QEMU");
    suite::run(paths, None, None)
}

fn stage(name: &str) {
    note(format!("=== {name}"));
}
