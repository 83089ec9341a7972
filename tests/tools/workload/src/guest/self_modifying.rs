//! Code that is written, changed, moved and replaced, in every way that Linux programs do it: what is executed is what is
//! there.

use core::{
    arch::naked_asm,
    mem, ptr,
    sync::atomic::{
        AtomicU32,
        Ordering::{Acquire, Relaxed, Release},
    },
};

use tool_support::linux::{Call, Errno, STDERR, call, say};

use super::{
    check,
    mapping::{Access, File, Mapping, PAGE},
    program::in_child,
    threads::{together, yield_now},
};

/// How often each thing is done in a round. An immediate holds it.
const TIMES: u32 = 500;
/// How many harts execute what another one changes.
const EXECUTORS: u32 = 3;

// include/uapi/linux/membarrier.h
const SYNC_CORE: usize = 1 << 5;
const REGISTER_SYNC_CORE: usize = 1 << 6;

// RISC-V instructions (unprivileged specification, chapter "RV32/64G Instruction Set Listings").
const RET: u32 = 0x0000_8067;
/// `auipc a0, 0`: the instruction's own address.
const OWN_ADDRESS: u32 = 0x0000_0517;

/// `li a0, number`, for a number below 2048.
const fn load_immediate(number: u32) -> u32 {
    number << 20 | 0x513
}

/// A function of no argument.
fn constant(number: u32) -> [u32; 2] {
    [load_immediate(number), RET]
}

/// Does all of it so often.
pub fn run(rounds: u32) -> Result<(), Errno> {
    for _ in 0..rounds {
        rewritten()?;
        written_through_another_mapping()?;
        replaced()?;
        crossing_a_page()?;
        changed_by_itself()?;
        beside_its_data()?;
        in_a_child()?;
        executed_by_others()?;
    }
    say(STDERR, format_args!("workload: self-modifying: ok, {rounds} rounds"));
    Ok(())
}

/// Writes instructions, of which the first is at a multiple of 2.
fn put(address: usize, code: &[u32]) {
    let halves = code.iter().flat_map(|word| [*word as u16, (word >> 16) as u16]);
    let start: *mut u16 = ptr::with_exposed_provenance_mut(address);
    for (index, half) in halves.enumerate() {
        // SAFETY: callers have mapped the memory, and nothing of Rust's is there.
        unsafe { start.add(index).write_volatile(half) };
    }
}

/// Makes all harts execute what has been written.
fn flush() -> Result<(), Errno> {
    // The kernel does not look at the addresses.
    // SAFETY: the call takes no memory.
    unsafe { call(Call::RiscvFlushIcache, [0, 0, 0]) }.map(drop)
}

/// Calls the function at this address.
fn execute(address: usize) -> usize {
    // SAFETY: callers have put a function there that only changes a0, and t0 and t1 at most.
    let function: extern "C" fn() -> usize =
        unsafe { mem::transmute(ptr::with_exposed_provenance::<()>(address)) };
    function()
}

/// The function at this address returns `number`.
fn expect(what: &str, address: usize, number: usize) -> Result<(), Errno> {
    let result = execute(address);
    check(result == number, format_args!("{what}: {result:#x} instead of {number:#x}"))
}

/// The same place has another function each time.
fn rewritten() -> Result<(), Errno> {
    let code = Mapping::anonymous(1, Access::All)?;
    for number in 0..TIMES {
        put(code.address(), &constant(number));
        flush()?;
        expect("rewritten code", code.address(), number as usize)?;
    }
    // Nobody may write any more, and then nobody may execute.
    code.protect(Access::Execute)?;
    expect("protected code", code.address(), TIMES as usize - 1)?;
    code.protect(Access::All)?;
    put(code.address(), &constant(TIMES));
    flush()?;
    expect("code that was protected", code.address(), TIMES as usize)
}

