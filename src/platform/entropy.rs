//! Seeds for guests' kernels, out of what the boot loader and the CPU give.

use core::sync::atomic::{AtomicU64, Ordering};

use aarch64_cpu::asm::random::ArmRng;
use sha2::{Digest, Sha256};
use spin::Once;

use super::board::Board;
use crate::arch::aarch64::timer;
use crate::vm::fdt::Seed;

/// The secret that all seeds come from; `None` where there is no source, or `seeds=off` was asked for.
static SECRET: Once<Option<[u8; 32]>> = Once::new();

/// Collects the devicetree's `rng-seed` and, where the CPU has one (FEAT_RNG), its random number generator's
/// output.
pub fn init(board: &Board) {
    SECRET.call_once(|| {
        let off = board.bootargs.split_ascii_whitespace().any(|word| word == "seeds=off");
        let generator = ArmRng::new();
        if off || (board.rng_seed.is_empty() && generator.is_none()) {
            return None;
        }
        let mut hash = Sha256::new_with_prefix(board.rng_seed);
        for _ in 0..4 {
            // The generator may be exhausted; what it has given then has to do.
            let random = generator.as_ref().and_then(ArmRng::rndr).unwrap_or(0);
            hash.update(random.to_le_bytes());
        }
        Some(hash.finalize().into())
    });
}

/// A seed that no other VM, and no other boot of the same VM, gets.
pub fn seed() -> Option<Seed> {
    let [a, b, c, d, e, f, g, h, ..] = derive(b"kaslr")?;
    Some(Seed { kaslr: Some(u64::from_le_bytes([a, b, c, d, e, f, g, h])), rng: derive(b"rng")? })
}

/// A seed for the generator behind an entropy device, which no other one gets. `None`: there is no source of entropy, and
/// there should be no such device.
pub fn generator_seed() -> Option<[u8; 32]> {
    derive(b"virtio-rng")
}

/// Bytes for `purpose` out of the secret, different ones each time.
fn derive(purpose: &[u8]) -> Option<[u8; 32]> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let secret = SECRET.get().copied().flatten()?;
    let mut hash = Sha256::new_with_prefix(secret);
    hash.update(purpose);
    hash.update(NUMBER.fetch_add(1, Ordering::Relaxed).to_le_bytes());
    hash.update(timer::now().to_le_bytes());
    Some(hash.finalize().into())
}
