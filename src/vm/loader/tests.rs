use ::fdt::Fdt;
use proptest::prelude::*;

use super::*;
use crate::{
    mm::{
        addr::KIB,
        guest_memory::test::{FILL, TestMemory},
    },
    vm::{
        fdt::{FdtError, arm64::MachineSpec},
        machine::{
            GicVersion,
            arm64::{self, MEM},
        },
    },
};

const RAM: Ipa = MEM.base;

const SPEC: MachineSpec<'_> = MachineSpec {
    gic: GicVersion::V3,
    vcpus: &[0],
    cpu_compatible: None,
    bootargs: "console=ttyAMA0",
    virtio_slots: 0,
    seed: None,
};

fn kernel<'a>(image: &'a [u8]) -> Source<'a> {
    Source::Kernel { image, initrd: None }
}

/// `len` bytes that do not compress.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// An arm64 `Image` with a file of `len` bytes.
fn image(len: usize, text_offset: u64, image_size: u64) -> Vec<u8> {
    let mut file = noise(len);
    file[..8].copy_from_slice(b"MZ\0\0\0\0\0\0");
    file[8..16].copy_from_slice(&text_offset.to_le_bytes());
    file[16..24].copy_from_slice(&image_size.to_le_bytes());
    file[56..60].copy_from_slice(b"ARM\x64");
    file
}

fn gzip_with(flags: u8, fields: &[u8], data: &[u8]) -> Vec<u8> {
    let mut file = vec![0x1f, 0x8b, 8, flags, 1, 2, 3, 4, 0, 3];
    file.extend_from_slice(fields);
    file.extend(miniz_oxide::deflate::compress_to_vec(data, 6));
    file.extend(crc32fast::hash(data).to_le_bytes());
    file.extend((data.len() as u32).to_le_bytes());
    file
}

fn gzip(data: &[u8]) -> Vec<u8> {
    gzip_with(0, &[], data)
}

fn zboot(compression: &[u8], offset: u32, payload: &[u8]) -> Vec<u8> {
    let mut file = vec![0; 64];
    file[..8].copy_from_slice(b"MZ\0\0zimg");
    file[8..12].copy_from_slice(&offset.to_le_bytes());
    file[12..16].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    file[24..24 + compression.len()].copy_from_slice(compression);
    file.extend_from_slice(payload);
    file
}

struct Segment<'a> {
    vaddr: u64,
    paddr: u64,
    bytes: &'a [u8],
    memsz: u64,
}

/// A segment at the start of RAM.
const CODE: Segment<'_> = Segment { vaddr: RAM.0, paddr: RAM.0, bytes: &[1; 16], memsz: 64 };
const EM_AARCH64: u16 = 183;
const ET_EXEC: u16 = 2;

