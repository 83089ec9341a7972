use std::path::PathBuf;

use anyhow::{anyhow, ensure};
use polyvisor::vm::bundle::{Colour, Jit, Reaction, Scheduling, WhenAllOff};

use super::*;
use crate::{bundle::Guest, guests::KERNELS};

mod devices;

/// What the guest of a name boots, without files: `linux` is a kernel, `u-boot` is firmware.
fn named(name: &str) -> Result<(Arch, GuestBoot)> {
    match name {
        "linux" => Ok((Arch::Aarch64, kernel("vmlinuz", Some("busybox"), "console=ttyAMA0"))),
        "riscv" => Ok((Arch::Riscv64, kernel("Image", Some("busybox"), "console=ttyS0"))),
        "opensbi" => Ok((Arch::Riscv64, GuestBoot::Firmware("fw_dynamic.bin".into()))),
        "u-boot" => Ok((Arch::Aarch64, GuestBoot::Firmware("u-boot.bin".into()))),
        _ => Err(anyhow!("there is no guest {name:?}; there are linux, u-boot")),
    }
}

fn kernel(kernel: impl Into<PathBuf>, initrd: Option<&str>, append: &str) -> GuestBoot {
    GuestBoot::kernel(kernel.into(), initrd.map(PathBuf::from), append)
}

const FOUR_CPUS: Hardware = machine(4, Size::gib(2));

const fn machine(cpus: u32, memory: Size) -> Hardware {
    Hardware { cpus: Some(cpus), memory: Some(memory), disks: Vec::new(), nics: Vec::new() }
}

/// Parses `text` for a machine of four CPUs unless it says something else, in the folder of this crate.
fn parse(text: &str) -> Result<Manifest> {
    let environment = Environment {
        folder: Path::new(env!("CARGO_MANIFEST_DIR")),
        named: &named,
        fixed: Hardware::default(),
        usual: FOUR_CPUS,
    };
    Manifest::parse(text, "vms.toml", &environment)
}

/// The lines `LINE:COLUMN: message` of the mistakes in `text`.
fn mistakes(text: &str) -> Vec<String> {
    let error = parse(text).unwrap_err().to_string();
    error.lines().filter_map(|line| Some(line.strip_prefix("vms.toml:")?.to_owned())).collect()
}

#[test]
fn what_is_not_said_is_as_usual() {
    let manifest = parse("[[vm]]\nname = 'a'\nguest = 'linux'\n").unwrap();
    let boot = kernel("vmlinuz", Some("busybox"), "console=ttyAMA0");
    let guest = Guest::new("a", 1, Size::mib(512), boot);
    let contents = Contents::from(guest);
    assert_eq!(manifest, Manifest { contents, hardware: FOUR_CPUS, warning: None });
}

#[test]
fn everything_can_be_said() {
    let text = r#"
        [machine]
        cpus = 8
        memory = "4G"
        when-all-off = "stay"

        [[vm]]
        name = "web.1"
        arch = "aarch64"
        vcpus = 2
        memory = "1G"
        kernel = "Cargo.toml"
        initrd = "src/main.rs"
        append = "quiet"
        cpus = "1-2,5"
        dedicated = true
        weight = 10_000
        autostart = false
        on-stop = { restart = "250ms" }
        on-crash = "poweroff"
        colour = "red"

        [[vm]]
        name = "loader"
        firmware = "Cargo.toml"
        cpus = [0, 7]
        on-crash = "restart"

        [[vm]]
        name = "other-line"
        guest = "linux"
        append = ""
    "#;
    let Manifest { contents, hardware, warning } = parse(text).unwrap();
    assert_eq!(hardware, machine(8, Size::gib(4)));
    assert_eq!((contents.when_all_off, warning), (WhenAllOff::Stay, None));
    let [web, loader, other] = &contents.guests[..] else { panic!("{contents:?}") };
    let file = |name: &str| format!("{}/{name}", env!("CARGO_MANIFEST_DIR"));
    let boot = kernel(file("Cargo.toml"), Some(&file("src/main.rs")), "quiet");
    let expected = Guest {
        scheduling: Scheduling { weight: 10_000, cpus: 0b10_0110, dedicated: true },
        autostart: false,
        on_stop: Reaction::Restart { delay: 250 },
        on_crash: Reaction::PowerOff,
        colour: Colour::Red,
        ..Guest::new("web.1", 2, Size::gib(1), boot)
    };
    assert_eq!(*web, expected);
    assert_eq!(loader.boot, GuestBoot::Firmware(file("Cargo.toml").into()));
    assert_eq!(loader.scheduling, Scheduling { cpus: 0b1000_0001, ..Scheduling::default() });
    assert_eq!(loader.on_crash, Reaction::Restart { delay: 1000 });
    assert_ne!(loader.colour, other.colour, "colours take turns");
    assert_eq!(other.boot, kernel("vmlinuz", Some("busybox"), ""));
}

