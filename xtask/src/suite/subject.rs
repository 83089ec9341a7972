//! Making the files that a test's machine starts with.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Result, bail};

use super::{
    script::{Damage, Devicetree, Subject, Test, TestGuest, Translations},
    tool,
};
use polyvisor::vm::bundle::{Arch, Jit};

use crate::{
    aot::{self, Recorder},
    bundle::{self, BootFile, Contents, Guest, GuestBoot},
    disk,
    firmware::Firmware,
    guests::Guests,
    manifest::{Environment, Hardware, Manifest},
    options::named,
    paths::Paths,
    qemu::{Board, Boot, EntryLevel, Machine, Qemu},
};

/// What the bundle is called among a test's files.
const BUNDLE: &str = "bundle";
/// What saved translations are called there.
const TRANSLATIONS: &str = "translations";
/// How long recording them may take.
const RECORDING: Duration = Duration::from_secs(300);
/// Where a test that starts from reset puts its files in the RAM of `virt`, which begins at 1 GiB.
const RAM: u64 = 0x4000_0000;
const TRAMPOLINE: u64 = RAM + 0x20_0000;
const DEVICETREE: u64 = RAM + 0x30_0000;
const IMAGE: u64 = RAM + 0x40_0000;
/// Where U-Boot finds Polyvisor.
pub const UBOOT_IMAGE: u64 = RAM + 0x1000_0000;

/// What it takes to start any test.
pub struct Kit<'a> {
    /// Where things are.
    pub paths: &'a Paths,
    /// What runs machines.
    pub qemu: Qemu,
    /// What can be booted.
    pub guests: Guests<'a>,
    /// What is tested.
    pub firmware: &'a Firmware,
    /// How the code of RISC-V guests is executed, if not as the tests have it.
    pub jit: Option<Jit>,
}

impl Kit<'_> {
    /// The machine and what it starts with; files of the test's own go into `directory`.
    pub fn prepare(&self, test: &Test, directory: &Path) -> Result<(Machine, Boot)> {
        let mut machine = test.machine.clone();
        for (name, layout) in &test.images {
            disk::make(self.paths, &self.guests, *layout, &directory.join(name))?;
        }
        for name in &test.tools {
            fs::copy(tool::build(self.paths, name)?, directory.join(name))?;
        }
        if machine.board == Board::Raspi4b {
            machine.devicetree = Some(self.guests.raspi4b_devicetree()?);
        }
        let polyvisor = |initrd: Option<PathBuf>| Boot::Linux {
            kernel: self.firmware.image.clone(),
            initrd,
            append: test.arguments.clone(),
        };
        let boot = match &test.subject {
            Subject::BuiltIn => polyvisor(None),
            Subject::Guest(guest) => polyvisor(Some(self.bundle(guest, directory)?)),
            Subject::Manifest(text) => {
                if let Some(translations) = test.translations {
                    let store = self.translations(translations, text, &machine, directory)?;
                    fs::write(directory.join(TRANSLATIONS), store)?;
                }
                let manifest = self.manifest(text, machine.hardware(), directory)?;
                machine.set_hardware(manifest.hardware);
                polyvisor(Some(self.write(manifest.contents, directory)?))
            }
            Subject::UBoot => Boot::Firmware {
                bios: self.guests.firmware("u-boot")?,
                files: vec![(self.firmware.image.clone(), UBOOT_IMAGE)],
            },
            Subject::Damaged(guest, damage) => {
                let bundle = self.bundle(guest, directory)?;
                fs::write(&bundle, damage.apply(fs::read(&bundle)?))?;
                polyvisor(Some(bundle))
            }
            Subject::Bare(guest) => {
                // Without a hypervisor the guest starts where Polyvisor would start it.
                machine.entry = EntryLevel::El1;
                self.bare(guest)?
            }
            Subject::Reset(devicetree) => self.reset(*devicetree, directory)?,
        };
        Ok((machine, boot))
    }

    fn boot(&self, guest: &TestGuest) -> Result<(Arch, GuestBoot)> {
        let (arch, mut boot) = named(self.paths, &self.guests, guest.name)?;
        if let (GuestBoot::Kernel { append, .. }, Some(given)) = (&mut boot, &guest.append) {
            append.clone_from(given);
        }
        Ok((arch, boot))
    }

    fn bundle(&self, guest: &TestGuest, directory: &Path) -> Result<PathBuf> {
        let (arch, boot) = self.boot(guest)?;
        let guest = Guest { arch, ..Guest::new(guest.name, guest.vcpus, guest.memory, boot) };
        self.write(guest.into(), directory)
    }

    fn write(&self, mut contents: Contents, directory: &Path) -> Result<PathBuf> {
        if let Some(jit) = self.jit {
            contents.set_jit(jit);
        }
        let path = directory.join(BUNDLE);
        bundle::write(&contents, &path)?;
        Ok(path)
    }

    /// The manifest `text`, whose paths start at `folder`, for `machine` unless it asks for another.
    fn manifest(&self, text: &str, machine: Hardware, folder: &Path) -> Result<Manifest> {
        let named = |name: &str| named(self.paths, &self.guests, name);
        let environment = Environment { folder, named: &named, fixed: Hardware::default(), usual: machine };
        Manifest::parse(text, "manifest", &environment)
    }

    /// The file of saved translations for the manifest `text`.
    fn translations(
        &self,
        translations: Translations,
        text: &str,
        machine: &Machine,
        directory: &Path,
    ) -> Result<Vec<u8>> {
        let mut empty = aot::empty_store(aot::engine(self.firmware)?)?;
        match translations {
            Translations::Foreign => aot::empty_store([7; 32]),
            Translations::Damaged => {
                let middle = empty.len() / 2;
                empty[middle] ^= 0x10;
                Ok(empty)
            }
            Translations::Recorded(until) => {
                // The manifest names it.
                fs::write(directory.join(TRANSLATIONS), empty)?;
                let recorder = Recorder {
                    paths: self.paths,
                    qemu: &self.qemu,
                    firmware: self.firmware,
                    until,
                    input: &[],
                    patience: RECORDING,
                };
                let manifest = self.manifest(text, machine.hardware(), directory)?;
                recorder.record(machine, manifest.contents)
            }
        }
    }

    fn bare(&self, guest: &TestGuest) -> Result<Boot> {
        match self.boot(guest)?.1 {
            GuestBoot::Kernel { kernel, initrd, append } => {
                let initrd = initrd.map(BootFile::local).transpose()?;
                Ok(Boot::Linux { kernel: kernel.local()?, initrd, append: Some(append) })
            }
            GuestBoot::Firmware(_) => bail!("firmware does not run bare here"),
        }
    }

    fn reset(&self, devicetree: Devicetree, directory: &Path) -> Result<Boot> {
        let mut files = vec![(self.firmware.image.clone(), IMAGE)];
        let x0 = match devicetree {
            Devicetree::Missing => 0,
            // Where QEMU leaves its own when it loads no kernel.
            Devicetree::Sound => RAM,
            Devicetree::Corrupt => {
                let path = directory.join("corrupt.dtb");
                fs::write(&path, corrupt_devicetree())?;
                files.push((path, DEVICETREE));
                DEVICETREE
            }
        };
        let path = directory.join("trampoline");
        fs::write(&path, trampoline(x0, IMAGE))?;
        files.push((path, TRAMPOLINE));
        Ok(Boot::Raw { files, entry: TRAMPOLINE })
    }
}

