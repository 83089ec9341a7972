//! Stage-2 aborts: accesses to devices, memory that is not mapped yet, and addresses where there is nothing.

use core::ops::ControlFlow;

use aarch64_cpu::registers::{FAR_EL2, HPFAR_EL2, Readable};
use log::Level;

use super::super::insn::{self, Context, FaultPage, Instruction};
use super::super::syndrome::{AbortFlags, DataAbort, DataAccess, FaultKind, FaultStatus, Syndrome};
use super::super::sysreg::{mrs, msr};
use super::super::walk;
use super::{FaultIn, FpuRegs, Machine, Vcpu, fpu_restore, fpu_save, inject};
use crate::devices::bus::Width;
use crate::mm::addr::{Ipa, PAGE_SIZE};
use crate::vm::vcpu::Exit;

/// `HPFAR_EL2.FIPA`: bits 47:12 of the IPA (51:12 with LPA2) are bits 43:4 (47:4).
const FIPA: u64 = 0x0000_0fff_ffff_fff0;

/// How often a guest may fail to fetch the very exception vector that is to tell it so. Nothing that it does itself
/// ends this; another of its vCPUs might.
const MAX_LOST_VECTORS: u32 = 1_000_000;

/// A data abort from EL0 or EL1.
#[inline]
pub fn data<M: Machine>(vcpu: &mut Vcpu<M>, syndrome: Syndrome) -> ControlFlow<Exit> {
    let abort = syndrome.data_abort();
    let address = FAR_EL2.get();
    // A permission fault leaves HPFAR_EL2 unknown unless it arose on a walk (D24.2.58).
    if abort.status().kind() == FaultKind::Translation && !abort.is_stage1_walk() {
        let ipa = Ipa((HPFAR_EL2.get() & FIPA) << 8 | address & (PAGE_SIZE - 1));
        vcpu.shared.trace.detail(ipa.0);
        if let Some(access) = abort.access()
            && single(vcpu, abort, access, ipa).is_some()
        {
            vcpu.shared.mmio.count();
            vcpu.frame.advance(syndrome.instruction_length());
            return ControlFlow::Continue(());
        }
        return elsewhere(vcpu, syndrome, address, ipa);
    }
    rare(vcpu, syndrome, address)
}

/// Lets a device answer a load or store of one general register. `None`: no device does.
#[inline]
fn single<M: Machine>(vcpu: &mut Vcpu<M>, abort: DataAbort, access: DataAccess, ipa: Ipa) -> Option<()> {
    let width = access.width();
    let bus = vcpu.machine.bus();
    if abort.is_write() {
        bus.write(ipa, width, width.truncate(vcpu.frame.get(access.register())), vcpu.id.index)
    } else {
        let value = bus.read(ipa, width, vcpu.id.index)?;
        vcpu.frame.set(access.register(), access.loaded(value));
        Some(())
    }
}

/// Whether there is memory at `ipa`, which then is mapped: the guest tries again.
fn memory<M: Machine>(vcpu: &mut Vcpu<M>, ipa: Ipa) -> ControlFlow<Exit, bool> {
    match vcpu.machine.fault_in(ipa) {
        FaultIn::Mapped | FaultIn::ReadOnly => {
            vcpu.shared.faults.count();
            ControlFlow::Continue(true)
        }
        FaultIn::Absent => ControlFlow::Continue(false),
        FaultIn::OutOfMemory(error) => ControlFlow::Break(Exit::OutOfMemory(error)),
        FaultIn::Failed(why) => vcpu.crash(format_args!("RAM at {ipa} cannot be mapped: {why}")),
    }
}

/// A translation fault that is not a simple access to a device.
#[cold]
fn elsewhere<M: Machine>(
    vcpu: &mut Vcpu<M>,
    syndrome: Syndrome,
    address: u64,
    ipa: Ipa,
) -> ControlFlow<Exit> {
    if memory(vcpu, ipa)? {
        return ControlFlow::Continue(());
    }
    let abort = syndrome.data_abort();
    if abort.flags().contains(AbortFlags::CM) {
        // Nothing is ever cached of an address without memory.
        vcpu.frame.advance(syndrome.instruction_length());
    } else if abort.access().is_none() {
        emulate(vcpu, abort, FaultPage { address, ipa });
    } else {
        refuse(vcpu, abort, address, FaultStatus::EXTERNAL_ABORT);
    }
    ControlFlow::Continue(())
}

