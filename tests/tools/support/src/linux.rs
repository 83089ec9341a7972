//! The system calls that are needed. Their numbers are the same on arm64 and riscv64
//! (include/uapi/asm-generic/unistd.h).

use core::{
    arch::asm,
    fmt::{self, Write},
};

/// Standard input, output and error.
pub const STDIN: usize = 0;
/// See [`STDIN`].
pub const STDOUT: usize = 1;
/// See [`STDIN`].
pub const STDERR: usize = 2;

/// An error's number, as in errno(3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub i32);

/// A result is wrong.
pub const EIO: Errno = Errno(5);
/// The program was called wrongly.
pub const EINVAL: Errno = Errno(22);

/// A system call's number.
#[derive(Debug, Clone, Copy)]
#[repr(usize)]
pub enum Call {
    /// ftruncate(2)
    Ftruncate = 46,
    /// close(2)
    Close = 57,
    /// read(2)
    Read = 63,
    /// write(2)
    Write = 64,
    /// exit(2)
    Exit = 93,
    /// exit_group(2)
    ExitGroup = 94,
    /// futex(2)
    Futex = 98,
    /// sched_setaffinity(2)
    SchedSetaffinity = 122,
    /// sched_getaffinity(2)
    SchedGetaffinity = 123,
    /// sched_yield(2)
    SchedYield = 124,
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
    /// munmap(2)
    Munmap = 215,
    /// clone(2)
    Clone = 220,
    /// execve(2)
    Execve = 221,
    /// mmap(2)
    Mmap = 222,
    /// mprotect(2)
    Mprotect = 226,
    /// perf_event_open(2)
    PerfEventOpen = 241,
    /// riscv_flush_icache(2), arch/riscv/include/uapi/asm/unistd.h
    RiscvFlushIcache = 259,
    /// wait4(2)
    Wait4 = 260,
    /// memfd_create(2)
    MemfdCreate = 279,
    /// membarrier(2)
    Membarrier = 283,
}

/// Makes a system call.
///
/// # Errors
/// The kernel's.
///
/// # Safety
/// The arguments must be what the call wants; in particular what it writes must be the caller's.
pub unsafe fn call<const N: usize>(number: Call, arguments: [usize; N]) -> Result<usize, Errno> {
    const { assert!(N <= 6, "no call has more arguments") };
    let argument = |index: usize| arguments.get(index).copied().unwrap_or_default();
    let result: isize;
    // SAFETY: the caller answers for the arguments. The kernel changes no other register.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        asm!("svc #0", in("x8") number as usize, inlateout("x0") argument(0) => result, in("x1") argument(1),
             in("x2") argument(2), in("x3") argument(3), in("x4") argument(4), in("x5") argument(5), options(nostack));
    }
    // SAFETY: as above.
    #[cfg(target_arch = "riscv64")]
    unsafe {
        asm!("ecall", in("a7") number as usize, inlateout("a0") argument(0) => result, in("a1") argument(1),
             in("a2") argument(2), in("a3") argument(3), in("a4") argument(4), in("a5") argument(5), options(nostack));
    }
    usize::try_from(result).map_err(|_| Errno(result.unsigned_abs() as i32))
}

/// Reads up to as many bytes as `buffer` has; 0 at the end.
///
/// # Errors
/// The kernel's.
pub fn read(file: usize, buffer: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: the kernel writes into `buffer` only.
    unsafe { call(Call::Read, [file, buffer.as_mut_ptr().addr(), buffer.len()]) }
}

/// Writes all of `bytes`.
///
/// # Errors
/// The kernel's.
pub fn write(file: usize, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        // SAFETY: the kernel only reads.
        let written = unsafe { call(Call::Write, [file, bytes.as_ptr().addr(), bytes.len()]) }?;
        bytes = bytes.get(written..).unwrap_or_default();
    }
    Ok(())
}

/// Ends the program.
pub fn exit(status: i32) -> ! {
    // SAFETY: the call takes no memory.
    let _ = unsafe { call(Call::ExitGroup, [status as usize]) };
    loop {
        core::hint::spin_loop();
    }
}

/// Says a line on the file, if that leads anywhere.
pub fn say(file: usize, text: fmt::Arguments<'_>) {
    let _ = writeln!(Output(file), "{text}");
}

/// A file that text is written to.
struct Output(usize);

impl Write for Output {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        write(self.0, text.as_bytes()).map_err(|_| fmt::Error)
    }
}
