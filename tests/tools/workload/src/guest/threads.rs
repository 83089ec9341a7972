//! Threads, each on a hart of its own as far as there are so many.

use core::{
    arch::naked_asm,
    hint, ptr,
    sync::atomic::{
        AtomicU32,
        Ordering::{AcqRel, Acquire, Relaxed, Release},
    },
};

use tool_support::linux::{Call, EINVAL, Errno, call, exit};

use super::mapping::{Access, Mapping};

/// The most threads there are at once.
const MAX_THREADS: u32 = 8;
/// The size of a thread's stack.
const STACK_PAGES: usize = 32;

// include/uapi/linux/sched.h: the new thread shares everything, and its end is written down.
const CLONE_VM: usize = 0x100;
const CLONE_FS: usize = 0x200;
const CLONE_FILES: usize = 0x400;
const CLONE_SIGHAND: usize = 0x800;
const CLONE_THREAD: usize = 0x1_0000;
const CLONE_SYSVSEM: usize = 0x4_0000;
const CLONE_CHILD_CLEARTID: usize = 0x20_0000;
const THREAD: usize =
    CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_CHILD_CLEARTID;
/// include/uapi/linux/futex.h
const FUTEX_WAIT: usize = 0;

/// What a thread finds at the top of its stack, to which the stack pointer points first.
#[repr(C, align(16))]
struct Start<'a> {
    work: &'a (dyn Fn(u32) + Sync),
    number: u32,
    /// Not 0 as long as the thread needs its stack.
    running: AtomicU32,
}

/// Does `work` on `count` threads at once, numbered from 0, and returns when all have done it.
pub fn together(count: u32, work: impl Fn(u32) + Sync) -> Result<(), Errno> {
    if !(1..=MAX_THREADS).contains(&count) {
        return Err(EINVAL);
    }
    let mut stacks = [const { None }; MAX_THREADS as usize];
    for slot in stacks.iter_mut().take(count as usize) {
        *slot = Some(Mapping::anonymous(STACK_PAGES, Access::Write)?);
    }
    let starts = || stacks.iter().flatten().map(|stack| stack.end() - size_of::<Start>());
    for (number, start) in (0..count).zip(starts()) {
        let start: *mut Start = ptr::with_exposed_provenance_mut(start);
        // SAFETY: the stack is that large, and aligned as a page is. `work` lives until all threads have ended.
        let started = unsafe {
            start.write(Start { work: &work, number, running: AtomicU32::new(1) });
            spawn(THREAD, start, 0, 0, &raw const (*start).running)
        };
        if started < 0 {
            // Others may be waiting for this one for ever.
            exit(started.unsigned_abs() as i32);
        }
    }
    for start in starts() {
        let start: *const Start = ptr::with_exposed_provenance(start);
        // SAFETY: it was written there.
        let running = unsafe { &(*start).running };
        while running.load(Acquire) != 0 {
            // SAFETY: the kernel reads the word. It wakes us when it has cleared it.
            let _ = unsafe { call(Call::Futex, [running.as_ptr().addr(), FUTEX_WAIT, 1, 0, 0, 0]) };
        }
    }
    Ok(())
}

/// clone(2) for a new thread, which calls [`enter`]; for the old one its result.
///
/// # Safety
/// `start` is the top of a stack of the new thread's own, and must stay until `running` is 0.
#[unsafe(naked)]
unsafe extern "C" fn spawn(
    flags: usize,
    start: *const Start,
    parent_tid: usize,
    tls: usize,
    running: *const AtomicU32,
) -> isize {
    naked_asm!(
        "li a7, {clone}",
        "ecall",
        "bnez a0, 1f",
        "mv a0, sp",
        "tail {enter}",
        "1: ret",
        clone = const Call::Clone as usize,
        enter = sym enter
    )
}

extern "C" fn enter(start: &Start) -> ! {
    // Where there are fewer harts the threads share them.
    let _ = pin(start.number);
    (start.work)(start.number);
    loop {
        // SAFETY: the call takes no memory.
        let _ = unsafe { call(Call::Exit, [0]) };
    }
}

/// Binds this thread to hart `number`, counted around where there are fewer: the one that it is.
pub fn pin(number: u32) -> Result<u32, Errno> {
    let hart = number % harts()?;
    let wanted = 1u64 << hart;
    // SAFETY: the kernel reads the mask.
    unsafe { call(Call::SchedSetaffinity, [0, size_of::<u64>(), (&raw const wanted).addr()]) }?;
    Ok(hart)
}

/// How many harts there are, the first of which has number 0.
fn harts() -> Result<u32, Errno> {
    /// What the first thread that asked was told: it was bound to none yet.
    static HARTS: AtomicU32 = AtomicU32::new(0);
    let known = HARTS.load(Relaxed);
    if known != 0 {
        return Ok(known);
    }
    let mut allowed = 0u64;
    // SAFETY: the kernel writes the mask.
    unsafe { call(Call::SchedGetaffinity, [0, size_of::<u64>(), (&raw mut allowed).addr()]) }?;
    let harts = allowed.count_ones().max(1);
    HARTS.store(harts, Relaxed);
    Ok(harts)
}

/// Lets another thread have this hart.
pub fn yield_now() {
    // SAFETY: the call takes no memory.
    let _ = unsafe { call::<0>(Call::SchedYield, []) };
}

/// Where threads wait for each other.
#[derive(Debug)]
pub struct Barrier {
    count: u32,
    arrived: AtomicU32,
    turn: AtomicU32,
}

impl Barrier {
    /// For so many threads.
    pub fn new(count: u32) -> Self {
        Self { count, arrived: AtomicU32::new(0), turn: AtomicU32::new(0) }
    }

    /// Waits until all of them are here.
    pub fn wait(&self) {
        /// How long others are waited for before one of them gets this hart.
        const SPINS: u32 = 256;
        let turn = self.turn.load(Relaxed);
        if self.arrived.fetch_add(1, AcqRel) + 1 == self.count {
            self.arrived.store(0, Relaxed);
            self.turn.store(turn.wrapping_add(1), Release);
            return;
        }
        let mut spins = 0;
        while self.turn.load(Acquire) == turn {
            hint::spin_loop();
            spins += 1;
            if spins % SPINS == 0 {
                yield_now();
            }
        }
    }
}
