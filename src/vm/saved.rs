//! Translations of a RISC-V guest's code that were saved: whether they can be used, and what a VM is like that uses or makes
//! some. `docs/aot.md` has the whole.

use core::fmt;

use aarch64_cpu::registers::{ID_AA64ISAR0_EL1, Readable};
use polyvisor_cell_abi::{EngineDigest, PRIVATE_RECORDING, STORE, STORE_MAX, StoreHeader, cpu_features};
use sha2::{Digest, Sha256};

use super::bundle::{Bundle, Jit, VmError, VmSpec};
use super::fdt::Seed;
use crate::arch::aarch64::stage2;
use crate::mm::addr::{PAGE_SIZE, PhysAddr};
use crate::mm::tables::{TableError, Tables, Tlb};

/// Bytes of private memory for the recording that a VM makes.
pub fn recording_size(spec: &VmSpec) -> u64 {
    if spec.jit == Jit::Record { PRIVATE_RECORDING } else { 0 }
}

/// What the VM is told of `seed`. Translations are found by virtual address: its kernel is to be where it was.
pub fn seed(spec: &VmSpec, seed: Seed) -> Seed {
    let is_to_stay = spec.jit == Jit::Record || spec.translations.is_some();
    Seed { kaslr: seed.kaslr.filter(|_| !is_to_stay), ..seed }
}

/// The translations for the VM `spec` and the engine with this image; none where it has none, or where they cannot be used,
/// which is logged.
///
/// # Errors
/// The bundle has no such blob.
pub fn store(
    spec: &VmSpec,
    bundle: &'static Bundle<'static>,
    engine: &[u8],
) -> Result<&'static [u8], VmError> {
    let Some(id) = spec.translations else { return Ok(&[]) };
    let bytes = bundle.blob(id)?;
    let engine: EngineDigest = Sha256::digest(engine).into();
    let refuse = |why: &dyn fmt::Display| {
        log::warn!("VM {}: its saved translations are not used: {why}", spec.name);
        Ok(&[][..])
    };
    // The engine sees the same register (`arch::aarch64::idregs`).
    let features = cpu_features(ID_AA64ISAR0_EL1.get());
    match StoreHeader::check(bytes, &engine, features, crc32fast::hash) {
        Err(unfit) => refuse(&unfit),
        Ok(_) if !is_whole_pages(bytes) => refuse(&"they do not lie in whole pages, or have too many"),
        Ok(_) => Ok(bytes),
    }
}

/// Whether they can be mapped, and nothing else with them.
fn is_whole_pages(bytes: &[u8]) -> bool {
    let (start, len) = (bytes.as_ptr() as u64, bytes.len() as u64);
    start.is_multiple_of(PAGE_SIZE) && len.is_multiple_of(PAGE_SIZE) && len <= STORE_MAX
}

/// Puts them into a cell's address space.
///
/// # Errors
/// [`TableError`].
pub fn map<T: Tlb>(tables: &mut Tables<T>, store: &'static [u8]) -> Result<(), TableError> {
    if store.is_empty() {
        return Ok(());
    }
    tables.map(STORE, PhysAddr(store.as_ptr() as u64), store.len() as u64, stage2::rom_attributes())
}