#[test]
fn how_code_is_executed_is_said_of_riscv_guests() {
    let jit = |text: &str| parse(&format!("[[vm]]\nname = 'a'\nguest = 'riscv'\n{text}")).unwrap().contents;
    for (text, expected) in [
        ("", Jit::On),
        ("jit = 'on'", Jit::On),
        ("jit = 'off'", Jit::Off),
        ("jit = 'lockstep'", Jit::LockStep),
        ("jit = 'record'", Jit::Record),
    ] {
        let mut contents = jit(text);
        assert_eq!(contents.guests[0].jit, expected, "{text}");
        contents.set_jit(Jit::LockStep);
        assert_eq!(contents.guests[0].jit, Jit::LockStep);
    }
}

#[test]
fn saved_translations_are_a_file_of_a_guest_that_can_use_them() {
    let read = |text: &str| {
        parse(&format!("[[vm]]\nname = 'a'\nguest = 'riscv'\ntranslations = 'Cargo.toml'\n{text}"))
    };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    for text in ["", "jit = 'lockstep'"] {
        let mut contents = read(text).unwrap().contents;
        assert_eq!(contents.guests[0].translations, Some(path.clone()), "{text}");
        contents.set_jit(Jit::LockStep);
        assert!(contents.guests[0].translations.is_some());
        contents.set_jit(Jit::Record);
        assert_eq!(contents.guests[0].translations, None);
    }
    for text in ["jit = 'off'", "jit = 'record'"] {
        assert!(read(text).is_err(), "{text}");
    }
}

