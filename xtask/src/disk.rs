//! Disk images: partitions, and the test guest's root file system in them.

use std::{
    fs::{self, File},
    io::{Seek, SeekFrom},
    path::Path,
};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use gpt::{GptConfig, disk::LogicalBlockSize, mbr::ProtectiveMBR, partition_types};

use crate::{
    guests::{self, Guests},
    paths::Paths,
    size::Size,
};

const SECTOR: u64 = 512;
/// Partitions begin at multiples of this many sectors.
const ALIGNMENT: u64 = 2048;
/// Large enough for the test guest's root file system, and as much again.
const ROOT_SIZE: Size = Size::mib(192);
/// Bytes of the partition for data.
const DATA_SIZE: Size = Size::mib(64);

/// What is on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Layout {
    /// The test guest's root file system on the whole disk.
    Root,
    /// A GPT with the partitions `root` (the same) and `data` (empty).
    Gpt,
}

/// Makes a disk image. The file must not exist.
///
/// # Errors
/// It exists, or what it is made of cannot be had.
pub fn make(paths: &Paths, guests: &Guests, layout: Layout, image: &Path) -> Result<()> {
    ensure!(!image.exists(), "{} exists already; it is not overwritten", image.display());
    match layout {
        Layout::Root => guests.root_image(guests::DEFAULT_KERNEL, ROOT_SIZE, image),
        Layout::Gpt => {
            let directory = tempfile::tempdir_in(&paths.cache)?;
            let root = directory.path().join("root");
            guests.root_image(guests::DEFAULT_KERNEL, ROOT_SIZE, &root)?;
            partition(image, &[("root", ROOT_SIZE, Some(&root)), ("data", DATA_SIZE, None)])
        }
    }
}

/// Makes an image with a GPT of these partitions: name, size, and the file whose content it has, or zeros.
fn partition(image: &Path, partitions: &[(&str, Size, Option<&Path>)]) -> Result<()> {
    let needed: u64 = partitions.iter().map(|(_, size, _)| size.bytes()).sum();
    let sectors = needed / SECTOR + 2 * ALIGNMENT + ALIGNMENT * partitions.len() as u64;
    // QEMU's SD cards have no other sizes.
    let sectors = sectors.next_power_of_two();
    let mut file = File::options().read(true).write(true).create_new(true).open(image)?;
    file.set_len(sectors * SECTOR)?;
    ProtectiveMBR::with_lb_size(u32::try_from(sectors - 1).unwrap_or(u32::MAX)).overwrite_lba0(&mut file)?;
    let mut disk = GptConfig::new()
        .writable(true)
        .logical_block_size(LogicalBlockSize::Lb512)
        .create_from_device(file, None)?;
    for (name, size, _) in partitions {
        disk.add_partition(name, size.bytes(), partition_types::LINUX_FS, 0, Some(ALIGNMENT))?;
    }
    let starts: Vec<u64> =
        disk.partitions().values().filter(|entry| entry.is_used()).map(|entry| entry.first_lba).collect();
    let mut file = disk.write()?;
    for (start, (_, _, content)) in starts.iter().zip(partitions) {
        if let Some(content) = content {
            file.seek(SeekFrom::Start(start * SECTOR))?;
            let mut content = fs::File::open(content).context("a partition's content is gone")?;
            std::io::copy(&mut content, &mut file)?;
        }
    }
    Ok(())
}
