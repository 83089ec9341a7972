//! One `[[vm.disk]]` table.

use std::{fs, path::Path};

use polyvisor::vm::bundle::{
    DeviceSpec, DiskSource, DiskSpec, MAX_DISK, MAX_HARDWARE_NAME, MAX_SERIAL, PartitionName, is_word,
};
use toml::de::DeValue;

use super::{
    boot::file,
    device::{plugged, queues},
    table::{Table, number, one_of, word},
};
use crate::{
    bundle::{Device, MemoryDisk},
    size::Size,
};

/// What happens to what the guest writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    ReadOnly,
    /// It is kept in memory.
    CopyOnWrite,
    /// It goes to the medium.
    ReadWrite,
}

const MODES: [(&str, Mode); 3] =
    [("read-only", Mode::ReadOnly), ("copy-on-write", Mode::CopyOnWrite), ("read-write", Mode::ReadWrite)];

const PARTITION: &str = "{ label = \"...\" }, { uuid = \"...\" } or { number = 1 }";

/// Reads a disk; with its name, which is its own in the VM.
pub fn read(mut table: Table, folder: &Path) -> Option<(String, Device)> {
    let name = table.read(
        "name",
        format_args!("1 to {MAX_SERIAL} printable ASCII characters without a space"),
        |value| value.as_str().filter(|name| is_word(name, MAX_SERIAL)),
    );
    if table.span("name").is_none() {
        table.refuse_whole("a disk without a name, expected name = \"...\"");
    }
    let image = file(&mut table, "image", folder);
    let limit = Size::mib(MAX_DISK >> 20);
    let size = table.read("size", format_args!("a size such as \"64M\" or \"2G\", up to {limit}"), |value| {
        value.as_str()?.parse().ok().filter(|size: &Size| *size <= limit)
    });
    let physical = table.read("physical", "\"disk0\", \"disk1\", ... or a disk's serial number", |value| {
        value.as_str().filter(|name| is_word(name, MAX_HARDWARE_NAME))
    });
    let partition = table.read("partition", PARTITION, partition);
    let mode = table.read("mode", one_of(&MODES), |value| word(value, &MODES));
    let (queues, plugged) = (queues(&mut table), plugged(&mut table));

    let in_memory = ["image", "size"].into_iter().find(|key| table.span(key).is_some());
    match (in_memory, table.span("physical")) {
        (None, None) => table.refuse_whole("a disk without sectors, expected image, size or physical"),
        (Some(other), Some(_)) => {
            table.refuse("physical", format_args!("found beside {other}, expected only one of them"));
        }
        (Some(_), None) => {
            table.refuse("partition", "found without physical, expected only with it");
            if mode == Some(Mode::ReadWrite) {
                table.refuse("mode", "\"read-write\" is for physical disks: an image is \"copy-on-write\"");
            }
        }
        (None, Some(_)) => {
            if mode == Some(Mode::CopyOnWrite) {
                table.refuse("mode", "\"copy-on-write\" is for images: a physical disk is \"read-write\"");
            }
        }
    }
    if let (Some(size), Some(Ok(file))) = (size, image.as_ref().map(fs::metadata))
        && size.bytes() < file.len()
    {
        table.refuse(
            "size",
            format_args!("found {size}, expected at least the {} bytes of the image", file.len()),
        );
    }
    table.finish();

    let name = name?.to_owned();
    let read_only = mode == Some(Mode::ReadOnly);
    let device = match physical {
        Some(disk) => {
            let source = DiskSource::Physical { disk: disk.to_owned(), partition };
            let name = name.clone();
            Device::Plain(DeviceSpec::Disk(DiskSpec { name, source, read_only, queues, plugged }))
        }
        None => Device::Memory(MemoryDisk { name: name.clone(), image, size, read_only, queues, plugged }),
    };
    Some((name, device))
}

/// A partition: a table with one key.
pub fn partition(value: &DeValue) -> Option<PartitionName> {
    let table = value.as_table().filter(|table| table.len() == 1)?;
    let (key, value) = table.iter().next()?;
    let (key, value): (&str, _) = (key.get_ref(), value.get_ref());
    let name = match key {
        "label" => PartitionName::Label(value.as_str()?.to_owned()),
        "uuid" => PartitionName::Uuid(value.as_str()?.to_owned()),
        "number" => PartitionName::Number(number(value)?),
        _ => return None,
    };
    name.validate().ok().map(|()| name)
}
