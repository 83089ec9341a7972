use std::sync::{Arc, Mutex};
use std::vec::Vec;

use super::registers::{Clock, Command, Interrupts, Present};
use super::*;
use crate::mm::guest_memory::GuestSlice;
use crate::storage::physical::Controller;
use crate::storage::{DiskError, Operation};

const BLOCK: usize = 512;
const ADDRESS: u32 = 0x4567;
/// CSD of a card of 64 MiB, which has (255 + 1) * 2^(7 + 2) blocks (Physical Layer 9.00, 5.3.2), and of one of 4 GiB,
/// which has (8191 + 1) * 1024 (5.3.3).
const CSD_STANDARD: u128 = 9 << 80 | 255 << 62 | 7 << 47;
const CSD_HIGH: u128 = 1 << 126 | 9 << 80 | 8191 << 48;
/// CID of QEMU's card.
const CID: u128 = 0xaa58_5951_454d_5521_01de_adbe_ef00_6219;

/// A controller and a card, as far as the driver can see them.
struct Model {
    present: bool,
    /// The card is one of before 2.00.
    old: bool,
    high_capacity: bool,
    csd: u128,
    write_protected: bool,
    capabilities: u32,
    version: u32,
    /// Registers that never become as they should.
    hangs: Option<Register>,
    /// The command that fails, with what in the interrupt status.
    fails: Option<(u8, Interrupts)>,
    /// Errors in the status (R1) of commands that move data.
    card_status: u32,
    /// Blocks that the buffer is ready for until the next call of [`Bench::ready`].
    ready: usize,
    bytes: Vec<u8>,
    registers: [u32; 64],
    response: [u32; 4],
    status: u32,
    powering_up: u32,
    /// Blocks of the transfer that is under way, and words of the first.
    left: usize,
    at: usize,
    word: usize,
    reading: bool,
    commands: Vec<(u8, u32)>,
    clock: u64,
}

impl Model {
    fn new() -> Self {
        Self {
            present: true,
            old: false,
            high_capacity: true,
            csd: CSD_HIGH,
            write_protected: false,
            capabilities: 0x0521_34b4,
            version: 2,
            hangs: None,
            fails: None,
            card_status: 0,
            ready: usize::MAX,
            bytes: (0..64 * BLOCK).map(|at| (at / BLOCK * 7 + at) as u8).collect(),
            registers: [0; 64],
            response: [0; 4],
            status: 0,
            powering_up: 2,
            left: 0,
            at: 0,
            word: 0,
            reading: false,
            commands: Vec::new(),
            clock: 0,
        }
    }

    fn register(&mut self, register: Register) -> &mut u32 {
        &mut self.registers[register as usize / 4]
    }

    fn send(&mut self, value: u32) {
        let argument = *self.register(Register::Argument);
        let mode = Command::from_bits_retain(value);
        let index = (value >> 24) as u8;
        self.commands.push((index, argument));
        let silent = Interrupts::COMMAND_TIMEOUT;
        let failure = match (index, self.fails) {
            (0, _) => None,
            _ if !self.present => Some(silent),
            (8, _) if self.old => Some(silent),
            (_, Some((failing, interrupts))) if failing == index => Some(interrupts),
            _ => None,
        };
        if let Some(interrupts) = failure {
            self.status |= interrupts.bits();
            return;
        }
        let tran = 4 << 9;
        let word = |word: u32| [word, 0, 0, 0];
        self.response = match index {
            2 => long(CID),
            3 => word(ADDRESS << 16 | 0x500),
            8 => word(argument),
            9 => long(self.csd),
            41 if self.powering_up > 0 => {
                self.powering_up -= 1;
                word(0x00ff_8000)
            }
            41 => word(0x80ff_8000 | u32::from(self.high_capacity) << 30),
            17 | 18 | 24 | 25 => [tran | self.card_status, 0, 0, tran],
            _ => word(tran),
        };
        self.status |= Interrupts::COMMAND_COMPLETE.bits();
        if mode.contains(Command::RESPONSE_48_BUSY) {
            self.status |= Interrupts::TRANSFER_COMPLETE.bits();
        }
        if mode.contains(Command::DATA_PRESENT) {
            let blocks = *self.register(Register::Blocks);
            assert_eq!(blocks & 0xfff, BLOCK as u32);
            let several = Command::MULTI_BLOCK | Command::BLOCK_COUNT_ENABLE | Command::AUTO_CMD12;
            assert_eq!(mode.contains(several), matches!(index, 18 | 25), "CMD{index}");
            assert_eq!(mode.contains(Command::READ), matches!(index, 17 | 18), "CMD{index}");
            self.reading = mode.contains(Command::READ);
            self.left = if mode.contains(several) { (blocks >> 16) as usize } else { 1 };
            self.at = argument as usize * if self.high_capacity { BLOCK } else { 1 };
            self.word = 0;
            self.announce();
        }
    }

