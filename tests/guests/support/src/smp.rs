//! The other CPUs.

use spin::Mutex;

use crate::{
    cpu,
    machine::Machine,
    psci::{self, CPU_ON},
    start,
};

/// How many CPUs payloads use at most.
pub const MAX_CPUS: usize = 8;

static JOB: Mutex<fn(usize)> = Mutex::new(|_| ());

/// Lets CPU `index` of the devicetree run `job(index)` from reset. It switches itself off at the end; see [`wait_off`].
///
/// # Errors
/// What CPU_ON answered, if not 0. An `index` that the machine does not have is answered with `INVALID_PARAMETERS`.
pub fn start(machine: &Machine, index: usize, job: fn(usize)) -> Result<(), i64> {
    let affinity = *machine.cpus().get(index).ok_or(psci::INVALID_PARAMETERS)?;
    *JOB.lock() = job;
    match psci::psci(CPU_ON, [affinity, start::secondary_entry(), index as u64]) {
        0 => Ok(()),
        error => Err(error),
    }
}

/// Waits until CPU `index` is off.
pub fn wait_off(machine: &Machine, index: usize) {
    if let Some(&affinity) = machine.cpus().get(index) {
        while psci::affinity_info(affinity) != psci::OFF {
            cpu::relax();
        }
    }
}

/// What a secondary CPU does.
pub(crate) fn run_job(index: usize) {
    let job = *JOB.lock();
    job(index);
}
