//! The SiFive test finisher, as QEMU's riscv `virt` has it: one register through which a guest ends or restarts its
//! machine, and with which test programs report how they went.
//!
//! It has no state. It reads as zero; a write that is none of the commands is ignored.

use alloc::sync::Arc;

use super::bus::{Access, MmioDevice, Width};

/// The size of the register block in bytes.
pub const SIZE: u64 = 0x1000;

/// Commands: bits 15:0 of a write to offset 0. Bits 31:16 are the exit code of [`FAIL`].
const FAIL: u16 = 0x3333;
const PASS: u16 = 0x5555;
const RESET: u16 = 0x7777;

/// What the guest asks its machine to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// Power off. The exit code is 0 where all is well.
    PowerOff {
        /// As the guest reports it.
        exit_code: u16,
    },
    /// Start again.
    Reset,
}

impl Finish {
    fn decode(command: u16, exit_code: u16) -> Option<Self> {
        match command {
            FAIL => Some(Self::PowerOff { exit_code }),
            PASS => Some(Self::PowerOff { exit_code: 0 }),
            RESET => Some(Self::Reset),
            _ => None,
        }
    }
}

/// The machine, as the finisher reaches it.
pub trait Machine: Send + Sync {
    /// The guest wants this, and the vCPU of this index said so. It may be called from several vCPUs at once, and
    /// more than once.
    fn finish(&self, vcpu: usize, request: Finish);
}

/// A test finisher and the machine that it ends.
pub struct Finisher(Arc<dyn Machine>);

impl Finisher {
    /// A finisher for `machine`.
    pub fn new(machine: Arc<dyn Machine>) -> Self {
        Self(machine)
    }
}

impl MmioDevice for Finisher {
    fn read(&self, _: Access) -> u64 {
        0
    }

    /// The register takes halfwords and words.
    fn write(&self, access: Access, value: u64) {
        if access.offset == 0
            && matches!(access.width, Width::Half | Width::Word)
            && let Some(request) = Finish::decode(value as u16, (value >> 16) as u16)
        {
            self.0.finish(access.vcpu, request);
        }
    }
}

#[cfg(test)]
mod tests {
    use spin::Mutex;

    use super::*;

    #[derive(Default)]
    struct Log(Mutex<Vec<(usize, Finish)>>);

    impl Machine for Log {
        fn finish(&self, vcpu: usize, request: Finish) {
            self.0.lock().push((vcpu, request));
        }
    }

    /// What a write does, and what is read afterwards.
    fn write(offset: u64, width: Width, value: u64) -> Option<Finish> {
        let log = Arc::new(Log::default());
        let finisher = Finisher::new(log.clone());
        finisher.write(Access { offset, width, vcpu: 3 }, value);
        assert_eq!(finisher.read(Access { offset, width, vcpu: 3 }), 0);
        let requests = log.0.lock();
        assert!(requests.len() <= 1 && requests.iter().all(|&(vcpu, _)| vcpu == 3));
        requests.first().map(|&(_, request)| request)
    }

    #[test]
    fn the_commands_reach_the_machine() {
        let off = |exit_code| Some(Finish::PowerOff { exit_code });
        assert_eq!(write(0, Width::Word, 0x5555), off(0));
        assert_eq!(write(0, Width::Word, 0x1_5555), off(0), "only a failure has a code");
        assert_eq!(write(0, Width::Word, 0x0539_3333), off(1337));
        assert_eq!(write(0, Width::Word, 0xffff_3333), off(u16::MAX));
        assert_eq!(write(0, Width::Half, 0x3333), off(0));
        assert_eq!(write(0, Width::Word, 0x7777), Some(Finish::Reset));
    }

    #[test]
    fn whatever_else_is_written_does_nothing() {
        assert_eq!(write(0, Width::Word, 0), None);
        assert_eq!(write(0, Width::Word, 0x5555_0000), None);
        assert_eq!(write(0, Width::Byte, 0x55), None);
        assert_eq!(write(0, Width::Double, 0x5555), None);
        assert_eq!(write(2, Width::Half, 0x5555), None);
        assert_eq!(write(4, Width::Word, 0x5555), None);
    }
}
