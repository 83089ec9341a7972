//! The entropy device (VIRTIO 1.2, 5.4): random bytes for the guest.

use alloc::sync::Arc;
use alloc::vec::Vec;

use sha2::{Digest, Sha256};
use spin::Mutex;

use super::queue::Chain;
use super::{Channel, Device, DeviceId, Features};
use crate::persist::RestoreError;

/// The largest size of each queue (5.4.2).
pub const QUEUES: [u16; 1] = [16];

/// Bytes that the generator makes at once.
const BLOCK: usize = 32;
/// What a generator starts with.
pub type Seed = [u8; BLOCK];
/// Most bytes for a request: more than one byte is a courtesy (5.4.6.2).
const MOST: usize = 2 * BLOCK;
/// Requests in a call.
const REQUESTS: u32 = 8;

/// An entropy device.
pub struct Rng {
    channel: Channel,
    work: Mutex<(Generator, Chain)>,
}

impl Rng {
    /// A device for `channel`, whose queues are as [`QUEUES`] says. `seed` is random, and nobody else's.
    pub fn new(channel: Channel, seed: Seed) -> Arc<Self> {
        Arc::new(Self { channel, work: Mutex::new((Generator(seed), Chain::default())) })
    }
}

impl Device for Rng {
    fn id(&self) -> DeviceId {
        DeviceId::Entropy
    }

    fn features(&self) -> Features {
        Features::empty()
    }

    fn channel(&self) -> &Channel {
        &self.channel
    }

    fn read_config(&self, _: u64, bytes: &mut [u8]) {
        bytes.fill(0);
    }

    fn notified(&self, queue: usize) {
        let (generator, chain) = &mut *self.work.lock();
        let is_done = self.channel.visit(queue, |visit| {
            for _ in 0..REQUESTS {
                if !visit.next(chain)? {
                    return Ok(true);
                }
                let mut written = 0;
                if let Some(segment) = chain.writable.first() {
                    let mut random = [0; MOST];
                    let len = MOST.min(segment.len as usize);
                    if let Some(random) = random.get_mut(..len) {
                        generator.fill(random);
                        if visit.memory().write(segment.ipa, random).is_ok() {
                            written = len as u32;
                        }
                    }
                }
                visit.complete(chain.token(), written)?;
            }
            Ok(false)
        });
        if is_done == Some(false) {
            self.channel.defer(queue);
        }
    }

    /// Nothing: two VMs that were made of one state must not get the same bytes.
    fn save(&self) -> Vec<u8> {
        Vec::new()
    }

    fn restore(&self, state: &[u8]) -> Result<(), RestoreError> {
        match state.len() {
            0 => Ok(()),
            len => Err(RestoreError { field: "rng.len", found: len as u64, limit: 0 }),
        }
    }
}

/// A hash in counter mode, the key of which is replaced after each use: who learns it does not learn what it has given
/// before (NIST SP 800-90A, 8.8: backtracking resistance).
struct Generator(Seed);

impl Generator {
    fn fill(&mut self, bytes: &mut [u8]) {
        for (number, block) in (1u32..).zip(bytes.chunks_mut(BLOCK)) {
            block.iter_mut().zip(self.derive(number)).for_each(|(to, byte)| *to = byte);
        }
        self.0 = self.derive(0);
    }

    fn derive(&self, number: u32) -> [u8; BLOCK] {
        Sha256::new_with_prefix(self.0).chain_update(number.to_le_bytes()).finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::devices::virtio::testing::{Driver, Mode, Rig, start};

    #[test]
    fn requests_get_bytes_that_never_come_again() {
        for mode in Mode::all() {
            let rig = Rig::new();
            let rng = Rng::new(rig.channel(&QUEUES), [7; 32]);
            let mut driver = Driver::new(&rig, rng.channel(), 0, 16, mode);
            start(&*rng, mode.features());
            let mut seen = BTreeSet::new();
            for _ in 0..3 {
                for len in [64, 1 << 16, 32, 64] {
                    driver.add(&[], &[len]).unwrap();
                }
                rng.notified(0);
                for len in [64, 64, 32, 64] {
                    let used = driver.used().unwrap();
                    assert_eq!(used.written, len);
                    for block in used.bytes[..len as usize].chunks(BLOCK) {
                        assert!(seen.insert(block.to_vec()), "the same bytes again");
                    }
                }
            }
        }
    }

    #[test]
    fn a_flood_is_served_by_and_by_and_nonsense_gets_nothing() {
        let rig = Rig::new();
        let rng = Rng::new(rig.channel(&QUEUES), [7; 32]);
        let mut driver = Driver::new(&rig, rng.channel(), 0, 16, Mode::default());
        start(&*rng, Mode::default().features());
        driver.add(&[b"for me?"], &[]).unwrap();
        for _ in 0..15 {
            driver.add(&[], &[8]).unwrap();
        }
        rng.notified(0);
        let written: Vec<_> = core::iter::from_fn(|| driver.used()).map(|used| used.written).collect();
        assert_eq!(written, [0, 8, 8, 8, 8, 8, 8, 8]);
        assert_eq!((rig.worker.take(), rng.channel().take_deferred()), (1, 1));
        rng.notified(0);
        assert_eq!(core::iter::from_fn(|| driver.used()).count(), 8);
    }

    #[test]
    fn two_seeds_have_nothing_in_common() {
        let bytes = |seed| {
            let mut bytes = [0; 64];
            Generator([seed; 32]).fill(&mut bytes);
            bytes
        };
        let (one, other) = (bytes(1), bytes(2));
        assert!(one.chunks(4).zip(other.chunks(4)).all(|(one, other)| one != other));
        assert_eq!(bytes(1), one);
    }
}
