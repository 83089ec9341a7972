//! The redistributors of a GICv3 (IHI 0069, GIC Redistributor register descriptions): for each vCPU a frame
//! for control and one for its SGIs and PPIs.

use super::{
    VcpuSet, Vgic,
    dist::{IIDR, redistributor_identification},
    registers::Register,
};
use crate::devices::bus::{Access, Width};

/// Bytes from one redistributor to the next.
pub const REDISTRIBUTOR_STRIDE: u64 = 2 * FRAME;
const FRAME: u64 = 0x1_0000;

const GICR_IIDR: u64 = 0x0004;
const GICR_TYPER: u64 = 0x0008;
const GICR_TYPER_UPPER: u64 = 0x000c;
const GICR_WAKER: u64 = 0x0014;
const IDENTIFICATION: u64 = 0xffd0;

/// `GICR_TYPER.Last`: the highest redistributor of its region.
const TYPER_LAST: u64 = 1 << 4;
const WAKER_PROCESSOR_SLEEP: u64 = 1 << 1;
const WAKER_CHILDREN_ASLEEP: u64 = 1 << 2;

/// A register of one redistributor.
enum Target {
    Control(u64),
    Private(Register),
}

/// Which redistributor, and what of it, is at `offset` of the region.
fn decode(offset: u64) -> Option<(usize, Target)> {
    let vcpu = usize::try_from(offset / REDISTRIBUTOR_STRIDE).ok()?;
    let within = offset % REDISTRIBUTOR_STRIDE;
    let target = match within.checked_sub(FRAME) {
        None => Target::Control(within),
        Some(private) => Target::Private(Register::at(private).filter(|register| register.word() == 0)?),
    };
    Some((vcpu, target))
}

/// Whether an access to `offset` needs the accessing vCPU folded.
pub(super) fn is_live(offset: u64) -> bool {
    matches!(decode(offset), Some((_, Target::Private(register))) if register.is_live())
}

impl Vgic {
    /// A read of a register of any redistributor.
    pub(super) fn read_redistributor(&self, access: Access) -> u64 {
        let Access { offset, width, .. } = access;
        if !offset.is_multiple_of(width.bytes()) {
            return 0;
        }
        match decode(offset) {
            Some((vcpu, Target::Private(register))) => self.read_register(vcpu, register, width),
            Some((vcpu, Target::Control(register))) => self.read_control(vcpu, register, width),
            None => 0,
        }
    }

    /// A write to a register of any redistributor.
    pub(super) fn write_redistributor(&mut self, access: Access, value: u64) -> VcpuSet {
        let Access { offset, width, .. } = access;
        if !offset.is_multiple_of(width.bytes()) {
            return VcpuSet::EMPTY;
        }
        match decode(offset) {
            Some((vcpu, Target::Private(register))) => self.write_register(vcpu, register, width, value),
            Some((vcpu, Target::Control(GICR_WAKER))) if width == Width::Word => {
                let Some(cpu) = self.vcpus.get_mut(vcpu) else { return VcpuSet::EMPTY };
                cpu.asleep = value & WAKER_PROCESSOR_SLEEP != 0;
                // Who is awake takes part in 1-of-N delivery.
                self.reroute_all()
            }
            _ => VcpuSet::EMPTY,
        }
    }

    /// `GICR_CTLR` has no bit that is implemented without LPIs: it reads as zero like what is reserved.
    fn read_control(&self, vcpu: usize, register: u64, width: Width) -> u64 {
        let Some(cpu) = self.vcpus.get(vcpu) else { return 0 };
        let last = if vcpu + 1 == self.vcpus.len() { TYPER_LAST } else { 0 };
        let typer = u64::from(cpu.affinity) << 32 | (vcpu as u64) << 8 | last;
        match (register, width) {
            (GICR_IIDR, Width::Word) => u64::from(IIDR),
            (GICR_TYPER, Width::Double | Width::Word) => width.truncate(typer),
            (GICR_TYPER_UPPER, Width::Word) => typer >> 32,
            (GICR_WAKER, Width::Word) if cpu.asleep => WAKER_PROCESSOR_SLEEP | WAKER_CHILDREN_ASLEEP,
            (IDENTIFICATION..FRAME, Width::Word) => u64::from(redistributor_identification(register)),
            _ => 0,
        }
    }
}
