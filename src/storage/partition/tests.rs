//! Tables made by another library, whole and damaged.

use std::io::Cursor;

use ::gpt::disk::LogicalBlockSize;
use ::gpt::mbr::ProtectiveMBR;
use ::gpt::{GptConfig, partition_types};
use proptest::prelude::*;

use super::*;
use crate::storage::memory::MemoryDisk;
use crate::storage::testing::Asker;

const SECTORS: u64 = 300;
const ROOT: Range<u64> = 40..140;
const DATA: Range<u64> = 140..190;

/// A disk with the partitions `root` and `bötch`, and the GUID of the second.
fn gpt_image() -> (Vec<u8>, String) {
    let mut image = Cursor::new(vec![0; (SECTORS * SECTOR) as usize]);
    ProtectiveMBR::with_lb_size(SECTORS as u32 - 1).overwrite_lba0(&mut image).unwrap();
    let config = GptConfig::new().writable(true).logical_block_size(LogicalBlockSize::Lb512);
    let mut table = config.create_from_device(&mut image, None).unwrap();
    for (name, sectors) in [("root", &ROOT), ("b\u{f6}tch", &DATA)] {
        let size = (sectors.end - sectors.start) * SECTOR;
        table.add_partition(name, size, partition_types::LINUX_FS, 0, Some(20)).unwrap();
    }
    let uuid = table.partitions()[&2].part_guid.to_string();
    table.write().unwrap();
    (image.into_inner(), uuid)
}

/// A disk with two primary partitions, and two logical ones in the third.
fn mbr_image() -> Vec<u8> {
    let mut image = vec![0; (SECTORS * SECTOR) as usize];
    let mut record = |sector: usize, partitions: &[(u8, u32, u32)]| {
        let sector = &mut image[sector * 512..][..512];
        sector[510..].copy_from_slice(&[0x55, 0xaa]);
        for (entry, (kind, start, size)) in sector[446..510].chunks_mut(16).zip(partitions) {
            entry[4] = *kind;
            entry[8..12].copy_from_slice(&start.to_le_bytes());
            entry[12..].copy_from_slice(&size.to_le_bytes());
        }
        sector[440..444].copy_from_slice(&0xdead_beefu32.to_le_bytes());
    };
    record(0, &[(0x83, 10, 30), (0x0c, 40, 60), (0x0f, 100, 200)]);
    record(100, &[(0x83, 10, 20), (0x05, 50, 100)]);
    record(150, &[(0x82, 5, 20), (0, 0, 0)]);
    image
}

fn disk(image: &[u8]) -> MemoryDisk {
    MemoryDisk::new(image.to_vec().leak(), 0, false).unwrap()
}

fn number(number: u32) -> PartitionName {
    PartitionName::Number(number)
}

fn label(label: &str) -> PartitionName {
    PartitionName::Label(label.into())
}

fn uuid(uuid: &str) -> PartitionName {
    PartitionName::Uuid(uuid.into())
}

/// The image with these bytes changed.
fn locate_changed(
    image: &[u8],
    changes: &[(u64, u8)],
    name: &PartitionName,
) -> Result<Range<u64>, PartitionError> {
    let mut image = image.to_vec();
    for (at, value) in changes {
        image[*at as usize] ^= value;
    }
    locate(&disk(&image), name)
}

#[test]
fn partitions_of_a_gpt_are_found_by_every_name() {
    let (image, guid) = gpt_image();
    let disk: Arc<dyn Disk> = Arc::new(disk(&image));
    let locate = |name| locate(&*disk, &name);
    assert_eq!(locate(number(1)), Ok(ROOT));
    assert_eq!(locate(label("root")), Ok(ROOT));
    assert_eq!(locate(label("b\u{f6}tch")), Ok(DATA));
    assert_eq!(locate(uuid(&guid.to_uppercase())), Ok(DATA));
    for name in [number(0), number(3), number(129), label("roo"), label("root2"), uuid("deadbeef-01")] {
        assert_eq!(locate(name), Err(PartitionError::NotFound));
    }
    let found = find(&disk, &number(2)).unwrap();
    assert_eq!(found.geometry().sectors, DATA.end - DATA.start);
    Asker::new(4096).write(&*found, 0, b"X".repeat(512).as_slice()).unwrap();
    let mut sector = [0; 512];
    disk.read(DATA.start, &mut sector).unwrap();
    assert_eq!(sector, [b'X'; 512]);
}

#[test]
fn a_damaged_gpt_is_replaced_by_its_backup_or_refused() {
    let (image, _) = gpt_image();
    let backup = (SECTORS - 1) * SECTOR;
    let broken = |changes: &[(u64, u8)]| locate_changed(&image, changes, &number(1));
    // A header, an entry.
    assert_eq!(broken(&[(512 + 40, 1)]), Ok(ROOT));
    assert_eq!(broken(&[(1024 + 32, 1)]), Ok(ROOT));
    assert_eq!(broken(&[(backup, 1), (backup - 128 * 128 + 32, 1)]), Ok(ROOT));
    let refused = broken(&[(1024 + 32, 1), (backup + 24, 1)]);
    assert!(matches!(refused, Err(PartitionError::Checksum { what: "its entries", .. })), "{refused:?}");
    let refused = broken(&[(512, 1), (backup, 1)]);
    assert_eq!(refused, Err(PartitionError::Signature { what: "GPT header", block: 1 }));
    assert_eq!(broken(&[(510, 1)]), Err(PartitionError::NoTable));
}