    /// The buffer is ready for a block, if it is.
    fn announce(&mut self) {
        if self.left > 0 && self.ready > 0 {
            self.status |= match self.reading {
                true => Interrupts::BUFFER_READ_READY.bits(),
                false => Interrupts::BUFFER_WRITE_READY.bits(),
            };
        }
    }

    /// Where the next word of data is, which is moved now.
    fn next_word(&mut self) -> usize {
        assert!(self.left > 0 && self.ready > 0, "the buffer is not ready");
        let at = self.at + self.word * 4;
        self.word += 1;
        if self.word * 4 == BLOCK {
            self.word = 0;
            self.at += BLOCK;
            self.left -= 1;
            self.ready -= 1;
            self.announce();
            if self.left == 0 {
                self.status |= Interrupts::TRANSFER_COMPLETE.bits();
            }
        }
        at
    }
}

/// A register of the card's in the way in which the controller shows it, without its last byte.
fn long(value: u128) -> [u32; 4] {
    [8, 40, 72, 104].map(|shift| (value >> shift) as u32)
}

#[derive(Clone)]
struct Fake(Arc<Mutex<Model>>);

impl Port for Fake {
    fn read(&mut self, register: Register) -> u32 {
        let mut model = self.0.lock().unwrap();
        match register {
            Register::Buffer => {
                let at = model.next_word();
                u32::from_le_bytes(model.bytes[at..at + 4].try_into().unwrap())
            }
            Register::Status if model.hangs == Some(register) => 0,
            Register::Status => model.status,
            Register::Present => {
                let mut present = Present::empty();
                let is_ready = model.left > 0 && model.ready > 0;
                present.set(Present::BUFFER_READ_ENABLE, is_ready && model.reading);
                present.set(Present::BUFFER_WRITE_ENABLE, is_ready && !model.reading);
                present.set(Present::WRITE_ENABLED, !model.write_protected);
                present.set(Present::DATA_INHIBIT, model.left > 0 || model.hangs == Some(register));
                present.bits()
            }
            Register::Response0 => model.response[0],
            Register::Response1 => model.response[1],
            Register::Response2 => model.response[2],
            Register::Response3 => model.response[3],
            Register::Capabilities => model.capabilities,
            Register::Version => model.version << 16,
            _ => *model.register(register),
        }
    }

    fn write(&mut self, register: Register, value: u32) {
        let mut model = self.0.lock().unwrap();
        match register {
            Register::Buffer => {
                let at = model.next_word();
                model.bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
            }
            Register::Status => model.status &= !value,
            Register::Command => model.send(value),
            Register::Clock => {
                let mut clock = Clock::from_bits_retain(value);
                if clock.intersects(Clock::RESET_ALL | Clock::RESET_DATA) {
                    model.left = 0;
                }
                if model.hangs != Some(register) {
                    clock -= Clock::RESET_ALL | Clock::RESET_COMMAND | Clock::RESET_DATA;
                    clock.set(Clock::INTERNAL_STABLE, clock.contains(Clock::INTERNAL_ENABLE));
                }
                *model.register(register) = clock.bits();
            }
            _ => *model.register(register) = value,
        }
    }

    fn clock(&self) -> u64 {
        let mut model = self.0.lock().unwrap();
        model.clock += 7;
        model.clock
    }
}

fn start(adjust: impl FnOnce(&mut Model)) -> (Result<SdCard<Fake>, Error>, Fake) {
    let mut model = Model::new();
    adjust(&mut model);
    let fake = Fake(Arc::new(Mutex::new(model)));
    (SdCard::new(fake.clone()), fake)
}

/// A card, and buffers of eight blocks for each slot.
struct Bench {
    disk: SdCard<Fake>,
    fake: Fake,
    buffers: Vec<Vec<u32>>,
}

impl Bench {
    fn new(adjust: impl FnOnce(&mut Model)) -> Self {
        let (disk, fake) = start(adjust);
        fake.0.lock().unwrap().commands.clear();
        let buffers = (0..4).map(|slot| vec![slot as u32; 8 * BLOCK / 4]).collect();
        Self { disk: disk.unwrap(), fake, buffers }
    }

    fn begin(
        &mut self,
        slot: usize,
        operation: Operation,
        sector: u64,
        blocks: usize,
    ) -> Result<(), DiskError> {
        let start = std::ptr::NonNull::from(self.buffers[slot].as_mut_slice()).cast();
        // SAFETY: the buffers outlive the disk's use of them, and are looked at only when that has ended.
        unsafe {
            let data = GuestSlice::new(start, blocks * BLOCK);
            self.disk.begin(slot, operation, sector, data)
        }
    }

