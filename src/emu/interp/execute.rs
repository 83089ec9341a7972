//! The loop that executes the interpreter's code.
//!
//! This is where a guest's time goes. What is not hot is in functions of its own, which are not inlined: they would cost the
//! loop registers. Counts of A64 instructions are in `docs/interpreter.md`.

use core::arch::asm;
use core::sync::atomic::{Ordering, fence};

use super::access;
use super::cache::Cache;
use super::code::{Code, Word, with_computing_codes};
use super::guest::{Exception, Guest};
use super::jumps::Jumps;
use super::lower::ZERO;
use super::mapping::Mapping;
use crate::ir::{AtomicOp, BinaryOp, Condition, FloatKind, FloatOp, Format, UnaryOp, Width, eval};
use crate::memory::Size;

/// Why execution came to an end. Retired instructions are counted; the program counter is right except after
/// [`Outcome::Raised`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A block has left, or nobody knows where the next one is, or the guest wants attention.
    Left,
    /// The block at the program counter has been executed [`HOT`](super::HOT) times.
    Hot,
    /// As [`Outcome::Left`], after an exit without a target: the index of its [`Code::Unlinked`].
    Unlinked(usize),
    /// The word at this index has raised an exception. Instructions before it are not counted yet.
    Raised(Exception, usize),
    /// A call has.
    CallRaised(Exception),
}

