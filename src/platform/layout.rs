//! Taking over the machine's memory: the final mapping of EL2, and the frame allocator's share.

use core::fmt;
use core::ops::Range;

use arrayvec::ArrayVec;

use super::board::{Board, MAX_RANGES, PhysRange};
use super::console;
use super::uart::Pl011;
use crate::arch::aarch64::stage1::{self, Access};
use crate::mm::addr::{KIB, PhysAddr};
use crate::mm::frames;
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

/// Why memory could not be taken over.
#[derive(Debug)]
pub enum LayoutError {
    /// The image does not lie in RAM that the devicetree describes.
    ImageOutsideRam {
        /// Where it lies.
        image: u64,
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
            Self::Table(error) => write!(f, "mapping memory: {error}"),
        }
    }
}

/// The physical range of the image, which starts at `base`.
pub fn image(base: u64) -> Range<u64> {
    base..&raw const __image_end as u64
}

/// Maps all RAM and the console with their final rights, attaches the console, and hands the free RAM to the frame allocator.
///
/// # Errors
/// [`LayoutError`].
///
/// # Safety
/// Called once, on the boot CPU with the early mapping on; `board` describes the machine and `guard` is this CPU's guard page.
pub unsafe fn take_over(board: &Board, base: u64, guard: PhysAddr) -> Result<(), LayoutError> {
    let image = image(base);
    if !board.memory.iter().any(|ram| ram.start.0 <= image.start && image.end <= ram.end.0) {
        return Err(LayoutError::ImageOutsideRam { image: base });
    }
    let first = &raw const FIRST_FRAMES as u64;
    // SAFETY: the array is nobody else's; it is mapped as part of the image.
    unsafe { frames::add(PhysAddr(first), PhysAddr(first + size_of::<FirstFrames>() as u64)) };

    let mut map: ArrayVec<(Range<u64>, Access), { MAX_RANGES + 8 }> = ArrayVec::new();
    map.extend(board.memory.iter().map(|ram| (ram.start.0..ram.end.0, Access::Write)));
    map.push((&raw const __text_start as u64..&raw const __text_end as u64, Access::Execute));
    map.push((&raw const __rodata_start as u64..&raw const __rodata_end as u64, Access::Read));
    map.push((&raw const __data_start as u64..&raw const __data_end as u64, Access::Write));
    map.extend(board.uart.iter().map(|uart| (uart.registers.start.0..uart.registers.end.0, Access::Device)));
    map.extend(board.bcm2835_power.iter().map(|power| (power.start.0..power.end.0, Access::Device)));
    // SAFETY: the caller's promise.
    unsafe { stage1::finish(&map) }.map_err(LayoutError::Table)?;
    stage1::unmap_page(guard).map_err(LayoutError::Table)?;

    if let Some(uart) = &board.uart {
        // SAFETY: the devicetree names it, and it has just been mapped.
        console::attach(unsafe { Pl011::new(uart.registers.start) });
    }
    let mut taken: ArrayVec<PhysRange, { MAX_RANGES + 1 }> = board.reserved.iter().cloned().collect();
    taken.push(PhysAddr(image.start)..PhysAddr(image.end));
    taken.sort_by_key(|range| range.start);
    for ram in &board.memory {
        let mut start = ram.start;
        for range in &taken {
            if range.end <= start || range.start >= ram.end {
                continue;
            }
            if start < range.start {
                // SAFETY: RAM between two ranges in use is free, and it is mapped.
                unsafe { frames::add(start, range.start) };
            }
            start = start.max(range.end);
        }
        if start < ram.end {
            // SAFETY: as above.
            unsafe { frames::add(start, ram.end) };
        }
    }
    Ok(())
}
