//! The host-target interface (HTIF) of Spike and of riscv-tests: the program writes a command into the
//! variable `tohost`.

use polyvisor_emu::memory::Ram;

/// Where the program has its variables, as guest-physical addresses.
#[derive(Debug, Clone, Copy)]
pub struct Htif {
    /// Commands.
    pub tohost: u64,
    /// Answers, if the program wants any.
    pub fromhost: Option<u64>,
}

/// What the program wants.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// To end with this status.
    Exit(u64),
    /// To write to the console.
    Write(Vec<u8>),
}

/// The number of `write` among the calls of the proxy kernel, which are Linux's.
const SYS_WRITE: u64 = 64;
/// More is not written at once, whatever the program says.
const MAX_WRITE: u64 = 1 << 20;

impl Htif {
    /// Takes the command that is there, and answers it.
    pub fn poll(&self, ram: &Ram) -> Option<Command> {
        let command: u64 = ram.read(self.tohost).filter(|&command| command != 0)?;
        let (device, function, payload) = (command >> 56, command >> 48 & 0xff, command & ((1 << 48) - 1));
        let result = match (device, function) {
            (0, 0) if payload & 1 == 1 => return Some(Command::Exit(payload >> 1)),
            (0, 0) => self.call(ram, payload),
            (1, 1) => Some(Command::Write(vec![payload as u8])),
            _ => None,
        };
        ram.write(self.tohost, 0u64);
        result
    }

    /// A call of the proxy kernel: its number and arguments are in memory, where its result goes.
    fn call(&self, ram: &Ram, block: u64) -> Option<Command> {
        let argument = |index: u64| ram.read::<u64>(block.wrapping_add(8 * index));
        let mut result = None;
        if argument(0) == Some(SYS_WRITE) {
            let (buffer, len) = (argument(2)?, argument(3)?.min(MAX_WRITE));
            let bytes = (buffer..buffer.saturating_add(len)).map_while(|at| ram.read(at)).collect();
            ram.write(block, len);
            result = Some(Command::Write(bytes));
        }
        if let Some(fromhost) = self.fromhost {
            ram.write(fromhost, 1u64);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emu::machine::memory;

    const HTIF: Htif = Htif { tohost: 0x8000_0000, fromhost: Some(0x8000_0008) };

    fn poll(ram: &Ram, command: u64) -> Option<Command> {
        ram.write(HTIF.tohost, command).unwrap();
        HTIF.poll(ram)
    }

    #[test]
    fn commands_are_taken_and_answered() {
        let ram = memory(0x2000);
        assert_eq!(HTIF.poll(&ram), None);
        assert_eq!(poll(&ram, 1), Some(Command::Exit(0)));
        assert_eq!(poll(&ram, 7), Some(Command::Exit(3)));
        assert_eq!(poll(&ram, 1 << 56 | 1 << 48 | u64::from(b'x')), Some(Command::Write(vec![b'x'])));
        assert_eq!(ram.read::<u64>(HTIF.tohost), Some(0));
    }

    #[test]
    fn a_call_to_write_is_carried_out() {
        let ram = memory(0x2000);
        for (at, value) in (0..).step_by(8).zip([SYS_WRITE, 1, 0x8000_1100, 2]) {
            ram.write(0x8000_1000 + at, value).unwrap();
        }
        ram.write(0x8000_1100, 0x6968u16).unwrap();
        assert_eq!(poll(&ram, 0x8000_1000), Some(Command::Write(b"hi".to_vec())));
        assert_eq!(ram.read::<u64>(0x8000_1000), Some(2));
        assert_eq!(ram.read::<u64>(0x8000_0008), Some(1));
        // One that makes no sense is answered, too.
        assert_eq!(poll(&ram, 0x10), None);
        assert_eq!(ram.read::<u64>(HTIF.tohost), Some(0));
    }
}
