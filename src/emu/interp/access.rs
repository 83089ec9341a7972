//! Accesses to memory that the mapping does not settle at once.

use core::sync::atomic::{AtomicI32, AtomicI64, AtomicU32, AtomicU64, Ordering};

use super::guest::{Exception, Guest};
use super::mapping::Mapping;
use super::tlb::PAGE;
use crate::ir::AtomicOp;
use crate::memory::{Access, Physical, Size, Unit};

/// [`Guest::RESERVATION`]'s address when nothing is reserved.
const NO_RESERVATION: u64 = u64::MAX;

/// What is at an address.
#[derive(Clone, Copy)]
struct Place {
    /// The guest-physical address.
    physical: u64,
    /// Where its byte lies, if that is RAM.
    host: Option<*mut u8>,
}

/// Finds what is at `address`, for an access of `len` bytes on one page, and has it remembered.
fn resolve<G: Guest, M: Mapping>(
    mapping: &mut M,
    guest: &mut G,
    address: u64,
    len: u64,
    access: Access,
) -> Result<Place, Exception> {
    let view = guest.view();
    let ram = guest.physical().ram();
    if let Some(host) = mapping.host(view, address, access)
        && let Some(physical) = ram.physical(host)
    {
        return Ok(Place { physical, host: Some(host) });
    }
    let translation = guest.translate(address, len, access)?;
    if translation.whole_page {
        mapping.insert(view, address, &translation, ram);
    }
    // An aligned access lies in one page, as RAM consists of; a misaligned one asks for both its ends.
    Ok(Place { physical: translation.address, host: ram.host(translation.address, 1) })
}

fn is_aligned(address: u64, size: Size) -> bool {
    address.is_multiple_of(size.bytes())
}

/// Loads, zero-extended.
#[cold]
#[inline(never)]
pub fn load<G: Guest, M: Mapping>(
    mapping: &mut M,
    guest: &mut G,
    address: u64,
    size: Size,
) -> Result<u64, Exception> {
    if !is_aligned(address, size) {
        let pieces = pieces(mapping, guest, address, size, Access::Load)?;
        // SAFETY: each is in RAM.
        let load = |byte| u64::from(unsafe { u8::load(byte) });
        return Ok(pieces.flat_map(Piece::bytes).rev().fold(0, |value, byte| value << 8 | load(byte)));
    }
    let Place { physical, host } = resolve(mapping, guest, address, size.bytes(), Access::Load)?;
    match host {
        // SAFETY: in RAM, and aligned.
        Some(host) => Ok(unsafe { size.load(host) }),
        None => {
            guest.physical().read(physical, size).ok_or_else(|| guest.access_fault(address, Access::Load))
        }
    }
}

/// Stores the low bytes of `value`.
#[cold]
#[inline(never)]
pub fn store<G: Guest, M: Mapping>(
    mapping: &mut M,
    guest: &mut G,
    address: u64,
    size: Size,
    value: u64,
) -> Result<(), Exception> {
    if !is_aligned(address, size) {
        let mut bytes = value.to_le_bytes().into_iter();
        for piece in pieces(mapping, guest, address, size, Access::Store)? {
            guest.physical().writing(piece.physical, piece.len, &mut || {
                for (host, byte) in piece.bytes().zip(&mut bytes) {
                    // SAFETY: in RAM.
                    unsafe { u8::store(host, byte) };
                }
            });
        }
        return Ok(());
    }
    let Place { physical, host } = resolve(mapping, guest, address, size.bytes(), Access::Store)?;
    match host {
        Some(host) => {
            // SAFETY: in RAM, and aligned.
            guest.physical().writing(physical, size.bytes(), &mut || unsafe { size.store(host, value) });
            Ok(())
        }
        None => guest
            .physical()
            .write(physical, size, value)
            .ok_or_else(|| guest.access_fault(address, Access::Store)),
    }
}

/// What a misaligned access touches on one page.
#[derive(Clone, Copy)]
struct Piece {
    physical: u64,
    host: *mut u8,
    len: u64,
}

impl Piece {
    /// Where its bytes lie.
    fn bytes(self) -> impl DoubleEndedIterator<Item = *mut u8> {
        (0..self.len as usize).map(move |at| self.host.wrapping_add(at))
    }
}

/// Where the bytes of a misaligned access lie: on one page or two. Finds all exceptions.
fn pieces<G: Guest, M: Mapping>(
    mapping: &mut M,
    guest: &mut G,
    address: u64,
    size: Size,
    access: Access,
) -> Result<impl DoubleEndedIterator<Item = Piece> + use<G, M>, Exception> {
    guest.misaligned(address, size, access, false)?;
    let on_first = (PAGE - address % PAGE).min(size.bytes());
    let on_second = size.bytes() - on_first;
    let first = resolve(mapping, guest, address, on_first, access)?;
    let second = match on_second {
        0 => None,
        len => Some(resolve(mapping, guest, address.wrapping_add(on_first), len, access)?),
    };
    let places = [Some((first, on_first)), second.map(|place| (place, on_second))].into_iter().flatten();
    if places.clone().any(|(place, _)| place.host.is_none()) {
        // A device is not accessed in pieces.
        return Err(guest.access_fault(address, access));
    }
    Ok(places.filter_map(|(Place { physical, host }, len)| Some(Piece { physical, host: host?, len })))
}

