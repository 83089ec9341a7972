//! A debugger's session with a VM: what it has put there, and what it looks at.

use alloc::vec::Vec;

use gdbstub::common::Tid;

use super::debuggee::{Debuggee, Refused};
use super::isa::{self, Isa};
use super::patches::Patches;
use crate::vm::debug::{Access, Action, Point};
use crate::vm::vcpu::{FpuRegs, Regs};

/// As far as a translation holds.
const PAGE: u64 = 4096;

/// A VM under a debugger.
pub struct Session<D> {
    pub vm: D,
    pub isa: &'static dyn Isa,
    pub patches: Patches,
    points: Vec<Point>,
    /// What each vCPU is to do next, as far as the debugger says, and what the others are to do.
    pub actions: Vec<Option<Action>>,
    pub others: Action,
    /// The vCPU that stopped last. `gdbstub` does not say whose translation a breakpoint's address is to be read
    /// by, but it is this vCPU that the person at the debugger looks at.
    pub focus: usize,
    /// The VM is not held by the debugger.
    pub running: bool,
}

impl<D: Debuggee> Session<D> {
    pub fn new(vm: D) -> Self {
        Self {
            isa: isa::of(vm.arch()),
            vm,
            patches: Patches::default(),
            points: Vec::new(),
            actions: Vec::new(),
            others: Action::Continue,
            focus: 0,
            running: true,
        }
    }

    /// Holds the VM.
    pub fn halt(&mut self) {
        self.vm.halt();
        self.running = false;
        if !self.vm.is_on(self.focus) {
            self.focus = (0..self.vm.vcpus()).find(|vcpu| self.vm.is_on(*vcpu)).unwrap_or(0);
        }
    }

    /// Takes every breakpoint and watchpoint away. The VM is held.
    pub fn clear(&mut self) {
        let instruction = self.instruction();
        self.patches.remove_all(&mut self.vm, instruction);
        self.points.clear();
        // Nothing is always possible.
        let _ = self.vm.arm(&[]);
    }

    /// The instruction that is put into memory, if one is.
    pub fn instruction(&self) -> &'static [u8] {
        self.isa.breakpoint().unwrap_or_default()
    }

    /// The debugger goes, and leaves nothing behind. The VM is held, until `how` decides.
    pub fn end(&mut self, how: fn(&mut D)) {
        self.clear();
        how(&mut self.vm);
        self.running = true;
    }

    /// The watchpoint that an access at `address` belongs to: the CPU may report any address between the lowest
    /// one of the access and the highest one that is watched (DDI 0487 D2.10), so it is the nearest.
    pub fn watchpoint(&self, address: u64) -> Option<(u64, Access)> {
        let distance = |first: u64, length: u64| {
            let last = first.saturating_add(length.saturating_sub(1));
            first.saturating_sub(address).max(address.saturating_sub(last))
        };
        let watchpoints = self.points.iter().filter_map(|point| match point {
            Point::Watch { address, length, access } => Some((*address, *length, *access)),
            Point::Execution(_) => None,
        });
        let (first, _, access) = watchpoints.min_by_key(|(first, length, _)| distance(*first, *length))?;
        Some((address.max(first), access))
    }

    pub fn registers(&self, vcpu: usize) -> Option<(Regs, FpuRegs)> {
        Some((self.vm.regs(vcpu)?, self.vm.fpu_regs(vcpu)?))
    }

    /// Gives a vCPU the registers of `file`.
    ///
    /// # Errors
    /// [`Refused`] where there is no such vCPU, or it cannot have them.
    pub fn set_registers(&mut self, vcpu: usize, file: &[u8]) -> Result<(), Refused> {
        let (mut regs, mut fpu) = self.registers(vcpu).ok_or(Refused)?;
        self.isa.unpack(file, &mut regs, &mut fpu).ok_or(Refused)?;
        self.vm.set_regs(vcpu, &regs)?;
        self.vm.set_fpu_regs(vcpu, &fpu)
    }

    /// Splits memory from `address` on at the ends of pages: where each piece lies, and how long it is. Ends where
    /// the address space does.
    pub fn pieces(
        &self,
        vcpu: usize,
        address: u64,
        length: usize,
    ) -> impl Iterator<Item = Option<(u64, usize)>> {
        let mut done = 0;
        core::iter::from_fn(move || {
            let left = length.checked_sub(done).filter(|left| *left > 0)?;
            let Some(address) = address.checked_add(done as u64) else { return Some(None) };
            let size = left.min((PAGE - address % PAGE) as usize);
            done += size;
            Some(self.vm.translate(vcpu, address).map(|ipa| (ipa, size)))
        })
    }

    /// Where a breakpoint at `address` must be put: as the vCPU in focus sees it, else as any.
    pub fn locate(&self, address: u64) -> Option<u64> {
        let others = (0..self.vm.vcpus()).filter(|vcpu| self.vm.is_on(*vcpu));
        core::iter::once(self.focus).chain(others).find_map(|vcpu| self.vm.translate(vcpu, address))
    }

    /// Has the hardware look out for `point`, too.
    pub fn add_point(&mut self, point: Point) -> bool {
        if self.points.contains(&point) {
            return true;
        }
        self.points.push(point);
        let possible = self.vm.arm(&self.points).is_ok();
        if !possible {
            self.points.pop();
        }
        possible
    }

    pub fn remove_point(&mut self, point: Point) {
        self.points.retain(|armed| *armed != point);
        // Fewer of the same are always possible.
        let _ = self.vm.arm(&self.points);
    }

    pub fn set_action(&mut self, tid: Tid, action: Action) {
        if let Some(slot) = self.actions.get_mut(vcpu(tid)) {
            *slot = Some(action);
        }
    }
}

/// The vCPU that is thread `tid`. Threads count from 1.
pub fn vcpu(tid: Tid) -> usize {
    tid.get() - 1
}

/// The thread that `vcpu` is.
pub fn thread(vcpu: usize) -> Tid {
    Tid::MIN.saturating_add(vcpu)
}
