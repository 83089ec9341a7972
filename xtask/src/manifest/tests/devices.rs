//! Devices, switches, and the machine's own disks and network cards.

use std::path::PathBuf;

use polyvisor::{
    net::Mac,
    vm::bundle::{
        Bundle, DeviceSpec, DiskSource, DiskSpec, FileSource, NetSpec, PartitionName, SwitchSpec, VmSpec,
    },
};

use super::*;
use crate::{
    bundle::{self, BootFile, Device, MemoryDisk},
    peripherals::Transport,
};

const VM: &str = "[[vm]]\nname = 'good'\nguest = 'linux'\n";

fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn switch(name: &str, uplink: Option<&str>) -> SwitchSpec {
    SwitchSpec { name: name.to_owned(), uplink: uplink.map(str::to_owned) }
}

#[test]
fn every_device_can_be_described() {
    let text = r#"
        [machine]
        disks = ["disk.img", "fast.img,pci"]
        net = "user,pci"

        [[switch]]
        name = "private"

        [[switch]]
        name = "lan"
        uplink = "52:54:00:AB:cd:ef"

        [[vm]]
        name = "web"
        kernel = { disk = "root", partition = { label = "boot" }, path = "/vmlinuz" }
        initrd = { disk = "root", path = "/initrd.img" }
        rng = true
        balloon = true
        vsock = 3
        consoles = 2

        [[vm.net]]
        switch = "lan"
        mac = "52:54:00:12:34:56"
        vlan = 4094
        rate = "10M"
        guard = ["192.168.1.5", "10.0.0.1"]
        queues = 8
        mtu = 9000
        plugged = false

        [[vm.disk]]
        name = "root"
        physical = "disk0"
        partition = { uuid = "0fc63daf-8483-4772-8e79-3d69d8477de4" }
        queues = 4

        [[vm.disk]]
        name = "installer"
        image = "Cargo.toml"
        mode = "read-only"
        plugged = false

        [[vm.disk]]
        name = "scratch"
        size = "1G"

        [[vm.net]]
        switch = "private"
        guard = true
    "#;
    let Manifest { contents, hardware, .. } = parse(text).unwrap();
    let [fast, card] = [&hardware.disks[1].transport, &hardware.nics[0].transport];
    assert_eq!((hardware.disks.len(), &hardware.disks[0].file), (2, &here("disk.img")));
    assert_eq!((fast, card), (&Transport::Pci, &Transport::Pci));
    assert_eq!(contents.switches, [switch("private", None), switch("lan", Some("52:54:00:ab:cd:ef"))]);
    let [web] = &contents.guests[..] else { panic!("{contents:?}") };
    let file = |partition, path: &str| BootFile::OnDisk { disk: "root".into(), partition, path: path.into() };
    let boot = GuestBoot::Kernel {
        kernel: file(Some(PartitionName::Label("boot".into())), "/vmlinuz"),
        initrd: Some(file(None, "/initrd.img")),
        append: String::new(),
    };
    assert_eq!(web.boot, boot);
    let uuid = PartitionName::Uuid("0fc63daf-8483-4772-8e79-3d69d8477de4".into());
    let root = DiskSpec {
        name: "root".into(),
        source: DiskSource::Physical { disk: "disk0".into(), partition: Some(uuid) },
        read_only: false,
        queues: 4,
        plugged: true,
    };
    let installer = MemoryDisk {
        name: "installer".into(),
        image: Some(here("Cargo.toml")),
        size: None,
        read_only: true,
        queues: 1,
        plugged: false,
    };
    let scratch = MemoryDisk {
        name: "scratch".into(),
        image: None,
        size: Some(Size::gib(1)),
        read_only: false,
        plugged: true,
        ..installer.clone()
    };
    let lan = NetSpec {
        switch: 1,
        mac: Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]),
        vlan: Some(4094),
        rate: Some(10_000_000),
        guard: Some(vec![[192, 168, 1, 5], [10, 0, 0, 1]]),
        queues: 8,
        mtu: 9000,
        plugged: false,
    };
    let Device::Plain(DeviceSpec::Net(NetSpec { mac: derived, .. })) = web.devices[4] else { panic!() };
    let private = NetSpec {
        switch: 0,
        mac: derived,
        vlan: None,
        rate: None,
        guard: Some(Vec::new()),
        queues: 1,
        mtu: 1500,
        plugged: true,
    };
    // The disks' slots come first, whatever stands first in the file.
    let expected = [
        Device::Plain(DeviceSpec::Disk(root)),
        Device::Memory(installer),
        Device::Memory(scratch),
        Device::Plain(DeviceSpec::Net(lan)),
        Device::Plain(DeviceSpec::Net(private)),
        Device::Plain(DeviceSpec::Rng),
        Device::Plain(DeviceSpec::Balloon),
        Device::Plain(DeviceSpec::Vsock { cid: 3 }),
        Device::Plain(DeviceSpec::Console { ports: 2 }),
    ];
    assert_eq!(web.devices, expected);
    check_bundle(&contents);
}