/// Where an atomic access goes: the guest-physical address, and where it lies.
fn resolve_atomic<G: Guest, M: Mapping>(
    mapping: &mut M,
    guest: &mut G,
    address: u64,
    size: Size,
    access: Access,
) -> Result<(u64, *mut u8), Exception> {
    if !is_aligned(address, size) {
        guest.misaligned(address, size, access, true)?;
    } else if let Place { physical, host: Some(host) } =
        resolve(mapping, guest, address, size.bytes(), access)?
    {
        return Ok((physical, host));
    }
    Err(guest.access_fault(address, access))
}

fn sign_extend(value: u64, size: Size) -> u64 {
    if size == Size::Double { value } else { value as i32 as u64 }
}

/// [`Inst::LoadReserved`](crate::ir::Inst::LoadReserved).
#[inline(never)]
pub fn load_reserved<G: Guest, M: Mapping>(
    mapping: &mut M,
    guest: &mut G,
    address: u64,
    size: Size,
) -> Result<u64, Exception> {
    let (_, host) = resolve_atomic(mapping, guest, address, size, Access::Load)?;
    // Sequentially consistent, whatever is asked for: a reservation that acquires must not be read before an earlier store
    // that releases is seen (RVWMO's rule for annotations, Unprivileged ISA, A.3.5), and a fence behind it is too late.
    // SAFETY: in RAM, and aligned; all access it atomically.
    let value = unsafe {
        match size {
            Size::Double => AtomicU64::from_ptr(host.cast()).load(Ordering::SeqCst),
            _ => sign_extend(AtomicU32::from_ptr(host.cast()).load(Ordering::SeqCst).into(), size),
        }
    };
    let [reserved, read] = G::RESERVATION.map(|var| usize::from(var.0));
    guest.vars()[reserved] = address | size as u64;
    guest.vars()[read] = value;
    Ok(value)
}

/// [`Inst::StoreConditional`](crate::ir::Inst::StoreConditional): 0 if it has stored, else 1.
#[inline(never)]
pub fn store_conditional<G: Guest, M: Mapping>(
    mapping: &mut M,
    guest: &mut G,
    address: u64,
    size: Size,
    value: u64,
) -> Result<u64, Exception> {
    let (physical, host) = resolve_atomic(mapping, guest, address, size, Access::Store)?;
    let [reserved, read] = G::RESERVATION.map(|var| usize::from(var.0));
    let reserved = core::mem::replace(&mut guest.vars()[reserved], NO_RESERVATION);
    if reserved != address | size as u64 {
        return Ok(1);
    }
    let read = guest.vars()[read];
    let mut stored = false;
    guest.physical().writing(physical, size.bytes(), &mut || {
        // SAFETY: in RAM, and aligned; all others access it atomically, too.
        stored = unsafe {
            match size {
                Size::Double => AtomicU64::from_ptr(host.cast())
                    .compare_exchange(read, value, Ordering::SeqCst, Ordering::Relaxed)
                    .is_ok(),
                _ => AtomicU32::from_ptr(host.cast())
                    .compare_exchange(read as u32, value as u32, Ordering::SeqCst, Ordering::Relaxed)
                    .is_ok(),
            }
        };
    });
    Ok(u64::from(!stored))
}

/// [`Inst::Atomic`](crate::ir::Inst::Atomic): what memory held, sign-extended.
#[inline(never)]
pub fn atomic<G: Guest, M: Mapping>(
    mapping: &mut M,
    guest: &mut G,
    address: u64,
    size: Size,
    op: AtomicOp,
    value: u64,
) -> Result<u64, Exception> {
    let (physical, host) = resolve_atomic(mapping, guest, address, size, Access::Store)?;
    macro_rules! apply {
        ($unsigned:ty, $signed:ty, $value:expr) => {{
            // SAFETY: in RAM, and aligned; all others access it atomically, too.
            let cell = unsafe { <$unsigned>::from_ptr(host.cast()) };
            // SAFETY: the same.
            let signed = unsafe { <$signed>::from_ptr(host.cast()) };
            let value = $value;
            match op {
                AtomicOp::Swap => cell.swap(value, Ordering::SeqCst),
                AtomicOp::Add => cell.fetch_add(value, Ordering::SeqCst),
                AtomicOp::And => cell.fetch_and(value, Ordering::SeqCst),
                AtomicOp::Or => cell.fetch_or(value, Ordering::SeqCst),
                AtomicOp::Xor => cell.fetch_xor(value, Ordering::SeqCst),
                AtomicOp::Min => signed.fetch_min(value as _, Ordering::SeqCst) as _,
                AtomicOp::MinUnsigned => cell.fetch_min(value, Ordering::SeqCst),
                AtomicOp::Max => signed.fetch_max(value as _, Ordering::SeqCst) as _,
                AtomicOp::MaxUnsigned => cell.fetch_max(value, Ordering::SeqCst),
            }
        }};
    }
    let mut old = 0;
    guest.physical().writing(physical, size.bytes(), &mut || {
        old = match size {
            Size::Double => apply!(AtomicU64, AtomicI64, value),
            _ => sign_extend(u64::from(apply!(AtomicU32, AtomicI32, value as u32)), size),
        };
    });
    Ok(old)
}
