//! A root file system for a disk.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use anyhow::{Context, Result, ensure};

use crate::{
    paths::Paths,
    process::{find_program, run},
    size::Size,
};

/// A file or directory of a root file system; paths are relative to it.
pub enum Entry {
    /// A directory, behind the one that it is in.
    Directory(String),
    /// A file, behind the directory that it is in.
    File {
        /// Where.
        path: String,
        /// Whether it can be executed.
        executable: bool,
        /// What is in it.
        content: Vec<u8>,
    },
}

impl Entry {
    /// A file.
    pub fn file(path: impl Into<String>, content: Vec<u8>) -> Self {
        Self::File { path: path.into(), executable: false, content }
    }

    /// A file that can be executed.
    pub fn program(path: impl Into<String>, content: Vec<u8>) -> Self {
        Self::File { path: path.into(), executable: true, content }
    }
}

/// Makes an ext4 file system of `entries` in the file `image`, of this size.
///
/// # Errors
/// `mke2fs` is not there, or cannot do it: the entries do not fit.
pub fn make(paths: &Paths, entries: &[Entry], size: Size, image: &Path) -> Result<()> {
    let program = ["mke2fs", "/usr/sbin/mke2fs", "/sbin/mke2fs"].into_iter().find_map(find_program);
    let program = program.context("mke2fs is not there: install e2fsprogs, which makes ext4 file systems")?;
    let tree = tempfile::tempdir_in(&paths.cache)?;
    for entry in entries {
        match entry {
            Entry::Directory(path) => fs::create_dir_all(tree.path().join(path))?,
            Entry::File { path, executable, content } => {
                let path = tree.path().join(path);
                fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
                let mode = if *executable { 0o755 } else { 0o644 };
                fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
            }
        }
    }
    ensure!(!image.exists(), "{} exists already", image.display());
    fs::File::create(image)?.set_len(size.bytes())?;
    let mut mke2fs = Command::new(program);
    // Nothing is left to be initialised later, and everything is root's.
    mke2fs.args([
        "-q",
        "-t",
        "ext4",
        "-L",
        "root",
        "-E",
        "lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0",
    ]);
    mke2fs.arg("-d").arg(tree.path()).arg(image);
    run(&mut mke2fs)
}
