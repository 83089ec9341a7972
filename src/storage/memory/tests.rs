//! Disks in memory against a model: a vector of bytes.

use proptest::prelude::*;

use super::*;
use crate::storage::testing::Asker;

const SECTORS: u64 = 9 * 1024 * 2 + 3;

/// What never stays the same from one sector to the next.
fn pattern(seed: u8, len: usize) -> Vec<u8> {
    (0..len).map(|at| (at / 7) as u8 ^ (at >> 9) as u8 ^ seed).collect()
}

fn image(len: usize) -> &'static [u8] {
    pattern(0x5c, len).leak()
}

fn disk(image_len: usize) -> MemoryDisk {
    MemoryDisk::new(image(image_len), SECTORS * SECTOR, false).unwrap()
}

#[derive(Debug, Clone)]
enum Step {
    Write { sector: u64, sectors: u64, seed: u8 },
    Zero { sector: u64, sectors: u64 },
    Discard { sector: u64, sectors: u64 },
    Read { sector: u64, sectors: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    // Near each other and near the borders of chunks and leaves, so that they meet.
    let sector = prop_oneof![0u64..300, 8000u64..8400, SECTORS - 200..SECTORS + 2];
    let small = prop_oneof![1u64..18, 100u64..=128];
    let large = prop_oneof![1u64..300, Just(8192u64)];
    prop_oneof![
        (sector.clone(), small.clone(), any::<u8>()).prop_map(|(sector, sectors, seed)| Step::Write {
            sector,
            sectors,
            seed
        }),
        (sector.clone(), large.clone()).prop_map(|(sector, sectors)| Step::Zero { sector, sectors }),
        (sector.clone(), large).prop_map(|(sector, sectors)| Step::Discard { sector, sectors }),
        (sector, small).prop_map(|(sector, sectors)| Step::Read { sector, sectors }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn it_reads_as_what_was_written(
        steps in proptest::collection::vec(step(), 1..40),
        image_len in prop_oneof![Just(0usize), 1usize..200_000, 4_100_000usize..4_300_000],
    ) {
        let disk = disk(image_len);
        let asker = Asker::new(96 << 10);
        let mut model = image(image_len).to_vec();
        model.resize((SECTORS * SECTOR) as usize, 0);
        // Discarded bytes read as anything: the model takes over what the disk says, once.
        for step in steps {
            let (sector, sectors) = match step {
                Step::Write { sector, sectors, .. } | Step::Zero { sector, sectors }
                | Step::Discard { sector, sectors } | Step::Read { sector, sectors } => (sector, sectors),
            };
            let bytes = (sector * SECTOR) as usize..((sector + sectors) * SECTOR) as usize;
            let error = DiskError::Range { sector, count: sectors, limit: SECTORS };
            let expected = if sector + sectors <= SECTORS { Ok(Progress::Done) } else { Err(error) };
            match step {
                Step::Write { seed, .. } => {
                    let data = pattern(seed, bytes.len());
                    prop_assert_eq!(asker.write(&disk, sector, &data), expected);
                    if expected.is_ok() {
                        model[bytes].copy_from_slice(&data);
                    }
                }
                Step::Zero { .. } => {
                    prop_assert_eq!(asker.ask(&disk, Operation::WriteZeroes(sectors), sector, &[]), expected);
                    if expected.is_ok() {
                        model[bytes].fill(0);
                    }
                }
                Step::Discard { .. } => {
                    prop_assert_eq!(asker.ask(&disk, Operation::Discard(sectors), sector, &[]), expected);
                    if expected.is_ok() {
                        disk.read(sector, &mut model[bytes]).unwrap();
                    }
                }
                Step::Read { .. } => match asker.read(&disk, sector, bytes.len()) {
                    Ok(read) => prop_assert!(read == model[bytes]),
                    Err(found) => prop_assert_eq!(found, error),
                }
            }
        }
        let mut all = vec![0xee; model.len()];
        disk.read(0, &mut all).unwrap();
        prop_assert!(all == model);
    }
}

#[test]
fn what_is_discarded_or_zeroed_wholly_takes_no_memory() {
    let disk = disk(100_000);
    let asker = Asker::new(96 << 10);
    for clear in [Operation::Discard(8192), Operation::WriteZeroes(8192)] {
        assert_eq!(disk.held(), 0);
        for sector in [0, 130, 8191] {
            asker.write(&disk, sector, &pattern(1, 512)).unwrap();
        }
        assert_eq!(disk.held(), 3 << 16);
        asker.ask(&disk, clear, 0, &[]).unwrap();
    }
    assert_eq!(disk.held(), 0);
    assert_eq!(asker.read(&disk, 130, 512), Ok(vec![0; 512]));
}

#[test]
fn a_read_only_disk_is_read_only() {
    let image = image(1000);
    let disk = MemoryDisk::new(image, 0, true).unwrap();
    let asker = Asker::new(4096);
    assert_eq!(disk.geometry().sectors, 2);
    for refused in [
        asker.write(&disk, 0, &[1; 512]),
        asker.ask(&disk, Operation::Discard(1), 0, &[]),
        asker.ask(&disk, Operation::WriteZeroes(1), 0, &[]),
    ] {
        assert_eq!(refused, Err(DiskError::ReadOnly));
    }
    let read = asker.read(&disk, 0, 1024).unwrap();
    assert_eq!((&read[..1000], &read[1000..]), (image, &[0; 24][..]));
    assert_eq!(asker.read(&disk, 1, 1024), Err(DiskError::Range { sector: 1, count: 2, limit: 2 }));
    let counters = disk.counters();
    assert_eq!((counters.reads, counters.sectors_read, counters.errors), (1, 2, 4));
}

#[test]
fn a_disk_whose_table_alone_would_fill_the_machine_is_refused() {
    assert_eq!(MemoryDisk::new(&[], u64::MAX, false).err(), Some(DiskError::NoSpace));
}
