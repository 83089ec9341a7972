//! C4.1, "Loads and Stores", and the memory that they reach.

use alloc::vec::Vec;

use super::{Simulator, Stop, Surroundings, Word, register::extend, sign_extended};
use crate::memory::{Access, Size};

/// An access is not permitted, or there is nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault;

/// What the machine's addresses lead to. Alignment is of no matter: accesses that must be aligned never get here if not.
pub trait Memory {
    /// Reads, zero-extended. `unprivileged`: as EL0 does.
    fn load(&mut self, address: u64, size: Size, unprivileged: bool) -> Result<u64, Fault>;

    /// Writes the low bytes of `value`. `unprivileged`: as EL0 does.
    fn store(&mut self, address: u64, size: Size, unprivileged: bool, value: u64) -> Result<(), Fault>;

    /// Reads, and writes what `new` makes of that, as one privileged access.
    fn exchange(&mut self, address: u64, size: Size, new: &dyn Fn(u64) -> u64) -> Result<u64, Fault> {
        let old = self.load(address, size, false)?;
        self.store(address, size, false, new(old))?;
        Ok(old)
    }
}

/// Memory in pieces, some of which unprivileged accesses reach.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Regions(pub Vec<Region>);

/// A piece of memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    pub base: u64,
    pub bytes: Vec<u8>,
    /// Whether unprivileged accesses reach it.
    pub user: bool,
    pub writable: bool,
}

impl Regions {
    /// With a piece of `bytes` at `base`, which is writable.
    #[must_use]
    pub fn with(mut self, base: u64, bytes: Vec<u8>, user: bool) -> Self {
        self.0.push(Region { base, bytes, user, writable: true });
        self
    }

    fn find(
        &mut self,
        address: u64,
        size: Size,
        unprivileged: bool,
        write: bool,
    ) -> Result<&mut [u8], Fault> {
        let allowed = |region: &&mut Region| (region.user || !unprivileged) && (region.writable || !write);
        self.0
            .iter_mut()
            .filter(allowed)
            .find_map(|Region { base, bytes, .. }| {
                let start = usize::try_from(address.checked_sub(*base)?).ok()?;
                bytes.get_mut(start..start.checked_add(size.bytes() as usize)?)
            })
            .ok_or(Fault)
    }
}

impl Memory for Regions {
    fn load(&mut self, address: u64, size: Size, unprivileged: bool) -> Result<u64, Fault> {
        let bytes = self.find(address, size, unprivileged, false)?;
        Ok(bytes.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
    }

    fn store(&mut self, address: u64, size: Size, unprivileged: bool, value: u64) -> Result<(), Fault> {
        let bytes = self.find(address, size, unprivileged, true)?;
        bytes.copy_from_slice(&value.to_le_bytes()[..size.bytes() as usize]);
        Ok(())
    }
}

impl<M: Memory> Surroundings<'_, M> {
    fn load(&mut self, address: u64, size: Size, unprivileged: bool) -> Result<u64, Stop> {
        let fault = |Fault| Stop::Fault { address, access: Access::Load, unprivileged };
        self.memory.load(address, size, unprivileged).map_err(fault)
    }

    fn store(&mut self, address: u64, size: Size, unprivileged: bool, value: u64) -> Result<(), Stop> {
        let fault = |Fault| Stop::Fault { address, access: Access::Store, unprivileged };
        self.memory.store(address, size, unprivileged, value).map_err(fault)
    }

    fn exchange(&mut self, address: u64, size: Size, new: impl Fn(u64) -> u64) -> Result<u64, Stop> {
        let fault = |Fault| Stop::Fault { address, access: Access::Store, unprivileged: false };
        self.memory.exchange(address, size, &new).map_err(fault)
    }
}

/// By the field `size`, bits 31 and 30.
const fn size(word: Word) -> Size {
    match word.field(30, 2) {
        0 => Size::Byte,
        1 => Size::Half,
        2 => Size::Word,
        _ => Size::Double,
    }
}

/// Atomic accesses fault where they are not aligned.
const fn aligned(address: u64, size: Size, access: Access) -> Result<(), Stop> {
    if address.is_multiple_of(size.bytes()) {
        Ok(())
    } else {
        Err(Stop::Fault { address, access, unprivileged: false })
    }
}

