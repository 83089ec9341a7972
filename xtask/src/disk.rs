//! Disk images: partitions, and the test guest's root file system in them.

use std::{
    fs::{self, File},
    io::{Cursor, Seek, SeekFrom, Write},
    path::Path,
};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use gpt::{GptConfig, disk::LogicalBlockSize, mbr::ProtectiveMBR, partition_types};
use hadris_iso::{
    read::PathSeparator,
    write::{
        InputEntry, InputTree, IsoImageWriter,
        options::{CreationFeatures, IsoFormatOptions},
    },
};

use crate::{
    guests::{self, Architecture, Guests},
    paths::Paths,
    size::Size,
};

const SECTOR: u64 = 512;
/// Partitions begin at multiples of this many sectors.
const ALIGNMENT: u64 = 2048;
/// Large enough for the test guest's root file system, and as much again.
const ROOT_SIZE: Size = Size::mib(192);
/// Large enough for a kernel and an initramfs.
const FAT_SIZE: Size = Size::mib(96);
/// Bytes of the partition for data.
const DATA_SIZE: Size = Size::mib(64);

/// What is on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Layout {
    /// The test guest's root file system on the whole disk.
    Root,
    /// A GPT with the partitions `root` (the same) and `data` (empty).
    Gpt,
    /// An MBR with one partition, a FAT file system with the test guest's kernel and initramfs in `/boot`.
    Fat,
    /// A file system of ISO 9660, with Rock Ridge, with the same in it.
    Iso,
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
        Layout::Fat => fat(image, &boot_files(guests)?),
        Layout::Iso => iso(image, boot_files(guests)?),
    }
}

/// What it takes to boot, by its name in `/boot`.
fn boot_files(guests: &Guests) -> Result<[(&'static str, Vec<u8>); 2]> {
    let kernel = fs::read(guests.kernel(guests::DEFAULT_KERNEL)?)?;
    Ok([("vmlinuz", kernel), ("initrd.img", fs::read(guests.initramfs(Architecture::Arm64)?)?)])
}

/// Makes an image with an MBR of one partition, a FAT file system with these files.
fn fat(image: &Path, files: &[(&str, Vec<u8>)]) -> Result<()> {
    let mut volume = Cursor::new(vec![0; FAT_SIZE.bytes() as usize]);
    fatfs::format_volume(&mut volume, fatfs::FormatVolumeOptions::new())?;
    let system = fatfs::FileSystem::new(&mut volume, fatfs::FsOptions::new())?;
    let boot = system.root_dir().create_dir("boot")?;
    for (name, content) in files {
        boot.create_file(name)?.write_all(content)?;
    }
    drop(boot);
    system.unmount()?;
    let volume = volume.into_inner();

    // The first of four entries: no CHS addresses, type FAT32 (LBA), first sector, sectors; then the signature.
    let mut table = [0; SECTOR as usize];
    table[450] = 0x0c;
    table[454..458].copy_from_slice(&(ALIGNMENT as u32).to_le_bytes());
    table[458..462].copy_from_slice(&((volume.len() as u64 / SECTOR) as u32).to_le_bytes());
    table[510..].copy_from_slice(&[0x55, 0xaa]);
    let mut file = File::create_new(image)?;
    file.write_all(&table)?;
    file.seek(SeekFrom::Start(ALIGNMENT * SECTOR))?;
    file.write_all(&volume).context("cannot write the FAT file system")
}

/// Makes an image that is an ISO 9660 file system with these files.
fn iso(image: &Path, files: [(&str, Vec<u8>); 2]) -> Result<()> {
    let files = files.map(|(name, content)| InputEntry::file(name, content));
    let tree = InputTree::new(PathSeparator::ForwardSlash, vec![InputEntry::directory("boot", files.into())]);
    let options = IsoFormatOptions {
        volume_name: "BOOT".to_owned(),
        system_id: None,
        volume_set_id: None,
        publisher_id: None,
        preparer_id: None,
        application_id: None,
        sector_size: 2048,
        path_separator: PathSeparator::ForwardSlash,
        features: CreationFeatures::rock_ridge(),
        strict_charset: false,
    };
    let file = File::options().read(true).write(true).create_new(true).open(image)?;
    IsoImageWriter::create(file, tree, options).context("cannot write the ISO image").map(drop)
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
