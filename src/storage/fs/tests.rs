//! Whole images, as the tools of others make them, and damaged ones.

mod images;

use proptest::prelude::*;

use self::images::{EXT_LAYOUTS, Image, Tree, ext, fat, iso};
use super::*;

const KERNEL: &[u8] = b"a kernel with a long way through its blocks";

fn tree() -> Tree {
    let kernel: Vec<u8> = KERNEL.iter().copied().cycle().take(300_001).collect();
    Tree {
        directories: vec!["/boot", "/boot/a-directory-with-a-long-name"],
        files: vec![("/boot/vmlinuz-6.12.48+deb13-arm64", kernel), ("/boot/empty", Vec::new())],
        links: vec![
            ("/vmlinuz", "boot/vmlinuz-6.12.48+deb13-arm64"),
            ("/boot/a-directory-with-a-long-name/up", "../../vmlinuz"),
            ("/boot/initrd", "/boot/a-directory-with-a-long-name/../empty"),
            ("/round", "/round"),
        ],
    }
}

fn disk(image: &[u8]) -> Arc<dyn Disk> {
    Arc::new(Image(image.to_vec()))
}

fn read(disk: &Arc<dyn Disk>, path: &str) -> Result<Vec<u8>, String> {
    read_file(disk, path).map(|contents| contents.bytes().to_vec()).map_err(|error| error.to_string())
}

/// Files are found under their names, and by links.
fn finds_all(image: &[u8], with_links: bool) {
    let (disk, tree) = (disk(image), tree());
    for (path, contents) in &tree.files {
        assert!(read(&disk, path).as_ref() == Ok(contents), "{path}: {:?}", read(&disk, path).err());
    }
    let links = [("/vmlinuz", 0), ("boot/a-directory-with-a-long-name/up", 0), ("/boot/initrd", 1)];
    for (link, file) in links.into_iter().filter(|_| with_links) {
        assert!(
            read(&disk, link).as_ref() == Ok(&tree.files[file].1),
            "{link}: {:?}",
            read(&disk, link).err()
        );
    }
    assert_eq!(read(&disk, "/boot/none").unwrap_err(), "there is no /boot/none");
    assert_eq!(read(&disk, "/boot").unwrap_err(), "/boot/ is not a file");
    assert_eq!(read(&disk, "/boot/empty/x").unwrap_err(), "/boot/empty is not a directory");
    if with_links {
        assert_eq!(read(&disk, "/round").unwrap_err(), "the path leads over more than 40 links");
    }
}

#[test]
fn files_are_read_from_ext() {
    for options in EXT_LAYOUTS {
        finds_all(&ext(&tree(), options), true);
    }
}

#[test]
fn files_are_read_from_fat() {
    for kind in [fatfs::FatType::Fat12, fatfs::FatType::Fat16, fatfs::FatType::Fat32] {
        let image = fat(&tree(), kind);
        finds_all(&image, false);
        assert!(read(&disk(&image), "/BOOT/Empty").is_ok());
    }
}

#[test]
fn files_are_read_from_iso() {
    for names in [images::Names::RockRidge, images::Names::Joliet] {
        finds_all(&iso(&tree(), names), names == images::Names::RockRidge);
    }
    let plain = Tree {
        directories: vec!["/INSTALL.A64"],
        files: vec![("/INSTALL.A64/VMLINUZ", KERNEL.to_vec())],
        links: vec![],
    };
    assert_eq!(
        read(&disk(&iso(&plain, images::Names::Plain)), "/install.a64/vmlinuz").as_deref(),
        Ok(KERNEL)
    );
}

#[test]
fn what_is_no_file_system_is_told() {
    for image in [vec![], vec![0; 512], vec![0; 1 << 20], vec![0xff; 40 << 10]] {
        assert_eq!(read(&disk(&image), "/x").unwrap_err(), "there is no ext4, FAT or ISO 9660 file system");
    }
    // A boot sector with partitions.
    let mut table = vec![0; 1 << 20];
    table[510..512].copy_from_slice(&[0x55, 0xaa]);
    assert_eq!(read(&disk(&table), "/x").unwrap_err(), "there is no ext4, FAT or ISO 9660 file system");
}

#[test]
fn changes_are_taken_from_the_journal() {
    let image = images::ext_with_journalled_root(&tree());
    // In the file system itself, nothing is there yet.
    assert!(read(&disk(&image.without_journal), "/vmlinuz").is_err());
    finds_all(&image.with_journal, true);
}

