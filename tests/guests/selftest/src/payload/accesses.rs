//! Device accesses for which the hardware gives a hypervisor no syndrome (ISV = 0): pairs, write-back, SIMD
//! registers.
//!
//! They must do what plain accesses do. The PL011's identification registers at offset 0xfe0 are eight words
//! of which each is different; its baud rate divisors at 0x24 and 0x28 can be written and read back.

use core::arch::{asm, global_asm};

use guest_support::{
    machine::{Machine, UART},
    mmio, mmu, read_sysreg,
};

use super::check::{Outcome, Test};

pub const TESTS: &[Test] = &[
    Test::everywhere("isv-load-pair", load_pair),
    Test::everywhere("isv-load-write-back", load_write_back),
    Test::everywhere("isv-load-simd", load_simd),
    Test::everywhere("isv-load-gicd", load_gicd),
    Test::once("isv-store", store),
    Test::once("isv-mmu-off", mmu_off),
    Test::everywhere("mmio-extension", extension),
];

const ID: u64 = UART + 0xfe0;
const IBRD: u64 = UART + 0x24;
const FBRD: u64 = UART + 0x28;

/// Loads by `$text` with {a} and {b} as results and {p} as pointer, which begins at `$address`; gives all
/// three.
macro_rules! load {
    ($text:literal, $address:expr) => {{
        let (a, b): (u64, u64);
        let mut p: u64 = $address;
        // SAFETY: loads from identification registers.
        unsafe { asm!($text, a = out(reg) a, b = out(reg) b, p = inout(reg) p, options(nostack)) };
        (a, b, p)
    }};
}

/// Likewise by SIMD registers 0 and 1, which are then moved to {a} to {d}.
macro_rules! load_vector {
    ($text:literal, $address:expr) => {{
        let (a, b, c, d): (u64, u64, u64, u64);
        let mut p: u64 = $address;
        // SAFETY: loads from identification registers. Rust code uses no SIMD registers on this target.
        unsafe {
            asm!(
                ".arch_extension simd",
                "movi v0.2d, #0",
                "movi v1.2d, #0",
                $text,
                "umov {a}, v0.d[0]", "umov {b}, v0.d[1]", "umov {c}, v1.d[0]", "umov {d}, v1.d[1]",
                a = out(reg) a, b = out(reg) b, c = out(reg) c, d = out(reg) d,
                p = inout(reg) p, options(nostack),
            );
        };
        ([a, b, c, d], p)
    }};
}

fn word(index: u64) -> u64 {
    u64::from(mmio::read32(ID + 4 * index))
}

fn double(index: u64) -> u64 {
    mmio::read64(ID + 8 * index)
}

fn load_pair(_: &Machine) -> Outcome {
    let (a, b, _) = load!("ldp {a:w}, {b:w}, [{p}]", ID);
    ensure_eq!(a, word(0), "ldp w, first");
    ensure_eq!(b, word(1), "ldp w, second");
    let (a, b, _) = load!("ldp {a}, {b}, [{p}, #16]", ID);
    ensure_eq!(a, double(2), "ldp x, first");
    ensure_eq!(b, double(3), "ldp x, second");
    let (a, b, _) = load!("ldnp {a:w}, {b:w}, [{p}, #8]", ID);
    ensure_eq!(a, word(2), "ldnp w, first");
    ensure_eq!(b, word(3), "ldnp w, second");
    let (a, b, _) = load!("ldpsw {a}, {b}, [{p}, #4]", ID);
    ensure_eq!(a, word(1), "ldpsw, first");
    ensure_eq!(b, word(2), "ldpsw, second");
    let (a, b, p) = load!("ldp {a:w}, {b:w}, [{p}], #-8", ID + 8);
    ensure_eq!(a, word(2), "ldp w with post-index, first");
    ensure_eq!(b, word(3), "ldp w with post-index, second");
    ensure_eq!(p, ID, "ldp w with post-index, pointer");
    let (a, b, p) = load!("ldp {a}, {b}, [{p}, #16]!", ID);
    ensure_eq!(a, double(2), "ldp x with pre-index, first");
    ensure_eq!(b, double(3), "ldp x with pre-index, second");
    ensure_eq!(p, ID + 16, "ldp x with pre-index, pointer");
    Ok(())
}

