//! The virtual GIC as devices on the bus of a VM.

use alloc::sync::Arc;

use spin::{Mutex, MutexGuard};

use super::{
    ConfigError, IntId, SgiGroup, VcpuSet, Vgic, VgicConfig,
    dist::{self, DistributorId},
    redist,
};
use crate::devices::{
    bus::{Access, MmioDevice},
    irq::IrqController,
};

pub use super::redist::REDISTRIBUTOR_STRIDE;

/// Bytes that the distributor of a GICv2 takes.
pub const DISTRIBUTOR_SIZE_V2: u64 = 0x1000;
/// Bytes that the distributor of a GICv3 takes.
pub const DISTRIBUTOR_SIZE_V3: u64 = 0x1_0000;

/// What the virtual GIC asks of the hypervisor around it.
pub trait Host: Send + Sync {
    /// Calls [`Vgic::fold`] for `vcpu`, whose access is being handled on this physical CPU, with its list
    /// registers, and returns the result. A refill is due then; a [`kick`](Host::kick) that includes `vcpu`
    /// follows.
    fn fold(&self, vgic: &mut Vgic, vcpu: usize) -> VcpuSet;

    /// Sees to it that each of `vcpus` folds and fills before it executes more of its guest: the caller's own
    /// on the way out, a running one by interrupting its physical CPU, a sleeping one by waking it if it has
    /// something pending. Called without the lock.
    fn kick(&self, vcpus: VcpuSet);
}

/// A virtual GIC with its lock and the hypervisor that it serves.
pub struct VgicDevice<H> {
    id: DistributorId,
    host: H,
    vgic: Mutex<Vgic>,
}

impl<H: Host> VgicDevice<H> {
    /// A GIC in its reset state.
    ///
    /// # Errors
    /// What of `config` is out of its range.
    pub fn new(config: &VgicConfig, host: H) -> Result<Arc<Self>, ConfigError> {
        let vgic = Vgic::new(config)?;
        Ok(Arc::new(Self { id: DistributorId::new(&vgic), host, vgic: Mutex::new(vgic) }))
    }

    /// The state machine, for what has no shorter way here. Sets that it returns are the caller's to
    /// [kick](Host::kick).
    pub fn lock(&self) -> MutexGuard<'_, Vgic> {
        self.vgic.lock()
    }

    /// The hypervisor that it serves.
    pub fn host(&self) -> &H {
        &self.host
    }

    /// The guest's trapped write to an SGI register of a GICv3.
    pub fn send_sgi(&self, sender: usize, group: SgiGroup, value: u64) {
        self.update(|vgic| vgic.send_sgi(sender, group, value));
    }

    /// Sends `vcpu` an SGI ([`Vgic::ring`]).
    pub fn ring(&self, vcpu: usize, sgi: u32) {
        self.update(|vgic| vgic.ring(vcpu, sgi));
    }

    /// The guest's trapped write to `ICC_DIR_EL1` or `GICC_DIR` on `vcpu`. Numbers that are no interrupt's
    /// are ignored.
    pub fn deactivate(&self, vcpu: usize, number: u32) {
        if let Some(intid) = IntId::new(number) {
            self.update(|vgic| self.host.fold(vgic, vcpu) | vgic.deactivate(vcpu, intid) | VcpuSet::of(vcpu));
        }
    }

    fn update(&self, change: impl FnOnce(&mut Vgic) -> VcpuSet) {
        let kick = change(&mut self.vgic.lock());
        if !kick.is_empty() {
            self.host.kick(kick);
        }
    }

    fn read(&self, access: Access, live: bool, read: impl FnOnce(&Vgic, Access) -> u64) -> u64 {
        if !live {
            return read(&self.vgic.lock(), access);
        }
        let mut value = 0;
        self.update(|vgic| {
            let concerned = self.host.fold(vgic, access.vcpu);
            value = read(vgic, access);
            concerned | VcpuSet::of(access.vcpu)
        });
        value
    }

    fn write(&self, access: Access, live: bool, write: impl FnOnce(&mut Vgic, Access) -> VcpuSet) {
        self.update(|vgic| {
            let concerned = if live {
                self.host.fold(vgic, access.vcpu) | VcpuSet::of(access.vcpu)
            } else {
                VcpuSet::EMPTY
            };
            concerned | write(vgic, access)
        });
    }
}

impl<H: Host> IrqController for VgicDevice<H> {
    /// Drives an SPI; other pins do not exist.
    fn set_level(&self, pin: u32, level: bool) {
        if let Some(intid) = IntId::new(pin).filter(|intid| !intid.is_private()) {
            self.update(|vgic| vgic.set_level(0, intid, level));
        }
    }
}

/// The distributor (`GICD`).
pub struct Distributor<H>(pub Arc<VgicDevice<H>>);

impl<H: Host> MmioDevice for Distributor<H> {
    fn read(&self, access: Access) -> u64 {
        // Kept free of the lock: guests poll these, and they are the measure of an emulated access.
        if let Some(value) = self.0.id.read(access.offset, access.width) {
            return value;
        }
        self.0.read(access, dist::is_live(access.offset), Vgic::read_distributor)
    }

    fn write(&self, access: Access, value: u64) {
        self.0.write(access, dist::is_live(access.offset), |vgic, access| {
            vgic.write_distributor(access, value)
        });
    }
}

/// The redistributors (`GICR`) of all vCPUs, [`REDISTRIBUTOR_STRIDE`] bytes each.
pub struct Redistributors<H>(pub Arc<VgicDevice<H>>);

impl<H: Host> MmioDevice for Redistributors<H> {
    fn read(&self, access: Access) -> u64 {
        self.0.read(access, redist::is_live(access.offset), Vgic::read_redistributor)
    }

    fn write(&self, access: Access, value: u64) {
        self.0.write(access, redist::is_live(access.offset), |vgic, access| {
            vgic.write_redistributor(access, value)
        });
    }
}
