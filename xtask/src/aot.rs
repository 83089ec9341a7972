//! `cargo xtask aot`: has a RISC-V guest translated ahead of its boots. `docs/aot.md` describes the whole.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Args;
use polyvisor::vm::bundle::{Jit, WhenAllOff};
use polyvisor_cell_abi::{EngineDigest, RecordingHeader};
use polyvisor_emu::jit::store::assemble;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::{
    bundle::{self, Contents},
    console::{Console, Input},
    firmware::{self, Firmware},
    guests::Guests,
    options::{GuestOptions, MachineOptions},
    paths::Paths,
    progress::{Progress, note},
    qemu::{Boot, Machine, Monitor, Qemu},
    qmp::{self, Qmp},
    suite::Dialogue,
};

/// The prompt of the initial RAM disks that named guests come with.
pub const PROMPT: &str = "guest:~# ";

/// What `aot` can be asked for.
#[derive(Debug, Args)]
pub struct AotOptions {
    #[command(flatten)]
    machine: MachineOptions,
    #[command(flatten)]
    guest: GuestOptions,
    /// The VM whose code is translated [default: the only one for RISC-V]
    #[arg(long, value_name = "NAME")]
    vm: Option<String>,
    /// Record until the VM's console shows this, a regular expression
    #[arg(long, value_name = "REGEX", default_value = PROMPT)]
    until: String,
    /// Then type this line, and wait for the same again; any number of times
    #[arg(long, value_name = "LINE")]
    input: Vec<String>,
    /// Fail when it takes longer to get there, from one time to the next
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout: u64,
    /// Where to write the translations
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

/// Records what a VM executes, and writes that as a store.
///
/// # Errors
/// There is no such VM, it does not get there, or the machine does not give its memory away.
pub fn run(paths: &Paths, options: &AotOptions) -> Result<()> {
    let lock = paths.lock()?;
    let qemu = Qemu::setup(paths)?;
    let guests = Guests::new(paths);
    let (fixed, usual) = (options.machine.fixed(), Machine::virt().hardware());
    let (contents, hardware) = options.guest.resolve(paths, &guests, fixed, usual)?;
    let machine = options.machine.machine(&guests, hardware, &[])?;
    drop(lock);
    let contents = chosen(contents.context("the built-in guest is not for RISC-V")?, options.vm.as_deref())?;
    let firmware = firmware::build(paths)?;
    let recorder = Recorder {
        paths,
        qemu: &qemu,
        firmware: &firmware,
        until: &options.until,
        input: &options.input,
        patience: Duration::from_secs(options.timeout),
    };
    let store = recorder.record(&machine, contents)?;
    fs::write(&options.output, store).with_context(|| format!("cannot write {}", options.output.display()))
}

/// The same with nothing but the VM that is to be recorded.
fn chosen(mut contents: Contents, name: Option<&str>) -> Result<Contents> {
    let names: Vec<String> = contents.riscv().map(|guest| guest.name.clone()).collect();
    let name = match (name, &names[..]) {
        (Some(name), _) if names.iter().any(|other| other == name) => name.to_owned(),
        (None, [only]) => only.clone(),
        (_, []) => bail!("there is no VM for RISC-V"),
        _ => bail!("which VM? --vm takes one of {}", names.join(", ")),
    };
    contents.guests.retain(|guest| guest.name == name);
    Ok(contents)
}

/// What the monitor says of a recording.
#[derive(Debug, Deserialize)]
struct Answer {
    recording: Summary,
    pieces: Vec<Piece>,
}

#[derive(Debug, Deserialize)]
struct Summary {
    blocks: u32,
    bytes: u64,
    crc32: String,
    full: bool,
}

#[derive(Debug, Deserialize)]
struct Piece {
    address: String,
    bytes: u64,
}

/// Has a guest executed, and what is translated of it recorded.
pub struct Recorder<'a> {
    /// Where things are.
    pub paths: &'a Paths,
    /// What runs the machine.
    pub qemu: &'a Qemu,
    /// Whose engine translates.
    pub firmware: &'a Firmware,
    /// What the console shows when enough has been recorded.
    pub until: &'a str,
    /// Lines that are typed then, one by one; after each the same is waited for.
    pub input: &'a [String],
    /// For how long.
    pub patience: Duration,
}