/// The same page is at two addresses, and is written through a third.
fn written_through_another_mapping() -> Result<(), Errno> {
    let file = File::new(1)?;
    let data = Mapping::of(&file, 0, 1, Access::Write)?;
    let views = [Mapping::of(&file, 0, 1, Access::Execute)?, Mapping::of(&file, 0, 1, Access::Execute)?];
    const SECOND: usize = 64;
    put(data.address() + SECOND, &[OWN_ADDRESS, RET]);
    for number in 0..TIMES {
        put(data.address(), &constant(number));
        flush()?;
        for view in &views {
            expect("code written elsewhere", view.address(), number as usize)?;
            expect("code that knows its place", view.address() + SECOND, view.address() + SECOND)?;
        }
    }
    file.close()
}

/// At the same address there is one page and then another; both are there elsewhere, too.
fn replaced() -> Result<(), Errno> {
    let file = File::new(2)?;
    let data = Mapping::of(&file, 0, 2, Access::Write)?;
    put(data.address(), &constant(1));
    put(data.address() + PAGE, &constant(2));
    flush()?;
    let code = Mapping::of(&file, 0, 1, Access::Execute)?;
    let both = Mapping::of(&file, 0, 2, Access::Execute)?;
    for time in 0..TIMES as usize {
        let page = time % 2;
        code.replace(0, &file, page, Access::Execute)?;
        expect("a replaced page", code.address(), page + 1)?;
        expect("a page that stays", both.address(), 1)?;
        expect("a page that stays", both.address() + PAGE, 2)?;
    }
    file.close()
}

/// An instruction begins on one page and ends on the next, which is written, and replaced.
fn crossing_a_page() -> Result<(), Errno> {
    let file = File::new(4)?;
    let data = Mapping::of(&file, 0, 4, Access::Write)?;
    // Two functions, on pages 0 and 1 and on 2 and 3: the number is in the second half of the first instruction.
    for (page, number) in [(1, 100), (3, 300)] {
        put(data.address() + page * PAGE - 2, &constant(number));
    }
    flush()?;
    let code = Mapping::of(&file, 0, 2, Access::Execute)?;
    let start = code.address() + PAGE - 2;
    for time in 0..TIMES as usize {
        let (page, number) = if time % 2 == 0 { (1, 100) } else { (3, 300) };
        code.replace(1, &file, page, Access::Execute)?;
        expect("half an instruction on a replaced page", start, number)?;
    }
    code.replace(1, &file, 1, Access::Execute)?;
    for number in 0..TIMES {
        put(data.address() + PAGE - 2, &constant(number));
        flush()?;
        expect("half an instruction on a changed page", start, number as usize)?;
    }
    file.close()
}

/// Changes the instruction at `2:` before each time it executes it: the sum of the immediates.
///
/// It is copied to where it can be written, as so many instructions.
#[unsafe(naked)]
extern "C" fn patching_loop(times: u64, instruction: u64, change: u64) -> u64 {
    naked_asm!(
        ".option push",
        ".option norvc",
        "mv t0, a0",
        "li a0, 0",
        "1: auipc t1, 0",
        "sw a1, 5 * 4(t1)",
        "xor a1, a1, a2",
        "fence.i",
        "addi t0, t0, -1",
        "2: addi a0, a0, 0",
        "bnez t0, 1b",
        "ret",
        ".option pop"
    )
}

const PATCHING_LOOP: usize = 10;

/// A loop that writes an instruction of its own each time.
fn changed_by_itself() -> Result<(), Errno> {
    const FIRST: u32 = 5;
    const CHANGE: u32 = 0x0f0;
    let code = Mapping::anonymous(1, Access::All)?;
    let source: *const u32 = patching_loop as *const u32;
    let mut copy = [0; PATCHING_LOOP];
    for (index, word) in copy.iter_mut().enumerate() {
        // SAFETY: the function has so many instructions of 4 bytes; it may be at a multiple of 2.
        *word = unsafe { source.add(index).read_unaligned() };
    }
    put(code.address(), &copy);
    flush()?;
    // SAFETY: the function is there now, and can write itself.
    let function: extern "C" fn(u64, u64, u64) -> u64 =
        unsafe { mem::transmute(ptr::with_exposed_provenance::<()>(code.address())) };
    // `addi a0, a0, FIRST`
    let instruction = FIRST << 20 | 0x5_0513;
    for times in [1, 2, TIMES] {
        let sum = function(times.into(), instruction.into(), (CHANGE << 20).into());
        let expected = u64::from(times.div_ceil(2) * FIRST + times / 2 * (FIRST ^ CHANGE));
        check(sum == expected, format_args!("code that changes itself: {sum} instead of {expected}"))?;
    }
    Ok(())
}