/// The image understands `contents`, and finds there what was meant.
fn check_bundle(contents: &Contents) {
    let path = std::env::temp_dir().join(format!("polyvisor-manifest-{}.bundle", std::process::id()));
    bundle::write(contents, &path).unwrap();
    let file = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let bundle = Bundle::parse(&file).unwrap();
    assert_eq!(bundle.switches(), contents.switches);
    let [VmSpec { boot, devices, .. }] = bundle.vms() else { panic!("{:?}", bundle.vms()) };
    let polyvisor::vm::bundle::BootSource::Kernel { image: FileSource::OnDisk { disk, .. }, .. } = boot
    else {
        panic!("{boot:?}")
    };
    assert_eq!((disk.as_str(), devices.len()), ("root", 9));
    let source = |slot: usize| match &devices[slot] {
        DeviceSpec::Disk(DiskSpec { source: DiskSource::File { image, size }, .. }) => {
            (bundle.blob(*image).unwrap().to_vec(), *size)
        }
        other => panic!("{other:?}"),
    };
    let cargo = fs::read(here("Cargo.toml")).unwrap();
    let sectors = (cargo.len() as u64).next_multiple_of(512);
    assert_eq!((source(1), source(2)), ((cargo, sectors), (Vec::new(), 1 << 30)));
}

