//! Accesses, maintenance and table walks at wild addresses.

use guest_support::{
    mmio,
    mmu::{Memory, Window},
};

use super::{Attack, findings, place::RAM_LIMIT};

const BASE: usize = 1;

pub fn operation(attack: &mut Attack) {
    match attack.rng.below(8) {
        0 => maintain(attack),
        1 => walk(attack),
        2 => peek(attack),
        _ => access(attack),
    }
}

fn window(attack: &mut Attack, address: u64) -> u64 {
    let kinds = [Memory::Normal, Memory::Device, Memory::DeviceExecutable];
    Window::A.map(address, attack.rng.pick(&kinds).copied().unwrap_or(Memory::Device))
}

/// Any instruction of the class of loads and stores, Arm ARM C4.1.94: bits \[28:25\] are x1x0.
fn access(attack: &mut Attack) {
    let address = attack.place();
    let mut registers = attack.registers();
    // Offsets in registers stay small.
    for offset in &mut registers {
        *offset &= 0x1f;
    }
    if let Some(base) = registers.get_mut(BASE) {
        *base = window(attack, address);
    }
    let random = attack.rng.next_u64() as u32;
    // The base is x1, an offset in a register (or a status or second source there) is one of x2 to x9.
    let offset = 2 + (random >> 16 & 7);
    let instruction =
        random & !(1 << 25 | 0x1f << 16 | 0x1f << 5) | 1 << 27 | offset << 16 | (BASE as u32) << 5;
    // Memory copy and set take three addresses and sizes from registers, which could be anywhere.
    if instruction & 0x3b20_0c00 != 0x1900_0400 {
        attack.execute(instruction, &registers);
    }
    Window::A.unmap();
}

/// A plain load from memory that should not be there: what is above our RAM and below QEMU's high devices
/// belongs to somebody else.
fn peek(attack: &mut Attack) {
    let address = attack.place() & !7;
    let memory = if attack.rng.one_in(2) { Memory::Normal } else { Memory::Device };
    let window = Window::A.map(address, memory);
    let outcome = attack.attempt(|| mmio::read64(window));
    Window::A.unmap();
    if let Ok(value) = outcome
        && (attack.machine.ram.end..RAM_LIMIT).contains(&address)
    {
        findings::leak(address, value);
    }
}

/// Any SYS or SYSL instruction of CRn 7 and 8: cache and TLB maintenance, address translation, and what is
/// not allocated.
fn maintain(attack: &mut Attack) {
    let address = attack.place();
    let mut registers = attack.registers();
    if let Some(base) = registers.get_mut(BASE) {
        // Set/way and TLBI operands are numbers, others are addresses.
        *base = if attack.rng.one_in(3) { attack.rng.interesting() } else { window(attack, address) };
        if attack.machine.ram.contains(base) {
            *base = 0;
        }
    }
    let random = attack.rng.next_u64() as u32;
    let register_7_or_8 = if random & 1 == 0 { 7 } else { 8 };
    let (op1, crm, op2) = (random >> 1 & 7, random >> 4 & 0xf, random >> 8 & 7);
    let load = random >> 11 & 1;
    let instruction =
        0xd508_0000 | load << 21 | op1 << 16 | register_7_or_8 << 12 | crm << 8 | op2 << 5 | BASE as u32;
    attack.execute(instruction, &registers);
    Window::A.unmap();
}

/// Translation tables in devices and in nothing. Loads and address translation only: a device that happens to
/// look like a table could send a store into this program.
fn walk(attack: &mut Attack) {
    let table = attack.place();
    let target = Window::B.walk(table, attack.rng.next_u64());
    let _ = attack.attempt(|| mmio::read64(target));
    // at s1e1r, x1; at s1e1w, x1; at s1e0r, x1; prfm pldl1keep, [x1]; dc civac, x1
    let users = [0xd508_7801, 0xd508_7821, 0xd508_7841, 0xf980_0020, 0xd50b_7e21];
    let mut registers = attack.registers();
    if let (Some(base), Some(user)) = (registers.get_mut(BASE), attack.rng.pick(&users)) {
        *base = target;
        attack.execute(*user, &registers);
    }
    Window::B.unmap();
}
