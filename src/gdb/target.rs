//! The debugged VM as `gdbstub` wants it: one thread for each vCPU that is on.

use alloc::vec::Vec;
use core::convert::Infallible;

use gdbstub::common::{Signal, Tid};
use gdbstub::outputln;
use gdbstub::target::ext::base::BaseOps;
use gdbstub::target::ext::base::multithread::{
    MultiThreadBase, MultiThreadResume, MultiThreadResumeOps, MultiThreadSchedulerLocking,
    MultiThreadSchedulerLockingOps, MultiThreadSingleStep, MultiThreadSingleStepOps,
};
use gdbstub::target::ext::base::single_register_access::{SingleRegisterAccess, SingleRegisterAccessOps};
use gdbstub::target::ext::breakpoints::{
    Breakpoints, BreakpointsOps, HwBreakpoint, HwBreakpointOps, HwWatchpoint, HwWatchpointOps, SwBreakpoint,
    SwBreakpointOps, WatchKind,
};
use gdbstub::target::ext::monitor_cmd::{ConsoleOutput, MonitorCmd, MonitorCmdOps};
use gdbstub::target::ext::target_description_xml_override::{
    TargetDescriptionXmlOverride, TargetDescriptionXmlOverrideOps,
};
use gdbstub::target::ext::thread_extra_info::{ThreadExtraInfo, ThreadExtraInfoOps};
use gdbstub::target::{Target, TargetError, TargetResult};

use super::debuggee::{Debuggee, Refused};
use super::isa::{self, Any, File, Number};
use super::session::{Session, thread, vcpu};
use crate::vm::debug::{Access, Action, Point};

/// What the debugger is told of an access or a value that is not possible: `EFAULT` and `EINVAL`.
const BAD_ADDRESS: u8 = 14;
const INVALID: u8 = 22;

impl<D: Debuggee> Target for Session<D> {
    type Arch = Any;
    type Error = Infallible;

    fn base_ops(&mut self) -> BaseOps<'_, Any, Infallible> {
        BaseOps::MultiThread(self)
    }

    /// A serial line may damage bytes.
    fn use_no_ack_mode(&self) -> bool {
        false
    }

    fn use_fork_stop_reason(&self) -> bool {
        false
    }

    fn use_vfork_stop_reason(&self) -> bool {
        false
    }

    fn use_vforkdone_stop_reason(&self) -> bool {
        false
    }

    fn support_breakpoints(&mut self) -> Option<BreakpointsOps<'_, Self>> {
        Some(self)
    }

    fn support_monitor_cmd(&mut self) -> Option<MonitorCmdOps<'_, Self>> {
        Some(self)
    }

    fn support_target_description_xml_override(
        &mut self,
    ) -> Option<TargetDescriptionXmlOverrideOps<'_, Self>> {
        Some(self)
    }
}

impl<D: Debuggee> MultiThreadBase for Session<D> {
    fn read_registers(&mut self, file: &mut File, tid: Tid) -> TargetResult<(), Self> {
        let (regs, fpu) = self.registers(vcpu(tid)).ok_or(TargetError::NonFatal)?;
        file.0 = self.isa.pack(&regs, &fpu);
        Ok(())
    }

    fn write_registers(&mut self, file: &File, tid: Tid) -> TargetResult<(), Self> {
        self.set_registers(vcpu(tid), &file.0).map_err(|Refused| TargetError::Errno(INVALID))
    }

    fn support_single_register_access(&mut self) -> Option<SingleRegisterAccessOps<'_, Tid, Self>> {
        Some(self)
    }

    fn read_addrs(&mut self, start: u64, data: &mut [u8], tid: Tid) -> TargetResult<usize, Self> {
        let mut done = 0;
        for piece in self.pieces(vcpu(tid), start, data.len()) {
            let Some((ipa, size)) = piece else { break };
            let Some(buffer) = data.get_mut(done..done + size) else { break };
            if self.patches.read(&self.vm, ipa, buffer).is_err() {
                break;
            }
            done += size;
        }
        if done == 0 && !data.is_empty() { Err(TargetError::Errno(BAD_ADDRESS)) } else { Ok(done) }
    }

    fn write_addrs(&mut self, start: u64, data: &[u8], tid: Tid) -> TargetResult<(), Self> {
        let pieces: Option<Vec<_>> = self.pieces(vcpu(tid), start, data.len()).collect();
        let instruction = self.instruction();
        let mut rest = data;
        for (ipa, size) in pieces.ok_or(TargetError::Errno(BAD_ADDRESS))? {
            let Some((bytes, after)) = rest.split_at_checked(size) else { break };
            self.patches
                .write(&mut self.vm, ipa, bytes, instruction)
                .map_err(|Refused| TargetError::Errno(BAD_ADDRESS))?;
            rest = after;
        }
        Ok(())
    }

    fn list_active_threads(&mut self, found: &mut dyn FnMut(Tid)) -> Result<(), Infallible> {
        // The first one is taken for the one that has stopped when gdb attaches.
        let on = |vcpu: &usize| self.vm.is_on(*vcpu);
        let focus = Some(self.focus).filter(on);
        let others = (0..self.vm.vcpus()).filter(|vcpu| Some(*vcpu) != focus).filter(on);
        focus.into_iter().chain(others).map(thread).for_each(found);
        Ok(())
    }

    fn support_resume(&mut self) -> Option<MultiThreadResumeOps<'_, Self>> {
        Some(self)
    }

    fn support_thread_extra_info(&mut self) -> Option<ThreadExtraInfoOps<'_, Self>> {
        Some(self)
    }
}