impl Simulator {
    pub(super) fn load_store<M: Memory>(
        &mut self,
        word: Word,
        memory: &mut Surroundings<'_, M>,
    ) -> Result<(), Stop> {
        match (word.field(27, 3), word.field(24, 2), word.bit(21)) {
            (0b001, 0b00, op) if !word.bit(26) => match (word.bit(23), op) {
                (false, false) => self.exclusive(word, memory),
                (true, false) => self.ordered(word, memory),
                (true, true) => self.compare_and_swap(word, memory),
                _ => word.undefined(),
            },
            (0b011, 0b00, _) => self.literal(word, memory),
            (0b101, _, _) => self.pair(word, memory),
            (0b111, 0b01, _) => {
                let offset = u64::from(word.field(10, 12)) << word.field(30, 2);
                let address = self.x_or_sp(word.n()).wrapping_add(offset);
                self.single(word, memory, address, false)
            }
            (0b111, 0b00, false) => self.short_offset(word, memory),
            (0b111, 0b00, true) if word.field(10, 2) == 0b10 => self.register_offset(word, memory),
            (0b111, 0b00, true) if word.field(10, 2) == 0b00 => self.atomic(word, memory),
            _ => word.undefined(),
        }
    }

    /// The offset is nine bits: added before, after, or without a change of the base; or the access is unprivileged.
    fn short_offset<M: Memory>(&mut self, word: Word, memory: &mut Surroundings<'_, M>) -> Result<(), Stop> {
        let base = self.x_or_sp(word.n());
        let sum = base.wrapping_add_signed(word.signed(12, 9));
        let (address, write_back, unprivileged) = match word.field(10, 2) {
            0b00 => (sum, false, false),
            0b01 => (base, true, false),
            0b10 if !word.bit(26) => (sum, false, true),
            0b11 => (sum, true, false),
            _ => return word.undefined(),
        };
        if write_back && !word.bit(26) && word.n() == word.d() && word.n() != 31 {
            return word.undefined();
        }
        self.single(word, memory, address, unprivileged)?;
        if write_back {
            self.set_x_or_sp(word.n(), sum);
        }
        Ok(())
    }

    fn register_offset<M: Memory>(
        &mut self,
        word: Word,
        memory: &mut Surroundings<'_, M>,
    ) -> Result<(), Stop> {
        let option = word.field(13, 3);
        if option & 2 == 0 {
            return word.undefined();
        }
        let shift = if word.bit(12) { word.field(30, 2) } else { 0 };
        let offset = extend(option, self.x(word.m())) << shift;
        let address = self.x_or_sp(word.n()).wrapping_add(offset);
        self.single(word, memory, address, false)
    }

    /// One register, of the size and kind that `size`, `V` and `opc` say.
    fn single<M: Memory>(
        &mut self,
        word: Word,
        memory: &mut Surroundings<'_, M>,
        address: u64,
        unprivileged: bool,
    ) -> Result<(), Stop> {
        let (size, t) = (size(word), word.d());
        let bits = 8 * size.bytes() as u32;
        match (word.bit(26), word.field(22, 2)) {
            (false, 0b00) => memory.store(address, size, unprivileged, self.x(t))?,
            (false, 0b01) => {
                let value = memory.load(address, size, unprivileged)?;
                self.set_x(t, value);
            }
            (false, 0b10) if bits < 64 => {
                let value = memory.load(address, size, unprivileged)?;
                self.set_x(t, sign_extended(value, bits));
            }
            (false, 0b11) if bits < 32 => {
                let value = memory.load(address, size, unprivileged)?;
                self.set_x(t, sign_extended(value, bits) & 0xffff_ffff);
            }
            (true, 0b00) => memory.store(address, size, unprivileged, self.v[t as usize] as u64)?,
            (true, 0b01) => {
                self.v[t as usize] = memory.load(address, size, unprivileged)?.into();
            }
            _ => return word.undefined(),
        }
        Ok(())
    }

    /// LDR (literal) of 32 and 64 bits, from the code.
    fn literal<M: Memory>(&mut self, word: Word, surroundings: &Surroundings<'_, M>) -> Result<(), Stop> {
        let address = self.pc.wrapping_add_signed(4 * word.signed(5, 19));
        let read = |address| {
            let fault = Stop::Fault { address, access: Access::Load, unprivileged: false };
            (surroundings.code)(address).map(u64::from).ok_or(fault)
        };
        let value = match (word.bit(26), word.field(30, 2)) {
            (false, 0b00) => read(address)?,
            (false, 0b01) => read(address)? | read(address.wrapping_add(4))? << 32,
            _ => return word.undefined(),
        };
        self.set_x(word.d(), value);
        Ok(())
    }

