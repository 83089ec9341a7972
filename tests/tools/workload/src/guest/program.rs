//! Other programs, and copies of this one.

use core::ptr;

use tool_support::{
    linux::{Call, EINVAL, Errno, call, exit},
    start::Arguments,
};

/// What a parent hears at the end of its child (arch-independent: include/uapi/asm-generic/signal.h).
const SIGCHLD: usize = 17;

/// Runs a program, whose path comes first, with all the arguments.
pub fn run(arguments: Arguments) -> Result<(), Errno> {
    let path = arguments.clone().next().ok_or(EINVAL)?;
    in_child(|| {
        // SAFETY: Linux has ended the path with a zero, and the arguments with a null pointer.
        unsafe {
            call(Call::Execve, [path.as_ptr().addr(), arguments.as_ptr().addr(), ptr::null::<u8>().addr()])
        }
        .map(drop)
    })
}

/// Has a copy of this program do `work`, which must succeed.
pub fn in_child(work: impl FnOnce() -> Result<(), Errno>) -> Result<(), Errno> {
    // SAFETY: the child has its own memory, and goes on from here as this program does.
    let child = unsafe { call(Call::Clone, [SIGCHLD, 0, 0, 0, 0]) }?;
    if child == 0 {
        exit(work().map_or_else(|Errno(number)| number, |()| 0));
    }
    let mut status = 0i32;
    // SAFETY: the kernel writes the status.
    unsafe { call(Call::Wait4, [child, (&raw mut status).addr(), 0, 0]) }?;
    // A number above 0xff: the child's exit status; another one: the signal that has killed it.
    if status == 0 { Ok(()) } else { Err(Errno(if status > 0xff { status >> 8 } else { status })) }
}