/// Executes from the word at index `code` in `cache`, which starts a block.
#[inline(never)]
pub fn execute<G: Guest, M: Mapping>(
    cache: &Cache,
    jumps: &Jumps,
    mapping: &mut M,
    guest: &mut G,
    code: usize,
) -> Outcome {
    let base = cache.base();
    // Where the word lies that is being executed. Words are fetched with pre-increment, which A64 has an addressing mode for.
    let mut ip = base.wrapping_add(code).wrapping_sub(1);
    let mut view = mapping.view(guest.view());
    let mut retired: u64 = 0;
    guest.vars()[usize::from(ZERO)] = 0;

    /// A variable.
    macro_rules! var {
        ($var:expr) => {
            guest.vars()[usize::from($var)]
        };
    }
    /// The word behind, left where it is.
    macro_rules! peek {
        () => {
            // SAFETY: a block's last word leads elsewhere, and `ip` never leaves its block but to the start of another. The
            // cache does not change meanwhile.
            unsafe { *ip.wrapping_add(1) }
        };
    }
    /// The next word.
    macro_rules! next {
        () => {{
            ip = ip.wrapping_add(1);
            // SAFETY: as above.
            unsafe { *ip }
        }};
    }
    /// The index of the word at a pointer.
    macro_rules! index {
        ($ip:expr) => {
            $ip.addr().wrapping_sub(base.addr()) / size_of::<u64>()
        };
    }
    macro_rules! count_retired {
        () => {
            let count = &mut var!(G::INSTRET.0);
            *count = count.wrapping_add(retired);
        };
    }
    macro_rules! leave {
        ($outcome:expr) => {{
            count_retired!();
            return $outcome;
        }};
        ($outcome:expr, pc: $pc:expr) => {{
            var!(G::PC.0) = $pc;
            leave!($outcome)
        }};
    }
    /// On at the target of an exit, which is the word at `ip`.
    macro_rules! follow {
        ($exit:expr) => {
            // The distance counts from the word behind, and the target is to be the next word.
            ip = ip.wrapping_byte_offset($exit.imm() as isize);
            if guest.wants_attention() {
                let pc = cache.address(index!(ip.wrapping_add(1))).unwrap_or(var!(G::PC.0));
                leave!(Outcome::Left, pc: pc);
            }
        };
    }
    /// On at a guest-virtual address.
    macro_rules! jump {
        ($target:expr) => {{
            let target = $target;
            match jumps.find(target) {
                Some(code) if !guest.wants_attention() => ip = base.wrapping_add(code).wrapping_sub(1),
                _ => leave!(Outcome::Left, pc: target),
            }
        }};
    }
    macro_rules! load {
        ($word:ident, $size:ident $(, as $extended:ty)*) => {{
            let address = var!($word.a()).wrapping_add($word.imm64());
            // SAFETY: the view is the mapping's, and the guest's current one.
            let value = match unsafe { mapping.load(view, address, Size::$size) } {
                Some(value) => value,
                None => match access::load(mapping, guest, address, Size::$size) {
                    Ok(value) => value,
                    Err(exception) => leave!(Outcome::Raised(exception, index!(ip))),
                },
            };
            var!($word.d()) = value $(as $extended)*;
        }};
    }
    macro_rules! store {
        ($word:ident, $size:ident) => {{
            let address = var!($word.a()).wrapping_add($word.imm64());
            let value = var!($word.b());
            // SAFETY: as for loads.
            if unsafe { mapping.store(view, address, Size::$size, value) }.is_none()
                && let Err(exception) = access::store(mapping, guest, address, Size::$size, value)
            {
                leave!(Outcome::Raised(exception, index!(ip)));
            }
        }};
    }
    macro_rules! set_or_raise {
        ($word:ident, $result:expr) => {
            match $result {
                Ok(value) => var!($word.d()) = value,
                Err(exception) => leave!(Outcome::Raised(exception, index!(ip))),
            }
        };
    }

    /// The loop itself, with an arm for each computing code and the others as given.
    macro_rules! interpret {
        (
            { $word:ident; $($arms:tt)* }
            unary { $($unary:ident: $unary64:ident $unary_s32:ident $unary_u32:ident,)* }
            binary { $($binary:ident: $binary64:ident $binary_s32:ident $binary_u32:ident,)* }
            immediate { $($imm:ident: $imm64:ident $imm_s32:ident $imm_u32:ident,)* }
            condition { $($condition:ident: $set:ident $set_imm:ident $branch:ident,)* }
        ) => {
            loop {
                let $word = Word(next!());
                ip = opaque(ip);
                // SAFETY: lowering has made it.
                match unsafe { $word.code() } {
                    $($arms)*
                    $(
                        Code::$unary64 => unary!($word, $unary, W64),
                        Code::$unary_s32 => unary!($word, $unary, S32),
                        Code::$unary_u32 => unary!($word, $unary, U32),
                    )*
                    $(
                        Code::$binary64 => binary!($word, $binary, W64),
                        Code::$binary_s32 => binary!($word, $binary, S32),
                        Code::$binary_u32 => binary!($word, $binary, U32),
                    )*
                    $(
                        Code::$imm64 => immediate!($word, $imm, W64),
                        Code::$imm_s32 => immediate!($word, $imm, S32),
                        Code::$imm_u32 => immediate!($word, $imm, U32),
                    )*
                    $(
                        Code::$set => {
                            let holds = eval::compare(Condition::$condition, var!($word.a()), var!($word.b()));
                            var!($word.d()) = u64::from(holds);
                        }
                        Code::$set_imm => {
                            let holds = eval::compare(Condition::$condition, var!($word.a()), $word.imm64());
                            var!($word.d()) = u64::from(holds);
                        }
                        Code::$branch => {
                            retired += u64::from($word.d());
                            let mut exit = $word;
                            if !eval::compare(Condition::$condition, var!($word.a()), var!($word.b())) {
                                exit = Word(next!());
                            }
                            follow!(exit);
                        }
                    )*
                }
            }
        };
    }
    macro_rules! unary {
        ($word:ident, $op:ident, $width:ident) => {
            var!($word.d()) = eval::unary(UnaryOp::$op, Width::$width, var!($word.a()))
        };
    }
    macro_rules! binary {
        ($word:ident, $op:ident, $width:ident) => {
            var!($word.d()) = eval::binary(BinaryOp::$op, Width::$width, var!($word.a()), var!($word.b()))
        };
    }
    macro_rules! immediate {
        ($word:ident, $op:ident, $width:ident) => {
            var!($word.d()) = eval::binary(BinaryOp::$op, Width::$width, var!($word.a()), $word.imm64())
        };
    }

    with_computing_codes! { interpret! {
        word;
        Code::Const => var!(word.d()) = word.imm64(),
        Code::Const64 => var!(word.d()) = next!(),
        Code::Select => {
            let (a, b) = (var!(word.b()), var!(word.imm() as u8));
            var!(word.d()) = if var!(word.a()) != 0 { a } else { b };
        }
        Code::Load8 => load!(word, Byte),
        Code::Load16 => load!(word, Half),
        Code::Load32 => load!(word, Word),
        Code::Load64 => load!(word, Double),
        Code::LoadSigned8 => load!(word, Byte, as i8, as u64),
        Code::LoadSigned16 => load!(word, Half, as i16, as u64),
        Code::LoadSigned32 => load!(word, Word, as i32, as u64),
        Code::Store8 => store!(word, Byte),
        Code::Store16 => store!(word, Half),
        Code::Store32 => store!(word, Word),
        Code::Store64 => store!(word, Double),
        Code::LoadReserved => {
            let address = var!(word.a());
            set_or_raise!(word, access::load_reserved(mapping, guest, address, size(word)));
        }
        Code::StoreConditional => {
            let (address, value) = (var!(word.a()), var!(word.b()));
            set_or_raise!(word, access::store_conditional(mapping, guest, address, size(word), value));
        }
        Code::Atomic => {
            let (address, value) = (var!(word.a()), var!(word.b()));
            set_or_raise!(word, access::atomic(mapping, guest, address, size(word), atomic_op(word), value));
        }
        Code::Fence => fence(Ordering::SeqCst),
        Code::FenceAcquire => fence(Ordering::Acquire),
        Code::FenceRelease => fence(Ordering::Release),
        Code::Float => float(guest, word),
        Code::Call => {
            var!(G::PC.0) = next!();
            retired += u64::from(word.imm() as u32 >> 16);
            count_retired!();
            retired = 0;
            let (a, b) = (var!(word.a()), var!(word.b()));
            match guest.call(word.imm() as u16, a, b) {
                Ok(value) => var!(word.d()) = value,
                Err(exception) => return Outcome::CallRaised(exception),
            }
            view = enter(mapping, guest);
        }
        Code::Count => {
            let number = word.imm() as u32;
            if cache.is_hot(number) {
                let pc = cache.record(number).map_or(var!(G::PC.0), |record| record.key.pc);
                leave!(Outcome::Hot, pc: pc);
            }
            cache.count(number);
        }
        Code::Jump => {
            retired += u64::from(word.d());
            follow!(word);
        }
        Code::Far => {
            retired += u64::from(word.d());
            jump!(peek!());
        }
        Code::Indirect => {
            retired += u64::from(word.d());
            jump!(var!(word.a()));
        }
        Code::Unlinked => {
            let stub = index!(ip);
            leave!(Outcome::Unlinked(stub), pc: peek!());
        }
        Code::LeaveTo => {
            retired += u64::from(word.d());
            leave!(Outcome::Left, pc: peek!());
        }
        Code::LeaveToVar => {
            retired += u64::from(word.d());
            leave!(Outcome::Left, pc: var!(word.a()));
        }
        Code::Leave => {
            retired += u64::from(word.d());
            leave!(Outcome::Left);
        }
    } }
}

