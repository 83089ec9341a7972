//! The payload guests: small programs under `tests/guests`, each built for the machine that it runs on.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cargo_metadata::{MetadataCommand, TargetKind};

use crate::{
    image,
    paths::{Paths, Target},
    process,
    toolchain::Toolchain,
};

/// Where they are, and where those for RISC-V are.
const DIRECTORY: &str = "tests/guests";
const RISCV_DIRECTORY: &str = "tests/guests/riscv";
/// How their packages are called; people may leave it out.
const PREFIX: &str = "guest-";

/// A package under `tests/guests` that has a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// The package's name.
    pub name: String,
    /// What it is built for.
    pub target: Target,
}

impl Payload {
    /// What a machine boots; it is there after [`build`].
    pub fn file(&self, paths: &Paths) -> PathBuf {
        match self.target {
            Target::Aarch64 => self.program(paths).with_extension("img"),
            Target::Riscv64 => self.program(paths),
        }
    }

    /// The ELF file that cargo makes.
    fn program(&self, paths: &Paths) -> PathBuf {
        paths.programs(self.target).join(&self.name)
    }

    fn is_called(&self, name: &str) -> bool {
        self.name == name || self.name.strip_prefix(PREFIX) == Some(name)
    }
}

/// All of them.
pub fn all(paths: &Paths) -> Result<Vec<Payload>> {
    let metadata = MetadataCommand::new()
        .manifest_path(paths.root.join("Cargo.toml"))
        .no_deps()
        .exec()
        .context("cannot read the workspace's metadata")?;
    let is_payload = |package: &&cargo_metadata::Package| {
        is_under(package, &paths.root.join(DIRECTORY))
            && package.targets.iter().any(|target| target.kind.contains(&TargetKind::Bin))
    };
    let riscv = paths.root.join(RISCV_DIRECTORY);
    let payload = |package: &cargo_metadata::Package| Payload {
        name: package.name.to_string(),
        target: if is_under(package, &riscv) { Target::Riscv64 } else { Target::Aarch64 },
    };
    Ok(metadata.packages.iter().filter(is_payload).map(payload).collect())
}

fn is_under(package: &cargo_metadata::Package, directory: &Path) -> bool {
    Path::new(&package.manifest_path).starts_with(directory)
}

/// The payload called `name`, with or without prefix.
pub fn find(paths: &Paths, name: &str) -> Result<Option<Payload>> {
    Ok(all(paths)?.into_iter().find(|payload| payload.is_called(name)))
}

/// Builds those for `target`.
pub fn build(paths: &Paths, toolchain: Toolchain, target: Target) -> Result<()> {
    let payloads = of_target(paths, target)?;
    let mut cargo = toolchain.cargo(paths, target, "build");
    cargo.args(packages(&payloads)).arg("--bins");
    process::run(&mut cargo)?;
    for payload in &payloads {
        let (program, file) = (payload.program(paths), payload.file(paths));
        if program != file {
            image::write_raw(&program, &file)?;
        }
    }
    Ok(())
}

/// Lints those for `target`.
pub fn clippy(paths: &Paths, toolchain: Toolchain, target: Target) -> Result<()> {
    let mut cargo = toolchain.cargo(paths, target, "clippy");
    cargo.args(packages(&of_target(paths, target)?)).args(["--bins", "--", "--deny", "warnings"]);
    process::run(&mut cargo)
}

fn of_target(paths: &Paths, target: Target) -> Result<Vec<Payload>> {
    let mut payloads = all(paths)?;
    payloads.retain(|payload| payload.target == target);
    Ok(payloads)
}

/// The arguments that select these packages.
fn packages(payloads: &[Payload]) -> impl Iterator<Item = &str> {
    payloads.iter().flat_map(|payload| ["--package", &payload.name])
}
