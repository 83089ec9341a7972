//! Faults: what nobody answers, and what is not defined, comes back as the guest's own exception, and the
//! guest goes on.

use core::arch::asm;

use guest_support::{
    exception::{Esr, Fault, probe},
    machine::{Machine, UNCLAIMED},
    mmio,
    mmu::{Memory, Window},
};

use super::check::{Failure, Outcome, Test};

pub const TESTS: &[Test] = &[
    Test::everywhere("fault-unclaimed-load", unclaimed_load),
    Test::everywhere("fault-unclaimed-store", unclaimed_store),
    Test::everywhere("fault-unclaimed-pair", unclaimed_pair),
    Test::once("fault-unclaimed-fetch", unclaimed_fetch),
    Test::once("fault-beyond-ram", beyond_ram),
    Test::once("fault-walk", walk),
    Test::everywhere("fault-undefined-register", undefined_register),
    Test::everywhere("fault-el2-register", el2_register),
    Test::everywhere("fault-undefined-instruction", undefined_instruction),
    Test::everywhere("fault-misaligned-pc", misaligned_pc),
];

/// A synchronous external abort on a load or store at `address`.
fn expect_abort(outcome: Result<u64, Fault>, address: u64, write: bool) -> Outcome {
    let fault = match outcome {
        Ok(value) => return Err(Failure::new("an access that nobody claims was answered", value, 0)),
        Err(fault) => fault,
    };
    ensure_eq!(fault.esr.class(), Esr::DATA_ABORT, "the exception class");
    ensure_eq!(fault.esr.fault_status(), Esr::EXTERNAL_ABORT, "the fault status");
    ensure!(fault.esr.is_32_bit(), "ESR.IL");
    ensure_eq!(fault.esr.is_write(), write, "ESR.WnR");
    ensure_eq!(fault.far, address, "FAR");
    Ok(())
}

fn unclaimed_load(_: &Machine) -> Outcome {
    for offset in [0, 8, 0xff8] {
        let address = UNCLAIMED + offset;
        expect_abort(probe(|| u64::from(mmio::read8(address))), address, false)?;
        expect_abort(probe(|| u64::from(mmio::read16(address))), address, false)?;
        expect_abort(probe(|| u64::from(mmio::read32(address))), address, false)?;
        expect_abort(probe(|| mmio::read64(address)), address, false)?;
    }
    Ok(())
}

fn unclaimed_store(_: &Machine) -> Outcome {
    for offset in [0, 8, 0xff8] {
        let address = UNCLAIMED + offset;
        let ran = |store: fn(u64)| {
            move || {
                store(address);
                0
            }
        };
        expect_abort(probe(ran(|address| mmio::write8(address, 1))), address, true)?;
        expect_abort(probe(ran(|address| mmio::write16(address, 1))), address, true)?;
        expect_abort(probe(ran(|address| mmio::write32(address, 1))), address, true)?;
        expect_abort(probe(ran(|address| mmio::write64(address, 1))), address, true)?;
    }
    Ok(())
}

/// The same for accesses that give the hypervisor no syndrome; a register that would have been written back
/// keeps its value.
fn unclaimed_pair(_: &Machine) -> Outcome {
    expect_abort(
        probe(|| {
            let value: u64;
            // SAFETY: nothing is there, so the load does nothing but fault.
            unsafe {
                asm!("ldp {0}, {1}, [{2}]", out(reg) value, out(reg) _, in(reg) UNCLAIMED, options(nostack));
            };
            value
        }),
        UNCLAIMED,
        false,
    )?;
    expect_abort(
        probe(|| {
            // SAFETY: nothing is there, so the store does nothing but fault.
            unsafe { asm!("str xzr, [{0}], #8", inout(reg) UNCLAIMED => _, options(nostack)) };
            0
        }),
        UNCLAIMED,
        true,
    )
}