impl<D: Debuggee> SingleRegisterAccess<Tid> for Session<D> {
    fn read_register(&mut self, tid: Tid, number: Number, buffer: &mut [u8]) -> TargetResult<usize, Self> {
        let (regs, fpu) = self.registers(vcpu(tid)).ok_or(TargetError::NonFatal)?;
        let file = self.isa.pack(&regs, &fpu);
        let system;
        let value = match self.isa.slot(number.0) {
            Some(slot) => file.get(slot),
            None => {
                let registers = self.vm.system_registers(vcpu(tid));
                let index = number.0.checked_sub(self.isa.registers());
                system = index.and_then(|index| Some(registers.get(index)?.1.to_le_bytes()));
                system.as_ref().map(<[u8; 8]>::as_slice)
            }
        };
        let value = value.ok_or(TargetError::Errno(INVALID))?;
        buffer.get_mut(..value.len()).ok_or(TargetError::NonFatal)?.copy_from_slice(value);
        Ok(value.len())
    }

    fn write_register(&mut self, tid: Tid, number: Number, value: &[u8]) -> TargetResult<(), Self> {
        let (regs, fpu) = self.registers(vcpu(tid)).ok_or(TargetError::NonFatal)?;
        let mut file = self.isa.pack(&regs, &fpu);
        // System registers cannot be written.
        let slot = self
            .isa
            .slot(number.0)
            .and_then(|slot| file.get_mut(slot))
            .filter(|slot| slot.len() == value.len());
        slot.ok_or(TargetError::Errno(INVALID))?.copy_from_slice(value);
        self.set_registers(vcpu(tid), &file).map_err(|Refused| TargetError::Errno(INVALID))
    }
}

impl<D: Debuggee> MultiThreadResume for Session<D> {
    fn resume(&mut self) -> Result<(), Infallible> {
        let actions: Vec<Action> = self.actions.iter().map(|action| action.unwrap_or(self.others)).collect();
        // Where the VM cannot go on, the stub says so when the reply is due.
        self.running = self.vm.resume(&actions).is_ok();
        Ok(())
    }

    fn clear_resume_actions(&mut self) -> Result<(), Infallible> {
        self.actions.clear();
        self.actions.resize(self.vm.vcpus(), None);
        self.others = Action::Continue;
        Ok(())
    }

    fn set_resume_action_continue(&mut self, tid: Tid, _: Option<Signal>) -> Result<(), Infallible> {
        self.set_action(tid, Action::Continue);
        Ok(())
    }

    fn support_single_step(&mut self) -> Option<MultiThreadSingleStepOps<'_, Self>> {
        Some(self)
    }

    fn support_scheduler_locking(&mut self) -> Option<MultiThreadSchedulerLockingOps<'_, Self>> {
        Some(self)
    }
}

impl<D: Debuggee> MultiThreadSingleStep for Session<D> {
    fn set_resume_action_step(&mut self, tid: Tid, _: Option<Signal>) -> Result<(), Infallible> {
        self.set_action(tid, Action::Step);
        Ok(())
    }
}

impl<D: Debuggee> ThreadExtraInfo for Session<D> {
    fn thread_extra_info(&self, tid: Tid, buffer: &mut [u8]) -> Result<usize, Infallible> {
        let text = alloc::format!("{}: vCPU {}", self.vm.name(), vcpu(tid));
        Ok(copy_from(text.as_bytes(), 0, buffer))
    }
}

impl<D: Debuggee> TargetDescriptionXmlOverride for Session<D> {
    fn target_description_xml(
        &self,
        annex: &[u8],
        offset: u64,
        length: usize,
        buffer: &mut [u8],
    ) -> TargetResult<usize, Self> {
        if annex != b"target.xml" {
            return Err(TargetError::Errno(INVALID));
        }
        let xml = isa::target_description(self.isa, &self.vm.system_registers(self.focus));
        let length = length.min(buffer.len());
        Ok(copy_from(xml.as_bytes(), offset, buffer.get_mut(..length).unwrap_or_default()))
    }
}