/// Permission faults and faults on the guest's own page tables.
#[cold]
fn rare<M: Machine>(vcpu: &mut Vcpu<M>, syndrome: Syndrome, address: u64) -> ControlFlow<Exit> {
    let abort = syndrome.data_abort();
    if abort.is_stage1_walk() {
        let table = Ipa((HPFAR_EL2.get() & FIPA) << 8);
        // A walk never lacks permission in RAM, which is writable; in device memory it is HCR_EL2.PTW that
        // forbids it.
        if abort.status().kind() != FaultKind::Translation || !memory(vcpu, table)? {
            refuse(vcpu, abort, address, walk_abort(vcpu, address, table));
        }
        return ControlFlow::Continue(());
    }
    if abort.status().kind() == FaultKind::Permission
        && let Some(ipa) = translate(vcpu, address)
        && vcpu.machine.fault_in(ipa) == FaultIn::ReadOnly
    {
        // A store to ROM goes nowhere, as on a real bus.
        if abort.access().is_some() || abort.flags().contains(AbortFlags::CM) {
            vcpu.frame.advance(syndrome.instruction_length());
        } else {
            emulate(vcpu, abort, FaultPage { address, ipa });
        }
        return ControlFlow::Continue(());
    }
    refuse(vcpu, abort, address, abort_status(abort));
    ControlFlow::Continue(())
}

/// The guest's Stage-1 regime. EL2 walks it in software: it has no use for the result's permissions, and an
/// image without `AT` instructions is one in which Cortex-A53 to A76 cannot execute them speculatively
/// between two guests (errata 1530923, 1319537, 1319367, 1165522).
fn regime() -> walk::Regime {
    walk::Regime::of(mrs!("sctlr_el1"), mrs!("tcr_el1"), mrs!("ttbr0_el1"), mrs!("ttbr1_el1"))
}

/// Reads the 64-bit word of a table.
pub fn read_table<M: Machine>(vcpu: &Vcpu<M>, ipa: u64) -> Option<u64> {
    let mut word = [0; 8];
    vcpu.machine.read_memory(Ipa(ipa), &mut word)?;
    Some(u64::from_le_bytes(word))
}

/// The IPA of the guest's virtual address.
fn translate<M: Machine>(vcpu: &Vcpu<M>, address: u64) -> Option<Ipa> {
    regime().translate(address, |ipa| read_table(vcpu, ipa)).map(Ipa)
}

/// The status of an external abort on a walk for `address`, one of whose tables lies in the page `table`,
/// where there is no memory.
fn walk_abort<M: Machine>(vcpu: &Vcpu<M>, address: u64, table: Ipa) -> FaultStatus {
    let level = regime().level_in_page(address, table.0, |ipa| read_table(vcpu, ipa));
    // `None`: another vCPU has changed the tables meanwhile.
    level.map_or(FaultStatus::EXTERNAL_ABORT, FaultStatus::external_abort_on_walk)
}

/// What the guest is told of an abort that EL2 does not resolve: exclusive accesses to devices keep their own
/// status.
fn abort_status(abort: DataAbort) -> FaultStatus {
    match abort.status() {
        FaultStatus::UNSUPPORTED_EXCLUSIVE => FaultStatus::UNSUPPORTED_EXCLUSIVE,
        _ => FaultStatus::EXTERNAL_ABORT,
    }
}

/// Gives the guest the abort.
fn refuse<M: Machine>(vcpu: &mut Vcpu<M>, abort: DataAbort, address: u64, status: FaultStatus) {
    vcpu.shared.unclaimed.count();
    inject::data_abort(&mut vcpu.frame, address, status, abort.flags() & (AbortFlags::WNR | AbortFlags::CM));
}

/// An instruction abort from EL0 or EL1.
#[cold]
pub fn instruction<M: Machine>(vcpu: &mut Vcpu<M>, syndrome: Syndrome) -> ControlFlow<Exit> {
    let abort = syndrome.instruction_abort();
    let address = FAR_EL2.get();
    if abort.status().kind() == FaultKind::Translation {
        let ipa = Ipa((HPFAR_EL2.get() & FIPA) << 8);
        if memory(vcpu, ipa)? {
            return ControlFlow::Continue(());
        }
    }
    let status = if abort.is_stage1_walk() {
        walk_abort(vcpu, address, Ipa((HPFAR_EL2.get() & FIPA) << 8))
    } else {
        FaultStatus::EXTERNAL_ABORT
    };
    vcpu.shared.unclaimed.count();
    let fetched = vcpu.frame.pc;
    inject::instruction_abort(&mut vcpu.frame, address, status);
    if vcpu.frame.pc != fetched {
        vcpu.lost_vectors = 0;
    } else if vcpu.lost_vectors < MAX_LOST_VECTORS {
        vcpu.lost_vectors += 1;
    } else {
        return vcpu.crash(format_args!(
            "it cannot fetch its own exception vector at {fetched:#x}: {status}, {MAX_LOST_VECTORS} times in a row"
        ));
    }
    ControlFlow::Continue(())
}

