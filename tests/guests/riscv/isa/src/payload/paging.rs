//! Sv39.

use core::arch::asm;

use super::{
    check::Checks,
    protection,
    trap::{FETCH_PAGE, LOAD_PAGE, Mode, STORE_PAGE, clear, read, run, set, snippet, write},
};

/// Bits of an entry.
const V: u64 = 1;
const R: u64 = 1 << 1;
const W: u64 = 1 << 2;
const X: u64 = 1 << 3;
const U: u64 = 1 << 4;
const A: u64 = 1 << 6;
const D: u64 = 1 << 7;
/// mstatus.SUM and MXR.
const SUM: u64 = 1 << 18;
const MXR: u64 = 1 << 19;
/// menvcfg.ADUE: hardware sets A and D.
const ADUE: u64 = 1 << 61;

/// Where the pages under test are seen, and those of 2 MiB.
const VIRTUAL: u64 = 0x1_0000_0000;
const LARGE: u64 = VIRTUAL + (2 << 20);

#[repr(C, align(4096))]
struct Page([u64; 512]);

impl Page {
    const fn new() -> Self {
        Self([0; 512])
    }
}

static mut ROOT: Page = Page::new();
static mut MIDDLE: Page = Page::new();
static mut LEAVES: Page = Page::new();
/// Two pages of memory: the first begins with an ECALL.
static mut MEMORY: [Page; 2] = [Page::new(), Page::new()];

/// A pointer entry or leaf for a physical address.
fn entry(address: u64, flags: u64) -> u64 {
    address >> 12 << 10 | flags
}

/// Writes an entry of a table.
fn put(table: *mut Page, index: usize, entry: u64) {
    // SAFETY: the tables are used by this module only, which gives indices below 512.
    unsafe { table.cast::<u64>().wrapping_add(index).write_volatile(entry) };
    // SAFETY: it makes the entry known, and touches no memory.
    unsafe { asm!("sfence.vma") };
}

fn physical<T>(what: *const T) -> u64 {
    what.addr() as u64
}

/// Maps the first page of memory with these flags.
fn map(flags: u64) {
    put(&raw mut LEAVES, 0, entry(physical(&raw const MEMORY), flags));
}

/// Checks it.
pub fn check(checks: &mut Checks) {
    protection::open();
    clear!("menvcfg", ADUE);
    put(&raw mut ROOT, 2, entry(0x8000_0000, V | R | W | X | A | D));
    put(&raw mut ROOT, 4, entry(physical(&raw const MIDDLE), V));
    put(&raw mut MIDDLE, 0, entry(physical(&raw const LEAVES), V));
    put((&raw mut MEMORY).cast(), 0, 0x73);
    // SAFETY: it orders instruction fetches behind stores.
    unsafe { asm!("fence.i") };
    write!("satp", 8 << 60 | physical(&raw const ROOT) >> 12);
    checks.equal("satp takes Sv39", read!("satp") >> 60, 8);
    permissions(checks);
    user_pages(checks);
    pointers(checks);
    addresses(checks);
    changes(checks);
    crossing(checks);
    large(checks);
    spaces(checks);
    write!("satp", 0_u64);
}

/// The causes of a load, a store, and a fetch in this mode; zero if it went well.
fn causes(mode: Mode, address: u64) -> [u64; 3] {
    let code = [snippet!("ld a1, 8(a0)"), snippet!("sd a1, 8(a0)"), snippet!("jr a0")];
    code.map(|code| {
        let cause = run(mode, code, [address]).cause;
        if cause == mode.call() { 0 } else { cause }
    })
}

fn permissions(checks: &mut Checks) {
    let (load, store, fetch) = (LOAD_PAGE, STORE_PAGE, FETCH_PAGE);
    let cases = [
        ("nothing", 0, [load, store, fetch]),
        ("not valid", R | W | X | A | D, [load, store, fetch]),
        ("R", V | R | A | D, [0, store, fetch]),
        ("RW", V | R | W | A | D, [0, 0, fetch]),
        ("X", V | X | A | D, [load, store, 0]),
        ("RX", V | R | X | A | D, [0, store, 0]),
        ("RWX", V | R | W | X | A | D, [0, 0, 0]),
        ("W, reserved", V | W | A | D, [load, store, fetch]),
        ("WX, reserved", V | W | X | A | D, [load, store, fetch]),
        ("not accessed", V | R | W | X | D, [load, store, fetch]),
        ("not dirty", V | R | W | X | A, [0, store, 0]),
        ("a pointer at the last level", V, [load, store, fetch]),
        ("a reserved bit", V | R | W | X | A | D | 1 << 57, [load, store, fetch]),
    ];
    for (name, flags, want) in cases {
        map(flags);
        for (access, (got, want)) in causes(Mode::Supervisor, VIRTUAL).into_iter().zip(want).enumerate() {
            checks.equal(format_args!("{name}: {}", ["load", "store", "fetch"][access]), got, want);
        }
    }
    map(V | R | A | D);
    let trap = run(Mode::Supervisor, snippet!("nop", "sw a1, 20(a0)"), [VIRTUAL]);
    checks.equal("a store to a page of R: tval", trap.value, VIRTUAL + 20);
    checks.equal("a store to a page of R: pc", trap.offset, 4);
    let trap = run(Mode::Supervisor, snippet!("amoor.w a1, zero, (a0)"), [VIRTUAL]);
    checks.equal("an AMO to a page of R", trap.cause, STORE_PAGE);
    let trap = run(Mode::Supervisor, snippet!("lr.w a1, (a0)"), [VIRTUAL]);
    checks.equal("an LR from a page of R", trap.cause, Mode::Supervisor.call());
    map(0);
    let trap = run(Mode::Supervisor, snippet!("lr.w a1, (a0)"), [VIRTUAL]);
    checks.equal("an LR from no page", trap.cause, LOAD_PAGE);
    let trap = run(Mode::Supervisor, snippet!("jr a0"), [VIRTUAL + 2]);
    checks.equal("a fetch from no page: tval", trap.value, VIRTUAL + 2);
    map(V | X | A | D);
    set!("mstatus", MXR);
    checks.equal("a load from a page of X with MXR", causes(Mode::Supervisor, VIRTUAL)[0], 0);
    clear!("mstatus", MXR);
}

