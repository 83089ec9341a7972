//! Building the image, with what it carries, and the payload guests.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::{
    image,
    paths::{Paths, Target},
    payloads, process,
    progress::note,
    separation,
    toolchain::Toolchain,
};

/// The firmware's package and program, and what it is built for.
const FIRMWARE: &str = "polyvisor";
const TARGET: Target = Target::Aarch64;
/// The engine of cells.
const ENGINE: &str = "polyvisor-engine";
/// The payload that the firmware carries.
const BUILTIN_GUEST: &str = "guest-hello";
/// The variables that tell the firmware's build where the images are that it carries.
const BUILTIN_GUEST_VARIABLE: &str = "POLYVISOR_BUILTIN_GUEST";
const ENGINE_VARIABLE: &str = "POLYVISOR_ENGINE";

/// A built image.
#[derive(Debug, Clone)]
pub struct Firmware {
    /// The raw image, for boot loaders.
    pub image: PathBuf,
    /// Size of the raw image in bytes.
    pub size: u64,
    /// The ELF file that it was made from, for symbols.
    pub elf: PathBuf,
    /// That of the engine in it.
    pub engine: PathBuf,
}

impl Firmware {
    /// The image of the engine in it, as cells are given it.
    pub fn engine_image(&self) -> PathBuf {
        self.engine.with_extension("img")
    }
}

/// Builds the engine and the payloads, then the firmware with what it carries.
pub fn build(paths: &Paths) -> Result<Firmware> {
    let setup = |target| {
        let _lock = paths.lock()?;
        Toolchain::setup(paths, target)
    };
    for target in Target::ALL {
        payloads::build(paths, setup(target)?, target)?;
    }
    let toolchain = setup(TARGET)?;
    let mut cargo = toolchain.cargo(paths, TARGET, "build");
    cargo.args(["--package", ENGINE, "--bin", ENGINE]);
    process::run(&mut cargo)?;
    write_raw(paths, ENGINE)?;
    let mut cargo = toolchain.cargo(paths, TARGET, "build");
    cargo.args(["--package", FIRMWARE, "--bin", FIRMWARE]);
    cargo.envs(carried(paths)?);
    process::run(&mut cargo)?;
    let size = write_raw(paths, FIRMWARE)?;
    let elf = elf(paths, FIRMWARE);
    let engine = self::elf(paths, ENGINE);
    separation::check(&elf, &engine)?;
    Ok(Firmware { image: raw(paths, FIRMWARE), size, elf, engine })
}

/// Lints the firmware, the engine and the payloads, each for what they are built for.
pub fn clippy(paths: &Paths) -> Result<()> {
    for target in Target::ALL {
        payloads::clippy(paths, Toolchain::setup(paths, target)?, target)?;
    }
    let mut cargo = Toolchain::setup(paths, TARGET)?.cargo(paths, TARGET, "clippy");
    cargo.args(["--package", FIRMWARE, "--package", ENGINE, "--lib", "--bins"]);
    cargo.envs(carried(paths)?).args(["--", "--deny", "warnings"]);
    process::run(&mut cargo)
}

/// Makes the raw image of the program `name`, says how large it is and returns that.
fn write_raw(paths: &Paths, name: &str) -> Result<u64> {
    let image = raw(paths, name);
    let size = image::write_raw(&elf(paths, name), &image)?;
    note(format!("{} ({} KiB)", image.display(), size.div_ceil(1024)));
    Ok(size)
}

fn elf(paths: &Paths, name: &str) -> PathBuf {
    paths.programs(TARGET).join(name)
}

fn raw(paths: &Paths, name: &str) -> PathBuf {
    elf(paths, name).with_extension("img")
}

/// The variables that tell the firmware's build what it is to carry.
fn carried(paths: &Paths) -> Result<[(&'static str, PathBuf); 2]> {
    let builtin =
        payloads::find(paths, BUILTIN_GUEST)?.with_context(|| format!("there is no {BUILTIN_GUEST}"))?;
    Ok([(BUILTIN_GUEST_VARIABLE, builtin.file(paths)), (ENGINE_VARIABLE, raw(paths, ENGINE))])
}
