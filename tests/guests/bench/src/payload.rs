//! Chooses what to measure, warms it up, measures it and prints it.

mod devices;
mod load;
mod loops;
mod pair;

use guest_support::{
    args, console,
    cpu::{self, counter_frequency},
    exception::on_irq,
    gic::{Gic, Version, gicd},
    machine::{self, Machine},
    println,
    timer::{Timer, microseconds},
};
use loops::TimedLoop;

const ROUNDS: u64 = 1000;
const WARM_UP: u64 = 50;
const SGI: u32 = 3;
/// What a guest gets its memory in, at best.
const BLOCK: u64 = 2 << 20;
const BLOCKS: u64 = 8;

pub fn main(machine: &'static Machine) {
    let gic = machine.gic;
    on_irq(drop_interrupt);
    gic.init();
    for intid in [SGI, Timer::Virtual.intid(), Timer::Physical.intid()] {
        gic.enable(intid);
    }
    println!("bench: cntfrq {}", counter_frequency());
    match args::value(machine.bootargs, "measure").unwrap_or("exits") {
        "exits" => exits(machine),
        "ipi" => pair::ipi(machine),
        "switch" => pair::switch(machine),
        "block" => devices::block(machine, devices::IN_MEMORY),
        "physical" => devices::block(machine, devices::PHYSICAL),
        "net" => devices::net(machine),
        other => println!("bench: `{other}` is nothing to measure"),
    }
}

/// What one CPU can measure.
fn exits(machine: &Machine) {
    let gic = machine.gic;
    println!("bench: boot {}", machine.entry_count);

    // First, so that as little RAM as possible has been touched.
    if let Some(lowest) = untouched_blocks(machine) {
        let total = loops::touch.run(BLOCKS, lowest, BLOCK, 0);
        report("fault-in", total.saturating_sub(loops::step.run(BLOCKS, lowest, BLOCK, 0)), BLOCKS);
    }

    measure("hypercall", loops::hypercall, loops::empty, [0; 3]);
    measure("gicd-read", loops::load, loops::empty, [gic.distributor() + gicd::TYPER, 0, 0]);
    measure("pl011-read", loops::load, loops::empty, [console::FR, 0, 0]);

    let delay = microseconds(20);
    match gic.version() {
        Version::V2 => {
            let interface = gic.cpu_interface();
            let sgi = [gic.distributor() + gicd::SGIR, 0b10 << 24 | u64::from(SGI), interface];
            measure("sgi-self", loops::sgi_v2, loops::spin, sgi);
            measure("timer", loops::timer_virtual_v2, loops::nothing, [delay, 0, interface]);
            measure("timer-phys", loops::timer_physical_v2, loops::nothing, [delay, 0, interface]);
            measure("wfi-wake", loops::wake_v2, loops::nothing, [delay, 0, interface]);
            measure("eoi", loops::eoi_v2, loops::clock, sgi);
        }
        Version::V3 => {
            let sgi = [Gic::sgi1r(cpu::affinity(), SGI), 0, 0];
            measure("sgi-self", loops::sgi_v3, loops::spin, sgi);
            measure("timer", loops::timer_virtual_v3, loops::nothing, [delay, 0, 0]);
            measure("timer-phys", loops::timer_physical_v3, loops::nothing, [delay, 0, 0]);
            measure("wfi-wake", loops::wake_v3, loops::nothing, [delay, 0, 0]);
            measure("eoi", loops::eoi_v3, loops::clock, sgi);
        }
    }
}

/// What an interrupt meets that comes outside of a loop.
fn drop_interrupt() {
    if let Some(Machine { gic, .. }) = machine::get() {
        let ack = gic.acknowledge();
        if !ack.is_spurious() {
            gic.end(ack);
        }
    }
}

/// Warms up, measures, subtracts what `overhead` takes, and prints the average.
fn measure(name: &str, body: TimedLoop, overhead: TimedLoop, [a, b, c]: [u64; 3]) {
    let ticks = [overhead, body].map(|timed| {
        timed.run(WARM_UP, a, b, c);
        timed.run(ROUNDS, a, b, c)
    });
    let [overhead, total] = ticks;
    report(name, total.saturating_sub(overhead), ROUNDS);
}

fn report(name: &str, total: u64, rounds: u64) {
    println!("bench: {name} {}", (total + rounds / 2) / rounds);
}

/// The start of `BLOCKS` neighbouring blocks that nobody has touched, as high in RAM as possible.
fn untouched_blocks(machine: &Machine) -> Option<u64> {
    let top = machine.ram.end / BLOCK;
    let bottom = machine.ram.start.div_ceil(BLOCK);
    let used = [&machine.image, &machine.devicetree, &machine.initrd];
    (bottom..top.saturating_sub(BLOCKS)).rev().map(|block| block * BLOCK).find(|start| {
        let end = start + BLOCKS * BLOCK;
        used.iter().all(|used| used.is_empty() || used.end <= *start || end <= used.start)
    })
}
