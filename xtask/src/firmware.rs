//! Building the image and the payload guests.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cargo_metadata::{MetadataCommand, TargetKind};

use crate::{image, paths::Paths, process, progress::note, toolchain::Toolchain};

/// The firmware's package and program.
const FIRMWARE: &str = "polyvisor";
/// The payload that the firmware carries, and the variable that tells its build where the payload's image is.
const BUILTIN_GUEST: &str = "guest-hello";
const BUILTIN_GUEST_VARIABLE: &str = "POLYVISOR_BUILTIN_GUEST";
/// How payload packages are called; people may leave it out.
const PAYLOAD_PREFIX: &str = "guest-";

/// A built image.
#[derive(Debug, Clone)]
pub struct Firmware {
    /// The raw image, for boot loaders.
    pub image: PathBuf,
    /// Size of the raw image in bytes.
    pub size: u64,
    /// The ELF file that it was made from, for symbols.
    pub elf: PathBuf,
}

/// Builds the payloads, then the firmware with one of them inside.
pub fn build(paths: &Paths) -> Result<Firmware> {
    let toolchain = {
        let _lock = paths.lock()?;
        Toolchain::setup(paths)?
    };
    build_payloads(paths, toolchain)?;
    let mut cargo = toolchain.cargo(paths, "build");
    cargo.args(["--package", FIRMWARE, "--bin", FIRMWARE]);
    cargo.env(BUILTIN_GUEST_VARIABLE, builtin_guest(paths));
    process::run(&mut cargo)?;
    let elf = paths.firmware_dir().join(FIRMWARE);
    let image = raw(paths, FIRMWARE);
    let size = image::write_raw(&elf, &image)?;
    note(format!("{} ({} KiB)", image.display(), size.div_ceil(1024)));
    Ok(Firmware { image, size, elf })
}

fn build_payloads(paths: &Paths, toolchain: Toolchain) -> Result<()> {
    let payloads = payloads(paths)?;
    let mut cargo = toolchain.cargo(paths, "build");
    cargo.args(payloads.iter().flat_map(|name| ["--package", name])).arg("--bins");
    process::run(&mut cargo)?;
    for name in &payloads {
        image::write_raw(&paths.firmware_dir().join(name), &raw(paths, name))?;
    }
    Ok(())
}

/// Lints the firmware and the payloads for the target that they are built for.
pub fn clippy(paths: &Paths) -> Result<()> {
    let toolchain = Toolchain::setup(paths)?;
    let payloads = payloads(paths)?;
    let mut cargo = toolchain.cargo(paths, "clippy");
    cargo
        .args(["--package", FIRMWARE])
        .args(payloads.iter().flat_map(|name| ["--package", name]))
        .args(["--lib", "--bins"]);
    cargo.env(BUILTIN_GUEST_VARIABLE, builtin_guest(paths)).args(["--", "--deny", "warnings"]);
    process::run(&mut cargo)
}

/// The image of the payload called `name`, with or without prefix; it is there after [`build`].
pub fn payload(paths: &Paths, name: &str) -> Result<Option<PathBuf>> {
    let matches = |payload: &String| payload == name || payload.strip_prefix(PAYLOAD_PREFIX) == Some(name);
    Ok(payloads(paths)?.iter().find(|payload| matches(payload)).map(|payload| raw(paths, payload)))
}

/// The packages under `tests/guests` that have a program.
pub fn payloads(paths: &Paths) -> Result<Vec<String>> {
    let metadata = MetadataCommand::new()
        .manifest_path(paths.root.join("Cargo.toml"))
        .no_deps()
        .exec()
        .context("cannot read the workspace's metadata")?;
    let directory = paths.root.join("tests/guests");
    let is_payload = |package: &&cargo_metadata::Package| {
        Path::new(&package.manifest_path).starts_with(&directory)
            && package.targets.iter().any(|target| target.kind.contains(&TargetKind::Bin))
    };
    Ok(metadata.packages.iter().filter(is_payload).map(|package| package.name.to_string()).collect())
}

fn raw(paths: &Paths, name: &str) -> PathBuf {
    paths.firmware_dir().join(format!("{name}.img"))
}

fn builtin_guest(paths: &Paths) -> PathBuf {
    raw(paths, BUILTIN_GUEST)
}
