//! Taking over the machine's memory: the final mapping of EL2, and the frame allocator's share.

use core::fmt;
use core::ops::Range;

use arrayvec::ArrayVec;
use spin::Once;

use super::board::{Board, MAX_CPUS, MAX_RANGES, PhysRange};
use super::uart::Pl011;
use super::{console, debug_line};
use crate::arch::aarch64::percpu::{self, CPU_AREA_SIZE};
use crate::arch::aarch64::stage1::{self, Access};
use crate::mm::addr::{KIB, PAGE_SIZE, PhysAddr};
use crate::mm::frames::{self, Owner};
use crate::mm::tables::TableError;

unsafe extern "C" {
    static __text_start: u8;
    static __text_end: u8;
    static __rodata_start: u8;
    static __rodata_end: u8;
    static __data_start: u8;
    static __data_end: u8;
    static __image_end: u8;
}

/// Frames for the first tables, until the rest of RAM is mapped. They stay with the frame allocator.
#[repr(C, align(4096))]
struct FirstFrames([u8; 128 * KIB as usize]);

static mut FIRST_FRAMES: FirstFrames = FirstFrames([0; 128 * KIB as usize]);

/// What must be reachable before [`take_over`]: the image, the devicetree, and the console to complain on.
pub fn early(board: &Board, base: u64, tree: Range<u64>) -> ArrayVec<(Range<u64>, Access), 3> {
    let mut ranges = ArrayVec::new();
    // The image comes last but one, for the tree may lie in a block with it.
    ranges.push((tree, Access::Read));
    ranges.push((image(base), Access::Everything));
    let console = board.uart.as_ref().map(|uart| uart.registers.start.0..uart.registers.end.0);
    ranges.extend(console.map(|registers| (registers, Access::Device)));
    ranges
}

/// Why memory could not be taken over.
#[derive(Debug)]
pub enum LayoutError {
    /// The image does not lie in RAM that the devicetree describes.
    ImageOutsideRam {
        /// Where it lies.
        image: u64,
    },
    /// There is no free range of this many bytes, for the CPUs' stacks.
    NoRoomForStacks {
        /// Bytes.
        size: u64,
    },
    /// It cannot be mapped.
    Table(TableError),
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ImageOutsideRam { image } => {
                write!(f, "the image lies at {image:#x}, where the devicetree knows no RAM")
            }
            Self::NoRoomForStacks { size } => {
                write!(f, "no {} KiB of free RAM in one piece for the CPUs' stacks", size >> 10)
            }
            Self::Table(error) => write!(f, "mapping memory: {error}"),
        }
    }
}

/// The physical range of the image, which starts at `base`.
pub fn image(base: u64) -> Range<u64> {
    base..&raw const __image_end as u64
}

/// Where the CPUs' areas lie, one after the other by index, and how many there are.
static CPU_AREAS: Once<(PhysAddr, usize)> = Once::new();

/// The memory set aside for the CPU of the given index: stacks and data (see [`percpu`]).
pub fn cpu_area(index: usize) -> Option<PhysAddr> {
    let (start, count) = CPU_AREAS.get()?;
    (index < *count).then(|| PhysAddr(start.0 + (index * CPU_AREA_SIZE) as u64))
}

/// Bytes of RAM that are EL2's own: the image with its .bss, the CPUs' areas, and what the frame allocator
/// has handed out to it. The first tables count twice, as their frames are part of the image.
pub fn footprint() -> u64 {
    let image = &raw const __image_end as u64 - &raw const __text_start as u64;
    let areas = CPU_AREAS.get().map_or(0, |(_, count)| (count * CPU_AREA_SIZE) as u64);
    image + areas + frames::in_use(Owner::Hypervisor)
}

/// Calls `found` with each part of RAM that neither the image nor anything reserved covers.
fn for_each_free_range(board: &Board, image: &Range<u64>, mut found: impl FnMut(PhysRange)) {
    let mut taken: ArrayVec<PhysRange, { MAX_RANGES + 1 }> = board.reserved.iter().cloned().collect();
    taken.push(PhysAddr(image.start)..PhysAddr(image.end));
    taken.sort_by_key(|range| range.start);
    for ram in &board.memory {
        let mut start = ram.start;
        for range in taken.iter().filter(|range| range.start < ram.end) {
            if start < range.start {
                found(start..range.start);
            }
            start = start.max(range.end);
        }
        if start < ram.end {
            found(start..ram.end);
        }
    }
}