/// Copies `text` from `offset` on, as far as `buffer` takes it, and returns how much that was.
fn copy_from(text: &[u8], offset: u64, buffer: &mut [u8]) -> usize {
    let rest = usize::try_from(offset).ok().and_then(|offset| text.get(offset..)).unwrap_or_default();
    let length = rest.len().min(buffer.len());
    buffer.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    length
}

impl<D: Debuggee> Breakpoints for Session<D> {
    fn support_sw_breakpoint(&mut self) -> Option<SwBreakpointOps<'_, Self>> {
        Some(self)
    }

    fn support_hw_breakpoint(&mut self) -> Option<HwBreakpointOps<'_, Self>> {
        Some(self)
    }

    fn support_hw_watchpoint(&mut self) -> Option<HwWatchpointOps<'_, Self>> {
        Some(self)
    }
}

impl<D: Debuggee> SwBreakpoint for Session<D> {
    fn add_sw_breakpoint(&mut self, address: u64, kind: usize) -> TargetResult<bool, Self> {
        let Some(instruction) = self.isa.breakpoint() else {
            return Ok(self.add_point(Point::Execution(address)));
        };
        if kind != instruction.len() {
            return Ok(false);
        }
        let ipa = self.locate(address).ok_or(TargetError::Errno(BAD_ADDRESS))?;
        let added = self.patches.add(&mut self.vm, (address, ipa), instruction);
        added.map(|()| true).map_err(|Refused| TargetError::Errno(BAD_ADDRESS))
    }

    fn remove_sw_breakpoint(&mut self, address: u64, _: usize) -> TargetResult<bool, Self> {
        match self.isa.breakpoint() {
            Some(instruction) => self.patches.remove(&mut self.vm, address, instruction),
            None => self.remove_point(Point::Execution(address)),
        }
        Ok(true)
    }
}

impl<D: Debuggee> HwBreakpoint for Session<D> {
    fn add_hw_breakpoint(&mut self, address: u64, _: usize) -> TargetResult<bool, Self> {
        Ok(self.add_point(Point::Execution(address)))
    }

    fn remove_hw_breakpoint(&mut self, address: u64, _: usize) -> TargetResult<bool, Self> {
        self.remove_point(Point::Execution(address));
        Ok(true)
    }
}

/// A watchpoint as the debugger names it.
fn watch(address: u64, length: u64, kind: WatchKind) -> Point {
    let access = match kind {
        WatchKind::Read => Access::Read,
        WatchKind::Write => Access::Write,
        WatchKind::ReadWrite => Access::Any,
    };
    Point::Watch { address, length, access }
}

impl<D: Debuggee> HwWatchpoint for Session<D> {
    fn add_hw_watchpoint(&mut self, address: u64, length: u64, kind: WatchKind) -> TargetResult<bool, Self> {
        Ok(length > 0 && self.add_point(watch(address, length, kind)))
    }

    fn remove_hw_watchpoint(
        &mut self,
        address: u64,
        length: u64,
        kind: WatchKind,
    ) -> TargetResult<bool, Self> {
        self.remove_point(watch(address, length, kind));
        Ok(true)
    }
}

impl<D: Debuggee> MultiThreadSchedulerLocking for Session<D> {
    fn set_resume_action_scheduler_lock(&mut self) -> Result<(), Infallible> {
        self.others = Action::Stay;
        Ok(())
    }
}

impl<D: Debuggee> MonitorCmd for Session<D> {
    fn handle_monitor_cmd(&mut self, command: &[u8], mut out: ConsoleOutput<'_>) -> Result<(), Infallible> {
        match command.trim_ascii() {
            b"" | b"help" => {
                outputln!(out, "help   this text");
                outputln!(out, "vcpus  what each vCPU is about to execute");
                outputln!(out, "reset  start the VM anew and hold it before its first instruction;");
                outputln!(out, "       then say `maintenance flush register-cache`");
            }
            b"vcpus" => {
                for vcpu in 0..self.vm.vcpus() {
                    match self.vm.regs(vcpu).filter(|_| self.vm.is_on(vcpu)) {
                        Some(regs) => outputln!(out, "vCPU {vcpu}: {}", self.isa.place(&regs)),
                        None => outputln!(out, "vCPU {vcpu}: off"),
                    }
                }
            }
            b"reset" => match self.vm.reset() {
                Ok(()) => {
                    self.patches.forget();
                    self.focus = 0;
                    outputln!(out, "{} is held before its first instruction", self.vm.name());
                }
                Err(Refused) => outputln!(out, "{} cannot be started", self.vm.name()),
            },
            _ => outputln!(out, "unknown command; `monitor help` lists those that there are"),
        }
        Ok(())
    }
}
