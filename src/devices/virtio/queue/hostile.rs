//! A driver that does what it likes, for the fuzzer and the property tests: whatever is in the rings and tables, and
//! whenever it changes, the device does bounded work and writes nothing but its own part of the queue.

use alloc::vec::Vec;

use super::{Chain, Queue, Setup, Token};
use crate::hostile::{Arena, Input};
use crate::mm::addr::{Ipa, PAGE_SIZE};
use crate::mm::guest_memory::GuestMemory;

/// Where the memory is.
const BASE: u64 = 0x4000_0000;
/// Bytes of memory.
const SIZE: u64 = 16 * PAGE_SIZE;
/// Most entries of a queue.
const LIMIT: u16 = 64;

/// Runs a device against a driver that acts as `input` says.
///
/// # Panics
/// The queue has done what it must not.
pub fn run(input: &[u8]) {
    let mut input = Input(input);
    let memory = Arena::new(Ipa(BASE), SIZE);
    let setup = setup(&mut input);
    let mut queue = Queue::new(LIMIT);
    if queue.enable(setup, &memory).is_err() {
        return;
    }
    let mut driver = Driver { memory: &memory, setup, written: alloc::vec![0; SIZE as usize] };
    let mut taken: Vec<Token> = Vec::new();
    while !input.is_empty() {
        let Ok(Some(mut visit)) = queue.open(&memory) else { return };
        let mut chain = Chain::default();
        // A visit ends when the input says so or is used up, and everything does when the queue is broken.
        while !input.is_empty() {
            let outcome = match input.u8() % 8 {
                0..3 => {
                    driver.act(&mut input);
                    Ok(true)
                }
                3 | 4 => visit.next(&mut chain).inspect(|is_there| {
                    if *is_there {
                        let count = chain.readable.len() + chain.writable.len();
                        assert!(count <= usize::from(setup.size), "a request has {count} buffers");
                        let buffers = chain.readable.iter().chain(&chain.writable);
                        let bytes: u64 = buffers.map(|segment| u64::from(segment.len)).sum();
                        assert_eq!(bytes, chain.bytes().into());
                        taken.push(chain.token());
                        assert!(taken.len() <= usize::from(setup.size), "{} requests at a time", taken.len());
                    }
                }),
                5 | 6 => match taken.len() {
                    0 => Ok(true),
                    count => {
                        let token = taken.swap_remove(usize::from(input.u8()) % count);
                        visit.complete(token, input.u16().into()).map(|()| true)
                    }
                },
                _ => Ok(false),
            };
            match outcome {
                Ok(true) => {}
                Ok(false) => break,
                Err(_) => return driver.check(),
            }
        }
        if visit.publish().is_err() {
            return driver.check();
        }
    }
    driver.check();
}

/// Three areas anywhere, mostly such that they are possible.
fn setup(input: &mut Input<'_>) -> Setup {
    let mode = input.u8();
    let size = input.u8();
    let mut area = |alignment: u64| {
        let offset = u64::from(input.u16()) % SIZE;
        Ipa(BASE + offset / alignment * alignment)
    };
    let [descriptors, driver, device] = [area(16), area(4), area(4)];
    Setup {
        size: match mode & 1 != 0 {
            true => u16::from(size) % (LIMIT + 1),
            false => 1 << (size % 7),
        },
        descriptors,
        driver,
        device,
        packed: mode & 1 != 0,
        event_idx: mode & 2 != 0,
        indirect: mode & 4 != 0,
    }
}

/// The driver, which remembers what it wrote.
struct Driver<'a> {
    memory: &'a Arena,
    setup: Setup,
    written: Vec<u8>,
}

impl Driver<'_> {
    /// Writes something, where it is most likely to matter.
    fn act(&mut self, input: &mut Input<'_>) {
        let entry = u64::from(input.u8());
        let slot = entry % u64::from(self.setup.size);
        let Setup { descriptors, driver, .. } = self.setup;
        match input.u8() % 6 {
            // A descriptor whose buffer or table is in memory.
            0 => {
                let at = Ipa(descriptors.0 + 16 * slot);
                let address = BASE + u64::from(input.u16()) % SIZE;
                self.write(at, &address.to_le_bytes());
                self.write(Ipa(at.0 + 8), &(u32::from(input.u8()) * 16).to_le_bytes());
                self.write(Ipa(at.0 + 12), &input.take::<4>());
            }
            // Any descriptor.
            1 => self.write(Ipa(descriptors.0 + 16 * slot), &input.take::<16>()),
            // Its flags or its successor.
            2 => self.write(Ipa(descriptors.0 + 16 * slot + 12), &input.take::<4>()),
            // A request is offered (split).
            3 => self.write(Ipa(driver.0 + 4 + 2 * slot), &(slot as u16).to_le_bytes()),
            4 => self.write(Ipa(driver.0 + 2), &(entry as u16).to_le_bytes()),
            // Anything anywhere.
            _ => self.write(Ipa(BASE + u64::from(input.u16()) % SIZE), &input.take::<8>()),
        }
    }

    fn write(&mut self, at: Ipa, bytes: &[u8]) {
        let offset = (at.0 - BASE) as usize;
        if let Some(written) = self.written.get_mut(offset..offset + bytes.len()) {
            written.copy_from_slice(bytes);
            // It fits, and so there is no error.
            let _ = self.memory.write(at, bytes);
        }
    }

    /// Whether all but the device's part of the queue is as it was written.
    fn check(&self) {
        let areas = self.setup.areas();
        let device = match self.setup.packed {
            true => [areas[0], areas[2]],
            false => [areas[2], areas[2]],
        };
        let is_device = |at: u64| device.iter().any(|(ipa, len, _)| at.wrapping_sub(ipa.0) < u64::from(*len));
        for ((at, found), expected) in (BASE..).zip(self.memory.bytes()).zip(&self.written) {
            assert!(found == *expected || is_device(at), "{at:#x} is {found:#x}, not {expected:#x}");
        }
    }
}
