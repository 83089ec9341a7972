//! The figures: what is measured, what it should be, and how it is shown.

/// A figure that the payload or the firmware prints as `bench: NAME VALUE`.
struct Figure {
    name: &'static str,
    what: &'static str,
    unit: &'static str,
    /// The largest value that is good enough.
    target: Option<f64>,
}

const fn figure(name: &'static str, what: &'static str, unit: &'static str, target: Option<f64>) -> Figure {
    Figure { name, what, unit, target }
}

const FIGURES: [Figure; 47] = [
    figure("hypercall", "null hypercall, round trip", "instructions", Some(150.0)),
    figure("gicd-read", "GICD_TYPER read", "instructions", Some(220.0)),
    figure("pl011-read", "PL011 flag register read", "instructions", None),
    figure("sgi-self", "SGI to self, send to handled", "instructions", None),
    figure("eoi", "end of interrupt", "instructions", None),
    figure("timer", "virtual timer, due to handled", "instructions", Some(700.0)),
    figure("timer-phys", "physical timer, due to handled", "instructions", None),
    figure("wfi-wake", "timer during WFI, due to handled", "instructions", None),
    figure("ipi", "IPI between vCPUs, send to handled", "instructions", Some(1000.0)),
    figure("vcpu-switch", "vCPU switch, WFI to WFI", "instructions", Some(600.0)),
    figure("vcpu-switch-woken", "vCPU switch by waking the other", "instructions", None),
    figure("block-read", "4 KiB read from a disk in memory", "instructions", Some(2500.0)),
    figure("block-read-many", "the same, 32 at once", "instructions", Some(1200.0)),
    figure("block-write", "4 KiB written to it", "instructions", Some(2500.0)),
    figure("block-write-many", "the same, 32 at once", "instructions", Some(1200.0)),
    figure("block-notifications", "notifications by a load on it", PER_LOAD, None),
    figure("block-interrupts", "interrupts by a load on it", PER_LOAD, None),
    figure("physical-read", "4 KiB read from a physical disk", "instructions", Some(2500.0)),
    figure("physical-read-many", "the same, 32 at once", "instructions", Some(1200.0)),
    figure("physical-write", "4 KiB written to it", "instructions", Some(2500.0)),
    figure("physical-write-many", "the same, 32 at once", "instructions", Some(1200.0)),
    figure("physical-notifications", "notifications by a load on it", PER_LOAD, None),
    figure("physical-interrupts", "interrupts by a load on it", PER_LOAD, None),
    figure("net-frame", "frame of 1514 bytes, VM to VM", "instructions", Some(1500.0)),
    figure("net-frame-many", "the same, 32 at once", "instructions", Some(1500.0)),
    figure("net-large", "frame of 64 KiB, VM to VM", "instructions", None),
    figure("net-notifications", "notifications by a stream of frames", PER_LOAD, None),
    figure("net-interrupts", "interrupts by a stream of frames", PER_LOAD, None),
    figure("fault-in", "first touch of 2 MiB of RAM", "instructions", None),
    figure("boot", "reset to first guest instruction", "instructions", None),
    figure(EL2_MEMORY, "EL2 memory in use", "KiB", None),
    figure(IMAGE_SIZE, "image size", "KiB", Some(512.0)),
    figure(LINUX_OVERHEAD, "Linux boot, more than bare", "%", Some(2.0)),
    figure(LINUX_DEDICATED, "the same on a dedicated CPU", "%", Some(1.0)),
    figure(IDLE_ONE, "Linux boot beside one idle VM, more", "%", Some(0.2)),
    figure(IDLE_SEVEN, "the same beside seven", "%", Some(0.2)),
    figure("riscv-mix", "RISC-V, arithmetic", PER_INSTRUCTION, INTERPRETED),
    figure("riscv-sort", "RISC-V, sorting", PER_INSTRUCTION, INTERPRETED),
    figure("riscv-copy", "RISC-V, copying memory", PER_INSTRUCTION, INTERPRETED),
    figure("riscv-crc", "RISC-V, CRC-32", PER_INSTRUCTION, INTERPRETED),
    figure("riscv-boot", "RISC-V Linux, boot to the shell", PER_INSTRUCTION, INTERPRETED),
    figure("riscv-core", "RISC-V Linux, integers", PER_INSTRUCTION, INTERPRETED),
    figure("riscv-float", "RISC-V Linux, floating point", PER_INSTRUCTION, None),
    figure("riscv-memory", "RISC-V Linux, memory and calls", PER_INSTRUCTION, INTERPRETED),
    figure("riscv-gzip", "RISC-V Linux, gzip", PER_INSTRUCTION, INTERPRETED),
    figure("riscv-awk", "RISC-V Linux, awk", PER_INSTRUCTION, INTERPRETED),
    figure("riscv-text", "RISC-V Linux, sort", PER_INSTRUCTION, INTERPRETED),
];
/// Figures that are measured only where they are asked for.
const ON_DEMAND: [Figure; 15] = [
    figure("riscv-scale", "RISC-V Linux, four harts, more", "%", None),
    figure("jit-mix", "JIT, arithmetic", PER_INSTRUCTION, None),
    figure("jit-sort", "JIT, sorting", PER_INSTRUCTION, None),
    figure("jit-copy", "JIT, copying memory", PER_INSTRUCTION, None),
    figure("jit-crc", "JIT, CRC-32", PER_INSTRUCTION, None),
    figure("jit-boot", "JIT, Linux' boot to the shell", PER_INSTRUCTION, Some(3.0)),
    figure("jit-aot", "JIT, the boot with saved translations", PER_INSTRUCTION, Some(2.0)),
    figure("jit-core", "JIT, integers", PER_INSTRUCTION, Some(1.3)),
    figure("jit-float", "JIT, floating point", PER_INSTRUCTION, Some(1.6)),
    figure("jit-memory", "JIT, memory and calls", PER_INSTRUCTION, Some(2.0)),
    figure("jit-gzip", "JIT, gzip", PER_INSTRUCTION, Some(2.0)),
    figure("jit-awk", "JIT, awk", PER_INSTRUCTION, Some(2.0)),
    figure("jit-text", "JIT, sort", PER_INSTRUCTION, Some(2.0)),
    figure("jit-translation", "JIT, translating", PER_INSTRUCTION, Some(600.0)),
    // Four harts do 3.6 times as much as one.
    figure("jit-scale", "JIT, four harts, more", "%", Some(11.1)),
];
/// The unit of what is counted while 32 requests are under way.
const PER_LOAD: &str = "in 1000 requests";
/// The most that an instruction of the guest's should cost where it is interpreted.
const INTERPRETED: Option<f64> = Some(25.0);
/// The unit of what the translation of an instruction costs.
const PER_INSTRUCTION: &str = "for each of the guest's";
/// What Polyvisor takes for itself.
const EL2_MEMORY: &str = "el2-memory";
/// The size of the image.
pub const IMAGE_SIZE: &str = "image-size";
/// How much longer Linux takes to boot as a guest.
pub const LINUX_OVERHEAD: &str = "linux-overhead";
/// The same on a CPU of its own.
pub const LINUX_DEDICATED: &str = "linux-dedicated";
/// How much longer beside an idle VM.
pub const IDLE_ONE: &str = "idle-vm-1";
/// The same beside seven.
pub const IDLE_SEVEN: &str = "idle-vm-7";
/// What the Linux guest's `/init` calls its figure.
pub const LINUX_BOOT: &str = "linux-boot";