fn load_write_back(_: &Machine) -> Outcome {
    let (a, _, p) = load!("ldr {a:w}, [{p}], #4\nmov {b}, #0", ID + 4);
    ensure_eq!(a, word(1), "ldr w with post-index");
    ensure_eq!(p, ID + 8, "ldr w with post-index, pointer");
    let (a, _, p) = load!("ldr {a}, [{p}, #8]!\nmov {b}, #0", ID);
    ensure_eq!(a, double(1), "ldr x with pre-index");
    ensure_eq!(p, ID + 8, "ldr x with pre-index, pointer");
    let (a, _, p) = load!("ldrb {a:w}, [{p}], #-1\nmov {b}, #0", ID + 28);
    ensure_eq!(a, word(7) & 0xff, "ldrb with post-index");
    ensure_eq!(p, ID + 27, "ldrb with post-index, pointer");
    // PCellID3 is 0xb1: the only one with the sign bit of a byte.
    let (a, _, _) = load!("ldrsb {a}, [{p}], #4\nmov {b}, #0", ID + 28);
    ensure_eq!(a, word(7) as u8 as i8, "ldrsb x with post-index");
    let (a, _, _) = load!("ldrsb {a:w}, [{p}, #12]!\nmov {b}, #0", ID + 16);
    ensure_eq!(a, word(7) as u8 as i8 as i32 as u32, "ldrsb w with pre-index");
    let (a, _, p) = load!("ldrh {a:w}, [{p}], #2\nmov {b}, #0", ID + 8);
    ensure_eq!(a, word(2) & 0xffff, "ldrh with post-index");
    ensure_eq!(p, ID + 10, "ldrh with post-index, pointer");
    let (a, _, _) = load!("ldrsw {a}, [{p}], #4\nmov {b}, #0", ID + 4);
    ensure_eq!(a, word(1), "ldrsw with post-index");
    Ok(())
}

fn load_simd(_: &Machine) -> Outcome {
    let ([a, b, ..], _) = load_vector!("ldr s0, [{p}]", ID + 4);
    ensure_eq!(a, word(1), "ldr s");
    ensure_eq!(b, 0, "ldr s clears the rest");
    let ([a, ..], p) = load_vector!("ldr d0, [{p}], #8", ID);
    ensure_eq!(a, double(0), "ldr d with post-index");
    ensure_eq!(p, ID + 8, "ldr d with post-index, pointer");
    let ([a, b, ..], _) = load_vector!("ldr q0, [{p}]", ID);
    ensure_eq!(a, double(0), "ldr q, low");
    ensure_eq!(b, double(1), "ldr q, high");
    let ([a, ..], _) = load_vector!("ldr b0, [{p}, #28]", ID);
    ensure_eq!(a, word(7) & 0xff, "ldr b");
    let ([a, ..], _) = load_vector!("ldr h0, [{p}, #8]", ID);
    ensure_eq!(a, word(2) & 0xffff, "ldr h");
    let ([a, _, c, _], _) = load_vector!("ldp s0, s1, [{p}, #8]", ID);
    ensure_eq!(a, word(2), "ldp s, first");
    ensure_eq!(c, word(3), "ldp s, second");
    let ([a, _, c, _], p) = load_vector!("ldp d0, d1, [{p}, #16]!", ID);
    ensure_eq!(a, double(2), "ldp d with pre-index, first");
    ensure_eq!(c, double(3), "ldp d with pre-index, second");
    ensure_eq!(p, ID + 16, "ldp d with pre-index, pointer");
    let (all, p) = load_vector!("ldp q0, q1, [{p}], #32", ID);
    for (index, found) in (0..).zip(all) {
        ensure_eq!(found, double(index), "ldp q with post-index");
    }
    ensure_eq!(p, ID + 32, "ldp q with post-index, pointer");
    Ok(())
}

fn load_gicd(machine: &Machine) -> Outcome {
    // GICD_TYPER and GICD_IIDR, read-only.
    let typer = machine.gic.distributor() + 4;
    let (a, b, _) = load!("ldp {a:w}, {b:w}, [{p}]", typer);
    ensure_eq!(a, mmio::read32(typer), "ldp of GICD_TYPER");
    ensure_eq!(b, mmio::read32(typer + 4), "ldp of GICD_IIDR");
    let ([a, ..], p) = load_vector!("ldr s0, [{p}], #4", typer);
    ensure_eq!(a, mmio::read32(typer), "ldr s of GICD_TYPER");
    ensure_eq!(p, typer + 4, "ldr s of GICD_TYPER, pointer");
    Ok(())
}

/// Stores by `$text` with {a} and {b} as values and {p} as pointer, which begins at `$address`; gives the
/// pointer and the divisors.
macro_rules! store {
    ($text:literal, $address:expr, $a:expr, $b:expr) => {{
        let mut p: u64 = $address;
        // SAFETY: stores to the divisors of a UART that transmits at no particular speed.
        unsafe {
            asm!(
                ".arch_extension simd",
                $text,
                a = in(reg) $a as u64, b = in(reg) $b as u64, p = inout(reg) p, options(nostack),
            );
        };
        (p, mmio::read32(IBRD), mmio::read32(FBRD))
    }};
}

fn store(_: &Machine) -> Outcome {
    let (integer, fraction) = (mmio::read32(IBRD), mmio::read32(FBRD));
    let outcome = store_and_compare();
    mmio::write32(IBRD, integer);
    mmio::write32(FBRD, fraction);
    outcome
}

