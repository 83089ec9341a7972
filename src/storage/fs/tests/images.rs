//! Images of file systems: ext by `mke2fs` and `debugfs`, FAT by the crate `fatfs`, ISO 9660 by the little there is of it
//! here.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::storage::{Counters, Disk, DiskError, Geometry, Progress, Request, SECTOR, check_range};

/// A disk that can only be read.
pub struct Image(pub Vec<u8>);

impl Disk for Image {
    fn geometry(&self) -> Geometry {
        Geometry { sectors: self.0.len() as u64 / SECTOR, read_only: true, block_size: 512, discards: false }
    }

    fn submit(&self, _: &Request<'_>) -> Result<Progress, DiskError> {
        Err(DiskError::Unsupported)
    }

    fn read(&self, sector: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        check_range(sector, buffer.len() as u64 / SECTOR, self.geometry().sectors)?;
        let at = (sector * SECTOR) as usize;
        buffer.copy_from_slice(&self.0[at..at + buffer.len()]);
        Ok(())
    }

    fn counters(&self) -> Counters {
        Counters::default()
    }
}

/// What is to be in a file system.
#[derive(Default, Clone)]
pub struct Tree {
    pub directories: Vec<&'static str>,
    pub files: Vec<(&'static str, Vec<u8>)>,
    pub links: Vec<(&'static str, &'static str)>,
}

/// A directory that goes away.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("polyvisor-fs-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn run(program: &str, arguments: &[&str]) -> String {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output = Command::new(program).args(arguments).env("PATH", path).output();
    let output = output.unwrap_or_else(|error| panic!("{program} (of the package e2fsprogs): {error}"));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Options of `mke2fs`.
pub const EXT_LAYOUTS: [&[&str]; 4] = [
    &["-t", "ext4", "-b", "1024"],
    &["-t", "ext4", "-b", "4096"],
    &["-t", "ext3", "-b", "1024", "-I", "256"],
    &["-t", "ext2", "-b", "2048", "-I", "256"],
];

fn make_ext(scratch: &Scratch, tree: &Tree, options: &[&str]) -> PathBuf {
    let (image, root) = (scratch.0.join("image"), scratch.0.join("root"));
    let inside = |path: &str| root.join(path.trim_start_matches('/'));
    fs::create_dir_all(&root).unwrap();
    tree.directories.iter().for_each(|path| fs::create_dir_all(inside(path)).unwrap());
    tree.files.iter().for_each(|(path, contents)| fs::write(inside(path), contents).unwrap());
    tree.links.iter().for_each(|(path, to)| std::os::unix::fs::symlink(to, inside(path)).unwrap());
    let mut arguments = vec!["-q", "-F", "-d", root.to_str().unwrap()];
    arguments.extend(options);
    // The smallest journal has 1024 blocks.
    arguments.extend([image.to_str().unwrap(), "12M"]);
    run("mke2fs", &arguments);
    image
}

/// An ext file system.
pub fn ext(tree: &Tree, options: &[&str]) -> Vec<u8> {
    let scratch = Scratch::new();
    fs::read(make_ext(&scratch, tree, options)).unwrap()
}

fn debugfs(image: &Path, commands: &str) -> String {
    let script = image.with_extension("commands");
    fs::write(&script, commands).unwrap();
    run("debugfs", &["-w", "-f", script.to_str().unwrap(), image.to_str().unwrap()])
}

/// An ext file system in which a file claims to have so many bytes.
pub fn ext_with_size(tree: &Tree, file: &str, size: u64) -> Vec<u8> {
    let scratch = Scratch::new();
    let image = make_ext(&scratch, tree, EXT_LAYOUTS[0]);
    debugfs(&image, &format!("set_inode_field {file} size {size}\n"));
    fs::read(image).unwrap()
}

/// An ext file system whose root directory lies in the journal only.
pub struct Journalled {
    pub with_journal: Vec<u8>,
    pub without_journal: Vec<u8>,
}

pub fn ext_with_journalled_root(tree: &Tree) -> Journalled {
    const BLOCK: usize = 4096;
    let scratch = Scratch::new();
    let image = make_ext(&scratch, tree, &["-t", "ext4", "-b", "4096", "-J", "size=4"]);
    let number: usize = debugfs(&image, "blocks /\n").split_whitespace().last().unwrap().parse().unwrap();
    let bytes = fs::read(&image).unwrap();
    let root = scratch.0.join("block");
    fs::write(&root, &bytes[number * BLOCK..][..BLOCK]).unwrap();
    let mut without_journal = bytes;
    without_journal[number * BLOCK..][..BLOCK].fill(0);
    fs::write(&image, &without_journal).unwrap();
    debugfs(&image, &format!("jo -c\njw -b {number} {}\njc\n", root.to_str().unwrap()));
    Journalled { with_journal: fs::read(image).unwrap(), without_journal }
}

/// A tree with a directory that is large enough to be indexed.
pub fn with_many_files(mut tree: Tree) -> Tree {
    tree.directories.push("/many");
    tree.files.extend((0..200).map(|number| {
        let name: &'static str = format!("/many/a-name-that-takes-some-room-{number}").leak();
        (name, Vec::new())
    }));
    tree
}

/// An ext file system with metadata checksums, in which the root of a directory's index claims to have 65535 entries.
pub fn ext_with_full_directory_node() -> Vec<u8> {
    const BLOCK: usize = 1024;
    /// `dx_root::count` (Linux, `Documentation/filesystems/ext4/directory.rst`).
    const COUNT: usize = 0x22;
    let scratch = Scratch::new();
    let image = make_ext(&scratch, &with_many_files(Tree::default()), EXT_LAYOUTS[0]);
    // Builds the index, and says by its status that it has changed something.
    let _ = Command::new("/sbin/e2fsck").args(["-fyD"]).arg(&image).output().unwrap();
    assert!(debugfs(&image, "stat /many\n").contains("Flags: 0x81000"), "the directory has no index");
    let blocks = debugfs(&image, "blocks /many\n");
    let root: usize = blocks.split_whitespace().nth(3).unwrap().parse().unwrap();
    let mut bytes = fs::read(image).unwrap();
    bytes[root * BLOCK + COUNT..][..2].fill(0xff);
    bytes
}

/// An ext file system with a directory of extents that are nowhere, of which there are very many.
pub fn ext_with_extent_bomb() -> Vec<u8> {
    const BLOCK: usize = 1024;
    const DEPTH: u16 = 5;
    let header = |entries: u16, depth: u16| {
        let mut bytes = Vec::new();
        [0xf30a, entries, entries, depth, 0, 0]
            .iter()
            .for_each(|half: &u16| bytes.extend(half.to_le_bytes()));
        bytes
    };
    let scratch = Scratch::new();
    let tree = Tree { directories: vec!["/bomb"], ..Tree::default() };
    let image = make_ext(&scratch, &tree, &["-t", "ext4", "-b", "1024", "-O", "^metadata_csum,^has_journal"]);
    let last = fs::read(&image).unwrap().len() / BLOCK - 1;
    let node = |depth: u16, entries: u16| {
        // Each entry leads to the block of the level below; the lowest has extents of no blocks.
        let below = if depth == 0 { 0 } else { last as u32 - u32::from(depth) + 1 };
        let mut bytes = header(entries, depth);
        for _ in 0..entries {
            bytes.extend([0_u32, below, 0].iter().flat_map(|word| word.to_le_bytes()));
        }
        bytes
    };
    let commands: String = node(DEPTH, 4)
        .chunks_exact(4)
        .enumerate()
        .map(|(index, word)| {
            let word = u32::from_le_bytes(word.try_into().unwrap());
            format!("set_inode_field /bomb block[{index}] {word}\n")
        })
        .collect();
    debugfs(&image, &commands);
    let mut bytes = fs::read(image).unwrap();
    for depth in 0..DEPTH {
        let node = node(depth, 84);
        bytes[(last - usize::from(depth)) * BLOCK..][..node.len()].copy_from_slice(&node);
    }
    bytes
}

/// A FAT file system, which has no links.
pub fn fat(tree: &Tree, kind: fatfs::FatType) -> Vec<u8> {
    let (size, cluster) = match kind {
        fatfs::FatType::Fat12 => (1 << 20, 512),
        fatfs::FatType::Fat16 => (8 << 20, 1024),
        fatfs::FatType::Fat32 => (40 << 20, 512),
    };
    let mut image = vec![0; size];
    let mut cursor = std::io::Cursor::new(&mut image);
    let options = fatfs::FormatVolumeOptions::new().fat_type(kind).bytes_per_cluster(cluster);
    fatfs::format_volume(&mut cursor, options).unwrap();
    {
        let volume = fatfs::FileSystem::new(&mut cursor, fatfs::FsOptions::new()).unwrap();
        tree.directories.iter().for_each(|path| {
            volume.root_dir().create_dir(path).unwrap();
        });
        for (path, contents) in &tree.files {
            volume.root_dir().create_file(path).unwrap().write_all(contents).unwrap();
        }
    }
    image
}

/// Where an ISO 9660 file system has its names.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Names {
    RockRidge,
    Joliet,
    Plain,
}

