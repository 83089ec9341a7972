//! The physical machines, and the ways in which one starts Polyvisor.

use super::{
    super::{
        script::{Subject, Test},
        subject::UBOOT_IMAGE,
    },
    BANNER, HELLO_PROMPT,
};
use crate::{qemu::Machine, size::Size};

pub fn tests() -> Vec<Test> {
    let mut tests = vec![built_in()];
    tests.extend(machines());
    tests.push(booti());
    tests
}

fn built_in() -> Test {
    greeting("built-in", "without a bundle the built-in guest shows life and answers typed lines")
        .count(BANNER, 1)
}

/// A dialogue with the built-in guest.
fn greeting(name: impl Into<String>, proves: impl Into<String>) -> Test {
    Test::new(name, proves, Subject::BuiltIn)
        .expect(BANNER)
        .expect(r"exception level +1")
        .expect(HELLO_PROMPT)
        .keys("good mor")
        .line("ning")
        .expect(r"`good morning` is no command here")
        .line("off")
        .off()
}

/// One image on every machine: shown with the smallest guest, which uses timer, interrupts and console too.
fn machines() -> Vec<Test> {
    let virt = Machine::virt();
    let cpu = |cpu: &str| (format!("cpu-{cpu}"), Machine { cpu: cpu.to_owned(), ..Machine::virt() });
    let mut machines: Vec<(String, Machine)> =
        ["cortex-a53", "cortex-a57", "cortex-a76", "neoverse-n1", "max"].map(cpu).into();
    machines.push(("gic2".to_owned(), Machine { gic: 2, ..virt.clone() }));
    machines.push((
        "gic2-max-8cpus".to_owned(),
        Machine { gic: 2, cpu: "max".to_owned(), cpus: 8, ..virt.clone() },
    ));
    machines.push(("1cpu".to_owned(), Machine { cpus: 1, ..virt.clone() }));
    machines.push(("8cpus".to_owned(), Machine { cpus: 8, ..virt.clone() }));
    machines.push(("512MiB".to_owned(), Machine { memory: Size::mib(512), ..virt.clone() }));
    machines.push(("8GiB".to_owned(), Machine { memory: Size::gib(8), ..virt }));
    machines.push(("raspi4b".to_owned(), Machine::raspi4b()));
    machines
        .into_iter()
        .map(|(name, machine)| {
            greeting(format!("machine-{name}"), format!("the same image runs on machine {name}")).on(machine)
        })
        .collect()
}

/// The image is what U-Boot's `booti` takes, which loads it where it likes.
fn booti() -> Test {
    Test::new("entry-booti", "U-Boot loads the image by `booti`, and it runs", Subject::UBoot)
        .expect(r"Hit any key to stop autoboot")
        .line("")
        .expect(r"=> ")
        .line(&format!("booti {UBOOT_IMAGE:#x} - ${{fdtcontroladdr}}"))
        .expect(BANNER)
        .expect(HELLO_PROMPT)
        .line("off")
        .off()
}
