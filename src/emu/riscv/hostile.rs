//! A guest that does what it likes, for the fuzzer and the property tests: whatever the code and the registers are, the
//! hart does not panic, touches nothing but its RAM, and stays in a state that a hart can have.

use alloc::rc::Rc;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::Cell;
use core::sync::atomic::{AtomicU64, Ordering};

use polyvisor_cell_abi::StopReason;

use super::csr::{Change, Status, number};
use super::mmu::Satp;
use super::words::{INSTRET, MODE, MSTATUS, PC, SATP, X};
use super::{Boot, Cluster, Hart, Mode, Platform, Shutdown};
use crate::interp::Interpreter;
use crate::ir::Builder;
use crate::memory::{Physical, Ram, Size};

const RAM: u64 = 0x8000_0000;
const RAM_SIZE: u64 = 16 * PAGE;
const PAGE: u64 = 4096;
/// What lies before and behind RAM, and may not change.
const GUARD: u64 = 2 * PAGE;
const GUARD_WORD: u64 = 0x6775_6172_6467_7561;
/// After how many blocks the machine is switched off.
const BLOCKS: u32 = 3000;
/// Registers that the guest starts with values in, besides those of the integers, trap vectors and `satp`.
const CSRS: [u16; 11] = [
    number::MSTATUS,
    number::MEDELEG,
    number::MIDELEG,
    number::MIE,
    number::MCOUNTEREN,
    number::SCOUNTEREN,
    number::MENVCFG,
    number::SENVCFG,
    number::STIMECMP,
    number::MIP,
    number::FCSR,
];

/// RAM, with guards around it. Page-aligned, as RAM is.
#[repr(align(4096))]
struct Page([AtomicU64; (PAGE / 8) as usize]);

/// The machine around the hart.
struct Surroundings {
    memory: Rc<[Page]>,
    cluster: Arc<Cluster>,
    /// How many blocks are left.
    blocks: Cell<u32>,
    due: Cell<bool>,
    deadline: Cell<u64>,
    time: Cell<u64>,
}

impl Physical for Surroundings {
    fn ram(&self) -> Ram {
        let host = self.memory.as_ptr().cast_mut().cast::<u8>().wrapping_add(GUARD as usize);
        // SAFETY: it lives as long as this, and is made of atomics.
        unsafe { Ram::new(RAM, RAM_SIZE, host) }
    }

    fn read(&self, address: u64, size: Size) -> Option<u64> {
        self.check(address, size);
        Some(address.rotate_left(17) & u64::MAX >> (64 - 8 * size.bytes())).filter(|_| address & 0x1000 == 0)
    }

    fn write(&self, address: u64, size: Size, value: u64) -> Option<()> {
        self.check(address, size);
        (address & 0x1000 == 0 && value & 0x80 == 0).then_some(())
    }
}

impl Surroundings {
    /// Devices are accessed by one aligned access, and what is RAM is not asked of them.
    fn check(&self, address: u64, size: Size) {
        assert!(address.is_multiple_of(size.bytes()), "{address:#x} is not aligned");
        assert!(!self.ram().range().contains(&address), "{address:#x} is RAM");
    }

    fn switch_off(&self) {
        self.cluster.shut_down(Shutdown::Off);
    }
}

impl Platform for Surroundings {
    fn time(&self) -> u64 {
        self.time.set(self.time.get() + 1);
        self.time.get()
    }

    fn set_deadline(&self, deadline: u64) {
        self.deadline.set(deadline);
    }

    fn lines(&self) -> u32 {
        self.blocks.get() >> 6 & 3
    }

    fn is_due(&self) -> bool {
        let left = self.blocks.get().saturating_sub(1);
        self.blocks.set(left);
        if left == 0 {
            self.switch_off();
        }
        self.due.get() || left.is_multiple_of(16) || self.deadline.get() <= self.time.get()
    }

    fn make_due(&self) {
        self.due.set(true);
    }

    fn acknowledge(&self) {
        self.due.set(false);
    }

    fn kick(&self, _: usize) {}

    /// Time flies to the deadline. Without one, nobody wakes the hart.
    fn wait(&self) {
        match self.deadline.get() {
            u64::MAX => self.switch_off(),
            deadline => self.time.set(self.time.get().max(deadline)),
        }
        self.is_due();
    }

    fn relax(&self) {
        self.is_due();
    }

    fn take_requests(&self) -> u32 {
        0
    }

    fn is_breakpoint(&self, _: u64) -> bool {
        false
    }

    fn breakpoint_generation(&self) -> u32 {
        0
    }

    fn stopped(&self, _: StopReason) {}

    fn shutdown(&self, _: Shutdown) {}
}

/// What the fuzzer has chosen, as far as it goes; after that zeroes.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn u8(&mut self) -> u8 {
        let Some((&byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        byte
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(core::array::from_fn(|_| self.u8()))
    }

    /// A number that is likely to mean something: small, an address in RAM or of a device, or anything.
    fn value(&mut self) -> u64 {
        let (kind, low) = (self.u8(), u64::from(u16::from_le_bytes([self.u8(), self.u8()])));
        match kind % 8 {
            0 => low,
            1 => low.wrapping_neg(),
            2 => 0x200_0000 + low,
            3 => 0x1000_0000 + low % 0x2000,
            4 => self.u64(),
            _ => RAM + low % RAM_SIZE,
        }
    }
}

