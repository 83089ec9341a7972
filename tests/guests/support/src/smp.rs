//! The other CPUs.

use core::sync::atomic::{AtomicBool, Ordering::*};

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
/// Which CPUs have a job that is not done. AFFINITY_INFO alone does not tell: QEMU says OFF until a CPU that
/// was just switched on runs.
static BUSY: [AtomicBool; MAX_CPUS] = [const { AtomicBool::new(false) }; MAX_CPUS];

/// Lets CPU `index` of the devicetree run `job(index)` from reset. It switches itself off at the end; see
/// [`wait_off`].
///
/// # Errors What CPU_ON answered, if not 0. An `index` that the machine does not have is answered with
/// `INVALID_PARAMETERS`.
pub fn start(machine: &Machine, index: usize, job: fn(usize)) -> Result<(), i64> {
    let (Some(&affinity), Some(busy)) = (machine.cpus().get(index), BUSY.get(index)) else {
        return Err(psci::INVALID_PARAMETERS);
    };
    *JOB.lock() = job;
    busy.store(true, Relaxed);
    match psci::psci(CPU_ON, [affinity, start::secondary_entry(), index as u64]) {
        0 => Ok(()),
        error => {
            busy.store(false, Relaxed);
            Err(error)
        }
    }
}

/// Waits until CPU `index` has done its job and is off.
pub fn wait_off(machine: &Machine, index: usize) {
    if let (Some(&affinity), Some(busy)) = (machine.cpus().get(index), BUSY.get(index)) {
        while busy.load(Acquire) {
            cpu::relax();
        }
        while psci::affinity_info(affinity) != psci::OFF {
            cpu::relax();
        }
    }
}

/// What a secondary CPU does.
pub(crate) fn run_job(index: usize) {
    let job = *JOB.lock();
    job(index);
    if let Some(busy) = BUSY.get(index) {
        busy.store(false, Release);
    }
}
