//! What translation costs: instructions of the CPU for each of a RISC-V guest's.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use polyvisor::vm::bundle::Arch;

use super::{Bench, LINUX_MEMORY};
use crate::{
    bundle::{Guest, GuestBios},
    console::{Console, Input},
    options::named,
    progress::Progress,
    qemu::Monitor,
    suite::Dialogue,
};

/// The kernel that is booted.
const KERNEL: &str = "linux-6.12-riscv64";
/// How far: a quarter of the boot. The rest takes minutes, and has no other instructions.
const FAR_ENOUGH: &str = "NET: Registered PF_INET protocol family";
/// How long that may take.
const PATIENCE: Duration = Duration::from_secs(900);

/// What the figure of Linux' boot is called.
pub const LINUX: &str = "riscv-linux";

impl Bench<'_> {
    /// The figures that the payload prints.
    pub fn riscv_payload(&self) -> Result<Vec<(String, f64)>> {
        let progress = Progress::start("measuring: riscv");
        let boot = self.hosted(vec![self.riscv_guest("riscv-bench", GuestBios::None)?])?;
        let values = self.figures(&Self::machine(1), &boot, "bench-riscv.log")?;
        progress.done();
        Ok(values)
    }

    /// The time for which Linux has run when it is [`FAR_ENOUGH`], of which a nanosecond is an instruction, by the number
    /// of instructions that it has executed.
    pub fn riscv_linux(&self) -> Result<f64> {
        let progress = Progress::start("booting Linux on RISC-V");
        let boot = self.hosted(vec![self.riscv_guest(KERNEL, GuestBios::BuiltIn)?])?;
        let command = self.qemu.command(&Self::machine(1), &boot, Monitor::None)?;
        let log = self.paths.cache_dir("test-logs")?.join("bench-riscv-linux.log");
        let mut console = Console::start(command, Input::Scripted, &log, false)?;
        let costs = costs(&mut Dialogue::new(&mut console));
        console.stop()?;
        progress.done();
        costs
    }

    fn riscv_guest(&self, name: &str, bios: GuestBios) -> Result<Guest> {
        let (arch, boot) = named(self.paths, &self.guests, name)?;
        if arch != Arch::Riscv64 {
            bail!("{name} is no guest for RISC-V");
        }
        Ok(Guest { arch, bios, ..Guest::new(name, 1, LINUX_MEMORY, boot) })
    }
}

fn costs(dialogue: &mut Dialogue) -> Result<f64> {
    dialogue.expect_within(FAR_ENOUGH, PATIENCE)?;
    dialogue.detach()?;
    // Nothing is counted between the two questions.
    dialogue.ask(&format!("pause {KERNEL}"))?;
    let registers = dialogue.ask(&format!("regs {KERNEL}"))?;
    let statistics = dialogue.ask(&format!("stats {KERNEL}"))?;
    let executed = registers["system"]["instret"].as_str().and_then(|text| text.strip_prefix("0x"));
    let executed = u64::from_str_radix(executed.context("`regs` shows no instret")?, 16)?;
    let microseconds = statistics["vcpus"][0]["run"].as_f64().context("`stats` shows no time")?;
    Ok(microseconds * 1000.0 / executed as f64)
}
