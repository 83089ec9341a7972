//! From an ELF file to the raw image that a boot loader loads: what `objcopy -O binary` does.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use object::{Object, ObjectKind, ObjectSegment, read::elf::ProgramHeader};

/// No image of ours comes near this size; an ELF file that asks for more has a stray address.
const LARGEST_IMAGE: u64 = 64 << 20;

/// Writes the loadable content of the ELF file `elf` to `raw`, each segment at its physical address
/// relative to the lowest, and returns the size in bytes. What a segment has only in memory (`.bss`) is not
/// part of the image.
pub fn write_raw(elf: &Path, raw: &Path) -> Result<u64> {
    let bytes = fs::read(elf).with_context(|| format!("cannot read {}", elf.display()))?;
    let image = flatten(&bytes).with_context(|| format!("{} makes no raw image", elf.display()))?;
    // Rewriting the same content would have cargo build anew what embeds it.
    if fs::read(raw).is_ok_and(|old| old == image) {
        return Ok(image.len() as u64);
    }
    fs::write(raw, &image).with_context(|| format!("cannot write {}", raw.display()))?;
    Ok(image.len() as u64)
}

fn flatten(bytes: &[u8]) -> Result<Vec<u8>> {
    let elf = object::read::elf::ElfFile64::<object::Endianness>::parse(bytes)?;
    ensure!(
        matches!(elf.kind(), ObjectKind::Executable | ObjectKind::Dynamic),
        "it is not an executable but {:?}",
        elf.kind()
    );
    let endian = elf.endian();
    let segments: Vec<(u64, &[u8])> = elf
        .segments()
        .map(|segment| Ok((segment.elf_program_header().p_paddr(endian), segment.data()?)))
        .collect::<Result<_>>()?;
    let segments: Vec<_> = segments.into_iter().filter(|(_, data)| !data.is_empty()).collect();
    let base = segments.iter().map(|&(address, _)| address).min().context("it has nothing to load")?;
    let mut image = Vec::new();
    for (address, data) in segments {
        let start = address - base;
        let end = start + data.len() as u64;
        ensure!(
            end <= LARGEST_IMAGE,
            "a segment at {address:#x} ends {end:#x} bytes after the lowest ({base:#x})"
        );
        let (start, end) = (start as usize, end as usize);
        if image.len() < end {
            image.resize(end, 0);
        }
        image[start..end].copy_from_slice(data);
    }
    Ok(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF64 executable with a program header for each (type, physical address, content).
    fn elf(segments: &[(u32, u64, &[u8])]) -> Vec<u8> {
        let mut file = Vec::from(*b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
        file.extend(2u16.to_le_bytes()); // ET_EXEC
        file.extend(183u16.to_le_bytes()); // EM_AARCH64
        file.extend(1u32.to_le_bytes());
        file.extend([0; 8]); // e_entry
        file.extend(64u64.to_le_bytes()); // e_phoff
        file.extend([0; 12]); // e_shoff, e_flags
        for half in [64u16, 56, segments.len() as u16, 0, 0, 0] {
            file.extend(half.to_le_bytes());
        }
        let mut offset = 64 + 56 * segments.len() as u64;
        for &(kind, address, content) in segments {
            file.extend(kind.to_le_bytes());
            file.extend(7u32.to_le_bytes());
            // p_vaddr differs from p_paddr: only the latter counts. p_memsz is larger than the file's part.
            let size = content.len() as u64;
            for word in [offset, address ^ 0xffff_0000_0000_0000, address, size, size + 0x1000, 0x1000] {
                file.extend(word.to_le_bytes());
            }
            offset += size;
        }
        segments.iter().for_each(|(_, _, content)| file.extend_from_slice(content));
        file
    }

    const LOAD: u32 = 1;
    const NOTE: u32 = 4;

    #[test]
    fn segments_land_at_their_physical_addresses() {
        let file = elf(&[(LOAD, 0x4000_0010, b"data"), (NOTE, 0, b"note"), (LOAD, 0x4000_0000, b"text")]);
        assert_eq!(flatten(&file).unwrap(), b"text\0\0\0\0\0\0\0\0\0\0\0\0data");
    }

    #[test]
    fn what_is_no_image_is_refused() {
        assert!(flatten(b"#!/bin/sh\n").is_err());
        assert!(flatten(&elf(&[(NOTE, 0, b"note")])).is_err());
        let stray = elf(&[(LOAD, 0, b"text"), (LOAD, 0x4000_0000, b"data")]);
        assert!(format!("{:#}", flatten(&stray).unwrap_err()).contains("0x40000000"));
    }
}
