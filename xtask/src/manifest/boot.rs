//! What a VM boots.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use polyvisor::vm::bundle::{Arch, MAX_APPEND, MAX_PATH};
use toml::de::DeValue;

use super::{Environment, disk, table::Table};
use crate::bundle::{BootFile, GuestBios, GuestBoot};

const FILE: &str = "the path of a file";
const KERNEL_FILE: &str = "the path of a file, or { disk = NAME, path = PATH } with one of the VM's disks, \
                           and a partition = ... where that is needed";

/// What a RISC-V kernel finds below it. `None`: nothing is said.
pub fn bios(table: &mut Table, environment: &Environment) -> Option<GuestBios> {
    const EXPECTED: &str = "\"built-in\", \"none\", the name of firmware, or the path of a file";
    let word = table.read("bios", EXPECTED, |value| value.as_str())?;
    match word {
        "built-in" => Some(GuestBios::BuiltIn),
        "none" => Some(GuestBios::None),
        name => match (environment.named)(name) {
            Ok((_, GuestBoot::Firmware(path))) => Some(GuestBios::File(path)),
            _ => readable(table, "bios", environment.folder.join(name)).map(GuestBios::File),
        },
    }
}

/// Reads a guest by name, a kernel, or firmware; a name also says for which architecture it is.
pub fn read(table: &mut Table, environment: &Environment) -> Option<(Option<Arch>, GuestBoot)> {
    let guest = table.read("guest", "a guest's name", |value| value.as_str());
    let kernel = kernel_file(table, "kernel", environment.folder);
    let firmware = file(table, "firmware", environment.folder);
    let initrd = kernel_file(table, "initrd", environment.folder);
    let append =
        table.read("append", format_args!("a text of at most {MAX_APPEND} bytes without NUL"), |value| {
            value.as_str().filter(|text| text.len() <= MAX_APPEND && !text.contains('\0'))
        });
    let sources: Vec<&str> =
        ["guest", "kernel", "firmware"].into_iter().filter(|key| table.span(key).is_some()).collect();
    match sources[..] {
        [] => table.refuse_whole("a VM that boots nothing, expected one of guest, kernel or firmware"),
        [first, ref others @ ..] => {
            for other in others {
                table.refuse(other, format_args!("found beside {first}, expected only one of them"));
            }
        }
    }
    let (arch, mut boot) = match (guest, kernel, firmware) {
        (Some(name), ..) => {
            let found = (environment.named)(name);
            let found = found.map_err(|error| table.refuse("guest", format_args!("{error:#}")));
            found.map(|(arch, boot)| (Some(arch), boot)).ok()?
        }
        (_, Some(kernel), _) => (None, GuestBoot::Kernel { kernel, initrd: None, append: String::new() }),
        (_, _, Some(firmware)) => (None, GuestBoot::Firmware(firmware)),
        _ => return None,
    };
    match &mut boot {
        GuestBoot::Kernel { initrd: usual, append: line, .. } => {
            *usual = initrd.or(usual.take());
            if let Some(append) = append {
                append.clone_into(line);
            }
        }
        GuestBoot::Firmware(_) => {
            for key in ["initrd", "append"] {
                table.refuse(key, "found with firmware, expected only with a kernel");
            }
        }
    }
    Some((arch, boot))
}

/// Checks that the VM has the disks that it boots from: those of these names.
pub fn check_disks(table: &mut Table, boot: &GuestBoot, names: &[&str]) {
    let GuestBoot::Kernel { kernel, initrd, .. } = boot else { return };
    for (key, file) in [("kernel", Some(kernel)), ("initrd", initrd.as_ref())] {
        if let Some(BootFile::OnDisk { disk, .. }) = file
            && !names.contains(&disk.as_str())
        {
            let known = if names.is_empty() { "it has none".to_owned() } else { names.join(", ") };
            table.refuse(key, format_args!("found the disk {disk:?}, expected one of the VM's: {known}"));
        }
    }
}

/// A file that can be read; its path starts at `folder`.
pub fn file(table: &mut Table, key: &'static str, folder: &Path) -> Option<PathBuf> {
    let path = table.read(key, FILE, |value| value.as_str())?;
    readable(table, key, folder.join(path))
}

/// A file that a kernel is loaded from, here or on a disk of the VM.
fn kernel_file(table: &mut Table, key: &'static str, folder: &Path) -> Option<BootFile> {
    let file = table.read(key, KERNEL_FILE, |value| match value {
        DeValue::String(path) => Some(BootFile::Here(folder.join(&**path))),
        _ => on_disk(value),
    })?;
    match file {
        BootFile::Here(path) => readable(table, key, path).map(BootFile::Here),
        BootFile::OnDisk { .. } => Some(file),
    }
}

fn on_disk(value: &DeValue) -> Option<BootFile> {
    let table = value.as_table()?;
    let text = |key| Some(table.get(key)?.get_ref().as_str()?.to_owned());
    let partition = match table.get("partition") {
        Some(value) => Some(disk::partition(value.get_ref())?),
        None => None,
    };
    let known = 2 + usize::from(partition.is_some());
    let (disk, path) = (text("disk")?, text("path")?);
    let possible = (1..=MAX_PATH).contains(&path.len()) && !path.contains('\0') && table.len() == known;
    possible.then_some(BootFile::OnDisk { disk, partition, path })
}

fn readable(table: &mut Table, key: &str, path: PathBuf) -> Option<PathBuf> {
    match File::open(&path).and_then(|file| file.metadata()) {
        Ok(metadata) if metadata.is_file() => return Some(path),
        Ok(_) => table.refuse(key, format_args!("{} is not a file", path.display())),
        Err(error) => table.refuse(key, format_args!("cannot read {}: {error}", path.display())),
    }
    None
}