fn user_pages(checks: &mut Checks) {
    map(V | R | W | X | U | A | D);
    checks.equal("S loads from a page of U", causes(Mode::Supervisor, VIRTUAL)[0], LOAD_PAGE);
    set!("mstatus", SUM);
    let [load, store, fetch] = causes(Mode::Supervisor, VIRTUAL);
    clear!("mstatus", SUM);
    checks.equal("S loads from a page of U with SUM", load, 0);
    checks.equal("S stores to a page of U with SUM", store, 0);
    checks.equal("S executes a page of U with SUM", fetch, FETCH_PAGE);
    // User mode finds no code but the page's own.
    let user = run(Mode::User, VIRTUAL, []);
    checks.equal("U executes a page of U", user.cause, Mode::User.call());
    map(V | R | W | X | A | D);
    let user = run(Mode::User, VIRTUAL, []);
    checks.equal("U executes a page of S", user.cause, FETCH_PAGE);
    checks.equal("U executes a page of S: tval", user.value, VIRTUAL);
    // MPRV with MPP = U: loads of machine mode are user mode's.
    let code =
        snippet!("li t0, 3 << 11", "csrc mstatus, t0", "li t0, 1 << 17", "csrs mstatus, t0", "ld a1, 8(a0)");
    let trap = run(Mode::Machine, code, [VIRTUAL]);
    clear!("mstatus", 1_u64 << 17);
    checks.equal("M loads from a page of S for U", trap.cause, LOAD_PAGE);
    map(V | R | U | A | D);
    let trap = run(Mode::Machine, code, [VIRTUAL]);
    clear!("mstatus", 1_u64 << 17);
    checks.equal("M loads from a page of U for U", trap.cause, Mode::Machine.call());
    map(V | R | W | X | A | D);
}

fn pointers(checks: &mut Checks) {
    let leaves = physical(&raw const LEAVES);
    for (name, flags) in [("A", V | A), ("D", V | D), ("U", V | U)] {
        put(&raw mut MIDDLE, 0, entry(leaves, flags));
        let got = causes(Mode::Supervisor, VIRTUAL)[0];
        checks.equal(format_args!("a pointer with {name}, reserved"), got, LOAD_PAGE);
    }
    put(&raw mut MIDDLE, 0, entry(leaves, V));
    checks.equal("a pointer", causes(Mode::Supervisor, VIRTUAL)[0], 0);
}

/// Bits 63 to 39 equal bit 38.
fn addresses(checks: &mut Checks) {
    for bit in [39, 47, 63] {
        let address = VIRTUAL | 1 << bit;
        let trap = run(Mode::Supervisor, snippet!("ld a1, 0(a0)"), [address]);
        checks.equal(format_args!("bit {bit} alone: cause"), trap.cause, LOAD_PAGE);
        checks.equal(format_args!("bit {bit} alone: tval"), trap.value, address);
    }
    let top = 0xffff_ffff_ffff_f000;
    put(&raw mut ROOT, 511, entry(physical(&raw const MIDDLE), V));
    put(&raw mut MIDDLE, 511, entry(physical(&raw const LEAVES), V));
    put(&raw mut LEAVES, 511, entry(physical(&raw const MEMORY), V | R | W | X | A | D));
    checks.equal("the last page", causes(Mode::Supervisor, top)[0], 0);
    put(&raw mut ROOT, 511, 0);
}

