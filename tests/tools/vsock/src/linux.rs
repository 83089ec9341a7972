//! The little of Linux that is needed: how a program starts and ends, and its system calls (arm64: number in x8, arguments
//! from x0 on, the result in x0, where an error is negative).

use core::{
    arch::{asm, naked_asm},
    ffi::{CStr, c_char},
    panic::PanicInfo,
};

use crate::connection;

/// An error's number, as in errno(3).
#[derive(Debug, Clone, Copy)]
pub struct Errno(pub i32);

/// The program was called wrongly.
pub const EINVAL: Errno = Errno(22);

/// A system call's number (include/uapi/asm-generic/unistd.h).
#[derive(Debug, Clone, Copy)]
#[repr(usize)]
pub enum Call {
    /// read(2)
    Read = 63,
    /// write(2)
    Write = 64,
    /// exit(2)
    Exit = 93,
    /// socket(2)
    Socket = 198,
    /// bind(2)
    Bind = 200,
    /// listen(2)
    Listen = 201,
    /// accept(2)
    Accept = 202,
    /// connect(2)
    Connect = 203,
}

/// Makes a system call.
///
/// # Safety
/// The arguments must be what the call wants; in particular what it writes must be the caller's.
pub unsafe fn call(number: Call, [a, b, c]: [usize; 3]) -> Result<usize, Errno> {
    let result: isize;
    // SAFETY: the caller answers for the arguments. The kernel changes no other register.
    unsafe {
        asm!("svc #0", in("x8") number as usize, inlateout("x0") a => result, in("x1") b, in("x2") c,
             options(nostack));
    }
    usize::try_from(result).map_err(|_| Errno(result.unsigned_abs() as i32))
}

/// Reads up to as many bytes as `buffer` has; 0 at the end.
pub fn read(file: usize, buffer: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: the kernel writes into `buffer` only.
    unsafe { call(Call::Read, [file, buffer.as_mut_ptr().addr(), buffer.len()]) }
}

/// Writes all of `bytes`.
pub fn write(file: usize, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        // SAFETY: the kernel only reads.
        let written = unsafe { call(Call::Write, [file, bytes.as_ptr().addr(), bytes.len()]) }?;
        bytes = bytes.get(written..).unwrap_or_default();
    }
    Ok(())
}

/// Where Linux enters a program: the stack holds the number of arguments, and pointers to them.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn _start() -> ! {
    naked_asm!("mov x29, xzr", "ldr x0, [sp]", "add x1, sp, #8", "b {start}", start = sym start)
}

extern "C" fn start(count: usize, arguments: *const *const c_char) -> ! {
    let argument = |index: usize| {
        if index >= count {
            return None;
        }
        // SAFETY: Linux has put so many pointers there, to strings that end with a zero and stay.
        unsafe { CStr::from_ptr(arguments.add(index).read()) }.to_str().ok()
    };
    exit(match connection::run(argument(1), argument(2)) {
        Ok(()) => 0,
        Err(Errno(number)) => number,
    })
}

fn exit(status: i32) -> ! {
    // SAFETY: the call takes no memory.
    let _ = unsafe { call(Call::Exit, [status as usize, 0, 0]) };
    loop {
        core::hint::spin_loop();
    }
}

#[panic_handler]
fn panic(_: &PanicInfo) -> ! {
    exit(101)
}
