//! The disks and network cards that QEMU gives the physical machine.

use std::{
    convert::Infallible,
    path::{Path, PathBuf},
    process::Command,
    str::FromStr,
};

use anyhow::{Error, Result, bail, ensure};

/// How a device of QEMU's `virt` is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transport {
    /// virtio-mmio.
    #[default]
    Mmio,
    /// virtio over PCI Express.
    Pci,
}

impl Transport {
    /// How the name of a device of this kind ends.
    fn suffix(self) -> &'static str {
        match self {
            Self::Mmio => "device",
            Self::Pci => "pci",
        }
    }

    /// Takes the transport off the end of `NAME` or `NAME,pci`.
    fn split(text: &str) -> (&str, Self) {
        text.strip_suffix(",pci").map_or((text, Self::Mmio), |name| (name, Self::Pci))
    }
}

/// A disk: a file with the bytes of the medium.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drive {
    /// The file.
    pub file: PathBuf,
    /// How the disk is reached, except on a board that has its own way.
    pub transport: Transport,
}

impl Drive {
    /// The disk whose file's path starts at `folder`.
    pub fn under(self, folder: &Path) -> Self {
        Self { file: folder.join(self.file), ..self }
    }

    fn check(&self) -> Result<()> {
        let file = self.file.display();
        ensure!(
            self.file.is_file(),
            "the disk {file} is no file; `truncate -s 4G {file}` makes an empty one"
        );
        Ok(())
    }

    /// QEMU's description of the medium; in it, a comma in a path is written twice.
    fn medium(&self, interface: &str) -> String {
        let file = self.file.display().to_string().replace(',', ",,");
        format!("{interface},format=raw,file={file}")
    }
}

impl FromStr for Drive {
    type Err = Infallible;

    /// Takes `FILE` or `FILE,pci`.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        let (file, transport) = Transport::split(text);
        Ok(Self { file: file.into(), transport })
    }
}

/// A network card, behind which is QEMU's user network: DHCP, and TCP and UDP to the outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nic {
    /// How the card is reached.
    pub transport: Transport,
}

impl FromStr for Nic {
    type Err = Error;

    /// Takes `user` or `user,pci`.
    fn from_str(text: &str) -> Result<Self> {
        match Transport::split(text) {
            ("user", transport) => Ok(Self { transport }),
            (network, _) => bail!("{network:?}: the only network is \"user\""),
        }
    }
}

/// Has QEMU's `virt` have these.
///
/// # Errors
/// The file of a disk that is not there.
pub fn virt(disks: &[Drive], nics: &[Nic], command: &mut Command) -> Result<()> {
    if !disks.is_empty() || !nics.is_empty() {
        // What is not asked for is the layout of before VIRTIO 1.
        command.args(["-global", "virtio-mmio.force-legacy=false"]);
    }
    for (number, disk) in disks.iter().enumerate() {
        disk.check()?;
        command.arg("-drive").arg(disk.medium(&format!("if=none,id=disk{number},discard=unmap")));
        let kind = disk.transport.suffix();
        command.arg("-device").arg(format!("virtio-blk-{kind},drive=disk{number}"));
    }
    for (number, nic) in nics.iter().enumerate() {
        let kind = nic.transport.suffix();
        // A boot ROM is another package of Debian's, and nobody boots from it.
        let rom = if nic.transport == Transport::Pci { ",romfile=" } else { "" };
        command.arg("-netdev").arg(format!("user,id=nic{number}"));
        command.arg("-device").arg(format!("virtio-net-{kind},netdev=nic{number}{rom}"));
    }
    Ok(())
}

/// Has QEMU's `raspi4b` have these: an SD card is all that it can.
///
/// # Errors
/// More than one disk, its file if that is not there, or a network card.
pub fn raspi4b(disks: &[Drive], nics: &[Nic], command: &mut Command) -> Result<()> {
    ensure!(nics.is_empty(), "QEMU's raspi4b has no network card that could be used");
    match disks {
        [] => {}
        [card] => {
            card.check()?;
            command.arg("-drive").arg(card.medium("if=sd"));
        }
        _ => bail!("{} disks: raspi4b has one, its SD card", disks.len()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(add: impl FnOnce(&mut Command) -> Result<()>) -> Result<Vec<String>> {
        let mut command = Command::new("qemu");
        add(&mut command)?;
        Ok(command.get_args().map(|argument| argument.to_string_lossy().into_owned()).collect())
    }

    #[test]
    fn devices_are_what_qemu_calls_them() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let drive = |text: &str| text.parse::<Drive>().unwrap().under(folder);
        let disks = [drive("Cargo.toml"), drive("src/main.rs,pci")];
        let nics = ["user,pci", "user"].map(|text| text.parse().unwrap());
        let root = folder.display();
        let expected = [
            "-global",
            "virtio-mmio.force-legacy=false",
            "-drive",
            &format!("if=none,id=disk0,discard=unmap,format=raw,file={root}/Cargo.toml"),
            "-device",
            "virtio-blk-device,drive=disk0",
            "-drive",
            &format!("if=none,id=disk1,discard=unmap,format=raw,file={root}/src/main.rs"),
            "-device",
            "virtio-blk-pci,drive=disk1",
            "-netdev",
            "user,id=nic0",
            "-device",
            "virtio-net-pci,netdev=nic0,romfile=",
            "-netdev",
            "user,id=nic1",
            "-device",
            "virtio-net-device,netdev=nic1",
        ];
        assert_eq!(arguments(|command| virt(&disks, &nics, command)).unwrap(), expected);
        let card = arguments(|command| raspi4b(&disks[..1], &[], command)).unwrap();
        assert_eq!(card, ["-drive", &format!("if=sd,format=raw,file={root}/Cargo.toml")]);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let refused = |disks: &[&str], nics: &[&str]| {
            let disks: Vec<Drive> = disks.iter().map(|text| text.parse().unwrap()).collect();
            let nics: Vec<Nic> = nics.iter().map(|text| text.parse().unwrap()).collect();
            let error = arguments(|command| raspi4b(&disks, &nics, command)).unwrap_err();
            error.to_string()
        };
        assert!(refused(&["no/such"], &[]).starts_with("the disk no/such is no file; "));
        assert_eq!(refused(&["a", "b"], &[]), "2 disks: raspi4b has one, its SD card");
        assert!(refused(&[], &["user"]).contains("no network card"));
        assert!("tap".parse::<Nic>().is_err());
        assert_eq!("a,b,pci".parse::<Drive>().unwrap().medium("if=none"), "if=none,format=raw,file=a,,b");
    }
}