fn unclaimed_fetch(_: &Machine) -> Outcome {
    let target = Window::A.map(UNCLAIMED, Memory::DeviceExecutable);
    let outcome = jump(target);
    Window::A.unmap();
    match outcome {
        Ok(value) => Err(Failure::new("instructions were found where there is nothing", value, 0)),
        Err(fault) => {
            ensure_eq!(fault.esr.class(), Esr::INSTRUCTION_ABORT, "the exception class");
            ensure_eq!(fault.esr.fault_status(), Esr::EXTERNAL_ABORT, "the fault status");
            ensure_eq!(fault.far, target, "FAR");
            ensure_eq!(fault.elr, target, "ELR");
            Ok(())
        }
    }
}

fn beyond_ram(machine: &Machine) -> Outcome {
    let end = machine.ram.end;
    mmio::read64(end - 8);
    for memory in [Memory::Normal, Memory::Device] {
        let address = Window::A.map(end, memory);
        let outcome = expect_abort(probe(|| mmio::read64(address)), address, false);
        Window::A.unmap();
        outcome?;
    }
    Ok(())
}

/// A translation table where there is nothing: an external abort on the walk.
fn walk(_: &Machine) -> Outcome {
    let address = Window::A.walk(UNCLAIMED, 3);
    let outcome = probe(|| mmio::read64(address));
    Window::A.unmap();
    match outcome {
        Ok(value) => Err(Failure::new("a table was found where there is nothing", value, 0)),
        Err(fault) => {
            if fault.esr.class() != Esr::DATA_ABORT || !fault.esr.is_walk_abort() {
                return Err(Failure::fault("an external abort on a walk", fault));
            }
            ensure_eq!(fault.far, address, "FAR");
            Ok(())
        }
    }
}

fn expect_undefined(outcome: Result<u64, Fault>) -> Outcome {
    match outcome {
        Ok(value) => Err(Failure::new("something undefined was executed", value, 0)),
        Err(fault) => {
            ensure_eq!(fault.esr.class(), Esr::UNKNOWN, "the exception class");
            ensure!(fault.esr.is_32_bit(), "ESR.IL");
            ensure_eq!(fault.esr.0 & 0x1ff_ffff, 0, "the syndrome of an undefined instruction");
            Ok(())
        }
    }
}

macro_rules! reading {
    ($register:literal) => {
        probe(|| {
            let value: u64;
            // SAFETY: reading a register, or an exception.
            unsafe { asm!(concat!("mrs {}, ", $register), out(reg) value, options(nostack)) };
            value
        })
    };
}

/// Encodings that the architecture does not allocate.
fn undefined_register(_: &Machine) -> Outcome {
    expect_undefined(reading!("S3_3_C13_C15_7"))?;
    expect_undefined(reading!("S3_0_C8_C5_3"))?;
    expect_undefined(reading!("S2_7_C7_C7_7"))?;
    expect_undefined(probe(|| {
        // SAFETY: an exception, whatever this encoding might have meant.
        unsafe { asm!("msr S3_3_C13_C15_7, xzr", options(nostack)) };
        0
    }))
}

/// EL1 never sees registers of EL2.
fn el2_register(_: &Machine) -> Outcome {
    expect_undefined(reading!("hcr_el2"))?;
    expect_undefined(reading!("vttbr_el2"))?;
    expect_undefined(reading!("vbar_el2"))?;
    expect_undefined(probe(|| {
        // SAFETY: an exception, since this is not EL2.
        unsafe { asm!("msr hcr_el2, xzr", options(nostack)) };
        0
    }))
}

fn undefined_instruction(_: &Machine) -> Outcome {
    expect_undefined(probe(|| {
        // SAFETY: an exception.
        unsafe { asm!("udf #0", options(nostack)) };
        0
    }))
}

fn misaligned_pc(machine: &Machine) -> Outcome {
    let target = machine.image.start + 2;
    match jump(target) {
        Ok(value) => Err(Failure::new("a misaligned address was executed", value, 0)),
        Err(fault) => {
            ensure_eq!(fault.esr.class(), Esr::PC_ALIGNMENT, "the exception class");
            ensure_eq!(fault.far, target, "FAR");
            Ok(())
        }
    }
}

fn jump(target: u64) -> Result<u64, Fault> {
    probe(|| {
        // SAFETY: the callers jump to where nothing can be executed.
        unsafe { asm!("blr {0}", in(reg) target, clobber_abi("C")) };
        0
    })
}