/// The image with a primary header, and entries, that `change` has changed and whose checksums are right, and no backup.
fn forged(change: impl Fn(&mut [u8])) -> Vec<u8> {
    let (mut image, _) = gpt_image();
    image.truncate(((SECTORS - 1) * SECTOR) as usize);
    image.resize((SECTORS * SECTOR) as usize, 0);
    change(&mut image);
    let crc = crc32fast::hash(&image[1024..][..128 * 128]).to_le_bytes();
    image[512 + 88..512 + 92].copy_from_slice(&crc);
    image[512 + 16..512 + 20].fill(0);
    let crc = crc32fast::hash(&image[512..][..92]).to_le_bytes();
    image[512 + 16..512 + 20].copy_from_slice(&crc);
    image
}

#[test]
fn a_gpt_with_impossible_values_is_refused() {
    let refused = |at: usize, value: &[u8]| {
        let image = forged(|image| image[at..at + value.len()].copy_from_slice(value));
        locate(&disk(&image), &label("root")).map_err(|error| match error {
            PartitionError::Value { what, found, .. } => (what, found),
            error => panic!("{error}"),
        })
    };
    assert_eq!(refused(512, b"EFI"), Ok(ROOT));
    for (at, value, what) in [
        (512 + 12, 513u64, "the size of its header"),
        (512 + 24, 2, "the place of its header"),
        (512 + 40, 300, "the first usable block"),
        (512 + 48, 300, "the last usable block"),
        (512 + 48, u64::MAX, "the last usable block"),
        (512 + 72, u64::MAX, "the place of its entries"),
        (1024 + 32, 0, "a partition's first block"),
        (1024 + 32, 200, "a partition's first block"),
        (1024 + 40, u64::MAX, "a partition's last block"),
        (1024 + 40, SECTORS - 1, "a partition's last block"),
    ] {
        let width = if what.contains("size") { 4 } else { 8 };
        assert_eq!(refused(at, &value.to_le_bytes()[..width]), Err((what, value)));
    }
    for (at, value, what) in [
        (512 + 80, u32::MAX, "the number of its entries"),
        (512 + 84, 64, "the size of an entry"),
        (512 + 84, 200, "the size of an entry"),
        (512 + 84, 8192, "the size of an entry"),
    ] {
        assert_eq!(refused(at, &value.to_le_bytes()), Err((what, value.into())));
    }
    let twins = forged(|image| image.copy_within(1024..1024 + 128, 1024 + 128 * 7));
    assert_eq!(locate(&disk(&twins), &label("root")), Err(PartitionError::Ambiguous { found: 2 }));
}

#[test]
fn partitions_of_an_mbr_are_found() {
    let disk = disk(&mbr_image());
    let locate = |name| locate(&disk, &name);
    assert_eq!(locate(number(1)), Ok(10..40));
    assert_eq!(locate(uuid("DEADBEEF-02")), Ok(40..100));
    assert_eq!(locate(number(5)), Ok(110..130));
    assert_eq!(locate(uuid("deadbeef-06")), Ok(155..175));
    assert_eq!(locate(label("root")), Err(PartitionError::NoLabels));
    for name in [number(3), number(4), number(7), uuid("deadbeee-01"), uuid("deadbeef-07")] {
        assert_eq!(locate(name), Err(PartitionError::NotFound));
    }
}

#[test]
fn an_mbr_with_impossible_values_is_refused() {
    let image = mbr_image();
    let broken = |at, value, name| locate_changed(&image, &[(at, value)], &number(name));
    // The first partition's size, the extended one's, the link in the first logical one's boot record.
    assert!(matches!(broken(446 + 14, 1, 1), Err(PartitionError::Value { found: 65575, most: 299, .. })));
    assert!(matches!(broken(446 + 44, 1, 5), Err(PartitionError::Value { found: 300, most: 299, .. })));
    assert!(matches!(broken(51_200 + 471, 1, 6), Err(PartitionError::Value { most: 299, .. })));
    assert!(matches!(broken(51_200 + 510, 1, 5), Err(PartitionError::Signature { block: 100, .. })));
    // A chain that bites its own tail ends.
    assert_eq!(broken(51_200 + 470, 50, 40), Ok(110..130));
    assert!(matches!(broken(0, 0, 1 << 30), Err(PartitionError::Value { most: 64, .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn whatever_a_table_says_is_on_the_disk(
        is_gpt: bool,
        changes in prop::collection::vec((prop_oneof![0u64..4096, 51_200u64..51_712, 76_800u64..77_312,
            SECTORS * SECTOR - 4096..SECTORS * SECTOR], any::<u8>()), 0..8),
        name in 1u32..8,
    ) {
        let image = if is_gpt { gpt_image().0 } else { mbr_image() };
        if let Ok(found) = locate_changed(&image, &changes, &number(name)) {
            prop_assert!(found.start >= 1 && found.start < found.end && found.end <= SECTORS);
        }
    }

    /// One copy is enough, whatever becomes of the other.
    #[test]
    fn a_gpt_survives_the_loss_of_one_copy(
        is_primary: bool, changes in prop::collection::vec((0u64..33 * SECTOR, any::<u8>()), 0..8),
    ) {
        let start = if is_primary { SECTOR } else { (SECTORS - 33) * SECTOR };
        let changes: Vec<_> = changes.into_iter().map(|(at, value)| (start + at, value)).collect();
        prop_assert_eq!(locate_changed(&gpt_image().0, &changes, &number(2)), Ok(DATA));
    }
}