/// A disk of a file system that was cut off.
#[test]
fn what_is_not_on_the_disk_is_told() {
    let image = ext(&tree(), EXT_LAYOUTS[0]);
    let error = read(&disk(&image[..image.len() / 2]), "/vmlinuz").unwrap_err();
    assert!(error.contains("the disk has room for"), "{error}");
    let image = iso(&tree(), images::Names::RockRidge);
    let error = read(&disk(&image[..image.len() / 2]), "/vmlinuz").unwrap_err();
    assert!(error.contains("pass the end of a disk"), "{error}");
}

/// A file that would be larger than all memory.
#[test]
fn a_size_beyond_memory_is_told() {
    let big = Tree { files: vec![("/big", vec![7; 4096])], ..Tree::default() };
    let image = images::ext_with_size(&big, "/big", 1 << 39);
    let error = read(&disk(&image), "/big").unwrap_err();
    assert!(error.starts_with("the file has 536870912 KiB"), "{error}");
}

/// A tree of extents of which each level leads to the next by all of its entries: 84^3 ways through three blocks.
#[test]
fn a_way_that_grows_without_end_is_cut_short() {
    let image = images::ext_with_extent_bomb();
    let error = read(&disk(&image), "/bomb/x").unwrap_err();
    assert!(error.contains("as if it went in circles"), "{error}");
}

/// With metadata checksums, the reader would compute that of a node of a directory over as many entries as the node says.
#[test]
fn a_directory_with_more_entries_than_room_is_told() {
    let image = images::ext_with_full_directory_node();
    let error = read(&disk(&image), "/many/x").unwrap_err();
    assert!(error.contains("cannot be read: corrupt"), "{error}");
}

/// An image of which some bytes are wrong. Most are zero or data: damage goes to the others, which lie at `places`.
fn damaged(image: &'static [u8], places: &'static [usize]) -> impl Strategy<Value = Vec<u8>> {
    let damage = (prop::sample::select(places), prop_oneof![any::<u8>(), Just(0xff), Just(0)]);
    prop::collection::vec(damage, 1..16).prop_map(move |damage| {
        let mut image = image.to_vec();
        damage.into_iter().for_each(|(at, value)| image[at] = value);
        image
    })
}

/// Where an image of [`tree`] has something that is neither zero nor the kernel's.
fn structures(image: &[u8]) -> Vec<usize> {
    let is_kernel =
        |at: usize| image[at..].len() > 64 && KERNEL.windows(8).any(|part| image[at..].starts_with(part));
    (0..image.len()).filter(|at| image[*at] != 0 && !is_kernel(*at)).collect()
}

/// Reading may fail, but must come back.
fn survives(image: Vec<u8>) {
    let disk: Arc<dyn Disk> = Arc::new(Image(image));
    for path in ["/vmlinuz", "/boot/vmlinuz-6.12.48+deb13-arm64", "/boot/a-directory-with-a-long-name/up"] {
        let _ = read(&disk, path);
    }
}

/// Damages each of some images many times.
fn survive_damage(images: impl IntoIterator<Item = Vec<u8>>, cases: u32) {
    for image in images {
        let image: &'static [u8] = image.leak();
        let places: &'static [usize] = structures(image).leak();
        let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(cases));
        runner
            .run(&damaged(image, places), |image| {
                survives(image);
                Ok(())
            })
            .unwrap();
    }
}

/// How often; more by hand.
fn cases() -> u32 {
    std::env::var("FS_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(150)
}

#[test]
fn damaged_ext_is_survived() {
    let big = images::with_many_files(tree());
    let journalled = images::ext_with_journalled_root(&tree()).with_journal;
    let layouts = [EXT_LAYOUTS[0], EXT_LAYOUTS[2], EXT_LAYOUTS[3]];
    survive_damage(layouts.map(|options| ext(&big, options)).into_iter().chain([journalled]), cases());
}

#[test]
fn damaged_fat_is_survived() {
    let kinds = [fatfs::FatType::Fat12, fatfs::FatType::Fat16, fatfs::FatType::Fat32];
    survive_damage(kinds.map(|kind| fat(&tree(), kind)), cases());
}

#[test]
fn damaged_iso_is_survived() {
    let names = [images::Names::RockRidge, images::Names::Joliet, images::Names::Plain];
    survive_damage(names.map(|names| iso(&tree(), names)), cases());
}