const ISO_SECTOR: usize = 2048;

/// An ISO 9660 file system. With Joliet's names, its other tree is empty.
pub fn iso(tree: &Tree, names: Names) -> Vec<u8> {
    let mut iso = IsoWriter { bytes: vec![0; 19 * ISO_SECTOR], names, tree };
    let root = iso.directory("");
    if names != Names::Joliet {
        return iso.finish(root, root);
    }
    let nothing = Tree::default();
    let mut other = IsoWriter { bytes: iso.bytes, names: Names::Plain, tree: &nothing };
    let primary = other.directory("");
    IsoWriter { bytes: other.bytes, names, tree }.finish(primary, root)
}

struct IsoWriter<'a> {
    bytes: Vec<u8>,
    names: Names,
    tree: &'a Tree,
}

impl IsoWriter<'_> {
    /// Puts bytes behind all others; tells where they are.
    fn put(&mut self, bytes: &[u8]) -> (u32, u32) {
        let block = (self.bytes.len() / ISO_SECTOR) as u32;
        self.bytes.extend(bytes);
        self.bytes.resize(self.bytes.len().next_multiple_of(ISO_SECTOR), 0);
        (block, bytes.len() as u32)
    }

    fn directory(&mut self, path: &str) -> (u32, u32) {
        let tree = self.tree;
        let child = |other: &'static str| other.rsplit_once('/').filter(|(parent, _)| *parent == path);
        let own = if path.is_empty() && self.names == Names::RockRidge {
            b"SP\x07\x01\xbe\xef\x00".to_vec()
        } else {
            vec![]
        };
        let mut sector = self.record(&[0], (0, 0), 2, &own);
        sector.extend(self.record(&[1], (0, 0), 2, &[]));
        for (name, other) in tree.directories.iter().filter_map(|other| Some((child(other)?.1, other))) {
            let extent = self.directory(other);
            let record = self.named(name, extent, 2, &[]);
            sector.extend(record);
        }
        for (name, contents) in
            tree.files.iter().filter_map(|(other, contents)| Some((child(other)?.1, contents)))
        {
            let extent = self.put(contents);
            let record = self.named(name, extent, 0, &[]);
            sector.extend(record);
        }
        for (name, target) in tree.links.iter().filter_map(|(other, target)| Some((child(other)?.1, target)))
        {
            let mut parts = if target.starts_with('/') { vec![8, 0] } else { vec![] };
            for part in target.split('/').filter(|part| !part.is_empty()) {
                match part {
                    ".." => parts.extend([4, 0]),
                    // A part that goes on in another one.
                    part => {
                        let (first, second) = part.split_at(part.len() / 2);
                        parts.extend([1, first.len() as u8]);
                        parts.extend(first.bytes());
                        parts.extend([0, second.len() as u8]);
                        parts.extend(second.bytes());
                    }
                }
            }
            let mut entry = vec![b'S', b'L', parts.len() as u8 + 5, 1, 0];
            entry.extend(parts);
            let record = self.named(name, (0, 0), 0, &entry);
            sector.extend(record);
        }
        assert!(sector.len() <= ISO_SECTOR);
        sector.resize(ISO_SECTOR, 0);
        self.put(&sector)
    }

    fn named(&mut self, name: &str, extent: (u32, u32), flags: u8, entries: &[u8]) -> Vec<u8> {
        match self.names {
            Names::Plain => self.record(format!("{name}.;1").as_bytes(), extent, flags, &[]),
            Names::Joliet => {
                let name: Vec<u8> =
                    name.encode_utf16().flat_map(u16::to_be_bytes).chain([0, b';', 0, b'1']).collect();
                self.record(&name, extent, flags, &[])
            }
            Names::RockRidge => {
                // The second half of the name, and all else, in a continuation area.
                let (first, second) = name.split_at(name.len() / 2);
                let mut area = vec![b'N', b'M', second.len() as u8 + 5, 1, 0];
                area.extend(second.bytes());
                area.extend(entries);
                area.extend(b"ST\x04\x01");
                let (block, len) = self.put(&area);
                let mut own = vec![b'N', b'M', first.len() as u8 + 5, 1, 1];
                own.extend(first.bytes());
                own.extend(b"CE\x1c\x01");
                [block, 0, len].iter().for_each(|word| own.extend(both(*word)));
                self.record(b"SHORT.;1", extent, flags, &own)
            }
        }
    }

    fn record(&self, name: &[u8], (block, size): (u32, u32), flags: u8, entries: &[u8]) -> Vec<u8> {
        let mut record = vec![0, 0];
        record.extend(both(block));
        record.extend(both(size));
        record.extend([0; 7]);
        record.extend([flags, 0, 0, 1, 0, 0, 1, name.len() as u8]);
        record.extend(name);
        record.resize(record.len().next_multiple_of(2), 0);
        record.extend(entries);
        record.resize(record.len().next_multiple_of(2), 0);
        record[0] = record.len() as u8;
        record
    }

    fn finish(mut self, primary: (u32, u32), supplementary: (u32, u32)) -> Vec<u8> {
        let joliet: &[(u8, &[u8], _)] = &[(2, b"%/E", supplementary)];
        let others = if self.names == Names::Joliet { joliet } else { &[] };
        let descriptors = [(1, &b""[..], primary)].into_iter().chain(others.iter().copied()).chain([(
            255,
            &b""[..],
            primary,
        )]);
        for (number, (kind, escape, root)) in descriptors.enumerate() {
            let record = self.record(&[0], root, 2, &[]);
            let descriptor = &mut self.bytes[(16 + number) * ISO_SECTOR..][..ISO_SECTOR];
            descriptor[0] = kind;
            descriptor[1..6].copy_from_slice(b"CD001");
            descriptor[88..88 + escape.len()].copy_from_slice(escape);
            descriptor[128..130].copy_from_slice(&2048_u16.to_le_bytes());
            descriptor[156..156 + record.len()].copy_from_slice(&record);
        }
        self.bytes
    }
}

/// A number in both orders.
fn both(word: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&word.to_le_bytes());
    bytes[4..].copy_from_slice(&word.to_be_bytes());
    bytes
}
