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

/// Reads from a damaged image. It may fail, but must come back.
fn survives(mut image: Vec<u8>, damage: &[(prop::sample::Index, u8)]) {
    for (at, value) in damage {
        let at = at.index(image.len());
        image[at] = *value;
    }
    let disk = disk(&image);
    for path in ["/vmlinuz", "/boot/empty", "/boot/a-directory-with-a-long-name/up", "/BOOT/EMPTY"] {
        let _ = read(&disk, path);
    }
}

/// Some bytes among those that are not data, which lie at `places` (first byte, how many).
fn damaged(image: Vec<u8>, places: &'static [(usize, usize)]) -> impl Strategy<Value = Vec<u8>> {
    let place = prop::sample::select(places).prop_flat_map(|(start, len)| start..start + len);
    prop::collection::vec((place, any::<u8>()), 1..24).prop_map(move |damage| {
        let mut image = image.clone();
        for (at, value) in damage {
            image[at] = value;
        }
        image
    })
}
