//! Which CPU runs which vCPU: each vCPU has a CPU of its own, for good.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicUsize, Ordering};

use crate::arch::aarch64::{cpu, gic, irq, percpu};
use crate::platform::power;
use crate::vm::instance::{Next, Vm};

/// VMs that are not off, and one more until all that there are have been launched.
static LIVE: AtomicUsize = AtomicUsize::new(1);

/// A vCPU on its way to a CPU.
pub struct Task {
    vm: Arc<Vm>,
    vcpu: usize,
}

/// How many CPUs have no vCPU.
pub fn free_cpus() -> usize {
    percpu::all().filter(|cpu| !cpu.taken.load(Ordering::Acquire)).count()
}

/// Gives every vCPU of `vm`, which has booted, a CPU that has none.
pub fn launch(vm: &Arc<Vm>) {
    LIVE.fetch_add(1, Ordering::AcqRel);
    let free = percpu::all().filter(|cpu| !cpu.taken.swap(true, Ordering::AcqRel));
    for (vcpu, cpu) in (0..vm.vcpus()).zip(free) {
        *cpu.inbox.lock() = Some(Task { vm: vm.clone(), vcpu });
        if cpu.index != percpu::this_cpu().index {
            gic::kick(cpu);
        }
    }
}

/// No more VMs will be launched.
pub fn all_launched() {
    vm_is_off();
}

/// One VM less. The machine is switched off with the last one.
pub fn vm_is_off() {
    if LIVE.fetch_sub(1, Ordering::AcqRel) == 1 {
        match power::can_switch_off() {
            true => log::info!("all VMs are off, the machine is switched off"),
            false => log::info!("all VMs are off; this machine has no means to switch itself off"),
        }
        power::off();
    }
}

/// What a CPU does from the end of its bring-up on: it runs what is put into its inbox, and sleeps in
/// between.
pub fn run_cpu() -> ! {
    loop {
        let task = percpu::this_cpu().inbox.lock().take();
        match task {
            Some(task) => run(&task),
            None => {
                cpu::wait_for_interrupt();
                irq::handle_idle();
            }
        }
    }
}

/// Runs a vCPU until its VM is off.
fn run(task: &Task) {
    let Task { vm, vcpu: index } = task;
    vm.settle(*index);
    let mut vcpu = Vm::vcpu(vm, *index);
    loop {
        match vm.next(*index) {
            Next::Start(start) => {
                vcpu.start_at(start.entry, start.context);
                let exit = vcpu.run();
                log::debug!("vCPU {} of {}: {exit:?}, {:?}", vcpu.id(), vm.name(), vcpu.exits());
                vm.left(*index, &exit);
            }
            Next::Wait => {
                cpu::wait_for_interrupt();
                irq::handle_idle();
            }
            Next::Quit => {
                percpu::this_cpu().taken.store(false, Ordering::Release);
                return;
            }
        }
    }
}