    /// LDP and STP of X and D registers.
    fn pair<M: Memory>(&mut self, word: Word, memory: &mut Surroundings<'_, M>) -> Result<(), Stop> {
        let (vector, load) = (word.bit(26), word.bit(22));
        let (t1, t2, n) = (word.d(), word.a(), word.n());
        let base = self.x_or_sp(n);
        let sum = base.wrapping_add_signed(8 * word.signed(15, 7));
        let (address, write_back) = match word.field(23, 2) {
            0b01 => (base, true),
            0b10 => (sum, false),
            0b11 => (sum, true),
            _ => return word.undefined(),
        };
        let unpredictable = load && t1 == t2 || write_back && !vector && n != 31 && (t1 == n || t2 == n);
        if word.field(30, 2) != if vector { 0b01 } else { 0b10 } || unpredictable {
            return word.undefined();
        }
        let second = address.wrapping_add(8);
        if load {
            let values =
                [memory.load(address, Size::Double, false)?, memory.load(second, Size::Double, false)?];
            for (t, value) in [t1, t2].into_iter().zip(values) {
                if vector {
                    self.v[t as usize] = value.into();
                } else {
                    self.set_x(t, value);
                }
            }
        } else {
            let value = |t: u32| if vector { self.v[t as usize] as u64 } else { self.x(t) };
            memory.store(address, Size::Double, false, value(t1))?;
            memory.store(second, Size::Double, false, value(t2))?;
        }
        if write_back {
            self.set_x_or_sp(n, sum);
        }
        Ok(())
    }

    /// LDXR, LDAXR, STXR and STLXR.
    fn exclusive<M: Memory>(&mut self, word: Word, memory: &mut Surroundings<'_, M>) -> Result<(), Stop> {
        let (size, address) = (size(word), self.x_or_sp(word.n()));
        if word.a() != 31 {
            return word.undefined();
        }
        if word.bit(22) {
            aligned(address, size, Access::Load)?;
            let value = memory.load(address, size, false)?;
            self.monitor = Some((address, size, value));
            self.set_x(word.d(), value);
            return Ok(());
        }
        let status = word.m();
        if status == word.d() || status == word.n() && status != 31 {
            return word.undefined();
        }
        aligned(address, size, Access::Store)?;
        let marked = self.monitor.filter(|&(at, of, _)| (at, of) == (address, size));
        let stored = match marked {
            // Whoever has written it in between has left the mark, if what he has written is what was there.
            Some((_, _, read)) => {
                let new = self.x(word.d());
                memory.exchange(address, size, |old| if old == read { new } else { old })? == read
            }
            None => false,
        };
        self.monitor = None;
        self.set_x(status, u64::from(!stored));
        Ok(())
    }

    /// LDAR and STLR.
    fn ordered<M: Memory>(&mut self, word: Word, memory: &mut Surroundings<'_, M>) -> Result<(), Stop> {
        let (size, address) = (size(word), self.x_or_sp(word.n()));
        if word.a() != 31 || word.m() != 31 || !word.bit(15) {
            return word.undefined();
        }
        if word.bit(22) {
            aligned(address, size, Access::Load)?;
            let value = memory.load(address, size, false)?;
            self.set_x(word.d(), value);
            Ok(())
        } else {
            aligned(address, size, Access::Store)?;
            memory.store(address, size, false, self.x(word.d()))
        }
    }

    /// CAS.
    fn compare_and_swap<M: Memory>(
        &mut self,
        word: Word,
        memory: &mut Surroundings<'_, M>,
    ) -> Result<(), Stop> {
        let (size, address) = (size(word), self.x_or_sp(word.n()));
        if word.a() != 31 {
            return word.undefined();
        }
        aligned(address, size, Access::Store)?;
        let mask = u64::MAX >> (64 - 8 * size.bytes());
        let (expected, new) = (self.x(word.m()) & mask, self.x(word.d()));
        let old = memory.exchange(address, size, |old| if old == expected { new } else { old })?;
        self.set_x(word.m(), old);
        Ok(())
    }

    /// LDADD and the others, and SWP.
    fn atomic<M: Memory>(&mut self, word: Word, memory: &mut Surroundings<'_, M>) -> Result<(), Stop> {
        let (size, address) = (size(word), self.x_or_sp(word.n()));
        let op = word.field(12, 4);
        if word.bit(26) || op > 8 {
            return word.undefined();
        }
        aligned(address, size, Access::Store)?;
        let bits = 8 * size.bytes() as u32;
        let operand = self.x(word.m()) & u64::MAX >> (64 - bits);
        let signed = |value| sign_extended(value, bits) as i64;
        let old = memory.exchange(address, size, |old| match op {
            0 => old.wrapping_add(operand),
            1 => old & !operand,
            2 => old ^ operand,
            3 => old | operand,
            4 => signed(old).max(signed(operand)) as u64,
            5 => signed(old).min(signed(operand)) as u64,
            6 => old.max(operand),
            7 => old.min(operand),
            _ => operand,
        })?;
        self.set_x(word.d(), old);
        Ok(())
    }
}