/// Maps all RAM and the serial lines with their final rights, attaches these, and hands the free RAM to the
/// frame allocator.
///
/// # Errors
/// [`LayoutError`].
///
/// # Safety
/// Called once, on the boot CPU with the early mapping on; `board` describes the machine.
pub unsafe fn take_over(board: &Board, base: u64) -> Result<(), LayoutError> {
    let image = image(base);
    if !board.memory.iter().any(|ram| ram.start.0 <= image.start && image.end <= ram.end.0) {
        return Err(LayoutError::ImageOutsideRam { image: base });
    }
    let first = &raw const FIRST_FRAMES as u64;
    // SAFETY: the array is nobody else's; it is mapped as part of the image.
    unsafe { frames::add(PhysAddr(first), PhysAddr(first + size_of::<FirstFrames>() as u64)) };

    let mut areas = None;
    let areas_size = (board.cpus.len() * CPU_AREA_SIZE) as u64;
    for_each_free_range(board, &image, |free| {
        let start = free.start.0.next_multiple_of(CPU_AREA_SIZE as u64);
        if areas.is_none() && start + areas_size <= free.end.0 {
            areas = Some(start..start + areas_size);
        }
    });
    let areas = areas.ok_or(LayoutError::NoRoomForStacks { size: areas_size })?;

    let ram = Some(Access::Write);
    let device = Some(Access::Device);
    let mut map: ArrayVec<(Range<u64>, Option<Access>), { 2 * MAX_RANGES + MAX_CPUS + 8 }> = ArrayVec::new();
    map.extend(board.memory.iter().map(|range| (range.start.0..range.end.0, ram)));
    map.extend(board.unmapped.iter().filter_map(|range| {
        // Only whole pages can be left out.
        let pages = range.start.0.next_multiple_of(PAGE_SIZE)..range.end.align_down(PAGE_SIZE).0;
        (!pages.is_empty()).then_some((pages, None))
    }));
    map.push((&raw const __text_start as u64..&raw const __text_end as u64, Some(Access::Execute)));
    map.push((&raw const __rodata_start as u64..&raw const __rodata_end as u64, Some(Access::Read)));
    map.push((&raw const __data_start as u64..&raw const __data_end as u64, ram));
    map.push((percpu::guard_page(percpu::boot_area()), None));
    map.extend(areas.clone().step_by(CPU_AREA_SIZE).map(|area| (percpu::guard_page(area), None)));
    let uarts = board.uart.iter().chain(&board.debug_uart);
    map.extend(uarts.map(|uart| (uart.registers.start.0..uart.registers.end.0, device)));
    map.extend(board.rtc.iter().map(|rtc| (rtc.start.0..rtc.end.0, device)));
    map.extend(board.bcm2835_power.iter().map(|power| (power.start.0..power.end.0, device)));
    // SAFETY: the caller's promise.
    unsafe { stage1::finish(&map) }.map_err(LayoutError::Table)?;
    CPU_AREAS.call_once(|| (PhysAddr(areas.start), board.cpus.len()));

    if let Some(uart) = &board.uart {
        // SAFETY: the devicetree names it, and it has just been mapped.
        console::attach(unsafe { Pl011::new(uart.registers.start) });
    }
    if let Some(uart) = &board.debug_uart {
        // SAFETY: as above.
        debug_line::attach(unsafe { Pl011::new(uart.registers.start) });
    }
    for_each_free_range(board, &image, |free| {
        // SAFETY: free RAM is nobody's, and it is mapped; the areas are left out.
        unsafe {
            frames::add(free.start, free.end.min(PhysAddr(areas.start)).max(free.start));
            frames::add(free.start.max(PhysAddr(areas.end)).min(free.end), free.end);
        }
    });
    Ok(())
}
