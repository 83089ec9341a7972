//! Calls of the hypervisor.

use guest_support::{
    machine::Machine,
    println,
    psci::{self, CPU_ON},
    rng::Rng,
};

use super::Attack;

const HVC: u32 = 0xd400_0002;
const SMC: u32 = 0xd400_0003;

/// PSCI functions that end or suspend this CPU or the machine, or start a CPU: by number, in the 32-bit and
/// the 64-bit range. CPU_SUSPEND, CPU_OFF, CPU_ON, SYSTEM_OFF, SYSTEM_RESET, CPU_FREEZE, CPU_DEFAULT_SUSPEND,
/// SYSTEM_SUSPEND, SYSTEM_RESET2, SYSTEM_OFF2.
const FINAL: [u32; 10] = [0x01, 0x02, 0x03, 0x08, 0x09, 0x0b, 0x0c, 0x0e, 0x12, 0x15];

pub fn operation(attack: &mut Attack) {
    let mut registers = attack.registers();
    if let Some(function) = registers.first_mut() {
        *function =
            attack.rng.next_u64() << 32 & attack.rng.interesting() | u64::from(choose(&mut attack.rng));
    }
    let immediate = if attack.rng.one_in(2) { 0 } else { attack.rng.next_u64() as u16 };
    let conduit = if attack.rng.one_in(2) { HVC } else { SMC };
    attack.execute(conduit | u32::from(immediate) << 5, &registers);
}

/// A function identifier, DEN 0028 section 2.5: call type and convention, owner, number.
fn choose(rng: &mut Rng) -> u32 {
    loop {
        let function = match rng.below(4) {
            0 => rng.interesting() as u32,
            // Owners 0 (architecture) to 6, vendor hypervisor.
            1 => {
                0x8000_0000
                    | (rng.below(2) as u32) << 30
                    | (rng.below(7) as u32) << 24
                    | rng.below(0x1_0000) as u32
            }
            // PSCI and its neighbours (SDEI, FF-A, TRNG).
            2 => 0x8400_0000 | (rng.below(2) as u32) << 30 | rng.below(0x100) as u32,
            _ => 0x8000_0000 | (rng.below(7) as u32) << 24 | rng.below(0x20) as u32,
        };
        let is_psci = function & !(1 << 30 | 0xffff) == 0x8400_0000;
        if !(is_psci && FINAL.contains(&(function & 0xffff))) {
            return function;
        }
    }
}

/// Starts CPUs that do not exist, and those that do exist at addresses where there is nothing. Those fault,
/// and have no vectors to fault to.
pub fn start_others_in_the_void(machine: &'static Machine, rng: Rng) {
    let mut attack = Attack::new(machine, 0, rng);
    for _ in 0..100 {
        let (target, entry) = (attack.rng.interesting() | 1 << 20, attack.place());
        psci::psci(CPU_ON, [target, entry, attack.rng.interesting()]);
    }
    // Free RAM is zero, which is no instruction either.
    let in_ram = (machine.ram.end - (1 << 20)) & !0xfff;
    for &target in machine.cpus() {
        let in_nothing = attack.place() & !3;
        for entry in [in_nothing, in_ram] {
            let answer = psci::psci(CPU_ON, [target, entry, attack.rng.interesting()]);
            println!("hostile: CPU {target:#x} sent to {entry:#x}: {answer}");
        }
    }
}
