//! Accesses to memory that the software TLB does not settle at once.

use core::sync::atomic::{AtomicI32, AtomicI64, AtomicU32, AtomicU64, Ordering};

use super::guest::{Exception, Guest};
use super::tlb::{PAGE, Tlb};
use crate::ir::AtomicOp;
use crate::memory::{Access, Physical, Size, Unit};

/// [`Guest::RESERVATION`]'s address when nothing is reserved.
const NO_RESERVATION: u64 = u64::MAX;

/// What is at an address.
enum Place {
    /// RAM: where its byte lies.
    Ram(*mut u8),
    /// Something else, at this guest-physical address.
    Other(u64),
}

/// Finds what is at `address`, for an access of `len` bytes on one page, and remembers it if that is RAM.
fn resolve<G: Guest>(
    tlb: &mut Tlb,
    guest: &mut G,
    address: u64,
    len: u64,
    access: Access,
) -> Result<Place, Exception> {
    let view = guest.view();
    if let Some(host) = tlb.find_byte(view, address, access) {
        return Ok(Place::Ram(host));
    }
    let translation = guest.translate(address, len, access)?;
    let ram = guest.physical().ram();
    tlb.insert(view, address, &translation, ram);
    // An aligned access lies in one page, as RAM consists of; a misaligned one asks for both its ends.
    Ok(match ram.host(translation.address, 1) {
        Some(host) => Place::Ram(host),
        None => Place::Other(translation.address),
    })
}

fn is_aligned(address: u64, size: Size) -> bool {
    address.is_multiple_of(size.bytes())
}

/// Loads, zero-extended.
#[cold]
#[inline(never)]
pub fn load<G: Guest>(tlb: &mut Tlb, guest: &mut G, address: u64, size: Size) -> Result<u64, Exception> {
    if !is_aligned(address, size) {
        let bytes = bytes(tlb, guest, address, size, Access::Load)?;
        // SAFETY: each is in RAM.
        let load = |byte| u64::from(unsafe { u8::load(byte) });
        return Ok(bytes.rev().fold(0, |value, byte| value << 8 | load(byte)));
    }
    match resolve(tlb, guest, address, size.bytes(), Access::Load)? {
        // SAFETY: in RAM, and aligned.
        Place::Ram(host) => Ok(unsafe {
            match size {
                Size::Byte => u64::from(u8::load(host)),
                Size::Half => u64::from(u16::load(host)),
                Size::Word => u64::from(u32::load(host)),
                Size::Double => u64::load(host),
            }
        }),
        Place::Other(physical) => {
            guest.physical().read(physical, size).ok_or_else(|| guest.access_fault(address, Access::Load))
        }
    }
}

/// Stores the low bytes of `value`.
#[cold]
#[inline(never)]
pub fn store<G: Guest>(
    tlb: &mut Tlb,
    guest: &mut G,
    address: u64,
    size: Size,
    value: u64,
) -> Result<(), Exception> {
    if !is_aligned(address, size) {
        for (host, byte) in bytes(tlb, guest, address, size, Access::Store)?.zip(value.to_le_bytes()) {
            // SAFETY: in RAM.
            unsafe { u8::store(host, byte) };
        }
        return Ok(());
    }
    match resolve(tlb, guest, address, size.bytes(), Access::Store)? {
        Place::Ram(host) => {
            // SAFETY: in RAM, and aligned.
            unsafe {
                match size {
                    Size::Byte => u8::store(host, value as u8),
                    Size::Half => u16::store(host, value as u16),
                    Size::Word => u32::store(host, value as u32),
                    Size::Double => u64::store(host, value),
                }
            }
            Ok(())
        }
        Place::Other(physical) => guest
            .physical()
            .write(physical, size, value)
            .ok_or_else(|| guest.access_fault(address, Access::Store)),
    }
}