/// Runs a hart whose registers, RAM and page tables are as `input` says.
///
/// # Panics
/// The translator has done what it must not.
pub fn run(input: &[u8]) {
    let mut input = Input(input);
    let mode = if input.u8() & 1 == 0 { Mode::Machine } else { Mode::Supervisor };
    let boot = Boot { mode, entry: RAM + input.value() % RAM_SIZE, arguments: [0; 2] };
    let cluster = Arc::new(Cluster::new(1 + usize::from(input.u8()) % 2, boot));
    let guard = [(); (PAGE / 8) as usize].map(|()| GUARD_WORD);
    let pages = ((RAM_SIZE + 2 * GUARD) / PAGE) as usize;
    let surroundings = Surroundings {
        memory: (0..pages).map(|_| Page(guard.map(AtomicU64::new))).collect(),
        cluster: cluster.clone(),
        blocks: Cell::new(BLOCKS),
        due: Cell::new(false),
        deadline: Cell::new(u64::MAX),
        time: Cell::new(0),
    };
    let memory = surroundings.memory.clone();
    let ram = surroundings.ram();
    let Some(mut hart) = Hart::new(cluster, surroundings, 0) else { return };
    prepare(&mut hart, &mut input);
    fill(&mut input, ram);
    Interpreter::new(0).run(&mut hart);
    check(&hart);
    let (before, rest) = memory.split_at((GUARD / PAGE) as usize);
    let behind = rest.get((RAM_SIZE / PAGE) as usize..).unwrap_or_default();
    let mut words = before.iter().chain(behind).flat_map(|page| &page.0);
    assert!(words.all(|word| word.load(Ordering::Relaxed) == GUARD_WORD), "something beside RAM was written");
}

/// Gives the registers values.
fn prepare(hart: &mut Hart<Surroundings>, input: &mut Input<'_>) {
    let mode = match (hart.mode(), input.u8() % 3) {
        (Mode::Machine, 0) => Mode::User,
        (Mode::Machine, 1) => Mode::Supervisor,
        (mode, _) => mode,
    };
    hart.words[MODE] = Mode::Machine.bits();
    // What the first entry does not match, the second one permits, so that modes below machine mode get somewhere.
    hart.csr_change(number::PMPADDR0, Change::Write(input.value() >> 2));
    hart.csr_change(number::PMPADDR0 + 1, Change::Write(u64::MAX));
    hart.csr_change(number::PMPCFG0, Change::Write(0x1f << 8 | u64::from(input.u8())));
    for register in [number::MTVEC, number::STVEC] {
        hart.csr_change(register, Change::Write(RAM + input.u64() % RAM_SIZE));
    }
    let table = match input.u8() {
        0 => input.u64(),
        low => (u64::from(7 + low % 4) << 60) | ((RAM + RAM_SIZE - PAGE) / PAGE),
    };
    hart.csr_change(number::SATP, Change::Write(table));
    for register in CSRS {
        let value = input.value();
        hart.csr_change(register, Change::Write(value));
    }
    for register in 1..32 {
        hart.words[X + register] = input.value();
    }
    hart.words[MODE] = mode.bits();
    hart.refresh();
}

/// Fills RAM: its last page with entries of page tables, which map RAM in several ways (mostly one to one, from its own
/// address on), the rest with what is left of the input, again and again.
fn fill(input: &mut Input<'_>, ram: Ram) {
    let seed = input.u64();
    let last = RAM + RAM_SIZE - PAGE;
    let table = last >> 12 << 10;
    for index in 0..PAGE / 8 {
        // Mostly D, A, X, W, R and V, and U or not.
        let rare = seed.rotate_left(index as u32) & seed.rotate_left(3 * index as u32) & seed >> 7;
        let flags = 0xcf ^ (rare & 0x3ff) ^ (seed >> (index % 16) & 0x10);
        let entry = match index % 4 {
            // On to this page again, so that every depth has leaves.
            0 => table | 1,
            1 => (RAM + index % 16 * PAGE) >> 12 << 10 | flags,
            2 => RAM >> 12 << 10 | flags,
            _ => seed.rotate_left(index as u32),
        };
        ram.write(last + index * 8, entry);
    }
    if input.0.is_empty() {
        return;
    }
    let code: Vec<u8> = input.0.to_vec();
    for (address, byte) in (RAM..last).zip(code.iter().cycle()) {
        ram.write(address, *byte);
    }
}

/// Whether the hart is in a state that it can have.
fn check(hart: &Hart<Surroundings>) {
    let words = hart.registers();
    assert_eq!(words[X], 0, "x0");
    assert_eq!(words[PC] & 1, 0, "the program counter");
    assert!(Mode::from_bits(words[MODE]).is_some(), "the mode");
    assert_eq!(Status::RESET.written(words[MSTATUS]).bits(), words[MSTATUS], "mstatus");
    assert_eq!(Satp(0).written(words[SATP], 57).0, words[SATP], "satp");
    assert!(
        words[INSTRET] <= u64::from(BLOCKS) * Builder::MAX_INSTRUCTIONS as u64,
        "the count of instructions"
    );
}
