//! From where Linux enters a program to the program's main function.

use core::{
    arch::global_asm,
    ffi::{CStr, c_char},
    panic::PanicInfo,
};

use crate::linux::{Errno, exit};

/// The exit status of a program that has panicked.
const PANICKED: i32 = 101;

// The stack holds the number of arguments, and behind it pointers to them.
#[cfg(target_arch = "aarch64")]
global_asm!(
    ".globl _start",
    "_start: mov x29, xzr",
    "ldr x0, [sp]",
    "add x1, sp, #8",
    "b {start}",
    start = sym start
);
#[cfg(target_arch = "riscv64")]
global_asm!(
    ".globl _start",
    "_start: ld a0, (sp)",
    "addi a1, sp, 8",
    "tail {start}",
    start = sym start
);

unsafe extern "Rust" {
    /// The program's: see [`entry!`](crate::entry).
    safe fn tool_main(arguments: Arguments) -> Result<(), Errno>;
}

/// What the program was called with, its name left out.
#[derive(Debug, Clone)]
pub struct Arguments {
    next: *const *const c_char,
    left: usize,
}

impl Arguments {
    /// The pointers to what is left of them; a null pointer follows.
    pub fn as_ptr(&self) -> *const *const c_char {
        self.next
    }
}

impl Iterator for Arguments {
    type Item = &'static str;

    /// The next argument; one that is not UTF-8 is empty.
    fn next(&mut self) -> Option<&'static str> {
        self.left = self.left.checked_sub(1)?;
        // SAFETY: Linux has put so many pointers there, to strings that end with a zero and stay.
        let argument = unsafe { CStr::from_ptr(self.next.read()) };
        self.next = self.next.wrapping_add(1);
        Some(argument.to_str().unwrap_or_default())
    }
}

extern "C" fn start(count: usize, first: *const *const c_char) -> ! {
    let mut arguments = Arguments { next: first, left: count };
    arguments.next();
    exit(match tool_main(arguments) {
        Ok(()) => 0,
        Err(Errno(number)) => number,
    })
}

#[panic_handler]
fn panic(_: &PanicInfo) -> ! {
    exit(PANICKED)
}
