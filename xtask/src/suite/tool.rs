//! Programs of our own for Linux guests (`tests/tools`). A guest gets one as a disk whose first bytes it is.

use std::path::PathBuf;

use anyhow::Result;

use crate::{
    paths::{Paths, Target},
    process,
    toolchain::Toolchain,
};

const TARGET: Target = Target::Aarch64;

/// How the packages of tools are called; people may leave it out.
const PREFIX: &str = "tool-";

/// Builds the tool called `name`; the program, which is linked statically.
pub fn build(paths: &Paths, name: &str) -> Result<PathBuf> {
    let package = format!("{PREFIX}{name}");
    process::run(Toolchain::setup(paths, TARGET)?.cargo(paths, TARGET, "build").args([
        "--package",
        &package,
        "--quiet",
    ]))?;
    Ok(paths.programs(TARGET).join(package))
}