impl Recorder<'_> {
    /// Records the only guest of `contents` on `machine`: the store.
    pub fn record(&self, machine: &Machine, mut contents: Contents) -> Result<Vec<u8>> {
        contents.when_all_off = WhenAllOff::Stay;
        contents.set_jit(Jit::Record);
        let [guest] = &mut contents.guests[..] else { bail!("one guest is recorded at a time") };
        guest.autostart = true;
        let name = guest.name.clone();
        let files = tempfile::tempdir()?;
        let [bundle, socket, memory] = ["bundle", "qmp", "memory"].map(|name| files.path().join(name));
        bundle::write(&contents, &bundle)?;
        let mut machine = machine.clone();
        machine.extra.extend(["-qmp".to_owned(), qmp::server(&socket)]);
        let boot = Boot::Linux { kernel: self.firmware.image.clone(), initrd: Some(bundle), append: None };
        let command = self.qemu.command(&machine, &boot, Monitor::None)?;
        let log = self.paths.cache_dir("test-logs")?.join("aot.log");
        let progress = Progress::start(format!("recording translations of {name}"));
        let mut console = Console::start(command, Input::Scripted, &log, false)?;
        let mut dialogue = Dialogue::new(&mut console);
        let recorded = self.play(&mut dialogue, &name).and_then(|answer| {
            let mut qmp = Qmp::connect(&socket)?;
            let mut bytes = Vec::new();
            for piece in &answer.pieces {
                qmp.save_memory(number(&piece.address)?, piece.bytes, &memory)?;
                bytes.extend(fs::read(&memory)?);
            }
            Ok((answer.recording, bytes))
        });
        console.stop()?;
        progress.done();
        let (summary, bytes) =
            recorded.with_context(|| format!("nothing is recorded; see {}", log.display()))?;
        let crc = crc32fast::hash(&bytes);
        ensure!(
            bytes.len() as u64 == summary.bytes && u64::from(crc) == number(&summary.crc32)?,
            "the recording was not fetched as it is: {} bytes, CRC-32 {crc:#x}; {summary:?}",
            bytes.len()
        );
        if summary.full {
            note("there was not enough room to record everything");
        }
        let store = store(&bytes, engine(self.firmware)?)?;
        note(format!("{} blocks recorded, {} KiB of translations", summary.blocks, store.len() >> 10));
        Ok(store)
    }

    fn play(&self, dialogue: &mut Dialogue, name: &str) -> Result<Answer> {
        dialogue.expect_within(self.until, self.patience)?;
        for line in self.input {
            dialogue.line(line)?;
            dialogue.expect_within(self.until, self.patience)?;
        }
        dialogue.detach()?;
        dialogue.ask(&format!("pause {name}"))?;
        // It may take a moment until no vCPU is in its guest any more: till then this is refused.
        let mut answer = Err(String::new());
        dialogue.await_that("the recording is told", |dialogue| {
            answer = dialogue.command(&format!("jit {name} recording"))?;
            Ok(answer.is_ok())
        })?;
        Ok(serde_json::from_value(answer.map_err(|error| anyhow!(error))?)?)
    }
}

/// A number as the monitor shows it in JSON.
fn number(text: &str) -> Result<u64> {
    let digits = text.strip_prefix("0x").with_context(|| format!("{text:?} is no hexadecimal number"))?;
    Ok(u64::from_str_radix(digits, 16)?)
}

/// Makes a store of a recording that this engine has made.
fn store(recording: &[u8], engine: EngineDigest) -> Result<Vec<u8>> {
    let (words, []) = recording.as_chunks::<4>() else { bail!("no recording has {} bytes", recording.len()) };
    let words: Vec<u32> = words.iter().map(|word| u32::from_le_bytes(*word)).collect();
    let store = assemble(&words, engine, crc32fast::hash)?;
    Ok(store.iter().flat_map(|word| word.to_le_bytes()).collect())
}

/// A store of nothing, for this engine.
pub fn empty_store(engine: EngineDigest) -> Result<Vec<u8>> {
    let words = RecordingHeader::WORDS as u32;
    let header = RecordingHeader { features: 0, words, blocks: 0, full: false };
    let bytes: Vec<u8> = header.encode().iter().flat_map(|word| word.to_le_bytes()).collect();
    store(&bytes, engine)
}

/// The digest of this firmware's engine.
pub fn engine(firmware: &Firmware) -> Result<EngineDigest> {
    let image = firmware.engine_image();
    let bytes = fs::read(&image).with_context(|| format!("cannot read {}", image.display()))?;
    Ok(Sha256::digest(bytes).into())
}

#[cfg(test)]
mod tests {
    use polyvisor::vm::bundle::Arch;

    use super::*;
    use crate::{
        bundle::{Guest, GuestBoot},
        size::Size,
    };

    #[test]
    fn only_the_chosen_vm_is_recorded() {
        let guest = |name: &str, arch| {
            let boot = GuestBoot::Firmware(PathBuf::from("x"));
            Guest { arch, ..Guest::new(name, 1, Size::mib(64), boot) }
        };
        let contents = |guests: &[(&str, Arch)]| {
            let guests = guests.iter().map(|(name, arch)| guest(name, *arch)).collect();
            Contents { guests, switches: Vec::new(), when_all_off: WhenAllOff::default() }
        };
        let (arm, riscv) = (("arm", Arch::Aarch64), ("riscv", Arch::Riscv64));
        let names =
            |contents: Contents| contents.guests.into_iter().map(|guest| guest.name).collect::<Vec<_>>();
        assert_eq!(names(chosen(contents(&[arm, riscv]), None).unwrap()), ["riscv"]);
        let other = ("other", Arch::Riscv64);
        assert_eq!(names(chosen(contents(&[other, riscv]), Some("riscv")).unwrap()), ["riscv"]);
        let error = |guests: &[_], name| chosen(contents(guests), name).unwrap_err().to_string();
        assert_eq!(error(&[arm], None), "there is no VM for RISC-V");
        assert_eq!(error(&[other, riscv], None), "which VM? --vm takes one of other, riscv");
        assert_eq!(error(&[arm, riscv], Some("arm")), "which VM? --vm takes one of riscv");
    }
}