/// Code and what it writes are on the same page.
fn beside_its_data() -> Result<(), Errno> {
    /// Counts how often it is called, 64 bytes behind its own address.
    const COUNTER: [u32; 5] = [
        0x0000_0297, // auipc t0, 0
        0x0402_a503, // lw a0, 64(t0)
        0x0015_0513, // addi a0, a0, 1
        0x04a2_a023, // sw a0, 64(t0)
        RET,
    ];
    const OTHER: usize = 256;
    let code = Mapping::anonymous(1, Access::All)?;
    put(code.address(), &COUNTER);
    put(code.address() + OTHER, &constant(7));
    flush()?;
    for time in 1..=TIMES as usize {
        expect("code beside its data", code.address(), time)?;
        expect("code beside another's data", code.address() + OTHER, 7)?;
    }
    Ok(())
}

/// A copy of this program changes its copy of the code, at the same address.
fn in_a_child() -> Result<(), Errno> {
    const CHILDREN: u32 = 8;
    let code = Mapping::anonymous(1, Access::All)?;
    put(code.address(), &constant(1));
    flush()?;
    for child in 2..2 + CHILDREN {
        expect("a parent's code", code.address(), 1)?;
        in_child(|| {
            expect("a parent's code in a child", code.address(), 1)?;
            put(code.address(), &constant(child));
            flush()?;
            expect("a child's code", code.address(), child as usize)
        })?;
    }
    expect("a parent's code", code.address(), 1)
}

/// One hart changes what others are executing, and tells them when it has: from then on nobody executes what was before.
fn executed_by_others() -> Result<(), Errno> {
    let code = Mapping::anonymous(1, Access::All)?;
    put(code.address(), &constant(0));
    flush()?;
    let current = AtomicU32::new(0);
    let (stale, calls) = (AtomicU32::new(0), AtomicU32::new(0));
    // SAFETY: the call takes no memory.
    let has_barrier = unsafe { call(Call::Membarrier, [REGISTER_SYNC_CORE, 0, 0]) }.is_ok();
    together(EXECUTORS + 1, |hart| {
        if hart > 0 {
            loop {
                let known = current.load(Acquire);
                let found = execute(code.address()) as u32;
                let latest = current.load(Acquire) + 1;
                stale.fetch_add(u32::from(found < known || found > latest), Relaxed);
                calls.fetch_add(1, Relaxed);
                if known == TIMES {
                    return;
                }
            }
        }
        for number in 1..=TIMES {
            // One aligned store, which is seen as a whole or not at all.
            let first: *mut u32 = ptr::with_exposed_provenance_mut(code.address());
            // SAFETY: the page is mapped, and nothing of Rust's is there.
            unsafe { first.write_volatile(load_immediate(number)) };
            // Neither fails: both have been tried.
            let _ = flush();
            if has_barrier && number % 2 == 0 {
                // SAFETY: the call takes no memory.
                let _ = unsafe { call(Call::Membarrier, [SYNC_CORE, 0, 0]) };
            }
            current.store(number, Release);
            let before = calls.load(Relaxed);
            // Behind the last one they may have stopped.
            while number < TIMES && calls.load(Relaxed).wrapping_sub(before) < EXECUTORS {
                yield_now();
            }
        }
    })?;
    let stale = stale.into_inner();
    check(stale == 0, format_args!("changed code was executed as it was before {stale} times"))
}