fn elf(machine: u16, kind: u16, entry: u64, segments: &[Segment<'_>]) -> Vec<u8> {
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    file.extend(kind.to_le_bytes());
    file.extend(machine.to_le_bytes());
    file.extend(1_u32.to_le_bytes());
    for word in [entry, 64, 0] {
        file.extend(word.to_le_bytes());
    }
    file.extend(0_u32.to_le_bytes());
    for half in [64, 56, segments.len() as u16, 64, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    let mut offset = (64 + 56 * segments.len()) as u64;
    for segment in segments {
        file.extend(1_u32.to_le_bytes());
        file.extend(7_u32.to_le_bytes());
        let len = segment.bytes.len() as u64;
        for word in [offset, segment.vaddr, segment.paddr, len, segment.memsz, 0x1000] {
            file.extend(word.to_le_bytes());
        }
        offset += len;
    }
    for segment in segments {
        file.extend_from_slice(segment.bytes);
    }
    file
}

/// What must hold of whatever has been loaded into `memory`.
fn check(memory: &TestMemory, boot: &Boot, initrd: Option<&[u8]>) {
    let ram = &memory.ram()[0];
    let parts: Vec<_> =
        [Some(&boot.image), boot.initrd.as_ref(), Some(&boot.dtb)].into_iter().flatten().collect();
    for (index, part) in parts.iter().enumerate() {
        assert!(
            ram.start <= part.start && part.start <= part.end && part.end <= ram.end,
            "{part:?} is not in RAM"
        );
        for other in &parts[..index] {
            assert!(part.end <= other.start || other.end <= part.start, "{part:?} overlaps {other:?}");
        }
    }
    assert!(boot.image.contains(&boot.entry));
    assert_eq!(boot.told_dtb, boot.dtb.start.0);
    let dtb = memory.bytes(boot.dtb.start, boot.dtb.end.0 - boot.dtb.start.0);
    assert!(boot.dtb.start.is_aligned(DTB_ALIGN) && dtb.len() as u64 <= DTB_MAX);
    let tree = Fdt::new(&dtb).unwrap();
    let chosen = tree.find_node("/chosen").unwrap();
    let word =
        |name| chosen.property(name).map(|property| u64::from_be_bytes(property.value.try_into().unwrap()));
    assert_eq!(word("linux,initrd-start"), boot.initrd.as_ref().map(|range| range.start.0));
    assert_eq!(word("linux,initrd-end"), boot.initrd.as_ref().map(|range| range.end.0));
    assert_eq!(
        boot.initrd.as_ref().map(|range| memory.bytes(range.start, range.end.0 - range.start.0)).as_deref(),
        initrd
    );
}

fn load_checked(memory: &TestMemory, file: &[u8], initrd: Option<&[u8]>) -> Boot {
    let boot = load(memory, &Source::Kernel { image: file, initrd }, &SPEC).unwrap();
    check(memory, &boot, initrd);
    boot
}

#[test]
fn an_image_goes_where_qemu_puts_it() {
    let memory = TestMemory::new(RAM, 264 * MIB);
    let file = image(100_000, 0, 3 * MIB);
    let initrd = noise(5000);
    let boot = load_checked(&memory, &file, Some(&initrd));
    assert_eq!(boot.entry, RAM);
    assert_eq!(boot.image, RAM..Ipa(RAM.0 + 3 * MIB));
    assert_eq!(boot.initrd, Some(Ipa(RAM.0 + 128 * MIB)..Ipa(RAM.0 + 128 * MIB + 5000)));
    assert_eq!(boot.dtb.start, Ipa(RAM.0 + 130 * MIB));
    assert_eq!(memory.bytes(RAM, 100_000), file);
    assert_eq!(memory.bytes(Ipa(RAM.0 + 100_000), 1), [FILL], "nothing is written behind the file");
}

#[test]
fn what_does_not_say_where_goes_to_512_kib() {
    let memory = TestMemory::new(RAM, 8 * MIB);
    let legacy = image(1000, 0xdead_beef_0000_0000, 0);
    for file in [&legacy, &noise(1000), &vec![1, 2, 3, 4]] {
        let boot = load_checked(&memory, file, None);
        assert_eq!(boot.entry, Ipa(RAM.0 + 512 * KIB));
        assert_eq!(boot.image.end, Ipa(boot.entry.0 + file.len() as u64));
        assert_eq!(memory.bytes(boot.entry, file.len() as u64), *file);
        assert_eq!(boot.dtb.start, Ipa(RAM.0 + 4 * MIB));
    }
    assert!(matches!(load(&memory, &kernel(&[]), &SPEC), Err(LoadError::EmptyKernel)));
    assert!(matches!(load(&memory, &kernel(&gzip(&[])), &SPEC), Err(LoadError::EmptyKernel)));
}

#[test]
fn a_file_longer_than_it_says_is_loaded_as_a_whole() {
    let memory = TestMemory::new(RAM, 8 * MIB);
    let boot = load_checked(&memory, &image(5 * MIB as usize, 0x1000, 1), Some(&[7; 3]));
    assert_eq!(boot.image, Ipa(RAM.0 + 0x1000)..Ipa(RAM.0 + 0x1000 + 5 * MIB));
    assert_eq!(boot.initrd.map(|range| range.start), Some(boot.image.end));
}

#[test]
fn compressed_images_are_unpacked() {
    let file = image(100_000, 0x8_0000, MIB);
    let fields = [&[3, 0, 1, 2, 3][..], b"vmlinux\0", b"a comment\0", &[0xaa, 0xbb]].concat();
    let padded = [gzip(&file), vec![0; 100]].concat();
    let packed = [gzip(&file), gzip_with(0b1_1111, &fields, &file), padded, zboot(b"gzip", 64, &gzip(&file))];
    for packed in packed {
        let memory = TestMemory::new(RAM, 4 * MIB);
        let boot = load_checked(&memory, &packed, None);
        assert_eq!(boot.image, Ipa(RAM.0 + 0x8_0000)..Ipa(RAM.0 + 0x8_0000 + MIB));
        assert_eq!(memory.bytes(boot.entry, 100_000), file);
    }
}

#[test]
fn damaged_gzip_is_an_error() {
    let data = [noise(2000), vec![0; 40_000]].concat();
    let mut file = gzip_with(0b1000, b"name\0", &data);
    let memory = TestMemory::new(RAM, 4 * MIB);
    for len in 2..file.len() {
        let result = load(&memory, &kernel(&file[..len]), &SPEC);
        assert!(matches!(result, Err(LoadError::Gzip(GzipError::Truncated))), "{len}: {result:?}");
    }
    for offset in 2..file.len() {
        for bit in 0..8 {
            file[offset] ^= 1 << bit;
            if let Ok(boot) = load(&memory, &kernel(&file), &SPEC) {
                assert_eq!(memory.bytes(boot.entry, data.len() as u64), data, "bit {bit} of byte {offset}");
            }
            file[offset] ^= 1 << bit;
        }
    }
    let end = file.len();
    for (offset, name) in [(end - 8, "CRC-32"), (end - 4, "unpacks to"), (2, "method"), (3, "reserved")] {
        file[offset] ^= 0x80;
        let error = load(&memory, &kernel(&file), &SPEC).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
        file[offset] ^= 0x80;
    }
}

#[test]
fn a_bomb_is_stopped_by_the_guests_memory() {
    let memory = TestMemory::new(RAM, 4 * MIB);
    let bomb = gzip(&vec![0; 64 * MIB as usize]);
    assert!(bomb.len() < 200_000);
    let Err(LoadError::DoesNotFit { part: Part::Kernel, len, .. }) = load(&memory, &kernel(&bomb), &SPEC)
    else {
        panic!()
    };
    assert!((3 * MIB..4 * MIB).contains(&len), "stopped after {len:#x} bytes");
}

#[test]
fn zboot_is_checked() {
    let memory = TestMemory::new(RAM, 4 * MIB);
    let packed = gzip(&noise(100));
    let error = |file: &[u8]| load(&memory, &kernel(file), &SPEC).unwrap_err();
    let zstd = error(&zboot(b"zstd", 64, &packed));
    assert_eq!(
        zstd.to_string(),
        "the EFI zboot image is compressed by \"zstd\", only \"gzip\" is understood"
    );
    for offset in [65, u32::MAX] {
        let file = zboot(b"gzip", offset, &packed);
        let LoadError::ZbootPayload { offset: found, len, limit } = error(&file) else { panic!() };
        assert_eq!((found, len as usize, limit), (offset, packed.len(), file.len()));
    }
    assert!(matches!(error(&zboot(b"gzip", 63, &packed)), LoadError::Gzip(GzipError::Magic)));
    let nested = zboot(b"gzip", 64, &gzip(b"\x7fELF and so on"));
    assert!(matches!(error(&nested), LoadError::CompressedElf));
}

#[test]
fn an_elf_is_loaded_by_physical_address() {
    let (text, data) = (noise(3000), noise(500));
    let file = |base: u64| {
        let text = Segment { vaddr: 0xffff_0000_0000_0000, paddr: base, bytes: &text, memsz: 3000 };
        let data =
            Segment { vaddr: 0xffff_0000_0001_0000, paddr: base + 0x1_0000, bytes: &data, memsz: 0x800 };
        elf(EM_AARCH64, ET_EXEC, 0xffff_0000_0000_0010, &[text, data])
    };
    let memory = TestMemory::new(RAM, 8 * MIB);
    let boot = load_checked(&memory, &file(RAM.0 + MIB), Some(&[9; 100]));
    assert_eq!(boot.entry, Ipa(RAM.0 + MIB + 0x10));
    assert_eq!(boot.image, Ipa(RAM.0 + MIB)..Ipa(RAM.0 + MIB + 0x1_0800));
    assert_eq!(boot.dtb.start, RAM, "the devicetree is at the base of RAM where an ELF leaves room");
    assert_eq!(boot.initrd.map(|range| range.start), Some(Ipa(RAM.0 + 4 * MIB)));
    assert_eq!(memory.bytes(Ipa(RAM.0 + MIB), 3000), text);
    assert_eq!(memory.bytes(Ipa(RAM.0 + MIB + 3000), 1), [FILL]);
    assert_eq!(
        memory.bytes(Ipa(RAM.0 + MIB + 0x1_0000), 0x800),
        [data.clone(), vec![0; 0x800 - 500]].concat()
    );

    let memory = TestMemory::new(RAM, 8 * MIB);
    let boot = load_checked(&memory, &file(RAM.0), None);
    assert_eq!((boot.entry, boot.dtb.start), (Ipa(RAM.0 + 0x10), Ipa(RAM.0 + 4 * MIB)));
}

#[test]
fn an_elf_is_checked() {
    let memory = TestMemory::new(RAM, 4 * MIB);
    let code = noise(64);
    let segment = |paddr, memsz| Segment { vaddr: paddr, paddr, bytes: &code, memsz };
    let error = |file: &[u8]| load(&memory, &kernel(file), &SPEC).unwrap_err();
    let good = elf(EM_AARCH64, ET_EXEC, RAM.0, &[segment(RAM.0, 64)]);
    load_checked(&memory, &good, None);

    let wrong = elf(62, ET_EXEC, RAM.0, &[segment(RAM.0, 64)]);
    assert!(matches!(
        error(&wrong),
        LoadError::Elf(ElfError::Machine { machine: 62, is_64: true, is_little: true, .. })
    ));
    let object = elf(EM_AARCH64, 1, RAM.0, &[segment(RAM.0, 64)]);
    assert!(matches!(error(&object), LoadError::Elf(ElfError::Type { found: 1 })));
    assert!(matches!(error(&elf(EM_AARCH64, ET_EXEC, RAM.0, &[])), LoadError::Elf(ElfError::NoSegments)));
    let short = elf(EM_AARCH64, ET_EXEC, RAM.0, &[segment(RAM.0, 63)]);
    assert!(matches!(error(&short), LoadError::Elf(ElfError::SegmentSize { file: 64, memory: 63 })));
    let entry = elf(EM_AARCH64, ET_EXEC, RAM.0 + 64, &[segment(RAM.0, 100)]);
    assert!(matches!(error(&entry), LoadError::Elf(ElfError::Entry { found }) if found == RAM.0 + 64));
    for (paddr, memsz) in [
        (0, 64),
        (RAM.0 - 1, 64),
        (RAM.0, 4 * MIB + 1),
        (RAM.0 + 4 * MIB, 64),
        (u64::MAX, 64),
        (RAM.0, u64::MAX),
    ] {
        let outside = elf(EM_AARCH64, ET_EXEC, paddr, &[segment(paddr, memsz)]);
        let LoadError::DoesNotFit { part: Part::Kernel, start, len, .. } = error(&outside) else { panic!() };
        assert_eq!((start.0, len), (paddr, memsz));
    }
    for len in 4..good.len() {
        assert!(matches!(error(&good[..len]), LoadError::Elf(ElfError::Format(_))), "{len}");
    }
}

#[test]
fn firmware_goes_into_flash() {
    let memory = TestMemory::new(RAM, 4 * MIB).with_rom(arm64::FLASH0.base, MIB);
    let firmware = noise(10_000);
    let boot = load(&memory, &Source::Firmware { image: &firmware }, &SPEC).unwrap();
    assert_eq!((boot.entry, boot.told_dtb, boot.dtb.start), (Ipa(0), 0, RAM));
    assert_eq!(memory.bytes(Ipa(0), 10_000), firmware);
    assert!(Fdt::new(&memory.bytes(RAM, boot.dtb.end.0 - RAM.0)).is_ok());

    let huge = vec![0; 64 * MIB as usize + 1];
    let error = load(&memory, &Source::Firmware { image: &huge }, &SPEC).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the firmware does not fit: 0x4000001 bytes at 0x0, guest memory is 0x0 to 0x4000000"
    );
}

#[test]
fn what_does_not_fit_is_named() {
    let memory = TestMemory::new(RAM, 4 * MIB);
    let error = |image: &[u8], initrd: Option<&[u8]>| {
        load(&memory, &Source::Kernel { image, initrd }, &SPEC).unwrap_err().to_string()
    };
    assert_eq!(
        error(&image(64, 0, 4 * MIB + 1), None),
        "the kernel does not fit: 0x400001 bytes at 0x40000000, guest memory is 0x40000000 to 0x40400000"
    );
    assert!(
        error(&image(64, u64::MAX, 1), None).starts_with("the kernel does not fit: 0x1 bytes at 0xffffffff")
    );
    assert!(
        error(&noise(4 * MIB as usize), None)
            .starts_with("the kernel does not fit: 0x400000 bytes at 0x40080000")
    );
    assert!(
        error(&image(64, 0, MIB), Some(&vec![0; 2 * MIB as usize + 1]))
            .starts_with("the initrd does not fit")
    );
    assert!(error(&image(64, 0, MIB), Some(&[0; 1])).starts_with("the devicetree does not fit"));
    assert!(error(&image(64, 0, 3 * MIB), None).starts_with("the devicetree does not fit"));
    let no_vcpu = load(&memory, &kernel(&noise(9)), &MachineSpec { vcpus: &[], ..SPEC });
    assert!(matches!(no_vcpu, Err(LoadError::Fdt(FdtError::Vcpus { found: 0, limit: 123 }))));
}

proptest! {
    #[test]
    fn what_loads_lies_apart_and_inside(
        blocks in 1_u64..8,
        text_offset in prop_oneof![Just(0), Just(0x8_0000), 0..10 * MIB],
        image_size in 0..16 * MIB,
        len in 64..100_000_usize,
        initrd in prop::option::of(0..100_000_usize),
    ) {
        let memory = TestMemory::new(RAM, blocks * 2 * MIB);
        let file = image(len, text_offset, image_size);
        let initrd = initrd.map(noise);
        match load(&memory, &Source::Kernel { image: &file, initrd: initrd.as_deref() }, &SPEC) {
            Ok(boot) => {
                check(&memory, &boot, initrd.as_deref());
                prop_assert_eq!(memory.bytes(boot.entry, len as u64), file);
            }
            Err(error) => prop_assert!(matches!(error, LoadError::DoesNotFit { .. }), "{}", error),
        }
    }

    #[test]
    fn no_file_makes_it_panic(
        magic in prop_oneof![
            Just(gzip(&[1; 100])), Just(zboot(b"gzip", 64, &gzip(&[1; 100]))), Just(image(64, 0, 100)),
            Just(elf(EM_AARCH64, ET_EXEC, RAM.0, &[CODE])),
        ],
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut file = magic;
        for (at, value) in edits {
            let at = at.index(file.len());
            file[at] = value;
        }
        file.truncate(64 + cut.index(file.len()));
        let memory = TestMemory::new(RAM, 2 * MIB);
        if let Ok(boot) = load(&memory, &kernel(&file), &SPEC) {
            check(&memory, &boot, None);
        }
    }
}
