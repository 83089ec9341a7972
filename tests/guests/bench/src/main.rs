//! Measures what the virtual machine costs: prints `bench: NAME VALUE` lines, the average number of
//! virtual-counter ticks per operation with the loop around it subtracted.
//!
//! Under `-icount shift=0 -cpu max` the counter runs at 1 GHz and an instruction takes a nanosecond, so that
//! a tick is an instruction and every run gives the same figures. `bench: cntfrq` says what a tick is
//! elsewhere.
//!
//! The boot argument `measure=` says what: `exits` (the default) needs one CPU, `ipi` and `switch` need two.
//!
//! | name         | from, to |
//! |--------------|----------|
//! | `hypercall`  | PSCI_VERSION by `hvc #0`, there and back |
//! | `gicd-read`  | a load of GICD_TYPER |
//! | `pl011-read` | a load of the UART's flag register |
//! | `sgi-self`   | an SGI to this CPU: sent, taken, acknowledged, ended, returned from |
//! | `timer`      | the virtual timer: due, to its interrupt acknowledged |
//! | `timer-phys` | the physical timer, likewise |
//! | `wfi-wake`   | the virtual timer while this CPU sleeps in WFI: due, to its interrupt acknowledged |
//! | `eoi`        | the end of an interrupt: one register write |
//! | `fault-in`   | the first store to an untouched 2 MiB block of RAM |
//! | `boot`       | reset (physical count 0) to this guest's first instruction |
//!
//! With `measure=ipi` and `measure=switch`, the median of many rounds:
//!
//! | name                | from, to |
//! |---------------------|----------|
//! | `ipi`               | an SGI to another CPU that sleeps in WFI: sent, to acknowledged there |
//! | `vcpu-switch`       | WFI of one vCPU, to the return from its WFI of the other, for which an interrupt waits; both on one CPU. The cheaper direction |
//! | `vcpu-switch-woken` | the other direction: dearer where waking somebody makes him run at once |
//!
//! With `measure=block` the average cost of a 4 KiB request to the first virtio disk, from offering it to seeing it
//! done, with the driver's instructions: `block-read` and `block-write` one at a time, `...-many` 32 at a time; those of
//! waiting do not count. Then, with 32 requests under way, `block-notifications` and `block-interrupts` per 1000 requests.
//! `measure=physical` calls the same `physical-...`, and `measure=net` `net-...`: with it, the average cost of a frame from the first virtio network card to the second, which must be on one switch:
//! `net-frame` of 1514 bytes one at a time, `net-frame-many` 32 at a time, `net-large` of 64 KiB.
//!
//! Where the second CPU does not come they say `bench: NAME skipped`.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod payload;

guest_support::payload!(payload::main);
