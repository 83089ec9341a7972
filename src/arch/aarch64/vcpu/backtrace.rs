//! Where a guest is, by the chain of its frame records (AAPCS64 6.4.6), as far as it keeps one.

use alloc::vec::Vec;

use super::{Machine, Vcpu};
use crate::vm::vcpu::VcpuOps;

/// The most return addresses that are looked for.
const DEPTH: usize = 24;

/// The program counter of `vcpu`, which is not loaded, its link register, and the return addresses of the calls
/// that it is in, the innermost first.
pub fn of<M: Machine>(vcpu: &Vcpu<M>) -> Vec<u64> {
    let mut addresses = alloc::vec![vcpu.frame.pc, vcpu.frame.get(30)];
    let mut record = vcpu.frame.get(29);
    while addresses.len() < DEPTH {
        let Some((next, address)) = read_record(vcpu, record) else { break };
        if address == 0 {
            break;
        }
        addresses.push(address);
        // Callers' frames lie higher up; anything else is no chain.
        if next <= record {
            break;
        }
        record = next;
    }
    // The innermost function may have stored its link register already.
    addresses.dedup();
    addresses
}

/// The two words of the frame record at the guest's virtual address.
fn read_record<M: Machine>(vcpu: &Vcpu<M>, address: u64) -> Option<(u64, u64)> {
    let mut words = [0; 16];
    // Aligned, it lies within a page.
    let ipa = address.is_multiple_of(16).then(|| vcpu.translate(address)).flatten()?;
    vcpu.machine.read_memory(ipa, &mut words)?;
    let (next, address) = words.split_first_chunk::<8>()?;
    Some((u64::from_le_bytes(*next), u64::from_le_bytes(address.try_into().ok()?)))
}
