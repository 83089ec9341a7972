//! Emulation of the loads and stores whose syndrome says nothing (ISV clear): pairs, write-back, SIMD&FP
//! registers.
//!
//! [`decode`] takes an A64 instruction apart into a [`LoadStore`], and [`LoadStore::execute`] carries that
//! out on a [`Context`]: first every access in pieces of at most 8 bytes, then, only if all of them
//! succeeded, the registers. Encodings are those of DDI 0487, C4.1 "Loads and Stores". Data is little-endian.
//!
//! A32 and T32 are not decoded: such code can run at EL0 only, and its plain `LDR` and `STR` come with a
//! valid syndrome.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use core::fmt;

use super::syndrome::{Extension, FaultStatus};
use crate::{
    devices::bus::Width,
    mm::addr::{Ipa, PAGE_SIZE},
};

/// As a base register number 31 is the stack pointer, anywhere else the zero register.
const ZR_OR_SP: u8 = 31;
/// The most registers that one instruction transfers (`LD1` and `ST1` of four).
const MAX_REGISTERS: usize = 4;

/// An instruction that may abort on device memory and can be emulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instruction {
    /// A load or store of one to four registers.
    LoadStore(LoadStore),
    /// A prefetch or cache maintenance: nothing to do for a device, which is never cached.
    Nothing,
}

/// Why an instruction is not emulated. [`DecodeError::fault_status`] is what the guest is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodeError {
    /// A load or store exclusive, an atomic, or a 64-byte access: devices support none of them.
    Exclusive(u32),
    /// `DC ZVA` and its kin, which take an alignment fault on any Device memory (C6.2 "DC").
    ZeroBlock(u32),
    /// Not a load or store that is decoded here: SVE, SIMD structures with interleaving or lanes, tags,
    /// pointer authentication, memory copy and set. The guest may also have changed the instruction since it
    /// was trapped.
    Unsupported(u32),
    /// The guest was in AArch32 state.
    Aarch32,
}

impl DecodeError {
    /// The fault status of the data abort that the guest takes for it.
    pub const fn fault_status(self) -> FaultStatus {
        match self {
            Self::Exclusive(_) => FaultStatus::UNSUPPORTED_EXCLUSIVE,
            Self::ZeroBlock(_) => FaultStatus::ALIGNMENT,
            Self::Unsupported(_) | Self::Aarch32 => FaultStatus::EXTERNAL_ABORT,
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exclusive(word) => write!(f, "exclusive or atomic access {word:#010x} to a device"),
            Self::ZeroBlock(word) => write!(f, "cache block zero {word:#010x} of a device"),
            Self::Unsupported(word) => write!(f, "access to a device by {word:#010x}, which is not emulated"),
            Self::Aarch32 => f.write_str("AArch32 access to a device without a valid syndrome"),
        }
    }
}

impl core::error::Error for DecodeError {}

/// What an emulated instruction acts on: the trapped vCPU's registers, and memory as that vCPU sees it.
pub trait Context {
    /// X0 to X30; `n` is at most 30.
    fn x(&self, n: u8) -> u64;
    /// Sets X0 to X30; `n` is at most 30.
    fn set_x(&mut self, n: u8, value: u64);
    /// The stack pointer that `SPSR_EL2` selects.
    fn sp(&self) -> u64;
    /// Sets that stack pointer.
    fn set_sp(&mut self, value: u64);
    /// V0 to V31; `n` is at most 31.
    fn v(&self, n: u8) -> u128;
    /// Sets V0 to V31; `n` is at most 31.
    fn set_v(&mut self, n: u8, value: u128);
    /// Reads at a virtual address; `None` if the guest is due an external abort.
    fn read(&mut self, address: u64, width: Width) -> Option<u64>;
    /// Writes at a virtual address; `None` if the guest is due an external abort.
    fn write(&mut self, address: u64, width: Width, value: u64) -> Option<()>;
}

/// The page that a data abort was taken for, from `FAR_EL2` and `HPFAR_EL2`: the one place whose translation
/// is known. A [`Context`] uses it to find the IPA of each access, and refuses an instruction that reaches
/// beyond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FaultPage {
    /// The virtual address that aborted.
    pub address: u64,
    /// The IPA that it translates to; only the page matters.
    pub ipa: Ipa,
}

impl FaultPage {
    /// The address bits that tell pages apart. The top byte may be a tag (TBI) and is not among them.
    const PAGE_NUMBER: u64 = ((1 << 56) - 1) & !(PAGE_SIZE - 1);

    /// The IPA of `width` bytes at `address`, or `None` where they are not wholly in the page.
    pub fn translate(&self, address: u64, width: Width) -> Option<Ipa> {
        let offset = address % PAGE_SIZE;
        let same_page = (address ^ self.address) & Self::PAGE_NUMBER == 0;
        (same_page && offset + width.bytes() <= PAGE_SIZE)
            .then(|| Ipa(self.ipa.align_down(PAGE_SIZE).0 | offset))
    }
}

/// A decoded load or store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadStore {
    direction: Direction,
    file: RegisterFile,
    size: Size,
    registers: Registers,
    base: Base,
    offset: Offset,
    indexing: Indexing,
}

/// An access of a [`LoadStore`] failed: the guest is due an external abort, and none of its registers have
/// changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccessFailed {
    /// The virtual address of the piece that failed.
    pub address: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Load,
    Store,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RegisterFile {
    /// X or W registers; a load widens by this rule.
    General(Extension),
    /// B, H, S, D or Q registers; a load clears what is above its size.
    Vector,
}

