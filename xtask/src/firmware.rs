//! Building the image, with what it carries, and the payload guests.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cargo_metadata::{MetadataCommand, TargetKind};

use crate::{image, paths::Paths, process, progress::note, separation, toolchain::Toolchain};

/// The firmware's package and program.
const FIRMWARE: &str = "polyvisor";
/// The engine of cells.
const ENGINE: &str = "polyvisor-engine";
/// The programs whose images the firmware carries, and the variables that tell its build where these are.
const CARRIED: [(&str, &str); 2] = [("guest-hello", "POLYVISOR_BUILTIN_GUEST"), (ENGINE, "POLYVISOR_ENGINE")];
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

/// Builds the engine and the payloads, then the firmware with what it carries.
pub fn build(paths: &Paths) -> Result<Firmware> {
    let toolchain = {
        let _lock = paths.lock()?;
        Toolchain::setup(paths)?
    };
    build_parts(paths, toolchain)?;
    let mut cargo = toolchain.cargo(paths, "build");
    cargo.args(["--package", FIRMWARE, "--bin", FIRMWARE]);
    cargo.envs(carried(paths));
    process::run(&mut cargo)?;
    let elf = elf(paths, FIRMWARE);
    let size = write_raw(paths, FIRMWARE)?;
    separation::check(&elf, &self::elf(paths, ENGINE))?;
    Ok(Firmware { image: raw(paths, FIRMWARE), size, elf })
}

/// Builds the programs that the firmware carries or that guests run.
fn build_parts(paths: &Paths, toolchain: Toolchain) -> Result<()> {
    let payloads = payloads(paths)?;
    let mut cargo = toolchain.cargo(paths, "build");
    cargo
        .args(["--package", ENGINE])
        .args(payloads.iter().flat_map(|name| ["--package", name]))
        .arg("--bins");
    process::run(&mut cargo)?;
    write_raw(paths, ENGINE)?;
    for name in &payloads {
        image::write_raw(&elf(paths, name), &raw(paths, name))?;
    }
    Ok(())
}

/// Makes the raw image of the program `name`, says how large it is and returns that.
fn write_raw(paths: &Paths, name: &str) -> Result<u64> {
    let image = raw(paths, name);
    let size = image::write_raw(&elf(paths, name), &image)?;
    note(format!("{} ({} KiB)", image.display(), size.div_ceil(1024)));
    Ok(size)
}

/// Lints the firmware, the engine and the payloads for the target that they are built for.
pub fn clippy(paths: &Paths) -> Result<()> {
    let toolchain = Toolchain::setup(paths)?;
    let payloads = payloads(paths)?;
    let mut cargo = toolchain.cargo(paths, "clippy");
    cargo
        .args(["--package", FIRMWARE, "--package", ENGINE])
        .args(payloads.iter().flat_map(|name| ["--package", name]))
        .args(["--lib", "--bins"]);
    cargo.envs(carried(paths)).args(["--", "--deny", "warnings"]);
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

fn elf(paths: &Paths, name: &str) -> PathBuf {
    paths.firmware_dir().join(name)
}

fn raw(paths: &Paths, name: &str) -> PathBuf {
    paths.firmware_dir().join(format!("{name}.img"))
}

/// The variables that tell the firmware's build what it is to carry.
fn carried(paths: &Paths) -> impl Iterator<Item = (&'static str, PathBuf)> + '_ {
    CARRIED.into_iter().map(|(program, variable)| (variable, raw(paths, program)))
}