/// Where the bytes of a misaligned access lie: on one page or two. Finds all exceptions.
fn bytes<G: Guest>(
    tlb: &mut Tlb,
    guest: &mut G,
    address: u64,
    size: Size,
    access: Access,
) -> Result<impl DoubleEndedIterator<Item = *mut u8> + ExactSizeIterator, Exception> {
    guest.misaligned(address, size, access, false)?;
    let on_first = (PAGE - address % PAGE).min(size.bytes());
    let first = resolve(tlb, guest, address, on_first, access)?;
    let second = if on_first < size.bytes() {
        resolve(tlb, guest, address.wrapping_add(on_first), size.bytes() - on_first, access)?
    } else {
        Place::Ram(core::ptr::null_mut())
    };
    let (Place::Ram(first), Place::Ram(second)) = (first, second) else {
        // A device is not accessed in pieces.
        return Err(guest.access_fault(address, access));
    };
    Ok((0..size.bytes() as usize).map(move |at| match at.checked_sub(on_first as usize) {
        None => first.wrapping_add(at),
        Some(at) => second.wrapping_add(at),
    }))
}

/// Where an atomic access goes, and its guest-physical address.
fn resolve_atomic<G: Guest>(
    tlb: &mut Tlb,
    guest: &mut G,
    address: u64,
    size: Size,
    access: Access,
) -> Result<(*mut u8, u64), Exception> {
    if !is_aligned(address, size) {
        guest.misaligned(address, size, access, true)?;
    } else if let Place::Ram(host) = resolve(tlb, guest, address, size.bytes(), access)? {
        let range = guest.physical().ram();
        if let Some(physical) = range.physical(host) {
            return Ok((host, physical));
        }
    }
    Err(guest.access_fault(address, access))
}

fn sign_extend(value: u64, size: Size) -> u64 {
    if size == Size::Double { value } else { value as i32 as u64 }
}

/// [`Inst::LoadReserved`](crate::ir::Inst::LoadReserved).
#[inline(never)]
pub fn load_reserved<G: Guest>(
    tlb: &mut Tlb,
    guest: &mut G,
    address: u64,
    size: Size,
) -> Result<u64, Exception> {
    let (host, physical) = resolve_atomic(tlb, guest, address, size, Access::Load)?;
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
    guest.vars()[reserved] = physical | size as u64;
    guest.vars()[read] = value;
    Ok(value)
}

/// [`Inst::StoreConditional`](crate::ir::Inst::StoreConditional): 0 if it has stored, else 1.
#[inline(never)]
pub fn store_conditional<G: Guest>(
    tlb: &mut Tlb,
    guest: &mut G,
    address: u64,
    size: Size,
    value: u64,
) -> Result<u64, Exception> {
    let (host, physical) = resolve_atomic(tlb, guest, address, size, Access::Store)?;
    let [reserved, read] = G::RESERVATION.map(|var| usize::from(var.0));
    let reserved = core::mem::replace(&mut guest.vars()[reserved], NO_RESERVATION);
    if reserved != physical | size as u64 {
        return Ok(1);
    }
    let read = guest.vars()[read];
    // SAFETY: in RAM, and aligned; all others access it atomically, too.
    let stored = unsafe {
        match size {
            Size::Double => AtomicU64::from_ptr(host.cast())
                .compare_exchange(read, value, Ordering::SeqCst, Ordering::Relaxed)
                .is_ok(),
            _ => AtomicU32::from_ptr(host.cast())
                .compare_exchange(read as u32, value as u32, Ordering::SeqCst, Ordering::Relaxed)
                .is_ok(),
        }
    };
    Ok(u64::from(!stored))
}

/// [`Inst::Atomic`](crate::ir::Inst::Atomic): what memory held, sign-extended.
#[inline(never)]
pub fn atomic<G: Guest>(
    tlb: &mut Tlb,
    guest: &mut G,
    address: u64,
    size: Size,
    op: AtomicOp,
    value: u64,
) -> Result<u64, Exception> {
    let (host, _) = resolve_atomic(tlb, guest, address, size, Access::Store)?;
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
    Ok(match size {
        Size::Double => apply!(AtomicU64, AtomicI64, value),
        _ => sign_extend(u64::from(apply!(AtomicU32, AtomicI32, value as u32)), size),
    })
}
