//! The interrupt controller of a VM, and how it reaches the VM's vCPUs.

use alloc::sync::Arc;

use super::claim;
use crate::arch::aarch64::gic;
use crate::arch::aarch64::vcpu::interrupts;
use crate::devices::bus::{Access, Bus, MmioDevice, Width};
use crate::devices::gic::device::{Distributor, Host, Redistributors, VgicDevice};
use crate::devices::gic::{GicVersion, VcpuSet, Vgic, VgicConfig};
use crate::mm::addr::{Ipa, PAGE_SIZE};
use crate::mrs;
use crate::vm::instance::VmError;
use crate::vm::machine::Region;
use crate::vm::scheduler::Task;
use crate::vm::vcpu::Attention;

/// The vCPUs of a VM, as its interrupt controller reaches them.
pub struct GicHost(Arc<[Arc<Task>]>);

impl Host for GicHost {
    fn fold(&self, vgic: &mut Vgic, vcpu: usize) -> VcpuSet {
        interrupts::fold(vgic, vcpu, mrs!("cntv_ctl_el0"))
    }

    fn kick(&self, vcpus: VcpuSet) {
        for task in vcpus.iter().filter_map(|vcpu| self.0.get(vcpu)) {
            task.raise(Attention::INTERRUPTS);
        }
    }
}

/// The page with `GICC_DIR`, which stays out of the GICv2's hardware interface (see
/// [`Vm::map_cpu_interface`]).
struct DeactivateRegister(Arc<VgicDevice<GicHost>>);

impl MmioDevice for DeactivateRegister {
    fn read(&self, _: Access) -> u64 {
        0
    }

    fn write(&self, access: Access, value: u64) {
        if (access.offset, access.width) == (0, Width::Word) {
            self.0.deactivate(access.vcpu, value as u32 & 0x3ff);
        }
    }
}

/// Where a machine has its interrupt controller.
pub struct Frames {
    /// The distributor.
    pub distributor: Region,
    /// The CPU interface of a GICv2.
    pub cpu_interface: Region,
    /// The first redistributor of a GICv3; the others follow it.
    pub redistributor: Region,
}

/// Puts an interrupt controller with so many SPIs onto a bus.
pub fn wire(
    bus: &mut Bus,
    frames: &Frames,
    spis: u32,
    affinities: &[u64],
    tasks: &Arc<[Arc<Task>]>,
) -> Result<Arc<VgicDevice<GicHost>>, VmError> {
    let version = gic::version();
    let config = VgicConfig {
        version,
        vcpus: affinities.to_vec(),
        spis,
        list_registers: gic::list_registers(),
        priority_bits: gic::virtual_priority_bits().min(5),
    };
    let vgic = VgicDevice::new(&config, GicHost(tasks.clone())).map_err(VmError::Gic)?;
    claim(bus, frames.distributor, "gic-distributor", Arc::new(Distributor(vgic.clone())))?;
    match version {
        GicVersion::V2 => {
            let page = Region {
                base: Ipa(frames.cpu_interface.base.0 + PAGE_SIZE),
                size: frames.cpu_interface.size - PAGE_SIZE,
            };
            claim(bus, page, "gic-deactivate", Arc::new(DeactivateRegister(vgic.clone())))?;
        }
        GicVersion::V3 => {
            let size = frames.redistributor.size * affinities.len() as u64;
            let region = Region { base: frames.redistributor.base, size };
            claim(bus, region, "gic-redistributors", Arc::new(Redistributors(vgic.clone())))?;
        }
    }
    Ok(vgic)
}