/// How much of each register is transferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Size {
    Narrow(Width),
    Quad,
}

impl Size {
    /// `1 << log2` bytes, 1 to 16.
    const fn from_log2(log2: u8) -> Option<Self> {
        match Width::from_log2(log2) {
            Some(width) => Some(Self::Narrow(width)),
            None if log2 == 4 => Some(Self::Quad),
            None => None,
        }
    }

    const fn bytes(self) -> u64 {
        match self {
            Self::Narrow(width) => width.bytes(),
            Self::Quad => 16,
        }
    }
}

/// The registers that are transferred, in the order of their addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Registers {
    numbers: [u8; MAX_REGISTERS],
    count: usize,
}

impl Registers {
    const fn one(rt: u8) -> Self {
        Self { numbers: [rt, 0, 0, 0], count: 1 }
    }

    const fn pair(rt: u8, rt2: u8) -> Self {
        Self { numbers: [rt, rt2, 0, 0], count: 2 }
    }

    /// `count` (1 to 4) registers from `rt` up; after 31 comes 0.
    fn list(rt: u8, count: usize) -> Self {
        Self { numbers: core::array::from_fn(|i| (rt.wrapping_add(i as u8)) % 32), count }
    }

    fn iter(self) -> impl Iterator<Item = u8> {
        self.numbers.into_iter().take(self.count)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Base {
    /// X0 to X30, or 31 for the stack pointer.
    Register(u8),
    ProgramCounter,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Offset {
    Immediate(i64),
    Register { rm: u8, extend: Extend, shift: u8 },
}

/// How an offset register is widened to 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extend {
    Uxtw,
    Sxtw,
    /// `LSL` and `SXTX`: it is 64 bits wide already.
    Full,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Indexing {
    /// The offset is added; the base stays.
    Offset,
    /// The offset is added and the base set to the sum.
    Pre,
    /// The base is used as it is, then the offset added to it.
    Post,
}

impl LoadStore {
    /// Whether it writes to memory.
    pub const fn is_store(&self) -> bool {
        matches!(self.direction, Direction::Store)
    }

    /// How many bytes it moves in all, 1 to 64.
    pub fn bytes(&self) -> u64 {
        self.registers.iter().map(|_| self.size.bytes()).sum()
    }

    /// Carries the instruction at `pc` out.
    ///
    /// # Errors
    /// The first access that `context` refused. Registers are then as they were; devices may have seen the
    /// accesses before it, as the architecture allows for an instruction that aborts half-way.
    pub fn execute(&self, pc: u64, context: &mut impl Context) -> Result<(), AccessFailed> {
        let base = match self.base {
            Base::Register(ZR_OR_SP) => context.sp(),
            Base::Register(n) => context.x(n),
            Base::ProgramCounter => pc,
        };
        let moved = base.wrapping_add(self.offset.value(context));
        let address = if self.indexing == Indexing::Post { base } else { moved };
        let addresses = (0..).map(|i: u64| address.wrapping_add(i * self.size.bytes()));
        match self.direction {
            Direction::Store => {
                for (n, address) in self.registers.iter().zip(addresses) {
                    self.size.write(address, self.file.get(n, context), context)?;
                }
                self.write_back(moved, context);
            }
            Direction::Load => {
                let mut values = [0; MAX_REGISTERS];
                for ((value, _), address) in values.iter_mut().zip(self.registers.iter()).zip(addresses) {
                    *value = self.size.read(address, context)?;
                }
                // Where a register that is loaded is also the base (CONSTRAINED UNPREDICTABLE), what was
                // loaded wins.
                self.write_back(moved, context);
                for (n, value) in self.registers.iter().zip(values) {
                    self.file.set(n, value, self.size, context);
                }
            }
        }
        Ok(())
    }

    fn write_back(&self, value: u64, context: &mut impl Context) {
        match (self.indexing, self.base) {
            (Indexing::Offset, _) | (_, Base::ProgramCounter) => {}
            (_, Base::Register(ZR_OR_SP)) => context.set_sp(value),
            (_, Base::Register(n)) => context.set_x(n, value),
        }
    }
}

impl Size {
    fn read(self, address: u64, context: &mut impl Context) -> Result<u128, AccessFailed> {
        let mut piece =
            |address, width| context.read(address, width).map(u128::from).ok_or(AccessFailed { address });
        match self {
            Self::Narrow(width) => piece(address, width),
            Self::Quad => {
                let low = piece(address, Width::Double)?;
                let high = piece(address.wrapping_add(8), Width::Double)?;
                Ok(high << 64 | low)
            }
        }
    }

    fn write(self, address: u64, value: u128, context: &mut impl Context) -> Result<(), AccessFailed> {
        let mut piece =
            |address, width, value| context.write(address, width, value).ok_or(AccessFailed { address });
        match self {
            Self::Narrow(width) => piece(address, width, width.truncate(value as u64)),
            Self::Quad => {
                piece(address, Width::Double, value as u64)?;
                piece(address.wrapping_add(8), Width::Double, (value >> 64) as u64)
            }
        }
    }
}

impl RegisterFile {
    fn get(self, n: u8, context: &impl Context) -> u128 {
        match self {
            Self::General(_) => general(n, context).into(),
            Self::Vector => context.v(n),
        }
    }

    fn set(self, n: u8, value: u128, size: Size, context: &mut impl Context) {
        match (self, size) {
            (Self::Vector, _) => context.set_v(n, value),
            (Self::General(extension), Size::Narrow(width)) if n != ZR_OR_SP => {
                context.set_x(n, extension.apply(value as u64, width));
            }
            // The zero register. (No general-purpose register is 16 bytes.)
            (Self::General(_), _) => {}
        }
    }
}

impl Offset {
    fn value(self, context: &impl Context) -> u64 {
        match self {
            Self::Immediate(offset) => offset as u64,
            Self::Register { rm, extend, shift } => {
                let value = general(rm, context);
                let extended = match extend {
                    Extend::Uxtw => value as u32 as u64,
                    Extend::Sxtw => value as i32 as u64,
                    Extend::Full => value,
                };
                extended << shift
            }
        }
    }
}

/// X0 to X30, and zero for 31.
fn general(n: u8, context: &impl Context) -> u64 {
    if n == ZR_OR_SP { 0 } else { context.x(n) }
}

/// SPSR_EL2.M\[4\]: the exception was taken from AArch32 state.
const SPSR_NRW: u64 = 1 << 4;

/// Takes apart the instruction `word`, which aborted on device memory in the state `spsr` (`SPSR_EL2`).
///
/// # Errors
/// Whatever cannot be emulated, and why.
pub fn decode(spsr: u64, word: u32) -> Result<Instruction, DecodeError> {
    if spsr & SPSR_NRW != 0 {
        return Err(DecodeError::Aarch32);
    }
    let word = Word(word);
    // The classes of C4.1 "Loads and Stores", then the system instructions.
    let decoded = if word.matches(0x3f00_0000, 0x0800_0000) {
        word.exclusive_or_ordered()
    } else if word.matches(0x3b00_0000, 0x1800_0000) {
        word.literal()
    } else if word.matches(0x3f20_0c00, 0x1900_0000) {
        word.ordered_unscaled()
    } else if word.matches(0x3a00_0000, 0x2800_0000) {
        word.pair()
    } else if word.matches(0x3a00_0000, 0x3800_0000) {
        word.single()
    } else if word.matches(0xbe00_0000, 0x0c00_0000) {
        word.structures()
    } else if word.matches(0xfff8_f000, 0xd508_7000) {
        word.cache_maintenance()
    } else {
        None
    };
    decoded.unwrap_or(Err(DecodeError::Unsupported(word.0)))
}

/// What became of a word whose class is known; `None` for an encoding that is not decoded.
type Decoded = Option<Result<Instruction, DecodeError>>;

/// An instruction word.
#[derive(Clone, Copy)]
struct Word(u32);

impl Word {
    const fn matches(self, mask: u32, value: u32) -> bool {
        self.0 & mask == value
    }

    /// The `width` (at most 8) bits from bit `low` up.
    const fn bits(self, low: u32, width: u32) -> u8 {
        ((self.0 >> low) & ((1 << width) - 1)) as u8
    }

    const fn bit(self, index: u32) -> bool {
        (self.0 >> index) & 1 != 0
    }

    /// The `width` bits from bit `low` up as a signed number.
    const fn signed(self, low: u32, width: u32) -> i64 {
        let unused = 32 - width;
        (((self.0 >> low) << unused) as i32 >> unused) as i64
    }

    const fn rt(self) -> u8 {
        self.bits(0, 5)
    }

    const fn base(self) -> Base {
        Base::Register(self.bits(5, 5))
    }

    const fn rt2(self) -> u8 {
        self.bits(10, 5)
    }

    /// Rm, and Rs where an instruction has one.
    const fn rm(self) -> u8 {
        self.bits(16, 5)
    }

    const fn is_vector(self) -> bool {
        self.bit(26)
    }

    /// L of the classes that have it in bit 22.
    const fn direction(self) -> Direction {
        if self.bit(22) { Direction::Load } else { Direction::Store }
    }

    /// A transfer of one register with neither offset nor write-back, to be refined with struct update.
    const fn plain(self, direction: Direction, file: RegisterFile, size: Size) -> LoadStore {
        LoadStore {
            direction,
            file,
            size,
            registers: Registers::one(self.rt()),
            base: self.base(),
            offset: Offset::Immediate(0),
            indexing: Indexing::Offset,
        }
    }

    /// "Load/store exclusive", "ordered" and "compare and swap": bits \[29:24\] are 001000. Only `LDAR`,
    /// `STLR`, `LDLAR` and `STLLR` (o2 set, o1 clear) are plain accesses.
    fn exclusive_or_ordered(self) -> Decoded {
        let (o2, o1) = (self.bit(23), self.bit(21));
        if !o2 || o1 {
            return Some(Err(DecodeError::Exclusive(self.0)));
        }
        let size = Size::from_log2(self.bits(30, 2))?;
        load_store(self.plain(self.direction(), RegisterFile::General(Extension::Zero), size))
    }

    /// "Load register (literal)".
    fn literal(self) -> Decoded {
        let (file, log2) = match (self.is_vector(), self.bits(30, 2)) {
            (false, 0b00) => (RegisterFile::General(Extension::Zero), 2),
            (false, 0b01) => (RegisterFile::General(Extension::Zero), 3),
            (false, 0b10) => (RegisterFile::General(Extension::SignTo64), 2),
            (false, _) => return Some(Ok(Instruction::Nothing)), // PRFM
            (true, 0b11) => return None,
            (true, opc) => (RegisterFile::Vector, opc + 2),
        };
        load_store(LoadStore {
            base: Base::ProgramCounter,
            offset: Offset::Immediate(self.signed(5, 19) * 4),
            ..self.plain(Direction::Load, file, Size::from_log2(log2)?)
        })
    }

    /// "LDAPR/STLR (unscaled immediate)" (FEAT_LRCPC2).
    fn ordered_unscaled(self) -> Decoded {
        let (direction, file, size) = self.general_transfer()?;
        load_store(LoadStore {
            offset: Offset::Immediate(self.signed(12, 9)),
            ..self.plain(direction, file, size)
        })
    }

    /// "Load/store register pair": no-allocate, post-indexed, offset and pre-indexed.
    fn pair(self) -> Decoded {
        let indexing = match self.bits(23, 2) {
            0b01 => Indexing::Post,
            0b11 => Indexing::Pre,
            _ => Indexing::Offset,
        };
        let no_allocate = self.bits(23, 2) == 0b00;
        let (file, log2) = match (self.is_vector(), self.bits(30, 2)) {
            (false, 0b00) => (RegisterFile::General(Extension::Zero), 2),
            // LDPSW. Its store is STGP, which writes tags as well.
            (false, 0b01) if self.bit(22) && !no_allocate => (RegisterFile::General(Extension::SignTo64), 2),
            (false, 0b10) => (RegisterFile::General(Extension::Zero), 3),
            (true, opc @ 0b00..=0b10) => (RegisterFile::Vector, opc + 2),
            _ => return None,
        };
        let size = Size::from_log2(log2)?;
        load_store(LoadStore {
            registers: Registers::pair(self.rt(), self.rt2()),
            offset: Offset::Immediate(self.signed(15, 7) << log2),
            indexing,
            ..self.plain(self.direction(), file, size)
        })
    }

    /// All of bits \[29:27\] = 111: one register with an immediate or a register offset, and the atomics.
    fn single(self) -> Decoded {
        let unsigned_offset = self.bit(24);
        let is_prefetch = !self.is_vector() && self.bits(30, 2) == 0b11 && self.bits(22, 2) == 0b10;
        // Bits [11:10] choose the form where there is no 12-bit offset.
        let form = self.bits(10, 2);
        match (unsigned_offset, self.bit(21), form) {
            (true, ..) | (false, false, 0b00) | (false, true, 0b10) if is_prefetch => {
                Some(Ok(Instruction::Nothing))
            }
            (true, ..) => self.single_at(Indexing::Offset, |size| {
                let imm12 = i64::from((self.0 >> 10) & 0xfff);
                Some(Offset::Immediate(imm12 * size.bytes() as i64))
            }),
            // LDTR and STTR: that they check permissions as EL0 made no difference to the Stage 2 fault.
            (false, false, 0b10) if self.is_vector() => None,
            (false, false, _) => {
                let indexing = match form {
                    0b01 => Indexing::Post,
                    0b11 => Indexing::Pre,
                    _ => Indexing::Offset,
                };
                self.single_at(indexing, |_| Some(Offset::Immediate(self.signed(12, 9))))
            }
            (false, true, 0b10) => self.single_at(Indexing::Offset, |size| self.register_offset(size)),
            (false, true, 0b00) if !self.is_vector() => self.atomic(),
            // LDRAA and LDRAB, whose base must be authenticated.
            (false, true, _) => None,
        }
    }

    fn single_at(self, indexing: Indexing, offset: impl FnOnce(Size) -> Option<Offset>) -> Decoded {
        let (direction, file, size) =
            if self.is_vector() { self.vector_transfer()? } else { self.general_transfer()? };
        load_store(LoadStore { offset: offset(size)?, indexing, ..self.plain(direction, file, size) })
    }

    /// size (bits \[31:30\]) and opc (bits \[23:22\]) of a transfer of one general-purpose register.
    fn general_transfer(self) -> Option<(Direction, RegisterFile, Size)> {
        let log2 = self.bits(30, 2);
        let (direction, extension) = match self.bits(22, 2) {
            0b00 => (Direction::Store, Extension::Zero),
            0b01 => (Direction::Load, Extension::Zero),
            0b10 if log2 < 3 => (Direction::Load, Extension::SignTo64),
            0b11 if log2 < 2 => (Direction::Load, Extension::SignTo32),
            _ => return None,
        };
        Some((direction, RegisterFile::General(extension), Size::from_log2(log2)?))
    }

    /// size (bits \[31:30\]) and opc (bits \[23:22\], whose high bit is a third size bit) of a transfer of
    /// one SIMD&FP register.
    fn vector_transfer(self) -> Option<(Direction, RegisterFile, Size)> {
        let log2 = match (self.bit(23), self.bits(30, 2)) {
            (false, size) => size,
            (true, 0b00) => 4,
            (true, _) => return None,
        };
        Some((self.direction(), RegisterFile::Vector, Size::from_log2(log2)?))
    }

    /// option and S of "Load/store register (register offset)".
    fn register_offset(self, size: Size) -> Option<Offset> {
        let extend = match self.bits(13, 3) {
            0b010 => Extend::Uxtw,
            0b110 => Extend::Sxtw,
            0b011 | 0b111 => Extend::Full,
            _ => return None,
        };
        let shift = if self.bit(12) { size.bytes().trailing_zeros() as u8 } else { 0 };
        Some(Offset::Register { rm: self.rm(), extend, shift })
    }

    /// "Atomic memory operations", among which `LDAPR` is a plain load. The 64-byte accesses are here as
    /// well.
    fn atomic(self) -> Decoded {
        if !self.matches(0x3fe0_fc00, 0x38a0_c000) {
            return Some(Err(DecodeError::Exclusive(self.0)));
        }
        let size = Size::from_log2(self.bits(30, 2))?;
        load_store(self.plain(Direction::Load, RegisterFile::General(Extension::Zero), size))
    }

    /// "Advanced SIMD load/store multiple structures", with and without post-index: `LD1` and `ST1`, which
    /// are transfers of whole registers whatever their element size.
    fn structures(self) -> Decoded {
        let post_index = self.bit(23);
        // Bits [24] and [21] are set for single structures; Rm must be zero where there is no post-index.
        if self.bit(24) || self.bit(21) || (!post_index && self.rm() != 0) {
            return None;
        }
        let count = match self.bits(12, 4) {
            0b0111 => 1,
            0b1010 => 2,
            0b0110 => 3,
            0b0010 => 4,
            _ => return None,
        };
        let size = if self.bit(30) { Size::Quad } else { Size::Narrow(Width::Double) };
        let access = LoadStore {
            registers: Registers::list(self.rt(), count),
            ..self.plain(self.direction(), RegisterFile::Vector, size)
        };
        let (offset, indexing) = match (post_index, self.rm()) {
            (false, _) => (access.offset, Indexing::Offset),
            (true, ZR_OR_SP) => (Offset::Immediate(access.bytes() as i64), Indexing::Post),
            (true, rm) => (Offset::Register { rm, extend: Extend::Full, shift: 0 }, Indexing::Post),
        };
        load_store(LoadStore { offset, indexing, ..access })
    }

    /// `SYS` with CRn 7: `IC`, `DC` and `AT`.
    fn cache_maintenance(self) -> Decoded {
        let (op1, crm) = (self.bits(16, 3), self.bits(8, 4));
        // DC ZVA, DC GVA and DC GZVA.
        if op1 == 3 && crm == 4 {
            return Some(Err(DecodeError::ZeroBlock(self.0)));
        }
        Some(Ok(Instruction::Nothing))
    }
}

const fn load_store(access: LoadStore) -> Decoded {
    Some(Ok(Instruction::LoadStore(access)))
}

#[cfg(test)]
mod tests {
    use core::fmt::Write;

    use proptest::prelude::*;
    use yaxpeax_arch::{Decoder, U8Reader};
    use yaxpeax_arm::armv8::a64::{InstDecoder, Operand, SIMDSizeCode, ShiftStyle, SizeCode};

    use super::*;

    const SPSR_EL1H: u64 = 0x3c5;
    const PC: u64 = 0x4000;

    /// A CPU that writes down what is done to it. A byte of memory reads as the low seven bits of its address
    /// with the top bit set, so that every load shows from where and how it was widened; byte `i` of V`n` is
    /// `16 * n + i`.
    struct Recorder {
        x: [u64; 31],
        sp: u64,
        v: [u128; 32],
        accesses_left: usize,
        log: String,
    }

    impl Recorder {
        fn new() -> Self {
            let mut x = [0; 31];
            x[1] = 0x1111_2222_3333_4444;
            x[2] = 0x2000;
            x[3] = 0x1_ffff_fff0;
            x[4] = 0x5555_6666_7777_8888;
            let v =
                core::array::from_fn(|n| u128::from_le_bytes(core::array::from_fn(|i| (16 * n + i) as u8)));
            Self { x, sp: 0x5000, v, accesses_left: usize::MAX, log: String::new() }
        }

        fn run(mut self, word: u32) -> String {
            match decode(SPSR_EL1H, word) {
                Ok(Instruction::LoadStore(access)) => {
                    if let Err(error) = access.execute(PC, &mut self) {
                        write!(self.log, "failed:{:x} ", error.address).unwrap();
                    }
                }
                Ok(Instruction::Nothing) => self.log.push_str("nothing "),
                Err(error) => panic!("{error}"),
            }
            self.log.trim_end().to_owned()
        }

        fn access(&mut self) -> Option<()> {
            self.accesses_left = self.accesses_left.checked_sub(1)?;
            Some(())
        }
    }

    impl Context for Recorder {
        fn x(&self, n: u8) -> u64 {
            self.x[usize::from(n)]
        }

        fn set_x(&mut self, n: u8, value: u64) {
            self.x[usize::from(n)] = value;
            write!(self.log, "x{n}={value:x} ").unwrap();
        }

        fn sp(&self) -> u64 {
            self.sp
        }

        fn set_sp(&mut self, value: u64) {
            self.sp = value;
            write!(self.log, "sp={value:x} ").unwrap();
        }

        fn v(&self, n: u8) -> u128 {
            self.v[usize::from(n)]
        }

        fn set_v(&mut self, n: u8, value: u128) {
            self.v[usize::from(n)] = value;
            write!(self.log, "v{n}={value:x} ").unwrap();
        }

        fn read(&mut self, address: u64, width: Width) -> Option<u64> {
            self.access()?;
            write!(self.log, "r{}:{address:x} ", width.bytes()).unwrap();
            let bytes = core::array::from_fn(|i| address.wrapping_add(i as u64) as u8 | 0x80);
            Some(width.truncate(u64::from_le_bytes(bytes)))
        }

        fn write(&mut self, address: u64, width: Width, value: u64) -> Option<()> {
            self.access()?;
            write!(self.log, "w{}:{address:x}={value:x} ", width.bytes()).unwrap();
            Some(())
        }
    }

    /// Encodings as GNU as makes them.
    #[test]
    fn instructions_do_what_the_manual_says() {
        for (word, assembly, effect) in [
            (0xf840_8441, "ldr x1, [x2], #8", "r8:2000 x2=2008 x1=8786858483828180"),
            (0xb85f_cc41, "ldr w1, [x2, #-4]!", "r4:1ffc x2=1ffc x1=fffefdfc"),
            (0xf81f_0fe1, "str x1, [sp, #-16]!", "w8:4ff0=1111222233334444 sp=4ff0"),
            (0x3800_1441, "strb w1, [x2], #1", "w1:2000=44 x2=2001"),
            (0x7940_0c41, "ldrh w1, [x2, #6]", "r2:2006 x1=8786"),
            (0x38df_f441, "ldrsb w1, [x2], #-1", "r1:2000 x2=1fff x1=ffffff80"),
            (0x3880_1c41, "ldrsb x1, [x2, #1]!", "r1:2001 x2=2001 x1=ffffffffffffff81"),
            (0x78c0_2c41, "ldrsh w1, [x2, #2]!", "r2:2002 x2=2002 x1=ffff8382"),
            (0xb880_4441, "ldrsw x1, [x2], #4", "r4:2000 x2=2004 x1=ffffffff83828180"),
            (0xf85f_d041, "ldur x1, [x2, #-3]", "r8:1ffd x1=8483828180fffefd"),
            (0x7800_3041, "sturh w1, [x2, #3]", "w2:2003=4444"),
            (0xf863_6841, "ldr x1, [x2, x3]", "r8:200001ff0 x1=f7f6f5f4f3f2f1f0"),
            (0xb863_5841, "ldr w1, [x2, w3, uxtw #2]", "r4:400001fc0 x1=c3c2c1c0"),
            (0xb823_c841, "str w1, [x2, w3, sxtw]", "w4:1ff0=33334444"),
            (0x78a3_f841, "ldrsh x1, [x2, x3, sxtx #1]", "r2:400001fe0 x1=ffffffffffffe1e0"),
            (0x5800_0081, "ldr x1, . + 16", "r8:4010 x1=9796959493929190"),
            (0x98ff_ffc1, "ldrsw x1, . - 8", "r4:3ff8 x1=fffffffffbfaf9f8"),
            (0xf840_8841, "ldtr x1, [x2, #8]", "r8:2008 x1=8f8e8d8c8b8a8988"),
            (0x381f_f841, "sttrb w1, [x2, #-1]", "w1:1fff=44"),
            (0xf840_845f, "ldr xzr, [x2], #8", "r8:2000 x2=2008"),
            (0xf800_8c5f, "str xzr, [x2, #8]!", "w8:2008=0 x2=2008"),
            (0xa940_1041, "ldp x1, x4, [x2]", "r8:2000 r8:2008 x1=8786858483828180 x4=8f8e8d8c8b8a8988"),
            (0x29c1_1041, "ldp w1, w4, [x2, #8]!", "r4:2008 r4:200c x2=2008 x1=8b8a8988 x4=8f8e8d8c"),
            (
                0xa9be_13e1,
                "stp x1, x4, [sp, #-32]!",
                "w8:4fe0=1111222233334444 w8:4fe8=5555666677778888 sp=4fe0",
            ),
            (
                0x68c1_1041,
                "ldpsw x1, x4, [x2], #8",
                "r4:2000 r4:2004 x2=2008 x1=ffffffff83828180 x4=ffffffff87868584",
            ),
            (
                0xa841_1041,
                "ldnp x1, x4, [x2, #16]",
                "r8:2010 r8:2018 x1=9796959493929190 x4=9f9e9d9c9b9a9998",
            ),
            (0x283f_1041, "stnp w1, w4, [x2, #-8]", "w4:1ff8=33334444 w4:1ffc=77778888"),
            (0x3c40_1441, "ldr b1, [x2], #1", "r1:2000 x2=2001 v1=80"),
            (0x7d40_0441, "ldr h1, [x2, #2]", "r2:2002 v1=8382"),
            (0xbc1f_cc41, "str s1, [x2, #-4]!", "w4:1ffc=13121110 x2=1ffc"),
            (0xfc63_7841, "ldr d1, [x2, x3, lsl #3]", "r8:1000001f80 v1=8786858483828180"),
            (0x3dc0_0441, "ldr q1, [x2, #16]", "r8:2010 r8:2018 v1=9f9e9d9c9b9a99989796959493929190"),
            (0x3c9f_0441, "str q1, [x2], #-16", "w8:2000=1716151413121110 w8:2008=1f1e1d1c1b1a1918 x2=1ff0"),
            (
                0x3ce3_7841,
                "ldr q1, [x2, x3, lsl #4]",
                "r8:2000001f00 r8:2000001f08 v1=8f8e8d8c8b8a89888786858483828180",
            ),
            (0x9c00_0101, "ldr q1, . + 32", "r8:4020 r8:4028 v1=afaeadacabaaa9a8a7a6a5a4a3a2a1a0"),
            (0x3cdf_f041, "ldur q1, [x2, #-1]", "r8:1fff r8:2007 v1=8e8d8c8b8a89888786858483828180ff"),
            (0x2d40_9041, "ldp s1, s4, [x2, #4]", "r4:2004 r4:2008 v1=87868584 v4=8b8a8988"),
            (
                0xacc1_1041,
                "ldp q1, q4, [x2], #32",
                "r8:2000 r8:2008 r8:2010 r8:2018 x2=2020 \
                 v1=8f8e8d8c8b8a89888786858483828180 v4=9f9e9d9c9b9a99989796959493929190",
            ),
            (
                0x6dbf_1041,
                "stp d1, d4, [x2, #-16]!",
                "w8:1ff0=1716151413121110 w8:1ff8=4746454443424140 x2=1ff0",
            ),
            (0xc8df_fc41, "ldar x1, [x2]", "r8:2000 x1=8786858483828180"),
            (0x089f_fc41, "stlrb w1, [x2]", "w1:2000=44"),
            (0x88df_7c41, "ldlar w1, [x2]", "r4:2000 x1=83828180"),
            (0xc89f_7c41, "stllr x1, [x2]", "w8:2000=1111222233334444"),
            (0xb8bf_c041, "ldapr w1, [x2]", "r4:2000 x1=83828180"),
            (0x195f_f041, "ldapurb w1, [x2, #-1]", "r1:1fff x1=ff"),
            (0x9980_4041, "ldapursw x1, [x2, #4]", "r4:2004 x1=ffffffff87868584"),
            (0x59c0_4041, "ldapursh w1, [x2, #4]", "r2:2004 x1=ffff8584"),
            (0xd900_8041, "stlur x1, [x2, #8]", "w8:2008=1111222233334444"),
            (0x0c40_7041, "ld1 {v1.8b}, [x2]", "r8:2000 v1=8786858483828180"),
            (
                0x4c83_605e,
                "st1 {v30.16b, v31.16b, v0.16b}, [x2], x3",
                "w8:2000=e7e6e5e4e3e2e1e0 w8:2008=efeeedecebeae9e8 w8:2010=f7f6f5f4f3f2f1f0 \
                 w8:2018=fffefdfcfbfaf9f8 w8:2020=706050403020100 w8:2028=f0e0d0c0b0a0908 x2=200001ff0",
            ),
            (
                0x0cdf_2441,
                "ld1 {v1.4h, v2.4h, v3.4h, v4.4h}, [x2], #32",
                "r8:2000 r8:2008 r8:2010 r8:2018 x2=2020 v1=8786858483828180 v2=8f8e8d8c8b8a8988 \
                 v3=9796959493929190 v4=9f9e9d9c9b9a9998",
            ),
            (0xf840_8442, "ldr x2, [x2], #8 (unpredictable)", "r8:2000 x2=2008 x2=8786858483828180"),
            (0xf980_0440, "prfm pldl1keep, [x2, #8]", "nothing"),
            (0xf89f_8040, "prfum pldl1keep, [x2, #-8]", "nothing"),
            (0xf8a3_6840, "prfm pldl1keep, [x2, x3]", "nothing"),
            (0xd800_0040, "prfm pldl1keep, . + 8", "nothing"),
            (0xd50b_7e21, "dc civac, x1", "nothing"),
            (0xd508_7621, "dc ivac, x1", "nothing"),
            (0xd50b_7521, "ic ivau, x1", "nothing"),
        ] {
            assert_eq!(Recorder::new().run(word), effect, "{assembly}");
        }
    }

    #[test]
    fn what_devices_do_not_support_gets_the_fault_that_hardware_gives() {
        for (word, assembly, status) in [
            (0xc85f_7c41, "ldxr x1, [x2]", FaultStatus::UNSUPPORTED_EXCLUSIVE),
            (0xc803_fc41, "stlxr w3, x1, [x2]", FaultStatus::UNSUPPORTED_EXCLUSIVE),
            (0xc87f_9041, "ldaxp x1, x4, [x2]", FaultStatus::UNSUPPORTED_EXCLUSIVE),
            (0xf821_0044, "ldadd x1, x4, [x2]", FaultStatus::UNSUPPORTED_EXCLUSIVE),
            (0x38e1_8044, "swpalb w1, w4, [x2]", FaultStatus::UNSUPPORTED_EXCLUSIVE),
            (0xc8a1_7c44, "cas x1, x4, [x2]", FaultStatus::UNSUPPORTED_EXCLUSIVE),
            (0x4822_7cc4, "casp x2, x3, x4, x5, [x6]", FaultStatus::UNSUPPORTED_EXCLUSIVE),
            (0xf83f_d0c2, "ld64b x2, [x6]", FaultStatus::UNSUPPORTED_EXCLUSIVE),
            (0xd50b_7421, "dc zva, x1", FaultStatus::ALIGNMENT),
            (0xd50b_7461, "dc gva, x1", FaultStatus::ALIGNMENT),
            (0xf820_0441, "ldraa x1, [x2]", FaultStatus::EXTERNAL_ABORT),
            (0x4c40_8041, "ld2 {v1.16b, v2.16b}, [x2]", FaultStatus::EXTERNAL_ABORT),
            (0x0d40_9041, "ld1 {v1.s}[1], [x2]", FaultStatus::EXTERNAL_ABORT),
            (0x4d40_cc41, "ld1r {v1.2d}, [x2]", FaultStatus::EXTERNAL_ABORT),
            (0xd920_0841, "stg x1, [x2]", FaultStatus::EXTERNAL_ABORT),
            (0x6900_1041, "stgp x1, x4, [x2]", FaultStatus::EXTERNAL_ABORT),
            (0xa400_a041, "ld1b {z1.b}, p0/z, [x2]", FaultStatus::EXTERNAL_ABORT),
            (0x8580_4041, "ldr z1, [x2]", FaultStatus::EXTERNAL_ABORT),
            (0x8b03_0041, "add x1, x2, x3", FaultStatus::EXTERNAL_ABORT),
        ] {
            assert_eq!(decode(SPSR_EL1H, word).unwrap_err().fault_status(), status, "{assembly}");
        }
        assert_eq!(decode(SPSR_NRW, 0xf840_8441), Err(DecodeError::Aarch32));
    }

    #[test]
    fn registers_change_only_if_every_access_succeeds() {
        let failing_second = || Recorder { accesses_left: 1, ..Recorder::new() };
        assert_eq!(failing_second().run(0x29c1_1041), "r4:2008 failed:200c", "ldp w1, w4, [x2, #8]!");
        assert_eq!(
            failing_second().run(0x3c9f_0441),
            "w8:2000=1716151413121110 failed:2008",
            "str q1, [x2], #-16"
        );
    }

    #[test]
    fn an_access_is_translated_only_within_the_page_that_faulted() {
        let page = FaultPage { address: 0x1200_ffff_8000_1008, ipa: Ipa(0x0900_0000) };
        assert_eq!(page.translate(0xffff_8000_1000, Width::Double), Some(Ipa(0x0900_0000)), "tag ignored");
        assert_eq!(page.translate(0xffff_8000_1ff8, Width::Double), Some(Ipa(0x0900_0ff8)));
        assert_eq!(page.translate(0xffff_8000_1ffc, Width::Double), None, "passes the end");
        assert_eq!(page.translate(0xffff_8000_2000, Width::Byte), None, "next page");
        assert_eq!(page.translate(0x7fff_8000_1000, Width::Byte), None, "far away");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        /// Any word, in any state of the registers, ends in an error or in at most 64 bytes of accesses.
        #[test]
        fn no_word_does_harm(word: u32, x: [u64; 31], sp: u64) {
            // Every second word is bent into the load and store space, of which random words would hit a
            // quarter.
            for word in [word, word & !(1 << 25) | 1 << 27] {
                if let Ok(Instruction::LoadStore(access)) = decode(SPSR_EL1H, word) {
                    prop_assert!((1..=64).contains(&access.bytes()));
                    let mut context = Recorder { x, sp, ..Recorder::new() };
                    prop_assert_eq!(access.execute(PC, &mut context), Ok(()));
                    prop_assert_eq!(context.log.contains(':'), true);
                }
            }
        }
    }

    /// The same instruction in the words of an independent disassembler, or `None` where only `LD1` and `ST1`
    /// have such a form (post-index by a register).
    fn operands(access: &LoadStore) -> Option<Vec<Operand>> {
        let register = |n: u8| match (access.file, access.size) {
            (RegisterFile::General(Extension::SignTo64), _)
            | (RegisterFile::General(Extension::Zero), Size::Narrow(Width::Double)) => {
                Operand::Register(SizeCode::X, n.into())
            }
            (RegisterFile::General(_), _) => Operand::Register(SizeCode::W, n.into()),
            (RegisterFile::Vector, size) => {
                let code = match size {
                    Size::Narrow(Width::Byte) => SIMDSizeCode::B,
                    Size::Narrow(Width::Half) => SIMDSizeCode::H,
                    Size::Narrow(Width::Word) => SIMDSizeCode::S,
                    Size::Narrow(Width::Double) => SIMDSizeCode::D,
                    Size::Quad => SIMDSizeCode::Q,
                };
                Operand::SIMDRegister(code, n.into())
            }
        };
        let memory = match (access.base, access.offset, access.indexing) {
            (Base::ProgramCounter, Offset::Immediate(offset), _) => Operand::PCOffset(offset),
            (Base::Register(n), Offset::Immediate(offset), Indexing::Post) => {
                Operand::RegPostIndex(n.into(), offset as i32)
            }
            (Base::Register(n), Offset::Immediate(offset), indexing) => {
                Operand::RegPreIndex(n.into(), offset as i32, indexing == Indexing::Pre)
            }
            (Base::Register(n), Offset::Register { rm, extend, shift }, Indexing::Offset) => {
                let (size, style) = match extend {
                    Extend::Uxtw => (SizeCode::W, ShiftStyle::UXTW),
                    Extend::Sxtw => (SizeCode::W, ShiftStyle::SXTW),
                    Extend::Full => (SizeCode::X, ShiftStyle::LSL),
                };
                Operand::RegRegOffset(n.into(), rm.into(), size, style, shift)
            }
            _ => return None,
        };
        Some(access.registers.iter().map(register).chain([memory]).collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(65536))]

        /// Whatever both decode, a disassembler that shares no line with ours reads in the same way.
        #[test]
        fn operands_agree_with_a_disassembler(word: u32) {
            let word = word & !(1 << 25) | 1 << 27;
            let bytes = word.to_le_bytes();
            let mut reader = U8Reader::new(&bytes);
            let theirs = InstDecoder::default().decode(&mut reader);
            if let (Ok(Instruction::LoadStore(ours)), Ok(theirs)) = (decode(SPSR_EL1H, word), theirs)
                && let Some(operands) = operands(&ours)
                && !matches!(theirs.operands[0], Operand::SIMDRegisterGroup(..))
            {
                let same = |operand| match operand {
                    Operand::RegRegOffset(n, m, size, ShiftStyle::SXTX, shift) => {
                        Operand::RegRegOffset(n, m, size, ShiftStyle::LSL, shift)
                    }
                    other => other,
                };
                let kept: Vec<Operand> =
                    theirs.operands.into_iter().filter(|o| *o != Operand::Nothing).map(same).collect();
                prop_assert_eq!(&operands, &kept, "{:#010x} {:?}", word, theirs);
                let store = format!("{:?}", theirs.opcode).starts_with("ST");
                prop_assert_eq!(ours.is_store(), store, "{:#010x} {:?}", word, theirs);
            }
        }
    }
}