/// The pointer itself, which the compiler cannot see. It would otherwise keep the pointer to the word before in a second
/// register, to address later words by, and copy one to the other after each word.
#[inline(always)]
#[allow(clippy::pointers_in_nomem_asm_block, reason = "nothing is accessed through it")]
fn opaque(mut ip: *const u64) -> *const u64 {
    // SAFETY: this does nothing.
    unsafe { asm!("/* {} */", inout(reg) ip, options(pure, nomem, nostack, preserves_flags)) };
    ip
}

/// The guest's view, after a call that may have changed it.
#[inline(never)]
fn enter<G: Guest, M: Mapping>(mapping: &mut M, guest: &G) -> M::View {
    mapping.enter(guest.space(), guest.view());
    mapping.view(guest.view())
}

/// Of which size an atomic access is.
fn size(word: Word) -> Size {
    if word.imm() as u8 == Size::Double as u8 { Size::Double } else { Size::Word }
}

fn atomic_op(word: Word) -> AtomicOp {
    let [_, op, ..] = word.imm().to_le_bytes();
    AtomicOp::ALL.get(usize::from(op)).copied().unwrap_or(AtomicOp::Swap)
}

#[inline(never)]
fn float<G: Guest>(guest: &mut G, word: Word) {
    let [kind, double, rounding, c] = word.imm().to_le_bytes();
    let kind = FloatKind::ALL.get(usize::from(kind)).copied().unwrap_or(FloatKind::Add);
    let format = if double != 0 { Format::Double } else { Format::Single };
    let operands = [word.a(), word.b(), c].map(|var| guest.vars()[usize::from(var)]);
    guest.vars()[usize::from(word.d())] = guest.float(FloatOp { kind, format }, rounding, operands);
}