/// Carries out the instruction at the program counter, whose abort came without a valid syndrome.
#[cold]
fn emulate<M: Machine>(vcpu: &mut Vcpu<M>, abort: DataAbort, page: FaultPage) {
    let mut word = [0; 4];
    let pc = vcpu.frame.pc;
    if let Some(ipa) = translate(vcpu, pc)
        && vcpu.machine.read_memory(ipa, &mut word).is_some()
    {
        match insn::decode(vcpu.frame.pstate, u32::from_le_bytes(word)) {
            Ok(Instruction::Nothing) => vcpu.frame.advance(4),
            Ok(Instruction::LoadStore(load_store)) => {
                match load_store.execute(pc, &mut Registers { vcpu, page }) {
                    Ok(()) => {
                        vcpu.shared.mmio.count();
                        vcpu.frame.advance(4);
                    }
                    Err(failed) => refuse(vcpu, abort, failed.address, FaultStatus::EXTERNAL_ABORT),
                }
            }
            Err(error) => {
                if log::log_enabled!(Level::Debug)
                    && let Some(left_out) = vcpu.machine.admit_log_line()
                {
                    log::debug!("vCPU {} at {pc:#x}: {error}{left_out}", vcpu.id);
                }
                refuse(vcpu, abort, page.address, error.fault_status());
            }
        }
    }
    // Else the translation has gone since the abort, by another vCPU: the guest takes the abort anew, or not.
}

/// The trapped vCPU as the instruction emulator sees it.
struct Registers<'v, M: Machine> {
    vcpu: &'v mut Vcpu<M>,
    page: FaultPage,
}

impl<M: Machine> Registers<'_, M> {
    /// Lets `change` act on the FP and SIMD registers, which are in the CPU.
    fn with_fpu<R>(change: impl FnOnce(&mut FpuRegs) -> R) -> R {
        let mut registers = FpuRegs::default();
        // SAFETY: the layout is asserted where the type is defined; the loaded vCPU's registers are written
        // back as they were, save for what `change` does.
        unsafe {
            fpu_save(&mut registers);
            let result = change(&mut registers);
            fpu_restore(&registers);
            result
        }
    }

    fn uses_sp_el1(&self) -> bool {
        self.vcpu.frame.pstate & 0x1f == 0b0_0101
    }
}

impl<M: Machine> Context for Registers<'_, M> {
    fn x(&self, n: u8) -> u64 {
        self.vcpu.frame.get(n)
    }

    fn set_x(&mut self, n: u8, value: u64) {
        self.vcpu.frame.set(n, value);
    }

    fn sp(&self) -> u64 {
        if self.uses_sp_el1() { mrs!("sp_el1") } else { mrs!("sp_el0") }
    }

    fn set_sp(&mut self, value: u64) {
        // SAFETY: stack pointers of EL1 and EL0, which EL2 does not use.
        unsafe {
            if self.uses_sp_el1() {
                msr!("sp_el1", value);
            } else {
                msr!("sp_el0", value);
            }
        }
    }

    fn v(&self, n: u8) -> u128 {
        Self::with_fpu(|registers| registers.v.get(usize::from(n)).copied().unwrap_or(0))
    }

    fn set_v(&mut self, n: u8, value: u128) {
        Self::with_fpu(|registers| {
            if let Some(register) = registers.v.get_mut(usize::from(n)) {
                *register = value;
            }
        });
    }

    fn read(&mut self, address: u64, width: Width) -> Option<u64> {
        let ipa = self.page.translate(address, width)?;
        self.vcpu.machine.bus().read(ipa, width, self.vcpu.id.index)
    }

    fn write(&mut self, address: u64, width: Width, value: u64) -> Option<()> {
        let ipa = self.page.translate(address, width)?;
        match self.vcpu.machine.fault_in(ipa) {
            FaultIn::ReadOnly => Some(()),
            _ => self.vcpu.machine.bus().write(ipa, width, value, self.vcpu.id.index),
        }
    }
}