impl Damage {
    fn apply(self, mut bundle: Vec<u8>) -> Vec<u8> {
        match self {
            Self::Truncated => bundle.truncate(bundle.len() / 2),
            Self::BitFlipped => {
                let middle = bundle.len() / 2;
                bundle[middle] ^= 0x10;
            }
            Self::Replaced => bundle = b"This is not a bundle.\n".repeat(1000),
        }
        bundle
    }
}

/// Machine code that loads x0 and jumps to `entry`.
fn trampoline(x0: u64, entry: u64) -> Vec<u8> {
    let code: [u32; 4] = [
        0x5800_0080, // ldr x0, .+16
        0x5800_00a4, // ldr x4, .+20
        0xd61f_0080, // br  x4
        0xd503_201f, // nop
    ];
    code.iter()
        .flat_map(|word| word.to_le_bytes())
        .chain([x0, entry].into_iter().flat_map(u64::to_le_bytes))
        .collect()
}

/// A devicetree of version 17 whose header is sound, and whose structure block is not.
fn corrupt_devicetree() -> Vec<u8> {
    const SIZE: u32 = 0x1000;
    // magic, totalsize, off_dt_struct, off_dt_strings, off_mem_rsvmap, version, last_comp_version,
    // boot_cpuid_phys, size_dt_strings, size_dt_struct (Devicetree Specification v0.4, section 5.2).
    let header = [0xd00d_feed, SIZE, 0x38, 0xf00, 0x28, 17, 16, 0, 0x100, 0xe00_u32];
    let mut bytes: Vec<u8> = header.iter().flat_map(|word| word.to_be_bytes()).collect();
    bytes.resize(0x38, 0);
    bytes.resize(SIZE as usize, 0xa5);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trampoline_carries_its_addresses() {
        let code = trampoline(0x1122, 0x3344);
        assert_eq!(code.len(), 32);
        assert_eq!(code[16..24], 0x1122_u64.to_le_bytes());
        assert_eq!(code[24..32], 0x3344_u64.to_le_bytes());
    }

    #[test]
    fn damage_is_damage() {
        let bundle = vec![7; 4096];
        for damage in [Damage::Truncated, Damage::BitFlipped, Damage::Replaced] {
            assert_ne!(damage.apply(bundle.clone()), bundle, "{damage:?}");
        }
    }
}