/// One mistake each, in the line that is given; `$` stands for a VM that is right in two lines.
#[test]
fn a_mistake_is_shown_where_it_was_made() {
    let table: &[(&str, &str)] = &[
        ("", "1:1: no VM, expected 1 to 64 tables [[vm]]"),
        ("$ = 3", "3:17: unexpected key or value, expected newline, `#`"),
        ("vm = 3", "1:6: vm: found 3, expected tables [[vm]]"),
        ("vm = []", "1:6: vm: found [], expected tables [[vm]]"),
        ("[vm.a]\nguest = 'linux'", "1:2: vm: found vm, expected tables [[vm]]"),
        ("host = 1\n$", "1:1: unknown key \"host\", expected one of machine, switch, vm"),
        ("machine = 1\n$", "1:11: machine: found 1, expected a table [machine]"),
        ("[machine]\ncpus = 0\n$", "2:8: cpus: found 0, expected 1 to 64"),
        ("[machine]\nmemory = '12K'\n$", "2:10: memory: found '12K', expected a size such as \"2G\""),
        (
            "[machine]\nwhen-all-off = true\n$",
            "2:16: when-all-off: found true, expected \"poweroff\" or \"stay\"",
        ),
        (
            "[machine]\nboard = 'virt'\n$",
            "2:1: unknown key \"board\", expected one of cpus, memory, disks, net, when-all-off",
        ),
        ("[[vm]]\nguest = 'linux'", "1:1: a VM without a name, expected name = \"...\""),
        (
            "[[vm]]\nname = 'two words'\nguest = 'linux'",
            "2:8: name: found 'two words', expected 1 to 63 letters, digits, \"-\", \"_\" or \".\"",
        ),
        (
            "$\n[[vm]]\nguest = 'linux'\nname = 'good'",
            "6:8: name: found \"good\" again (as in line 2), expected one of its own",
        ),
        (
            "$\narch = 'riscv64'",
            "4:8: arch: found another architecture than the guest's, expected none or the guest's",
        ),
        ("$\nvcpus = 'two'", "4:9: vcpus: found 'two', expected 1 to 64"),
        ("$\nvcpus = 65", "4:9: vcpus: found 65, expected 1 to 64"),
        ("$\nvcpus = 0x1_0000_0001", "4:9: vcpus: found 0x1_0000_0001, expected 1 to 64"),
        ("$\nvcpus = -1", "4:9: vcpus: found -1, expected 1 to 64"),
        (
            "$\nmemory = '513M'",
            "4:10: memory: found '513M', expected a size such as \"512M\" or \"2G\", a multiple of 2 MiB up to 255 GiB",
        ),
        (
            "$\nmemory = '256G'",
            "4:10: memory: found '256G', expected a size such as \"512M\" or \"2G\", a multiple of 2 MiB up to 255 GiB",
        ),
        (
            "$\nmemory = 512",
            "4:10: memory: found 512, expected a size such as \"512M\" or \"2G\", a multiple of 2 MiB up to 255 GiB",
        ),
        ("[[vm]]\nname = 'a'", "1:1: a VM that boots nothing, expected one of guest, kernel or firmware"),
        ("$\nkernel = 'Cargo.toml'", "4:10: kernel: found beside guest, expected only one of them"),
        (
            "[[vm]]\nname = 'a'\nguest = 'linus'",
            "3:9: guest: there is no guest \"linus\"; there are linux, u-boot",
        ),
        (
            "[[vm]]\nname = 'a'\nguest = 'u-boot'\nappend = 'quiet'",
            "4:10: append: found with firmware, expected only with a kernel",
        ),
        (
            "[[vm]]\nname = 'a'\nfirmware = 'Cargo.toml'\ninitrd = 'Cargo.toml'",
            "4:10: initrd: found with firmware, expected only with a kernel",
        ),
        (
            "$\nappend = \"a\\u0000\"",
            "4:10: append: found \"a\\u0000\", expected a text of at most 2047 bytes without NUL",
        ),
        ("$\njit = 'fast'", "4:7: jit: found 'fast', expected \"on\", \"off\", \"lockstep\" or \"record\""),
        (
            "$\njit = 'on'",
            "4:7: jit: found with a guest that is not for RISC-V, expected only with one that is",
        ),
        (
            "$\ntranslations = 'Cargo.toml'",
            "4:16: translations: found with code that is not compiled, or is recorded, expected only with jit = \"on\" or \
             \"lockstep\"",
        ),
        ("$\nweight = 0", "4:10: weight: found 0, expected 1 to 10000"),
        ("$\nweight = 10001", "4:10: weight: found 10001, expected 1 to 10000"),
        ("$\nweight = 1.5", "4:10: weight: found 1.5, expected 1 to 10000"),
        ("$\ncpus = []", "4:8: cpus: found [], expected CPUs from 0 to 63, such as [0, 2] or \"0-3\""),
        ("$\ncpus = '3-1'", "4:8: cpus: found '3-1', expected CPUs from 0 to 63, such as [0, 2] or \"0-3\""),
        ("$\ncpus = [4, 5]", "4:8: cpus: the VM may use none of the machine's 4"),
        ("$\ndedicated = 1", "4:13: dedicated: found 1, expected true or false"),
        (
            "$\nvcpus = 2\ndedicated = true\ncpus = '1,4'",
            "6:8: dedicated: 2 vCPUs are to own a CPU each, the VM may use 1 of the machine's 4",
        ),
        ("$\nautostart = 'yes'", "4:13: autostart: found 'yes', expected true or false"),
        (
            "$\non-stop = 'halt'",
            "4:11: on-stop: found 'halt', expected \"stop\", \"restart\" or \"poweroff\", \
             or { restart = DELAY } with a delay from \"1ms\" to \"60s\"",
        ),
        (
            "$\non-crash = { restart = '61s' }",
            "4:12: on-crash: found { restart = '61s' }, expected \"stop\", \"restart\" or \"poweroff\", \
             or { restart = DELAY } with a delay from \"1ms\" to \"60s\"",
        ),
        (
            "$\ncolour = 'pink'",
            "4:10: colour: found 'pink', expected \"green\", \"cyan\", \"yellow\", \"magenta\", \"blue\", \"red\" or \"white\"",
        ),
        (
            "$\nweigth = 3",
            "4:1: unknown key \"weigth\", expected one of name, arch, vcpus, memory, guest, kernel, firmware, \
             initrd, append, bios, jit, translations, weight, cpus, dedicated, autostart, on-stop, on-crash, colour, \
             disk, net, rng, balloon, vsock, consoles",
        ),
    ];
    for (text, expected) in table {
        let text = text.replace('$', "[[vm]]\nname = 'good'\nguest = 'linux'");
        assert_eq!(mistakes(&text), [*expected], "{text}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named_with_the_folder() {
    for (path, why) in [("no/such", "No such file or directory (os error 2)"), ("src", "is not a file")] {
        let [mistake] = &mistakes(&format!("[[vm]]\nname = 'a'\nkernel = '{path}'"))[..] else { panic!() };
        let full = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
        assert!(mistake.starts_with("3:10: kernel: ") && mistake.contains(&full), "{mistake}");
        assert!(mistake.ends_with(why), "{mistake}");
    }
}

#[test]
fn all_mistakes_are_found_at_once() {
    let text = "[[vm]]\nname = 'a'\nguest = 'linux'\nvcpus = 0\nweight = 0\n\n[[vm]]\nname = 'a'\nsmp = 2\n";
    let error = parse(text).unwrap_err().to_string();
    assert_eq!(
        error,
        "vms.toml has 5 mistakes\n\
         vms.toml:4:9: vcpus: found 0, expected 1 to 64\n    4 | vcpus = 0\n      |         ^\n\
         vms.toml:5:10: weight: found 0, expected 1 to 10000\n    5 | weight = 0\n      |          ^\n\
         vms.toml:7:1: a VM that boots nothing, expected one of guest, kernel or firmware\n    \
         7 | [[vm]]\n      | ^^^^^^\n\
         vms.toml:8:8: name: found \"a\" again (as in line 2), expected one of its own\n    \
         8 | name = 'a'\n      |        ^^^\n\
         vms.toml:9:1: unknown key \"smp\", expected one of name, arch, vcpus, memory, guest, kernel, firmware, \
         initrd, append, bios, jit, translations, weight, cpus, dedicated, autostart, on-stop, on-crash, colour, disk, net, rng, \
         balloon, vsock, consoles\n    \
         9 | smp = 2\n      | ^^^"
    );
    // What breaks the TOML itself is found at once too, and nothing is made of the rest.
    let places: Vec<_> = mistakes("[[vm]]\nname = \nvcpus = 0\n[[vm]\nname = 'a'\n")
        .iter()
        .map(|mistake| mistake.split(':').next().unwrap().to_owned())
        .collect();
    assert_eq!(places, ["2", "4"]);
}

/// A manifest with VMs of these lines, on four CPUs.
fn placed(vms: &[&str]) -> String {
    let vm = |(position, lines)| format!("[[vm]]\nname = 'vm{position}'\nguest = 'linux'\n{lines}\n");
    vms.iter().enumerate().map(vm).collect()
}

#[test]
fn dedicated_vms_fit_together_or_are_refused() {
    const TWO: &str = "dedicated = true\nvcpus = 2";
    const LATER: &str = "dedicated = true\nvcpus = 4\nautostart = false";
    // Two that own two CPUs each leave none for a third, whose set overlaps both.
    for good in [
        placed(&[TWO, TWO]),
        placed(&[TWO, "vcpus = 8", "cpus = [0]"]),
        placed(&[TWO, TWO, LATER]),
        // The first may use what the others need, but need not.
        placed(&[TWO, "dedicated = true\ncpus = [0]", "cpus = [1]"]),
    ] {
        assert!(parse(&good).is_ok(), "{good}");
    }
    assert_eq!(
        mistakes(&placed(&[TWO, "dedicated = true\nvcpus = 3"])),
        [
            "9:13: dedicated: 3 vCPUs are to own a CPU each, the dedicated VMs before leave too few of the machine's 4"
        ]
    );
    assert_eq!(
        mistakes(&placed(&[TWO, TWO, "weight = 1"])),
        ["11:1: cpus: dedicated VMs own every CPU that the VM may use of the machine's 4"]
    );
    assert_eq!(
        mistakes(&placed(&["dedicated = true\ncpus = [3]", "cpus = '3'"])),
        ["9:8: cpus: dedicated VMs own every CPU that the VM may use of the machine's 4"]
    );
}

#[test]
fn the_command_line_wins_over_the_manifest_and_that_over_the_usual() {
    let text = "[machine]\ncpus = 2\n[[vm]]\nname = 'a'\nguest = 'linux'\nmemory = '1G'\n";
    let hardware = |fixed| {
        let folder = Path::new("");
        let environment = Environment { folder, named: &named, fixed, usual: FOUR_CPUS };
        Manifest::parse(text, "vms.toml", &environment).map(|manifest| (manifest.hardware, manifest.warning))
    };
    assert_eq!(hardware(Hardware::default()).unwrap(), (machine(2, Size::gib(2)), None));
    let (fixed, warning) = hardware(machine(8, Size::mib(512))).unwrap();
    assert_eq!(fixed.cpus, Some(8));
    assert_eq!(
        warning.unwrap(),
        "the VMs that start with the machine have 1 GiB of RAM, the machine itself has 512 MiB"
    );
}

#[test]
fn the_examples_are_right() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let exists = |name: &str| {
        ensure!(
            KERNELS.iter().any(|item| item.name == name) || root.join("tests/guests").join(name).is_dir(),
            "there is no guest {name:?}"
        );
        Ok((Arch::Aarch64, kernel("kernel", None, "")))
    };
    let mut found = 0;
    for entry in fs::read_dir(root.join("docs/examples")).unwrap() {
        let path = entry.unwrap().path();
        let manifest = Manifest::load(&path, &exists, Hardware::default(), FOUR_CPUS).unwrap();
        assert_eq!(manifest.warning, None, "{}", path.display());
        found += 1;
    }
    assert!(found >= 4);
}
