//! Chooses the mode.

mod check;
mod compute;
mod hold;
mod share;
mod ticks;

use guest_support::{args, cpu, machine::Machine, println};

pub fn main(machine: &'static Machine) {
    let number = |key, default| args::number_of(machine.bootargs, key).unwrap_or(default);
    match args::value(machine.bootargs, "mode").unwrap_or("check") {
        "check" => check::run(machine, number("rounds", 100)),
        "share" => {
            let name = args::value(machine.bootargs, "name").unwrap_or("guest");
            share::run(machine, name, number("at", 0), number("ms", 5000));
        }
        "idle" => {
            println!("work: idle");
            loop {
                cpu::wfi();
            }
        }
        other => println!("work: `{other}` is no mode"),
    }
}
