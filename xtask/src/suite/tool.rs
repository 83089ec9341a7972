//! Programs of our own for Linux guests (`tests/tools`). A guest gets one as a disk whose first bytes it is.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::{
    paths::{Paths, Target},
    process,
    toolchain::Toolchain,
};

/// How the names of their packages begin.
const PREFIX: &str = "tool-";

/// All of them, and the guests that they are for.
const TOOLS: [(&str, Target); 2] = [("vsock", Target::Aarch64), ("workload", Target::Riscv64)];

/// Builds the tool called `name`; the program, which is linked statically.
pub fn build(paths: &Paths, name: &str) -> Result<PathBuf> {
    let tool = TOOLS.iter().find(|(known, _)| *known == name);
    let &(_, target) = tool.with_context(|| format!("there is no tool {name:?}"))?;
    let package = format!("{PREFIX}{name}");
    let mut cargo = Toolchain::setup(paths, target)?.cargo(paths, target, "build");
    process::run(cargo.args(["--package", &package, "--quiet"]))?;
    Ok(paths.programs(target).join(package))
}

/// Lints them all, each for what it is built for.
pub fn clippy(paths: &Paths) -> Result<()> {
    for (name, target) in TOOLS {
        let mut cargo = Toolchain::setup(paths, target)?.cargo(paths, target, "clippy");
        process::run(cargo.args(["--package", &format!("{PREFIX}{name}"), "--", "--deny", "warnings"]))?;
    }
    Ok(())
}