fn store_and_compare() -> Outcome {
    let (_, first, second) = store!("stp {a:w}, {b:w}, [{p}]", IBRD, 0x123, 0x15);
    ensure_eq!(first, 0x123, "stp w, first");
    ensure_eq!(second, 0x15, "stp w, second");
    let (p, first, second) = store!("str {a:w}, [{p}], #4\nstr {b:w}, [{p}], #4", IBRD, 0x234, 0x26);
    ensure_eq!(first, 0x234, "str w with post-index, first");
    ensure_eq!(second, 0x26, "str w with post-index, second");
    ensure_eq!(p, IBRD + 8, "str w with post-index, pointer");
    let (p, first, second) = store!("str {b:w}, [{p}, #4]!\nstr {a:w}, [{p}, #-4]!", IBRD, 0x345, 0x37);
    ensure_eq!(first, 0x345, "str w with pre-index, first");
    ensure_eq!(second, 0x37, "str w with pre-index, second");
    ensure_eq!(p, IBRD, "str w with pre-index, pointer");
    let (p, first, second) = store!("stp {a:w}, {b:w}, [{p}], #16", IBRD, 0x456, 0x08);
    ensure_eq!(first, 0x456, "stp w with post-index, first");
    ensure_eq!(second, 0x08, "stp w with post-index, second");
    ensure_eq!(p, IBRD + 16, "stp w with post-index, pointer");
    let (_, first, second) = store!("fmov s0, {a:w}\nfmov s1, {b:w}\nstp s0, s1, [{p}]", IBRD, 0x567, 0x19);
    ensure_eq!(first, 0x567, "stp s, first");
    ensure_eq!(second, 0x19, "stp s, second");
    let (p, first, second) =
        store!("fmov s0, {a:w}\nfmov s1, {b:w}\nstr s0, [{p}], #4\nstr s1, [{p}]", IBRD, 0x678, 0x2a);
    ensure_eq!(first, 0x678, "str s with post-index");
    ensure_eq!(second, 0x2a, "str s");
    ensure_eq!(p, IBRD + 4, "str s with post-index, pointer");
    Ok(())
}

// Pairs of words from [x0] and from [x0 + x1], combined, by leaf code that needs no stack.
global_asm!(
    ".text",
    "selftest_mmu_off_leaf:",
    "    add     x1, x0, x1",
    "    ldp     w2, w3, [x0]",
    "    ldr     w4, [x1], #4",
    "    orr     x0, x2, x3, lsl #16",
    "    orr     x0, x0, x4, lsl #32",
    "    ret",
);

/// With the MMU off a hypervisor finds the instruction where PC says, without the guest's tables.
fn mmu_off(_: &Machine) -> Outcome {
    unsafe extern "C" {
        fn selftest_mmu_off_leaf(address: u64, offset: u64) -> u64;
    }
    // SAFETY: the function above uses registers only, and loads from the UART.
    let found = unsafe { mmu::with_mmu_off(selftest_mmu_off_leaf, ID, 28) };
    ensure_eq!(found, word(0) | word(1) << 16 | word(7) << 32, "accesses with the MMU off");
    ensure!(read_sysreg!("sctlr_el1") & 1 == 1, "the MMU is on again");
    Ok(())
}

/// Plain loads of every width and extension, for which there is a syndrome with SSE and SF.
fn extension(_: &Machine) -> Outcome {
    let id = ID + 28;
    let (a, b, _) = load!("ldrsb {a}, [{p}]\nldrsb {b:w}, [{p}]", id);
    ensure_eq!(a, word(7) as u8 as i8, "ldrsb x");
    ensure_eq!(b, word(7) as u8 as i8 as i32 as u32, "ldrsb w");
    let (a, b, _) = load!("ldrb {a:w}, [{p}]\nldrh {b:w}, [{p}]", id);
    ensure_eq!(a, word(7) & 0xff, "ldrb");
    ensure_eq!(b, word(7) & 0xffff, "ldrh");
    let (a, b, _) = load!("ldrsh {a}, [{p}]\nldrsw {b}, [{p}]", id);
    ensure_eq!(a, word(7) as u16 as i16, "ldrsh x");
    ensure_eq!(b, word(7) as u32 as i32, "ldrsw");
    let (a, b, _) = load!("ldar {a:w}, [{p}]\nldur {b:w}, [{p}, #-4]", id);
    ensure_eq!(a, word(7), "ldar");
    ensure_eq!(b, word(6), "ldur");
    // XZR as destination: the access happens, its value does not.
    let (a, b, _) = load!("ldr wzr, [{p}]\nmov {a}, xzr\nldp wzr, {b:w}, [{p}, #-4]", id);
    ensure_eq!(a, 0, "xzr after a load to it");
    ensure_eq!(b, word(7), "ldp with wzr as first");
    Ok(())
}
