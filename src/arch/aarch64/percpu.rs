//! What each physical CPU has of its own: its number, and its stacks with a guard page between them.

use core::ops::Range;
use core::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

use aarch64_cpu::registers::{Readable, TPIDR_EL2, Writeable};

use super::timer::Alarms;
use crate::mm::addr::{PAGE_SIZE, PhysAddr};
use crate::platform::board::MAX_CPUS;
use crate::vm::scheduler::CpuScheduler;
use crate::vm::watchdog::Watched;

/// Size and alignment of a [`CpuArea`]. arch/aarch64/vectors.S tells the stack from what is below it by
/// address bit 16.
pub const CPU_AREA_SIZE: usize = 128 << 10;
const STACK_SIZE: usize = 64 << 10;
const GUARD_OFFSET: usize = STACK_SIZE - PAGE_SIZE as usize;
const EMERGENCY_SIZE: usize = GUARD_OFFSET - PAGE_SIZE as usize;

/// A CPU's memory, from low to high: its data, the stack on which a stack overflow is reported, the guard
/// page (unmapped), and the stack.
#[repr(C, align(131072))]
struct CpuArea {
    cpu: PerCpu,
    _rest_of_page: [u8; PAGE_SIZE as usize - size_of::<PerCpu>()],
    _emergency_stack: [u8; EMERGENCY_SIZE],
    _guard: [u8; PAGE_SIZE as usize],
    _stack: [u8; STACK_SIZE],
}

const _: () = assert!(size_of::<CpuArea>() == CPU_AREA_SIZE);
const _: () = assert!(core::mem::offset_of!(CpuArea, _guard) == GUARD_OFFSET && GUARD_OFFSET == 0xf000);

/// The data of one physical CPU.
pub struct PerCpu {
    /// Position in the board's list of CPUs.
    pub index: usize,
    /// The affinity fields of its `MPIDR_EL1`.
    pub affinity: u64,
    /// Number of its CPU interface, by which a GICv2 addresses it; a GICv3 goes by affinity.
    pub gic_target: AtomicUsize,
    /// Where a GICv3 has the registers of its private interrupts.
    pub gic_private: AtomicU64,
    /// How many of its list registers, from the first on, may hold an interrupt.
    pub list_registers: AtomicUsize,
    /// What its timer is set for.
    pub alarms: Alarms,
    /// Its part of the scheduler.
    pub scheduler: CpuScheduler,
    /// What the watchdog remembers of it.
    pub watched: Watched,
}

impl PerCpu {
    /// Makes the CPU findable by [`cpu`]: it is up and takes work.
    pub fn publish(&'static self) {
        if let Some(slot) = CPUS.get(self.index) {
            slot.store(core::ptr::from_ref(self).cast_mut(), Ordering::Release);
            COUNT.fetch_max(self.index + 1, Ordering::Release);
        }
    }
}

/// One more than the highest index among those that have been started.
static COUNT: AtomicUsize = AtomicUsize::new(0);
static CPUS: [AtomicPtr<PerCpu>; MAX_CPUS] = [const { AtomicPtr::new(core::ptr::null_mut()) }; MAX_CPUS];

unsafe extern "C" {
    static mut __boot_cpu_area: u8;
}

/// The page of the area at `start` that must not be mapped.
pub fn guard_page(start: u64) -> Range<u64> {
    start + GUARD_OFFSET as u64..start + GUARD_OFFSET as u64 + PAGE_SIZE
}

/// Where the area of the boot CPU lies.
pub fn boot_area() -> u64 {
    &raw const __boot_cpu_area as u64
}

/// Fills in the area of the CPU that the machine booted on, which is part of the image.
///
/// # Safety
/// Called once, by that CPU.
pub unsafe fn prepare_boot(index: usize, affinity: u64) {
    // SAFETY: the caller's promise; the area is the boot CPU's alone.
    unsafe { prepare(PhysAddr(boot_area()), index, affinity) };
}

/// Fills in the area at `start`, for a CPU that is about to be started, and returns where its stack starts.
///
/// # Safety
/// `start` is a multiple of [`CPU_AREA_SIZE`], and the area behind it is that CPU's alone, for good.
pub unsafe fn prepare(start: PhysAddr, index: usize, affinity: u64) -> u64 {
    let area = start.0 as *mut CpuArea;
    let cpu = PerCpu {
        index,
        affinity,
        gic_target: AtomicUsize::new(0),
        gic_private: AtomicU64::new(0),
        list_registers: AtomicUsize::new(0),
        alarms: Alarms::default(),
        scheduler: CpuScheduler::default(),
        watched: Watched::default(),
    };
    // SAFETY: the caller's promise; the first field is written as a whole.
    unsafe { (&raw mut (*area).cpu).write(cpu) };
    start.0 + CPU_AREA_SIZE as u64
}

/// Points this CPU at the area whose stack it runs on.
///
/// # Safety
/// The caller runs on the stack of an area that [`prepare`] has filled in.
pub unsafe fn install() {
    let here = aarch64_cpu::registers::SP.get();
    TPIDR_EL2.set((here - 1) & !(CPU_AREA_SIZE as u64 - 1));
}

/// The CPU that executes this.
pub fn this_cpu() -> &'static PerCpu {
    // SAFETY: `install` has pointed TPIDR_EL2 at an area that lives for good; nothing else writes the
    // register.
    unsafe { &*(TPIDR_EL2.get() as *const PerCpu) }
}

/// The CPU of the given index, if it has been started.
pub fn cpu(index: usize) -> Option<&'static PerCpu> {
    let cpu = CPUS.get(index)?.load(Ordering::Acquire);
    // SAFETY: published areas are initialised and live for good.
    unsafe { cpu.as_ref() }
}

/// Every CPU that has been started.
pub fn all() -> impl Iterator<Item = &'static PerCpu> + Clone {
    (0..COUNT.load(Ordering::Acquire)).filter_map(cpu)
}

/// Bounds of the stack that contains `address`, within this CPU's area.
pub fn stack_around(address: u64) -> Option<Range<u64>> {
    let base = TPIDR_EL2.get();
    let part = address.checked_sub(base)?;
    let stacks = [PAGE_SIZE..GUARD_OFFSET as u64, STACK_SIZE as u64..CPU_AREA_SIZE as u64];
    stacks.into_iter().find(|stack| stack.contains(&part)).map(|stack| base + stack.start..base + stack.end)
}
