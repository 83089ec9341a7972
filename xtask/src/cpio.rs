//! Writing an initramfs: the `newc` format of the Linux kernel's
//! `Documentation/driver-api/early-userspace/buffer-format.rst`.

use anyhow::{Context, Result};

const REGULAR: u32 = 0o100_000;
const DIRECTORY: u32 = 0o040_000;
const CHARACTER: u32 = 0o020_000;

/// An archive under construction.
#[derive(Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    /// Adds a directory.
    pub fn directory(&mut self, path: &str) -> Result<()> {
        self.entry(path, DIRECTORY | 0o755, (0, 0), &[])
    }

    /// Adds a file.
    pub fn file(&mut self, path: &str, permissions: u32, content: &[u8]) -> Result<()> {
        self.entry(path, REGULAR | permissions, (0, 0), content)
    }

    /// Adds a character device.
    pub fn character_device(&mut self, path: &str, major: u32, minor: u32) -> Result<()> {
        self.entry(path, CHARACTER | 0o600, (major, minor), &[])
    }

    /// The finished archive.
    pub fn finish(mut self) -> Result<Vec<u8>> {
        self.entry("TRAILER!!!", 0, (0, 0), &[])?;
        Ok(self.bytes)
    }

    fn entry(&mut self, path: &str, mode: u32, (major, minor): (u32, u32), content: &[u8]) -> Result<()> {
        let size = u32::try_from(content.len())
            .with_context(|| format!("{path} does not fit into a cpio archive"))?;
        let name_size = path.len() as u32 + 1;
        self.entries += 1;
        // c_ino, c_mode, c_uid, c_gid, c_nlink, c_mtime, c_filesize, c_maj, c_min, c_rmaj, c_rmin,
        // c_namesize, c_chksum: root owns everything and it is always 1970, so that the same content gives
        // the same bytes.
        let fields = [self.entries, mode, 0, 0, 1, 0, size, 0, 0, major, minor, name_size, 0];
        self.bytes.extend_from_slice(b"070701");
        self.bytes.extend(fields.iter().flat_map(|field| format!("{field:08X}").into_bytes()));
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
        Ok(())
    }

    /// Header with name, and content, each end on a multiple of 4.
    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_newc() {
        let mut archive = Archive::default();
        archive.file("init", 0o755, b"hello").unwrap();
        archive.character_device("dev/console", 5, 1).unwrap();
        let bytes = archive.finish().unwrap();
        let expected = "070701\
            00000001000081ED000000000000000000000001000000000000000500000000000000000000000000000000\
            0000000500000000init\0\0hello\0\0\0\
            070701\
            00000002000021800000000000000000000000010000000000000000000000000000000000000005000000\
            010000000C00000000dev/console\0\0\0\
            070701\
            00000003000000000000000000000000000000010000000000000000000000000000000000000000000000\
            000000000B00000000TRAILER!!!\0\0\0\0";
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
    }
}
