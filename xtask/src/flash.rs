//! `cargo xtask image`: the files that a board boots from.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::{
    bundle, firmware,
    guests::Guests,
    manifest::Hardware,
    options::GuestOptions,
    paths::Paths,
    progress::note,
    qemu::{Board, Machine},
};

const BUNDLE: &str = "polyvisor.bundle";

/// What the Pi's firmware is told (the keys are those of the Raspberry Pi's `config.txt` documentation).
const CONFIG_TXT: &str = "\
# Polyvisor on a Raspberry Pi 4. Console: PL011, 115200 8N1, on GPIO 14 and 15 (header pins 8 and 10).
arm_64bit=1
kernel=kernel8.img
device_tree=bcm2711-rpi-4-b.dtb
# The GIC-400, not the legacy interrupt controller.
enable_gic=1
# The PL011 belongs to the header, not to Bluetooth.
enable_uart=1
dtoverlay=disable-bt
";
/// And where there is a bundle: the devicetree's `/chosen` then says where it is.
const CONFIG_BUNDLE: &str = "\
# The guests.
initramfs polyvisor.bundle followkernel
";
/// Without it `dtoverlay=disable-bt` does nothing; Debian does not package it.
const OVERLAY: &str = "overlays/disable-bt.dtbo";

/// Writes the files of `board` to `image-<board>` in the cargo target directory.
pub fn write(paths: &Paths, board: Board, options: &GuestOptions) -> Result<()> {
    let firmware = firmware::build(paths)?;
    let _lock = paths.lock()?;
    let guests = Guests::new(paths);
    let name = match board {
        Board::Virt => "virt",
        Board::Raspi4b => "raspi4b",
    };
    let directory = paths.target.join(format!("image-{name}"));
    fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
    let copy = |from: &Path, name: &str| {
        let to = directory.join(name);
        fs::copy(from, &to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
    };
    let fixed = match board {
        Board::Virt => Hardware::default(),
        // There are Pis with less and with more memory than QEMU's.
        Board::Raspi4b => Hardware { memory: None, ..Machine::raspi4b().hardware() },
    };
    let (contents, _) = options.resolve(paths, &guests, fixed, Hardware::default())?;
    let bundle = directory.join(BUNDLE);
    match &contents {
        Some(contents) => bundle::write(contents, &bundle)?,
        // One of an earlier call would be booted.
        None if bundle.exists() => fs::remove_file(&bundle)?,
        None => {}
    }
    match board {
        Board::Virt => {
            copy(&firmware.image, "polyvisor.img")?;
        }
        Board::Raspi4b => {
            copy(&firmware.image, "kernel8.img")?;
            let devicetree = guests.raspi4b_devicetree()?;
            copy(&devicetree, "bcm2711-rpi-4-b.dtb")?;
            let config = CONFIG_TXT.to_owned() + if contents.is_some() { CONFIG_BUNDLE } else { "" };
            fs::write(directory.join("config.txt"), config)?;
            raspi_firmware(&guests, &directory)?;
        }
    }
    note(format!("{} holds:", directory.display()));
    for file in files(&directory)? {
        note(format!("  {file}"));
    }
    Ok(())
}

/// Adds the boot firmware where it can be had; else says where to take it.
fn raspi_firmware(guests: &Guests, directory: &Path) -> Result<()> {
    match guests.raspi_firmware() {
        Ok(source) => {
            for name in ["start4.elf", "fixup4.dat"] {
                fs::copy(source.join(name), directory.join(name))?;
            }
        }
        Err(error) => note(format!(
            "the Pi's boot firmware is missing ({error:#}): copy start4.elf and fixup4.dat from the boot \
             directory of the repository raspberrypi/firmware"
        )),
    }
    if !directory.join(OVERLAY).exists() {
        note(format!(
            "the Pi also needs {OVERLAY}, which Debian does not package: copy it from the boot directory of \
             the repository raspberrypi/firmware"
        ));
    }
    Ok(())
}

fn files(directory: &Path) -> Result<Vec<String>> {
    let paths: Vec<PathBuf> =
        fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    let mut names: Vec<String> =
        paths.iter().filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect();
    names.sort();
    Ok(names)
}
