//! RAM, caches and TLBs.

use core::arch::asm;

use guest_support::{
    exception::{Fault, probe},
    machine::Machine,
    mmio, read_sysreg,
};

use super::check::{Failure, Outcome, Test};

pub const TESTS: &[Test] = &[
    Test::once("ram-is-zero", is_zero),
    Test::once("ram-holds", holds),
    Test::everywhere("ram-unaligned", unaligned),
    Test::everywhere("cache-maintenance", cache_maintenance),
    Test::everywhere("cache-set-way", cache_set_way),
    Test::everywhere("tlb-maintenance", tlb_maintenance),
    Test::everywhere("address-translation", address_translation),
];

/// About how many places in RAM are looked at.
const SAMPLES: u64 = 1000;

/// Places all over free RAM, never twice in the same page.
fn samples(machine: &Machine) -> impl Iterator<Item = u64> + '_ {
    let size = machine.ram.end - machine.ram.start;
    let step = (size / SAMPLES + 0x1000) & !0xfff | 8;
    (machine.ram.start..machine.ram.end - 8)
        .step_by(step as usize)
        .filter(|&address| machine.is_free_ram(address))
}

/// Nobody's data is left in the memory that a machine starts with.
fn is_zero(machine: &Machine) -> Outcome {
    for address in samples(machine) {
        let page = address & !0xfff;
        for word in (page..page + 0x1000).step_by(512).filter(|&word| machine.is_free_ram(word)) {
            ensure_eq!(mmio::read64(word), 0, "a word of RAM at start");
        }
    }
    Ok(())
}

/// All of RAM is there, and no two places are the same.
fn holds(machine: &Machine) -> Outcome {
    for address in samples(machine) {
        mmio::write64(address, !address);
    }
    for address in samples(machine) {
        ensure_eq!(mmio::read64(address), !address, "what was written");
        mmio::write64(address, 0);
    }
    let last = machine.ram.end - 8;
    mmio::write64(last, 0x0123_4567_89ab_cdef);
    ensure_eq!(mmio::read64(last), 0x0123_4567_89ab_cdef, "the last word of RAM");
    Ok(())
}

fn unaligned(_: &Machine) -> Outcome {
    let mut buffer = [0u8; 64];
    for (value, byte) in (0..).zip(&mut buffer) {
        *byte = value;
    }
    for offset in 0..32u64 {
        let bytes = (0..8).map(|byte| (offset + byte) << (8 * byte)).sum::<u64>();
        ensure_eq!(mmio::read64(buffer.as_ptr() as u64 + offset), bytes, "an unaligned load");
    }
    Ok(())
}

fn without_fault(outcome: Result<u64, Fault>, what: &'static str) -> Outcome {
    outcome.map(|_| ()).map_err(|fault| Failure::fault(what, fault))
}

/// Runs an instruction that has `$address` as operand and must not fault.
macro_rules! run {
    ($text:literal, $address:expr) => {{
        let address: u64 = $address;
        without_fault(
            probe(|| {
                // SAFETY: maintenance of memory that is ours; nothing is lost, since clean lines follow every
                // store here.
                unsafe { asm!(concat!($text, ", {0}"), "dsb sy", "isb", in(reg) address, options(nostack)) };
                0
            }),
            $text,
        )?;
    }};
    ($text:literal) => {
        without_fault(
            probe(|| {
                // SAFETY: as above.
                unsafe { asm!($text, "dsb sy", "isb", options(nostack)) };
                0
            }),
            $text,
        )?
    };
}

#[repr(align(4096))]
struct Page([u8; 4096]);

fn cache_maintenance(_: &Machine) -> Outcome {
    let page = Page([0x5a; 4096]);
    let address = page.0.as_ptr() as u64;
    run!("dc cvac", address);
    run!("dc cvau", address);
    run!("dc civac", address);
    run!("dc ivac", address);
    run!("ic ivau", address);
    run!("ic iallu");
    run!("ic ialluis");
    ensure_eq!(mmio::read64(address + 2048), 0x5a5a_5a5a_5a5a_5a5au64, "memory after maintenance");
    // DCZID_EL0: DZP in bit 4, log2 of the block's words in bits [3:0].
    let zeroing = read_sysreg!("dczid_el0");
    if zeroing & 1 << 4 == 0 {
        let bytes = 4 << (zeroing & 0xf);
        run!("dc zva", address);
        ensure_eq!(mmio::read64(address), 0, "memory after dc zva");
        ensure_eq!(mmio::read64(address + bytes - 8), 0, "the end of the block after dc zva");
        ensure_eq!(mmio::read64(address + bytes), 0x5a5a_5a5a_5a5a_5a5au64, "memory behind dc zva");
    }
    Ok(())
}

/// By set and way, as older systems do at start. Whatever a hypervisor makes of it, data must survive.
fn cache_set_way(_: &Machine) -> Outcome {
    let page = Page([0xa5; 4096]);
    for level in 0..3u64 {
        run!("dc csw", level << 1);
        run!("dc cisw", level << 1);
    }
    ensure_eq!(
        mmio::read64(page.0.as_ptr() as u64),
        0xa5a5_a5a5_a5a5_a5a5u64,
        "memory after maintenance by set and way"
    );
    Ok(())
}

fn tlb_maintenance(_: &Machine) -> Outcome {
    run!("tlbi vmalle1");
    run!("tlbi vmalle1is");
    run!("tlbi vae1", 0x40000);
    run!("tlbi vae1is", 0x40000);
    run!("tlbi vale1is", 0x40000);
    run!("tlbi vaae1is", 0x40000);
    run!("tlbi vaale1is", 0x40000);
    run!("tlbi aside1", 1 << 48);
    run!("tlbi aside1is", 1 << 48);
    Ok(())
}

/// AT gives intermediate physical addresses: one to one here.
fn address_translation(machine: &Machine) -> Outcome {
    let address = machine.image.start;
    run!("at s1e1r", address);
    let result = read_sysreg!("par_el1");
    ensure_eq!(result & 1, 0, "PAR_EL1.F");
    ensure_eq!(result & 0xffff_ffff_f000, address & 0xffff_ffff_f000, "PAR_EL1.PA");
    Ok(())
}
