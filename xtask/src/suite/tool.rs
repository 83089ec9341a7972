//! Programs of our own for Linux guests (`tests/tools`). A guest gets one as a disk whose first bytes it is.

use std::path::PathBuf;

use anyhow::Result;

use crate::{paths::Paths, process, toolchain::Toolchain};

/// How the packages of tools are called; people may leave it out.
const PREFIX: &str = "tool-";

/// Builds the tool called `name`; the program, which is linked statically.
pub fn build(paths: &Paths, name: &str) -> Result<PathBuf> {
    let package = format!("{PREFIX}{name}");
    process::run(Toolchain::setup(paths)?.cargo(paths, "build").args(["--package", &package, "--quiet"]))?;
    Ok(paths.firmware_dir().join(package))
}