/// One mistake each, in the line that is given, behind a VM that is right in three lines and a switch in two.
#[test]
fn a_mistake_of_a_device_is_shown_where_it_was_made() {
    const PATH_OR_DISK: &str = "the path of a file, or { disk = NAME, path = PATH } with one of the VM's disks, \
                                and a partition = ... where that is needed";
    let on_disk = |found: &str| format!("3:10: kernel: found {found}, expected {PATH_OR_DISK}");
    let table: &[(&str, &str)] = &[
        ("$disk = 3", "4:8: disk: found 3, expected tables [[vm.disk]]"),
        ("$[[vm.disk]]\nsize = '1G'", "4:1: a disk without a name, expected name = \"...\""),
        (
            "$[[vm.disk]]\nsize = '1G'\nname = 'a b'",
            "6:8: name: found 'a b', expected 1 to 20 printable ASCII characters without a space",
        ),
        ("$[[vm.disk]]\nname = 'a'", "4:1: a disk without sectors, expected image, size or physical"),
        (
            "$[[vm.disk]]\nname = 'a'\nsize = '1G'\nphysical = 'disk0'",
            "7:12: physical: found beside size, expected only one of them",
        ),
        (
            "$[[vm.disk]]\nname = 'a'\nsize = '1G'\npartition = { number = 1 }",
            "7:13: partition: found without physical, expected only with it",
        ),
        (
            "$[[vm.disk]]\nname = 'a'\nsize = '1G'\nmode = 'read-write'",
            "7:8: mode: \"read-write\" is for physical disks: an image is \"copy-on-write\"",
        ),
        (
            "$[[vm.disk]]\nname = 'a'\nphysical = 'disk0'\nmode = 'copy-on-write'",
            "7:8: mode: \"copy-on-write\" is for images: a physical disk is \"read-write\"",
        ),
        (
            "$[[vm.disk]]\nname = 'a'\nsize = '2T'",
            "6:8: size: found '2T', expected a size such as \"64M\" or \"2G\", up to 1024 GiB",
        ),
        (
            "$[[vm.disk]]\nname = 'a'\nphysical = 'disk0'\npartition = { number = 0 }",
            "7:13: partition: found { number = 0 }, expected { label = \"...\" }, { uuid = \"...\" } or { number = 1 }",
        ),
        (
            "$[[vm.disk]]\nname = 'a'\nphysical = 'disk0'\npartition = { number = 1, label = 'a' }",
            "7:13: partition: found { number = 1, label = 'a' }, expected { label = \"...\" }, { uuid = \"...\" } or { number = 1 }",
        ),
        ("$[[vm.disk]]\nname = 'a'\nsize = '1G'\nqueues = 9", "7:10: queues: found 9, expected 1 to 8"),
        (
            "$[[vm.disk]]\nname = 'a'\nsize = '1G'\nplugged = 1",
            "7:11: plugged: found 1, expected true or false",
        ),
        (
            "$[[vm.disk]]\nname = 'a'\nsize = '1G'\n[[vm.disk]]\nname = 'a'\nsize = '2G'",
            "8:8: name: found \"a\" again (as in line 5), expected one of its own",
        ),
        ("$[[vm.net]]\nvlan = 1", "4:1: a network device without a switch, expected switch = \"...\""),
        (
            "$[[vm.net]]\nswitch = 'wan'\n[[switch]]\nname = 'lan'",
            "5:10: switch: found 'wan', expected the name of a [[switch]]: lan",
        ),
        (
            "$[[vm.net]]\nswitch = 'lan'\nmac = '33:33:00:00:00:01'\n&",
            "6:7: mac: found '33:33:00:00:00:01', expected an address such as \"52:54:00:12:34:56\", not a group's",
        ),
        ("$[[vm.net]]\nswitch = 'lan'\nvlan = 4095\n&", "6:8: vlan: found 4095, expected 1 to 4094"),
        (
            "$[[vm.net]]\nswitch = 'lan'\nrate = 10\n&",
            "6:8: rate: found 10, expected bytes a second, such as \"500K\", \"10M\" or \"1G\", which are powers of 1000",
        ),
        (
            "$[[vm.net]]\nswitch = 'lan'\nguard = ['10.0.0.256']\n&",
            "6:9: guard: found ['10.0.0.256'], expected true, false, or a list of up to 16 IPv4 addresses",
        ),
        ("$[[vm.net]]\nswitch = 'lan'\nmtu = 65536\n&", "6:7: mtu: found 65536, expected 68 to 65535"),
        (
            "$[[vm.net]]\nswitch = 'lan'\nmac = '52:54:00:00:00:01'\n[[vm.net]]\nswitch = 'lan'\nmac = '52:54:00:00:00:01'\n&",
            "9:7: mac: found \"52:54:00:00:00:01\" again (as in line 6), expected one of its own",
        ),
        ("&&$", "4:8: name: found \"lan\" again (as in line 2), expected one of its own"),
        (
            "[[switch]]\nname = 'a'\nuplink = 'nic0'\n[[switch]]\nname = 'b'\nuplink = 'nic0'\n$",
            "6:10: uplink: found \"nic0\" again (as in line 3), expected one of its own",
        ),
        (
            "[[switch]]\nname = 'a'\nuplink = 'eth0'\n$",
            "3:10: uplink: found 'eth0', expected \"nic0\", \"nic1\", ... or a network card's MAC address",
        ),
        ("[[switch]]\n$", "1:1: a switch without a name, expected name = \"...\""),
        ("$vsock = 2", "4:9: vsock: found 2, expected a context id from 3 to 4294967294"),
        (
            "$vsock = 3\n[[vm]]\nname = 'b'\nguest = 'linux'\nvsock = 3",
            "8:9: vsock: found 3 again (as in line 4), expected one of its own",
        ),
        ("$consoles = 9", "4:12: consoles: found 9, expected 1 to 8"),
        ("$rng = 1", "4:7: rng: found 1, expected true or false"),
        (
            "[[vm]]\nname = 'a'\nkernel = { disk = 'root', path = '/vmlinuz' }",
            "3:10: kernel: found the disk \"root\", expected one of the VM's: it has none",
        ),
        (
            "[machine]\ndisks = 'disk.img'\n$",
            "2:9: disks: found 'disk.img', expected a list of files, such as [\"disk.img\", \"other.img,pci\"]",
        ),
        (
            "[machine]\nnet = 'tap'\n$",
            "2:7: net: found 'tap', expected \"user\" or \"user,pci\", or a list of these",
        ),
    ];
    for (text, expected) in table {
        let text = text.replace('$', VM).replace('&', "[[switch]]\nname = 'lan'\n");
        assert_eq!(mistakes(&text), [*expected], "{text}");
    }
    for wrong in
        ["{ disk = 'a' }", "{ disk = 'a', path = '' }", "{ disk = 'a', path = 'b', label = 'c' }", "3"]
    {
        assert_eq!(mistakes(&format!("[[vm]]\nname = 'a'\nkernel = {wrong}")), [on_disk(wrong)]);
    }
}

#[test]
fn there_are_no_more_devices_than_slots() {
    let disks = |count| -> String {
        (0..count).map(|n| format!("[[vm.disk]]\nname = 'd{n}'\nsize = '1M'\n")).collect()
    };
    assert!(parse(&format!("{VM}{}", disks(32))).is_ok());
    assert_eq!(
        mistakes(&format!("{VM}rng = true\n{}", disks(32))),
        ["1:1: found 33 devices, expected at most 32"]
    );
}

#[test]
fn a_disk_is_no_smaller_than_its_image() {
    let path = std::env::temp_dir().join(format!("polyvisor-manifest-{}.img", std::process::id()));
    fs::File::create(&path).unwrap().set_len((1 << 20) + 1).unwrap();
    let text = |size| format!("{VM}[[vm.disk]]\nname = 'a'\nimage = '{}'\nsize = '{size}'", path.display());
    let (small, large) = (mistakes(&text("1M")), parse(&text("2M")));
    fs::remove_file(&path).unwrap();
    assert_eq!(small, ["7:8: size: found 1 MiB, expected at least the 1048577 bytes of the image"]);
    assert!(large.is_ok());
}
