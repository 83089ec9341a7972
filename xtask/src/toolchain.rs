//! A Rust toolchain that builds for the machine itself, found or installed.

use std::{env, fs, path::Path, process::Command};

use anyhow::{Context, Result, ensure};

use crate::{
    apt,
    paths::{FIRMWARE_PROFILE, Paths, Target},
    process::{self, find_program},
    progress::{Progress, note},
    version::Version,
};

/// The oldest compiler that the sources build with (`rust-version` in Cargo.toml).
const OLDEST_RUST: Version = Version { major: 1, minor: 95 };
/// Debian's newest Rust with what it takes to build `core` for a target that Debian does not package.
const DEBIAN_PACKAGES: [&str; 5] = ["rustc-web", "cargo-web", "rust-web-src", "rust-web-clippy", "lld"];
/// What those packages install and a build needs.
const DEBIAN_PROGRAMS: [&str; 5] = [
    "/usr/bin/rustc",
    "/usr/bin/cargo",
    "/usr/bin/cargo-clippy",
    "/usr/bin/clippy-driver",
    "/usr/bin/ld.lld",
];
/// What cargo and rustup tell their children of the toolchain that runs us; another one must not hear of it.
const OUTER_TOOLCHAIN: [&str; 9] = [
    "CARGO",
    "CARGO_ENCODED_RUSTFLAGS",
    "LD_LIBRARY_PATH",
    "RUSTC",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTDOC",
    "RUSTFLAGS",
    "RUSTUP_TOOLCHAIN",
    "RUST_RECURSION_COUNT",
];

/// Where the compiler for a target comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Toolchain {
    /// The toolchain that runs us has the target's library.
    Native,
    /// Debian's packages, which carry the library's source: `core` is built along.
    Debian,
}

impl Toolchain {
    /// Finds a toolchain for `target`, or installs one.
    ///
    /// # Errors
    /// Where nothing can be installed: what is missing and how to get it.
    pub fn setup(paths: &Paths, target: Target) -> Result<Self> {
        let stamp = paths.cache_dir("toolchains")?.join(target.triple());
        if has(target) {
            return Ok(Self::Native);
        }
        // Known from an earlier run: do not ask rustup (and so the network) again.
        if stamp.exists() && debian_is_usable() {
            return Ok(Self::Debian);
        }
        let Err(rustup) = add(target) else { return Ok(Self::Native) };
        let triple = target.triple();
        note(format!("rustup gives no target {triple} ({})", first_line(&rustup)));
        install_debian(paths, triple).with_context(|| {
            format!(
                "no Rust toolchain for {triple}. With rustup: `rustup target add {triple}`; on Debian: packages {}",
                DEBIAN_PACKAGES.join(" ")
            )
        })?;
        fs::write(&stamp, "Debian's packages\n")?;
        Ok(Self::Debian)
    }

    /// What this is, for the user.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Native => "this toolchain's own target",
            Self::Debian => "Debian's packages (builds core from source)",
        }
    }

    /// `cargo SUBCOMMAND` for `target` and the firmware's profile.
    pub fn cargo(self, paths: &Paths, target: Target, subcommand: &str) -> Command {
        let mut command = match self {
            Self::Native => native("CARGO", "cargo"),
            Self::Debian => debian_cargo(target, subcommand),
        };
        command.current_dir(&paths.root).arg(subcommand).args(["--target", target.triple()]);
        command.args(["--profile", FIRMWARE_PROFILE]);
        if self == Self::Debian {
            command.args([
                "-Zbuild-std=core,alloc,compiler_builtins",
                "-Zbuild-std-features=compiler-builtins-mem",
            ]);
        }
        command
    }
}

/// A cargo command of the toolchain that runs us, for host programs.
pub fn host_cargo(paths: &Paths, subcommand: &str) -> Command {
    let mut command = native("CARGO", "cargo");
    command.current_dir(&paths.root).arg(subcommand);
    command
}

/// The program that the environment names, else the one in `PATH`.
fn native(variable: &str, program: &str) -> Command {
    Command::new(env::var_os(variable).unwrap_or_else(|| program.into()))
}

fn debian_cargo(target: Target, subcommand: &str) -> Command {
    // cargo looks for subcommands in rustup's directory before `PATH`, and would find another toolchain's.
    let program = if subcommand == "clippy" { "/usr/bin/cargo-clippy" } else { "/usr/bin/cargo" };
    let mut command = Command::new(program);
    for variable in OUTER_TOOLCHAIN {
        command.env_remove(variable);
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let path =
        env::join_paths([Path::new("/usr/bin").to_path_buf()].into_iter().chain(env::split_paths(&path)));
    if let Ok(path) = path {
        command.env("PATH", path);
    }
    // `-Zbuild-std` is still unstable, but it is how Debian's own cross builds do it.
    command.env("RUSTC_BOOTSTRAP", "1").env("RUSTC", "/usr/bin/rustc").env("CARGO", "/usr/bin/cargo");
    let linker = format!("CARGO_TARGET_{}_LINKER", target.triple().replace('-', "_").to_uppercase());
    command.env(linker, "ld.lld");
    command
}

/// Whether the active toolchain has the target's library.
fn has(target: Target) -> bool {
    let mut rustc = native("RUSTC", "rustc");
    let libdir = process::stdout(rustc.args(["--print", "target-libdir", "--target", target.triple()]));
    libdir.is_ok_and(|dir| Path::new(dir.trim()).is_dir())
}

fn add(target: Target) -> Result<()> {
    ensure!(find_program("rustup").is_some(), "rustup is not installed");
    let progress = Progress::start(format!("rustup target add {}", target.triple()));
    process::output(Command::new("rustup").args(["target", "add", target.triple()]))?;
    ensure!(has(target), "rustup reported success, but the target's library is not there");
    progress.done();
    Ok(())
}

/// Whether Debian's toolchain is there, with its library source, and new enough.
fn debian_is_usable() -> bool {
    let source = || {
        let sysroot = process::stdout(Command::new("/usr/bin/rustc").args(["--print", "sysroot"])).ok()?;
        Some(Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core").is_dir())
    };
    let version = || {
        process::stdout(Command::new("/usr/bin/rustc").arg("--version")).ok()?.split(' ').nth(1)?.parse().ok()
    };
    DEBIAN_PROGRAMS.iter().all(|program| Path::new(program).exists())
        && source() == Some(true)
        && version().is_some_and(|version: Version| version >= OLDEST_RUST)
}

fn install_debian(paths: &Paths, triple: &str) -> Result<()> {
    if debian_is_usable() {
        return Ok(());
    }
    apt::install(paths, &DEBIAN_PACKAGES, OLDEST_RUST, &format!("building for {triple}"))?;
    ensure!(
        debian_is_usable(),
        "the packages are installed, but {} are not all there",
        DEBIAN_PROGRAMS.join(", ")
    );
    Ok(())
}

fn first_line(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    let line = text.lines().rev().find(|line| line.contains("error")).or(text.lines().next());
    line.unwrap_or_default().trim().to_owned()
}
