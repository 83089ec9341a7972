//! PSCI (DEN 0022) and SMCCC (DEN 0028).

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use guest_support::{
    cpu,
    exception::{Esr, probe},
    machine::Machine,
    psci::{self, Conduit},
    smp,
};

use super::check::{Failure, Outcome, Test};

pub const TESTS: &[Test] = &[
    Test::once("psci-version", version),
    Test::once("psci-features", features),
    Test::everywhere("smccc-unknown", unknown),
    Test::once("smccc-version", smccc_version),
    Test::everywhere("smc-conduit", smc),
    Test::once("psci-affinity-info", affinity_info),
    Test::once("psci-cpu-on", cpu_on),
    Test::once("psci-cpu-on-errors", cpu_on_errors),
];

fn version(_: &Machine) -> Outcome {
    let version = psci::psci(psci::VERSION, [0; 3]);
    ensure!(version >= 0x1_0001, "PSCI is 1.1 at least");
    Ok(())
}

fn features(_: &Machine) -> Outcome {
    for function in [
        psci::VERSION,
        psci::CPU_OFF,
        psci::CPU_ON,
        psci::CPU_ON & !(1 << 30),
        psci::AFFINITY_INFO,
        psci::SYSTEM_OFF,
        psci::SYSTEM_RESET,
        psci::FEATURES,
    ] {
        ensure_eq!(
            psci::psci(psci::FEATURES, [u64::from(function), 0, 0]),
            0,
            "PSCI_FEATURES of a function that there is"
        );
    }
    let unknown = psci::psci(psci::FEATURES, [0x8400_01ff, 0, 0]);
    ensure_eq!(unknown, psci::NOT_SUPPORTED, "PSCI_FEATURES of a function that there is not");
    Ok(())
}

/// Functions that nobody has: services for Arm, CPU, SiP, OEM and trusted applications, and the reserved
/// range.
const UNKNOWN: [u32; 8] =
    [0x8400_01ff, 0xc400_01ff, 0x8000_7ffe, 0x8100_7ffe, 0xc200_7ffe, 0x8300_7ffe, 0xb000_0000, 0xbf00_1234];

fn unknown(machine: &Machine) -> Outcome {
    for function in UNKNOWN {
        let answer = psci::call(machine.conduit, function, [0; 3]) as i32;
        ensure_eq!(answer, psci::NOT_SUPPORTED, "an unknown function");
    }
    Ok(())
}

/// SMCCC_VERSION, where PSCI says that there is one. QEMU's own PSCI has none.
pub fn reported_smccc_version() -> Option<i64> {
    let supported = psci::psci(psci::FEATURES, [u64::from(psci::SMCCC_VERSION), 0, 0]) >= 0;
    supported.then(|| psci::psci(psci::SMCCC_VERSION, [0; 3]))
}

fn smccc_version(_: &Machine) -> Outcome {
    if let Some(version) = reported_smccc_version() {
        ensure!(version >= 0x1_0001, "SMCCC is 1.1 at least");
    }
    Ok(())
}

/// Where there is an EL2, SMC works like HVC and returns to the next instruction; bare QEMU without EL3 has
/// it undefined.
fn smc(_: &Machine) -> Outcome {
    let under_hypervisor = reported_smccc_version().is_some();
    match probe(|| psci::call(Conduit::Smc, psci::VERSION, [0; 3]) as u64) {
        Ok(version) => {
            ensure_eq!(version, psci::psci(psci::VERSION, [0; 3]), "PSCI_VERSION by SMC");
            for function in UNKNOWN {
                let answer = psci::call(Conduit::Smc, function, [0; 3]) as i32;
                ensure_eq!(answer, psci::NOT_SUPPORTED, "an unknown function by SMC");
            }
        }
        Err(fault) if under_hypervisor || fault.esr.class() != Esr::UNKNOWN => {
            return Err(Failure::fault("PSCI_VERSION by SMC", fault));
        }
        Err(_) => {}
    }
    Ok(())
}

fn affinity_info(machine: &Machine) -> Outcome {
    ensure_eq!(psci::affinity_info(cpu::affinity()), psci::ON, "the state of the CPU that asks");
    for &other in machine.cpus().iter().skip(1) {
        ensure_eq!(psci::affinity_info(other), psci::OFF, "the state of a CPU that nobody started");
    }
    ensure_eq!(
        psci::affinity_info(NOBODY),
        psci::INVALID_PARAMETERS,
        "the state of a CPU that does not exist"
    );
    Ok(())
}

/// An affinity that no machine here has.
const NOBODY: u64 = 0x00_0042_4207;

/// The index that the CPU started last was given as its context.
static STARTED: AtomicUsize = AtomicUsize::new(0);
/// Whether that CPU may switch itself off.
static LEAVE: AtomicBool = AtomicBool::new(false);

fn cpu_on(machine: &'static Machine) -> Outcome {
    for index in 1..machine.cpus().len() {
        // Twice: switching off must leave a CPU that can be switched on.
        for _ in 0..2 {
            STARTED.store(0, Relaxed);
            smp::start(machine, index, |index| STARTED.store(index, Relaxed))
                .map_err(|error| Failure::new("CPU_ON", error as u64, 0))?;
            smp::wait_off(machine, index);
            ensure_eq!(STARTED.load(Relaxed), index, "the context id that the new CPU was given");
        }
    }
    Ok(())
}

fn cpu_on_errors(machine: &'static Machine) -> Outcome {
    let on = |affinity| psci::psci(psci::CPU_ON, [affinity, 0, 0]);
    ensure_eq!(on(NOBODY), psci::INVALID_PARAMETERS, "CPU_ON of a CPU that does not exist");
    ensure_eq!(on(cpu::affinity()), psci::ALREADY_ON, "CPU_ON of the CPU that asks");
    if let Some(&other) = machine.cpus().get(1) {
        STARTED.store(0, Relaxed);
        LEAVE.store(false, Relaxed);
        smp::start(machine, 1, |index| {
            STARTED.store(index, Relaxed);
            while !LEAVE.load(Relaxed) {
                cpu::relax();
            }
        })
        .map_err(|error| Failure::new("CPU_ON", error as u64, 0))?;
        while STARTED.load(Relaxed) == 0 {
            cpu::relax();
        }
        let (again, state) = (on(other), psci::affinity_info(other));
        LEAVE.store(true, Relaxed);
        smp::wait_off(machine, 1);
        ensure_eq!(again, psci::ALREADY_ON, "CPU_ON of a CPU that is on");
        ensure_eq!(state, psci::ON, "the state of a CPU that is on");
    }
    Ok(())
}
