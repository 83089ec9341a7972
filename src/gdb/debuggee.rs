//! What the stub needs of the VM that is debugged.

use alloc::vec::Vec;

use crate::vm::bundle::Arch;
use crate::vm::debug::{Action, Point};
use crate::vm::vcpu::{FpuRegs, Regs};

/// The VM's state does not allow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused;

/// A VM that can be debugged. Its vCPUs go by index.
///
/// All methods are called with no vCPU loaded on this CPU. Those that read or change a vCPU are called only
/// between [`Debuggee::halt`] and [`Debuggee::resume`], so that every vCPU has put its registers away.
pub trait Debuggee {
    /// What the operator calls the VM.
    fn name(&self) -> &str;

    /// Its instruction set.
    fn arch(&self) -> Arch;

    /// How many vCPUs it has; at least 1.
    fn vcpus(&self) -> usize;

    /// Whether the guest has switched this vCPU on.
    fn is_on(&self, vcpu: usize) -> bool;

    /// Stops every vCPU, and returns when none is in its guest any more. From the first call on, debug exceptions
    /// are the stub's. Does nothing where the VM is halted, off or crashed.
    fn halt(&mut self);

    /// Lets every vCPU that is on do what `actions`, one for each vCPU, says, whether or not its own stop has been
    /// told before. What then makes one of them stop is told by [`super::Stub::stopped`].
    ///
    /// # Errors
    /// [`Refused`] where the VM is off or has crashed.
    fn resume(&mut self, actions: &[Action]) -> Result<(), Refused>;

    /// The debugger is gone: debug exceptions are the guest's again, and every vCPU goes on.
    fn detach(&mut self);

    /// Starts the VM anew and holds it before its first instruction.
    ///
    /// # Errors
    /// [`Refused`] where it cannot be started.
    fn reset(&mut self) -> Result<(), Refused>;

    /// Switches the VM off. The debugger is gone, too.
    fn kill(&mut self);

    /// The general registers of a vCPU.
    fn regs(&self, vcpu: usize) -> Option<Regs>;

    /// Replaces them.
    ///
    /// # Errors
    /// [`Refused`] where they name a state that a guest may not be in.
    fn set_regs(&mut self, vcpu: usize, regs: &Regs) -> Result<(), Refused>;

    /// The floating-point and SIMD registers of a vCPU.
    fn fpu_regs(&self, vcpu: usize) -> Option<FpuRegs>;

    /// Replaces them.
    ///
    /// # Errors
    /// [`Refused`] where there is no such vCPU.
    fn set_fpu_regs(&mut self, vcpu: usize, regs: &FpuRegs) -> Result<(), Refused>;

    /// System registers of a vCPU, by name. Names and order are always the same.
    fn system_registers(&self, vcpu: usize) -> Vec<(&'static str, u64)>;

    /// The IPA of a virtual address as the vCPU sees it now; `None` where it is not mapped. It holds up to the end
    /// of the 4 KiB page.
    fn translate(&self, vcpu: usize, address: u64) -> Option<u64>;

    /// Reads RAM or ROM at an IPA; never a device. The range lies in one 4 KiB page.
    ///
    /// # Errors
    /// [`Refused`] where there is no memory.
    fn read(&self, ipa: u64, buffer: &mut [u8]) -> Result<(), Refused>;

    /// Writes RAM or ROM at an IPA, so that the guest's data and instruction accesses see it. The range lies in one
    /// 4 KiB page.
    ///
    /// # Errors
    /// [`Refused`] where there is no memory.
    fn write(&mut self, ipa: u64, bytes: &[u8]) -> Result<(), Refused>;

    /// Has the hardware look out for `points`, and for nothing else, from the next resume on.
    ///
    /// # Errors
    /// [`Refused`] where it cannot look out for so many or for one of them; then everything stays as it was.
    fn arm(&mut self, points: &[Point]) -> Result<(), Refused>;
}
