//! The disks and network cards of a machine under QEMU.

use std::{convert::Infallible, path::PathBuf, process::Command, str::FromStr};

use anyhow::{Result, ensure};

use crate::qemu::Board;

/// How a virtio device of `virt` is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attachment {
    /// virtio-mmio, as of VIRTIO 1.
    Mmio,
    /// A function on the PCI root bus.
    Pci,
}

impl Attachment {
    /// The words before a trailing `,pci`, and what it means.
    fn split(words: &str) -> (&str, Self) {
        words.strip_suffix(",pci").map_or((words, Self::Mmio), |rest| (rest, Self::Pci))
    }

    /// QEMU's name of this device.
    fn device(self, name: &str) -> String {
        match self {
            Self::Mmio => format!("virtio-{name}-device"),
            Self::Pci => format!("virtio-{name}-pci"),
        }
    }
}

/// A disk: a raw image that is written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// The image.
    pub image: PathBuf,
    /// How it is attached; on `raspi4b` it is the SD card.
    pub attachment: Attachment,
}

impl FromStr for Disk {
    type Err = Infallible;

    fn from_str(words: &str) -> Result<Self, Infallible> {
        let (image, attachment) = Attachment::split(words);
        Ok(Self { image: image.into(), attachment })
    }
}

/// A network card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nic(pub Attachment);

/// The network that a machine is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// None: there is no card.
    None,
    /// QEMU's own network, with DHCP, behind this card.
    User(Nic),
}

impl FromStr for Network {
    type Err = String;

    fn from_str(words: &str) -> Result<Self, String> {
        match Attachment::split(words) {
            ("none", Attachment::Mmio) => Ok(Self::None),
            ("user", attachment) => Ok(Self::User(Nic(attachment))),
            _ => Err("expected none, user or user,pci".to_owned()),
        }
    }
}

/// Adds the arguments for `disks` and `nics`.
///
/// # Errors
/// The board has no such devices.
pub fn arguments(command: &mut Command, board: Board, disks: &[Disk], nics: &[Nic]) -> Result<()> {
    if board == Board::Raspi4b {
        let plain = disks.iter().all(|disk| disk.attachment == Attachment::Mmio);
        ensure!(disks.len() <= 1 && plain, "raspi4b has one disk, its SD card");
        ensure!(nics.is_empty(), "QEMU's raspi4b has no network card");
        for disk in disks {
            command.arg("-drive").arg(format!("if=sd,format=raw,file={}", escaped(disk)));
        }
        return Ok(());
    }
    // What is not asked for is the layout of before VIRTIO 1.
    command.args(["-global", "virtio-mmio.force-legacy=false"]);
    for (number, disk) in disks.iter().enumerate() {
        let drive = format!("if=none,id=disk{number},format=raw,discard=unmap,file={}", escaped(disk));
        let device = disk.attachment.device("blk");
        command.arg("-drive").arg(drive).arg("-device").arg(format!("{device},drive=disk{number}"));
    }
    for (number, Nic(attachment)) in nics.iter().enumerate() {
        let device = attachment.device("net");
        command.arg("-netdev").arg(format!("user,id=net{number}"));
        command.arg("-device").arg(format!("{device},netdev=net{number}"));
    }
    Ok(())
}

/// The file's name as the value of an option of QEMU's.
fn escaped(disk: &Disk) -> String {
    disk.image.display().to_string().replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(board: Board, disks: &[&str], nics: &[Nic]) -> Result<String> {
        let disks: Vec<Disk> = disks.iter().map(|words| words.parse().unwrap()).collect();
        let mut command = Command::new("qemu");
        arguments(&mut command, board, &disks, nics)?;
        Ok(command.get_args().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn devices_are_attached_as_asked() {
        let line = line(Board::Virt, &["a,b.img", "c.img,pci"], &[Nic(Attachment::Pci)]).unwrap();
        for words in [
            "id=disk0,format=raw,discard=unmap,file=a,,b.img -device virtio-blk-device,drive=disk0",
            "id=disk1,format=raw,discard=unmap,file=c.img -device virtio-blk-pci,drive=disk1",
            "-netdev user,id=net0 -device virtio-net-pci,netdev=net0",
        ] {
            assert!(line.contains(words), "{line}");
        }
    }

    #[test]
    fn the_raspberry_pi_has_one_card() {
        assert!(line(Board::Raspi4b, &["a"], &[]).unwrap().contains("-drive if=sd,format=raw,file=a"));
        assert!(line(Board::Raspi4b, &["a", "b"], &[]).is_err());
        assert!(line(Board::Raspi4b, &["a,pci"], &[]).is_err());
        assert!(line(Board::Raspi4b, &[], &[Nic(Attachment::Mmio)]).is_err());
    }

    #[test]
    fn networks_are_known_by_name() {
        assert_eq!("none".parse(), Ok(Network::None));
        assert_eq!("user,pci".parse(), Ok(Network::User(Nic(Attachment::Pci))));
        assert!("tap".parse::<Network>().is_err());
    }
}
