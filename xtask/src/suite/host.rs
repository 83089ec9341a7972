//! The host's part in a test: a server for guests to reach, and a look at the disks that they have written.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    thread,
};

use anyhow::{Context, Result, bail};
use gpt::{GptConfig, disk::LogicalBlockSize};

use crate::process::{find_program, output};

/// Serves `content` by HTTP to whoever asks, at a port of the host's loopback, until the program ends.
pub fn serve(content: Vec<u8>) -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no TCP port on loopback is free")?;
    let port = listener.local_addr()?.port();
    let content: Arc<[u8]> = content.into();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Whoever breaks off has seen that himself.
            let _ = answer(stream, &content);
        }
    });
    Ok(port)
}

/// Answers one request, of which nothing matters but its end, the empty line.
fn answer(mut stream: TcpStream, content: &[u8]) -> io::Result<()> {
    for line in BufReader::new(&stream).lines() {
        if line?.is_empty() {
            break;
        }
    }
    let length = content.len();
    write!(stream, "HTTP/1.0 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")?;
    stream.write_all(content)
}

/// A file system that a guest has left.
pub struct FileSystem(PathBuf);

impl FileSystem {
    /// Takes a copy of the one in the GPT partition called `label` of the disk image `image`.
    pub fn in_partition(image: &Path, label: &str) -> Result<Self> {
        let block = LogicalBlockSize::Lb512;
        let disk = GptConfig::new().writable(false).logical_block_size(block).open(image)?;
        let entry = disk.partitions().values().find(|entry| entry.name == label);
        let entry = entry.with_context(|| format!("the disk has no partition {label}"))?;
        let (start, size) = (entry.bytes_start(block)?, entry.bytes_len(block)?);
        let path = image.with_extension(label);
        let mut disk = File::open(image)?;
        disk.seek(SeekFrom::Start(start))?;
        io::copy(&mut disk.take(size), &mut File::create(&path)?)?;
        Ok(Self(path))
    }

    /// It has no errors, and nothing is left to be recovered.
    pub fn is_clean(&self) -> Result<()> {
        output(program("e2fsck")?.args(["-f", "-n"]).arg(&self.0)).map(drop)
    }

    /// Brings it into order as a boot after a power cut does: by its journal, and where that does not suffice by whatever
    /// a system dares to do by itself.
    pub fn recover(&self) -> Result<()> {
        let mut command = program("e2fsck")?;
        let output = command.arg("-p").arg(&self.0).output()?;
        // 1: errors were corrected (e2fsck(8), EXIT CODE).
        match output.status.code() {
            Some(0 | 1) => Ok(()),
            _ => bail!("e2fsck -p: {}", String::from_utf8_lossy(&output.stdout)),
        }
    }

    /// Copies the directory `path` to a directory of the host; where it is there.
    pub fn copy(&self, path: &str) -> Result<PathBuf> {
        let target = self.0.with_extension("files");
        fs::create_dir_all(&target)?;
        let request = format!("rdump {path} {}", target.display());
        output(program("debugfs")?.arg("-R").arg(request).arg(&self.0))?;
        Ok(target.join(path.trim_start_matches('/')))
    }
}

/// A program of e2fsprogs, which need not be in PATH.
fn program(name: &str) -> Result<Command> {
    let places = ["", "/usr/sbin/", "/sbin/"].map(|place| format!("{place}{name}"));
    let program = places.iter().find_map(|place| find_program(place));
    program.map(Command::new).with_context(|| format!("{name} is not there: install e2fsprogs"))
}
