//! All commands, in the order in which `help` shows them.

use super::{Argument, Command, Failure, Outcome, control, device, help, inspect, jit};
use crate::vm::operator::{Operator, Order};

/// A VM, where only one makes sense.
const VM: &[Argument] = &[Argument::Vm(&[])];
/// VMs, where several make sense.
const VMS: &[Argument] = &[Argument::Vm(&["all"])];
const SWITCH: &[Argument] = &[Argument::Word(&["on", "off"])];

/// A command without arguments and peculiarities.
const fn plain(
    name: &'static str,
    help: &'static str,
    run: fn(&dyn Operator, &[&str]) -> Result<Outcome, Failure>,
) -> Command {
    Command {
        name,
        arguments: "",
        takes: &[],
        required: 0,
        repeats: false,
        help,
        more: "",
        in_full: false,
        run,
    }
}

/// An order for one VM or several.
const fn order(
    name: &'static str,
    help: &'static str,
    more: &'static str,
    run: fn(&dyn Operator, &[&str]) -> Result<Outcome, Failure>,
) -> Command {
    Command { arguments: "VM...", takes: VMS, required: 1, repeats: true, more, ..plain(name, help, run) }
}

/// All commands.
pub static COMMANDS: &[Command] = &[
    Command {
        arguments: "[COMMAND]",
        takes: &[Argument::Command],
        more: "Commands and VMs may be abbreviated as long as they stay unambiguous; TAB completes \
               them.\nA VM goes by its name or by its number in list, and VM.CPU is one of its vCPUs.\n\
               --json anywhere in a command gives its answer as JSON, on one line.\n\
               Keys: arrows, Home, End; up and down for the lines before; Ctrl-A, E, U, K, W, C, L.",
        ..plain("help", "what there is, or all about one command", help::help)
    },
    plain("list", "the VMs, and what they are doing", inspect::list),
    Command {
        arguments: "VM[:PORT]",
        takes: VM,
        required: 1,
        more: "Shows the last lines of the VM's output, and gives it what is typed. Without a port, this is its \
               UART; with one, as in web:0, that port of its virtio console. Ctrl-] leaves it. \
               Ctrl-] again, at an empty prompt, sends that character to the VM and goes back to it.",
        ..plain("console", "attaches you to a VM's serial console", control::console)
    },
    Command {
        arguments: "[on|off|VM...]",
        takes: &[Argument::Vm(&["on", "off", "all"])],
        repeats: true,
        more: "Without an argument, or with on, shows the output of all VMs, each line behind the VM's name. \
               With VMs, of these only. A VM that is not shown keeps its last output: see log.",
        ..plain("watch", "whose output is shown at the prompt", control::watch)
    },
    Command {
        arguments: "[VM[:PORT]] [LINES]",
        takes: &[Argument::Vm(&[control::OWN]), Argument::Number],
        more: "Shows 40 lines where no number is given. Without a VM, or with the word polyvisor, the lines \
               of Polyvisor itself.",
        ..plain("log", "the last lines of a VM, or of Polyvisor", control::log)
    },
    order("start", "switches VMs on", "Creates them first where that is not done.", |operator, vms| {
        control::order(operator, vms, Order::Start)
    }),
    order(
        "stop",
        "asks VMs to shut down",
        "A VM that has not done so in time is switched off. See also kill.",
        |operator, vms| control::order(operator, vms, Order::Stop),
    ),
    order("kill", "switches VMs off at once", "Their guests lose what is not on a disk.", |operator, vms| {
        control::order(operator, vms, Order::Kill)
    }),
    order("pause", "holds VMs", "They go on with resume, as if nothing had been.", |operator, vms| {
        control::order(operator, vms, Order::Pause)
    }),
    order("resume", "lets held VMs go on", "", |operator, vms| control::order(operator, vms, Order::Resume)),
    order("reset", "switches VMs off and on again", "", |operator, vms| {
        control::order(operator, vms, Order::Reset)
    }),
    order(
        "create",
        "gives VMs their memory and devices",
        "They can be started then. What they are is described in the bundle.",
        |operator, vms| control::order(operator, vms, Order::Create),
    ),
    order(
        "destroy",
        "takes VMs' memory and devices back",
        "They stay in the list, and can be created again.",
        |operator, vms| control::order(operator, vms, Order::Destroy),
    ),
    Command {
        arguments: "[VM...]",
        takes: VMS,
        repeats: true,
        more: "Run is the time for which vCPUs ran, steal that for which they had to wait for a CPU, idle that \
               for which they waited for an interrupt. With VMs, also the causes for which each vCPU left its \
               guest.",
        ..plain("stats", "CPU time, memory, and exits by cause", inspect::stats)
    },
    Command {
        arguments: "[COUNT]",
        takes: &[Argument::Number],
        more: "Refreshes once a second, COUNT times or until a key is pressed. With --json, once.",
        ..plain("top", "CPU use now, refreshing", control::top)
    },
    plain("sched", "the physical CPUs, and who runs on them", inspect::sched),
    Command {
        arguments: device::DISK,
        takes: &[Argument::Vm(&["plug", "unplug"]), Argument::Vm(&[]), Argument::Disk],
        more: "Without a VM, those of all VMs. Plug and unplug act on a VM that runs: its guest finds the disk, or \
               loses it at once, with what it has not written back.",
        ..plain("disk", "disks, and what they have done", device::disk)
    },
    Command {
        arguments: device::NET,
        takes: &[
            Argument::Vm(&["plug", "unplug", "link"]),
            Argument::Vm(&[]),
            Argument::Net,
            Argument::Word(&["up", "down"]),
        ],
        more: "Without a VM, those of all VMs; N counts those of one VM from 0. Plug and unplug act on a VM that \
               runs. Link takes up or down behind N: the cable, while the device stays.",
        ..plain("net", "network devices, and their traffic", device::net)
    },
    Command {
        arguments: "[NAME]",
        takes: &[Argument::Switch],
        more: "With a switch, its ports, why they have dropped frames, and the addresses that it has learned.",
        ..plain("switch", "switches, their ports and addresses", device::switch)
    },
    Command {
        arguments: "VM [SIZE]",
        takes: &[Argument::Vm(&[]), Argument::Number],
        required: 1,
        more: "With a size such as 256M, the guest is asked to put that much of its memory into the balloon, from \
               where the machine has it back; 0 lets it have all again. What is named guest is the guest's word.",
        ..plain("balloon", "memory that a VM gives back", device::balloon)
    },
    Command {
        arguments: "VM[.CPU]",
        takes: VM,
        required: 1,
        more: "The vCPU is stopped for the moment. Without a number it is the first one.",
        ..plain("regs", "the registers of a vCPU", inspect::regs)
    },
    Command {
        arguments: "VM[.CPU] ADDRESS [LENGTH]",
        takes: &[Argument::Vm(&[]), Argument::Number, Argument::Number],
        required: 2,
        more: "The address is a virtual one, as the vCPU sees it now, or a physical one of the VM behind p: \
               or phys:, as in p:0x40000000. The length is 128 bytes where none is given, 4096 at most.",
        ..plain("mem", "memory of a VM", inspect::mem)
    },
    Command {
        arguments: "VM[.CPU] [COUNT]",
        takes: &[Argument::Vm(&[]), Argument::Number],
        required: 1,
        more: "Shows 20 exits where no number is given, the oldest first.",
        ..plain("trace", "the last exits of a vCPU from its guest", inspect::trace)
    },
    Command {
        arguments: "VM",
        takes: VM,
        required: 1,
        more: "It is the one that the VM was started with.",
        ..plain("tree", "the devicetree of a VM", inspect::tree)
    },
    Command {
        arguments: jit::JIT,
        takes: &[Argument::Vm(&[]), Argument::Word(&["top", "block", "recording"]), Argument::Number],
        required: 1,
        more: "Of a VM of another instruction set. Top asks its engine for the N blocks that are executed most, block for \
               the one with the instruction at a virtual address: the guest's code, and what it was compiled to. Recording \
               says where in the machine's memory translations are that a paused VM has recorded.",
        ..plain("jit", "how RISC-V code is executed", jit::jit)
    },
    Command {
        arguments: "VM|off",
        takes: &[Argument::Vm(&["off"])],
        required: 1,
        more: "The debugger is connected to the machine's second serial line.",
        ..plain("gdb", "lets a remote debugger have a VM", control::gdb)
    },
    Command {
        arguments: "VM[.CPU]",
        takes: VM,
        required: 1,
        in_full: true,
        more: "For tests: a VM of another instruction set crashes as it would by a mistake in the engine, the program \
               that executes its guest. The guest loses what is not on a disk.",
        ..plain("fail", "has a VM's engine fail, to see what that does", control::fail)
    },
    plain("info", "the machine, its memory, the version", inspect::info),
    Command {
        arguments: "on|off",
        takes: SWITCH,
        required: 1,
        ..plain("colour", "whether names and states are coloured", control::colour)
    },
    Command {
        in_full: true,
        more: "At once: VMs are not asked first. See stop.",
        ..plain("reboot", "restarts the machine", |operator, _| control::power(operator, true))
    },
    Command {
        in_full: true,
        more: "At once: VMs are not asked first. See stop.",
        ..plain("poweroff", "switches the machine off", |operator, _| control::power(operator, false))
    },
];