    fn bytes(&self, slot: usize) -> Vec<u8> {
        self.buffers[slot].iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    fn model<T>(&self, look: impl FnOnce(&mut Model) -> T) -> T {
        look(&mut self.fake.0.lock().unwrap())
    }

    /// Lets the buffer be ready for so many blocks more.
    fn ready(&self, blocks: usize) {
        self.model(|model| {
            model.ready = blocks;
            model.announce();
        });
    }

    fn indices(&self) -> Vec<u8> {
        self.model(|model| model.commands.iter().map(|(index, _)| *index).collect())
    }
}

#[test]
fn a_card_is_identified() {
    let (disk, fake) = start(|_| {});
    let disk = disk.unwrap();
    let geometry = disk.abilities().geometry;
    assert_eq!((geometry.sectors, geometry.read_only), (8192 * 1024, false));
    assert_eq!(disk.serial(), 0xdead_beef);
    let mut model = fake.0.lock().unwrap();
    let rca = ADDRESS << 16;
    let hcs = 0x40ff_8000;
    let expected = [
        (0, 0),
        (8, 0x1aa),
        (55, 0),
        (41, hcs),
        (55, 0),
        (41, hcs),
        (55, 0),
        (41, hcs),
        (2, 0),
        (3, 0),
        (9, rca),
        (7, rca),
        (55, rca),
        (6, 2),
    ];
    assert_eq!(model.commands, expected);
    // 52 MHz / (2 * 2) is the fastest below 25 MHz; the data go over four lines, at 3.3 V.
    assert_eq!(*model.register(Register::Clock), 0x000e_0207);
    assert_eq!(*model.register(Register::HostControl), 0xf02);
    assert_eq!(*model.register(Register::SignalEnable), 0x01ff_0032);
}

#[test]
fn clocks_are_never_too_fast() {
    for (version, base, hertz, field) in [
        (2, 52, 400_000, 65),
        (2, 100, 25_000_000, 2),
        (2, 255, 400_000, 319),
        (2, 20, 25_000_000, 0),
        (1, 52, 400_000, 128),
        (1, 52, 25_000_000, 2),
        (1, 50, 25_000_000, 1),
    ] {
        let fake = Fake(Arc::new(Mutex::new(Model {
            version,
            capabilities: 0x0100_0000 | base << 8,
            ..Model::new()
        })));
        super::host::Host::new(fake.clone()).unwrap().set_clock(hertz).unwrap();
        let clock = *fake.0.lock().unwrap().register(Register::Clock);
        assert_eq!((clock >> 6 & 3) << 8 | (clock >> 8 & 0xff), field, "{base} MHz, version {version}");
    }
}

#[test]
fn cards_of_standard_capacity_are_addressed_by_byte() {
    for old in [false, true] {
        let mut bench = Bench::new(|model| {
            model.old = old;
            model.high_capacity = false;
            model.csd = CSD_STANDARD;
        });
        assert_eq!(bench.disk.abilities().geometry.sectors, 131_072);
        bench.begin(0, Operation::Read, 5, 1).unwrap();
        assert_eq!(bench.model(|model| model.commands.clone()), [(17, 5 * 512)]);
        assert_eq!(bench.disk.take_ended(), Some((0, Ok(()))));
        assert_eq!(bench.bytes(0)[..BLOCK], bench.model(|model| model.bytes[5 * BLOCK..6 * BLOCK].to_vec()));
    }
}

#[test]
fn an_empty_slot_is_noticed_at_once() {
    let (disk, fake) = start(|model| model.present = false);
    assert_eq!(disk.err(), Some(Error::NoCard));
    assert!(fake.0.lock().unwrap().clock < 10_000);
}

#[test]
fn what_is_missing_is_named() {
    let error = |adjust: fn(&mut Model)| start(adjust).0.err();
    assert_eq!(error(|model| model.capabilities &= !0xff00), Some(Error::NoClock));
    assert_eq!(error(|model| model.capabilities = 0x34b4), Some(Error::NoVoltage(0x34b4)));
    assert_eq!(error(|model| model.powering_up = u32::MAX), Some(Error::PowerUp(0x00ff_8000)));
    assert_eq!(error(|model| model.csd = 3 << 126), Some(Error::Capacity(3 << 126)));
    assert!(matches!(
        error(|model| model.hangs = Some(Register::Clock)),
        Some(Error::Stuck { register: Register::Clock, .. })
    ));
    assert!(matches!(
        error(|model| model.hangs = Some(Register::Status)),
        Some(Error::Stuck { register: Register::Status, value: 0 })
    ));
    let crc = Error::Command { index: 9, status: Interrupts::COMMAND_CRC.bits() };
    assert_eq!(error(|model| model.fails = Some((9, Interrupts::COMMAND_CRC))), Some(crc));
    assert_eq!(crc.to_string(), "CMD9 failed: interrupt status 0x00020000");
}

#[test]
fn protected_cards_are_read_only() {
    let read_only = |adjust: fn(&mut Model)| Bench::new(adjust).disk.abilities().geometry.read_only;
    assert!(read_only(|model| model.write_protected = true));
    assert!(read_only(|model| model.csd |= 1 << 12));
    assert!(read_only(|model| model.csd |= 1 << 13));
}

#[test]
fn commands_are_carried_out_in_turn() {
    let mut bench = Bench::new(|_| {});
    bench.begin(0, Operation::Write, 4, 1).unwrap();
    bench.begin(1, Operation::Write, 8, 8).unwrap();
    bench.begin(2, Operation::Read, 2, 8).unwrap();
    assert_eq!(bench.indices(), [24]);
    assert_eq!(bench.disk.take_ended(), Some((0, Ok(()))));
    assert_eq!(bench.indices(), [24, 25]);
    assert_eq!(bench.disk.take_ended(), Some((1, Ok(()))));
    assert_eq!(bench.disk.take_ended(), Some((2, Ok(()))));
    assert_eq!(bench.disk.take_ended(), None);
    assert_eq!(bench.model(|model| model.commands.clone()), [(24, 4), (25, 8), (18, 2)]);
    let medium = bench.model(|model| model.bytes.clone());
    assert_eq!(medium[4 * BLOCK..5 * BLOCK], [0; BLOCK]);
    assert_eq!(medium[8 * BLOCK..16 * BLOCK], bench.bytes(1));
    assert_eq!(medium[2 * BLOCK..10 * BLOCK], bench.bytes(2));
}

#[test]
fn blocks_move_as_the_buffer_is_ready() {
    for operation in [Operation::Read, Operation::Write] {
        let mut bench = Bench::new(|model| model.ready = 0);
        bench.begin(3, operation, 1, 4).unwrap();
        for ready in [0, 1, 2] {
            bench.ready(ready);
            bench.disk.acknowledge();
            assert_eq!(bench.model(|model| model.status), 0, "it would interrupt for ever");
            assert_eq!(bench.disk.take_ended(), None);
        }
        bench.ready(1);
        bench.disk.acknowledge();
        assert_eq!(bench.disk.take_ended(), Some((3, Ok(()))));
        let medium = bench.model(|model| model.bytes[BLOCK..5 * BLOCK].to_vec());
        assert_eq!(medium, bench.bytes(3)[..4 * BLOCK]);
    }
}

#[test]
fn a_failure_ends_one_command_and_the_next_goes_on() {
    for (fails, card_status) in [
        (Some((18, Interrupts::COMMAND_TIMEOUT)), 0),
        (Some((18, Interrupts::COMMAND_COMPLETE | Interrupts::DATA_CRC)), 0),
        (None, 1 << 21),
    ] {
        let mut bench = Bench::new(|_| {});
        bench.model(|model| (model.fails, model.card_status) = (fails, card_status));
        bench.begin(0, Operation::Read, 0, 4).unwrap();
        bench.begin(1, Operation::Read, 9, 1).unwrap();
        bench.model(|model| (model.fails, model.card_status) = (None, 0));
        bench.disk.acknowledge();
        assert_eq!(bench.disk.take_ended(), Some((0, Err(DiskError::Medium))), "{fails:?}");
        assert_eq!(bench.disk.take_ended(), Some((1, Ok(()))));
        assert_eq!(bench.indices(), [18, 13, 17]);
    }
}

#[test]
fn a_card_that_was_taken_out_is_given_up() {
    let mut bench = Bench::new(|_| {});
    bench.model(|model| model.present = false);
    bench.begin(0, Operation::Read, 0, 1).unwrap();
    bench.begin(1, Operation::Write, 0, 1).unwrap();
    assert_eq!(bench.disk.take_ended(), Some((0, Err(DiskError::Medium))));
    assert_eq!(bench.disk.take_ended(), Some((1, Err(DiskError::Medium))));
    assert_eq!(bench.disk.take_ended(), None);
    assert_eq!(bench.begin(2, Operation::Read, 0, 1), Err(DiskError::Medium));
    assert_eq!(bench.indices(), [17, 13]);
}

#[test]
fn a_controller_that_hangs_is_not_waited_for_for_ever() {
    let mut bench = Bench::new(|_| {});
    bench.model(|model| model.hangs = Some(Register::Present));
    assert_eq!(bench.begin(0, Operation::Read, 0, 1), Err(DiskError::Medium));
    assert_eq!(bench.disk.take_ended(), None);
    assert!(bench.model(|model| model.clock) < 500_000);
}
