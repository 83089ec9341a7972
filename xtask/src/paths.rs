//! Where things are: the workspace, cargo's target directory and this tool's cache in it.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// What programs are built for that run on a machine itself, physical or virtual.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The firmware, and payload guests.
    Aarch64,
    /// Payload guests.
    Riscv64,
}

impl Target {
    /// Every target.
    pub const ALL: [Self; 2] = [Self::Aarch64, Self::Riscv64];

    /// The compiler's name for it.
    pub const fn triple(self) -> &'static str {
        match self {
            Self::Aarch64 => "aarch64-unknown-none-softfloat",
            Self::Riscv64 => "riscv64gc-unknown-none-elf",
        }
    }
}

/// The cargo profile of everything that runs on the machine itself.
pub const FIRMWARE_PROFILE: &str = "firmware";

/// The directories that the tool works in.
#[derive(Debug, Clone)]
pub struct Paths {
    /// The workspace's root.
    pub root: PathBuf,
    /// Cargo's target directory.
    pub target: PathBuf,
    /// Downloads, stamps and logs: `<target>/xtask`.
    pub cache: PathBuf,
}

impl Paths {
    /// Finds the workspace and makes the cache directory.
    pub fn find() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("xtask's package has no parent directory")?
            .to_path_buf();
        let target = match env::var_os("CARGO_TARGET_DIR") {
            Some(dir) => env::current_dir()?.join(dir),
            None => root.join("target"),
        };
        let cache = target.join("xtask");
        fs::create_dir_all(&cache).with_context(|| format!("cannot create {}", cache.display()))?;
        Ok(Self { root, target, cache })
    }

    /// Where cargo puts the programs that are built for `target`.
    pub fn programs(&self, target: Target) -> PathBuf {
        self.target.join(target.triple()).join(FIRMWARE_PROFILE)
    }

    /// A directory of the cache, made when it is not there.
    pub fn cache_dir(&self, name: &str) -> Result<PathBuf> {
        let dir = self.cache.join(name);
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        Ok(dir)
    }

    /// Waits until no other xtask changes the cache; the lock lasts as long as the returned file.
    pub fn lock(&self) -> Result<File> {
        let path = self.cache.join("lock");
        let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
        file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
        Ok(file)
    }
}
