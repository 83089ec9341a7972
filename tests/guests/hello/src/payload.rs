//! Greeting, prompt and commands.

mod input;

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use guest_support::{
    clock::Utc,
    console::{self, IMSC, INT_RX, INT_RX_TIMEOUT},
    cpu,
    exception::on_irq,
    machine::{self, Machine, RTC, UART_INTID, UNCLAIMED},
    mmio,
    mmu::{Memory, Window},
    print, println, psci, read_sysreg,
    timer::{Timer, microseconds},
    write_sysreg,
};

const TIMER: Timer = Timer::Virtual;

static TICKS: AtomicU32 = AtomicU32::new(0);

pub fn main(machine: &'static Machine) {
    println!(
        "\nHello! This is the guest that is built into Polyvisor; it runs when nothing else is given to run."
    );
    on_irq(interrupt);
    machine.gic.init();
    machine.gic.enable(TIMER.intid());
    machine.gic.enable(UART_INTID);
    mmio::write32(IMSC, INT_RX | INT_RX_TIMEOUT);
    info(machine);
    println!("\nType `help` and press Enter.");

    let mut line = input::Line::new();
    loop {
        print!("guest> ");
        command(machine, line.read());
    }
}

/// Serves the UART and the timer.
fn interrupt() {
    let Some(machine) = machine::get() else { return };
    let ack = machine.gic.acknowledge();
    if ack.is_spurious() {
        return;
    }
    if ack.intid() == UART_INTID {
        // Before the FIFO is emptied: behind it, this would take back the interrupt of a character that came
        // in between (DDI 0183, 3.3.13 "UARTICR").
        mmio::write32(console::ICR, INT_RX | INT_RX_TIMEOUT);
        while let Some(byte) = console::receive() {
            input::push(byte);
        }
    } else if ack.intid() == TIMER.intid() {
        TIMER.stop();
        TICKS.fetch_add(1, Relaxed);
    }
    machine.gic.end(ack);
}

fn command(machine: &'static Machine, line: &str) {
    match line.trim() {
        "" => {}
        "help" => {
            println!("help   this list");
            println!("info   what this machine looks like from inside");
            println!("time   the real-time clock and the counter");
            println!("off    switch the machine off");
            println!("reset  start the machine afresh");
            println!("crash  touch an address at which there is nothing");
            println!("lose   lose the exception vectors too, so that no program is left to notice");
        }
        "info" => info(machine),
        "time" => time(machine),
        "off" => psci::system_off(),
        "reset" => psci::system_reset(),
        "crash" => {
            mmio::read32(UNCLAIMED);
        }
        "lose" => {
            write_sysreg!("vbar_el1", Window::A.map(UNCLAIMED, Memory::Normal));
            cpu::isb();
            mmio::read32(UNCLAIMED);
        }
        other => println!("`{other}` is no command here; `help` lists what is"),
    }
}

fn info(machine: &'static Machine) {
    println!("  exception level   {}", cpu::exception_level());
    println!(
        "  this CPU          MPIDR {:#x}, MIDR {:#x}",
        read_sysreg!("mpidr_el1"),
        read_sysreg!("midr_el1")
    );
    println!("  CPUs              {}", machine.cpus().len());
    println!(
        "  RAM               {} MiB at {:#x}",
        (machine.ram.end - machine.ram.start) >> 20,
        machine.ram.start
    );
    println!("  interrupts        GIC{:?}, {} lines", machine.gic.version(), machine.gic.lines());
    println!("  counter           {} Hz", cpu::counter_frequency());
    let ticks = TICKS.load(Relaxed);
    TIMER.arm(microseconds(10_000));
    sleep_until(|| TICKS.load(Relaxed) != ticks);
    println!("  timer             ticks: 10 ms were {} us", elapsed_microseconds());
    let version = psci::psci(psci::VERSION, [0; 3]);
    println!("  PSCI              {}.{}, by {:?}", version >> 16, version & 0xffff, machine.conduit);
    println!("  boot arguments    `{}`", machine.bootargs);
}

/// How long ago the timer was armed for 10 ms.
fn elapsed_microseconds() -> u64 {
    let late = TIMER.count().saturating_sub(TIMER.compare());
    10_000 + late.saturating_mul(1_000_000) / cpu::counter_frequency().max(1)
}

fn time(machine: &'static Machine) {
    let count = TIMER.count();
    println!("  clock             {} UTC", Utc { seconds: mmio::read32(RTC) });
    println!("  counter           {count}");
    let since_entry = Timer::Physical.count().saturating_sub(machine.entry_count);
    println!("  since entry       {} ms", since_entry.saturating_mul(1000) / cpu::counter_frequency().max(1));
}

/// Sleeps until an interrupt handler has made `done` true.
fn sleep_until(mut done: impl FnMut() -> bool) {
    // Masked between the question and WFI, so that the interrupt that matters cannot slip in between: a
    // masked interrupt wakes WFI too.
    cpu::mask_irqs();
    while !done() {
        cpu::wfi();
        cpu::unmask_irqs();
        cpu::isb();
        cpu::mask_irqs();
    }
    cpu::unmask_irqs();
}