/// SFENCE.VMA shows changed entries, by any of its operands.
fn changes(checks: &mut Checks) {
    let pages = [physical(&raw const MEMORY), physical(&raw const MEMORY) + 4096];
    put((&raw mut MEMORY).cast::<Page>().wrapping_add(0), 1, 100);
    put((&raw mut MEMORY).cast::<Page>().wrapping_add(1), 1, 200);
    let code = [
        ("all", snippet!("ld a3, 8(a0)", "sd a1, 0(a2)", "sfence.vma", "ld a4, 8(a0)")),
        ("an address", snippet!("ld a3, 8(a0)", "sd a1, 0(a2)", "sfence.vma a0", "ld a4, 8(a0)")),
        (
            "an ASID",
            snippet!("ld a3, 8(a0)", "sd a1, 0(a2)", "li a5, 0", "sfence.vma zero, a5", "ld a4, 8(a0)"),
        ),
        ("both", snippet!("ld a3, 8(a0)", "sd a1, 0(a2)", "li a5, 0", "sfence.vma a0, a5", "ld a4, 8(a0)")),
    ];
    let flags = V | R | W | X | A | D;
    for (name, code) in code {
        put(&raw mut LEAVES, 0, entry(pages[0], flags));
        let trap =
            run(Mode::Supervisor, code, [VIRTUAL, entry(pages[1], flags), physical(&raw const LEAVES)]);
        checks.equal(format_args!("sfence.vma of {name}: before"), trap.a[3], 100);
        checks.equal(format_args!("sfence.vma of {name}: after"), trap.a[4], 200);
    }
    map(flags);
}

/// Accesses of two pages: what is wrong with the second is said of its own address.
fn crossing(checks: &mut Checks) {
    let second = physical(&raw const MEMORY) + 4096;
    let flags = V | R | W | X | A | D;
    map(flags);
    put(&raw mut LEAVES, 1, entry(second, flags));
    let good = run(
        Mode::Supervisor,
        snippet!("sd a1, -4(a0)", "ld a2, -4(a0)"),
        [VIRTUAL + 4096, 0x1122_3344_5566_7788],
    );
    checks.equal("two pages", good.a[2], 0x1122_3344_5566_7788);
    put(&raw mut LEAVES, 1, 0);
    let load = run(Mode::Supervisor, snippet!("ld a1, -4(a0)"), [VIRTUAL + 4096]);
    checks.equal("a load, the second is missing: cause", load.cause, LOAD_PAGE);
    checks.equal("a load, the second is missing: tval", load.value, VIRTUAL + 4096);
    let store = run(Mode::Supervisor, snippet!("ld a2, -8(a0)", "sd a1, -4(a0)"), [VIRTUAL + 4096, 0]);
    checks.equal("a store, the second is missing: cause", store.cause, STORE_PAGE);
    checks.equal("a store, the second is missing: tval", store.value, VIRTUAL + 4096);
    let after = run(Mode::Supervisor, snippet!("ld a2, -8(a0)"), [VIRTUAL + 4096]);
    checks.equal("a store, the second is missing: the first is untouched", after.a[2], store.a[2]);
    // An instruction whose second half is missing: its address is mepc, the half's is mtval.
    put((&raw mut MEMORY).cast(), 511, 0x0013_0001_0001_0001);
    // SAFETY: it orders instruction fetches behind stores.
    unsafe { asm!("fence.i") };
    let code = VIRTUAL + 4096 - 8;
    let fetch = run(Mode::Supervisor, code, []);
    checks.equal("an instruction, the second is missing: cause", fetch.cause, FETCH_PAGE);
    checks.equal("an instruction, the second is missing: pc", fetch.offset, 6);
    checks.equal("an instruction, the second is missing: tval", fetch.value, VIRTUAL + 4096);
}

fn large(checks: &mut Checks) {
    let memory = physical(&raw const MEMORY);
    let base = memory >> 21 << 21;
    let flags = V | R | W | X | A | D;
    put(&raw mut MIDDLE, 1, entry(base, flags));
    checks.equal("2 MiB", causes(Mode::Supervisor, LARGE + (memory - base))[0], 0);
    put(&raw mut MIDDLE, 1, entry(base + 4096, flags));
    checks.equal("2 MiB, misaligned", causes(Mode::Supervisor, LARGE)[0], LOAD_PAGE);
    put(&raw mut MIDDLE, 1, 0);
}

/// What is known in one address space is not known in another.
fn spaces(checks: &mut Checks) {
    map(V | R | W | X | A | D);
    let code = snippet!(
        "ld a3, 8(a0)",
        // Another ASID; the entry is gone, and only the other space is told.
        "csrw satp, a1",
        "sd zero, 0(a2)",
        "sfence.vma zero, a4",
        "ld a5, 8(a0)"
    );
    let satp = read!("satp");
    let other = satp | 1 << 44;
    let trap = run(Mode::Supervisor, code, [VIRTUAL, other, physical(&raw const LEAVES), 0, 1]);
    checks.equal("an entry that was removed in this space", trap.cause, LOAD_PAGE);
    write!("satp", satp);
    // SAFETY: it touches no memory.
    unsafe { asm!("sfence.vma") };
}