/// A figure's name and what was measured.
pub type Value = (String, f64);

/// Name and value of a line `bench: NAME VALUE`, or of what Polyvisor logs about its memory.
pub fn parse(line: &str) -> Option<Value> {
    if let Some((_, memory)) = line.split_once("polyvisor: EL2 uses ") {
        return Some((EL2_MEMORY.to_owned(), memory.split_whitespace().next()?.parse().ok()?));
    }
    let mut words = line.split_once("bench: ")?.1.split_whitespace();
    Some((words.next()?.to_owned(), words.next()?.parse().ok()?))
}

/// What was measured, line by line, and what should have been; with `all`, also what of [`FIGURES`] is missing.
pub fn table(values: &[Value], all: bool) -> String {
    let mut text = format!("{:<36} {:>14} {:>14}  unit\n", "what", "measured", "target");
    let figures =
        FIGURES.iter().map(|figure| (figure, all)).chain(ON_DEMAND.iter().map(|figure| (figure, false)));
    for (figure, is_wanted) in figures {
        let value = values.iter().find(|(name, _)| name == figure.name).map(|(_, value)| *value);
        if value.is_none() && !is_wanted {
            continue;
        }
        let precision = match figure.unit {
            "%" | PER_INSTRUCTION => 2,
            _ => 0,
        };
        let number =
            |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.precision$}"));
        let verdict = match (value, figure.target) {
            (Some(value), Some(target)) if value > target => {
                format!("  missed by {:.precision$}", value - target)
            }
            (None, _) => "  not reported".to_owned(),
            _ => String::new(),
        };
        let target = figure.target.map_or("-".to_owned(), |_| format!("<= {}", number(figure.target)));
        text.push_str(&format!(
            "{:<36} {:>14} {:>14}  {}{verdict}\n",
            figure.what,
            number(value),
            target,
            figure.unit
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_and_judged() {
        let console = "boot\r\nbench: hypercall 171\r\n[vm0] bench: gicd-read 200.5\r\nbench: broken\r\n\
             [    0.1] polyvisor: EL2 uses 812 KiB of RAM, 7 KiB are free\r\n";
        let values: Vec<_> = console.lines().filter_map(parse).collect();
        assert_eq!(
            values,
            [
                ("hypercall".to_owned(), 171.0),
                ("gicd-read".to_owned(), 200.5),
                (EL2_MEMORY.to_owned(), 812.0)
            ]
        );
        let table = table(&values, true);
        let row = |what: &str| table.lines().find(|line| line.starts_with(what)).unwrap().to_owned();
        assert!(row("null hypercall").ends_with("missed by 21"));
        assert!(row("GICD_TYPER").ends_with("instructions"));
        assert!(row("image size").ends_with("not reported"));
    }
}
