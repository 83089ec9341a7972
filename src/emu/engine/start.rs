//! From the first instruction of a vCPU to its hart.

use core::arch::global_asm;

use polyvisor_cell_abi::IMAGE;

use crate::{cell, cpu, fatal, gic::Gic, hart, heap, hypercall, jit, local, machine::Machine, stage1, timer};

global_asm!(
    include_str!("start.S"),
    mair = const stage1::MAIR,
    tcr = const stage1::TCR,
    sctlr = const stage1::SCTLR,
    boot_roots = sym stage1::boot::ROOTS,
    no_root = sym stage1::NO_ROOT,
    areas = sym local::AREAS,
    area_bytes = const local::AREA_BYTES,
    block_offset = const local::BLOCK_OFFSET,
    stack_top = const local::STACK_TOP,
    main = sym engine_main,
);

/// Where start.S arrives on each hart: with a stack, in the boot tables' address space, interrupts masked. Hart 0 comes
/// first, and starts the others when all that they share is there.
extern "C" fn engine_main(index: usize) -> ! {
    local::init(index);
    let cell = cell::info();
    if index == 0 {
        cell::check(cell);
        stage1::build(cell);
    }
    stage1::enter();
    let gic = Gic::new(cell.gic_version);
    if index == 0 {
        heap::init(cell);
        gic.init_distributor();
        hart::init(cell);
    }
    gic.init_hart(index);
    timer::init();
    jit::init();
    cpu::unmask();
    if index == 0 {
        for other in 1..cell::harts(cell) {
            start(other);
        }
    }
    hart::run(Machine::new(cell, index, gic), index)
}

fn start(hart: usize) {
    // `GicVersion::affinity` in EL2: the first eight vCPUs have their index in Aff0, with either GIC.
    let answer = hypercall::cpu_on(hart as u64, IMAGE, hart as u64);
    if answer != 0 {
        fatal::stop(format_args!("hart {hart} cannot be started: PSCI says {answer}"));
    }
}
