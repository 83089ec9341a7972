use proptest::prelude::*;

use super::*;
use crate::mm::addr::MIB;
use crate::storage::partition::NameError;
use crate::vm::bundle::{BootSource, Bundle, BundleBuilder, FileSource, MAX_PATH, VmSpec};

/// The bytes of the one blob that is no kernel.
const IMAGE: u64 = 1000;

/// A disk in memory, just as large as the image of [`build`].
fn disk(name: &str) -> DiskSpec {
    let source = DiskSource::File { image: BlobId(1), size: 1024 };
    DiskSpec { name: name.into(), source, read_only: false, queues: 1, plugged: true }
}

fn physical(disk: &str, partition: Option<PartitionName>) -> DiskSpec {
    DiskSpec { source: DiskSource::Physical { disk: disk.into(), partition }, ..self::disk("physical") }
}

/// A network device whose address ends with `last`.
fn net(last: u8) -> NetSpec {
    NetSpec {
        switch: 0,
        mac: Mac([0x52, 0x54, 0, 0, 0, last]),
        vlan: None,
        rate: None,
        guard: None,
        queues: 1,
        mtu: 1500,
        plugged: true,
    }
}

fn switch(name: &str, uplink: Option<&str>) -> SwitchSpec {
    SwitchSpec { name: name.into(), uplink: uplink.map(Into::into) }
}

fn boot_from(image: FileSource) -> BootSource {
    BootSource::Kernel { image, initrd: None, append: String::new() }
}

fn vm(name: &str, devices: Vec<DeviceSpec>) -> VmSpec {
    VmSpec { devices, ..VmSpec::new(name, 1, 256 * MIB, boot_from(BlobId(0).into())) }
}

fn build_with(vms: &[VmSpec], switches: &[SwitchSpec]) -> Result<Vec<u8>, BundleError> {
    let image = [7; IMAGE as usize];
    let mut builder = BundleBuilder::new();
    builder.blob(b"kernel");
    builder.blob(&image);
    for switch in switches {
        builder.switch(switch.clone());
    }
    for vm in vms {
        builder.vm(vm.clone());
    }
    builder.build()
}

/// A bundle of `vms` with one switch.
fn build(vms: &[VmSpec]) -> Result<Vec<u8>, BundleError> {
    build_with(vms, &[switch("lan", Some("nic0"))])
}

/// Why the last device of a VM is refused.
fn refused(devices: Vec<DeviceSpec>) -> DeviceError {
    let last = devices.len() - 1;
    match build(&[vm("vm", devices)]) {
        Err(BundleError::Vm { error: VmError::Device { slot, error }, .. }) => {
            assert_eq!(slot, last);
            error
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn devices_survive_the_bundle() {
    let label = PartitionName::Label("b\u{f6}\u{f6}t".into());
    let file = DiskSpec { read_only: true, queues: MAX_QUEUES, plugged: false, ..disk("installer") };
    let devices = vec![
        DeviceSpec::Disk(file),
        DeviceSpec::Disk(physical("QM00001", Some(label.clone()))),
        DeviceSpec::Net(NetSpec {
            vlan: Some(MAX_VLAN),
            rate: Some(u64::MAX),
            guard: Some(vec![[192, 168, 1, 5]; MAX_GUARD]),
            queues: MAX_QUEUES,
            mtu: u16::MAX,
            plugged: false,
            ..net(1)
        }),
        DeviceSpec::Rng,
        DeviceSpec::Balloon,
        DeviceSpec::Vsock { cid: MAX_CID },
        DeviceSpec::Console { ports: MAX_PORTS },
    ];
    let on_disk =
        FileSource::OnDisk { disk: "physical".into(), partition: Some(label), path: "/".repeat(MAX_PATH) };
    let vm = VmSpec { boot: boot_from(on_disk), ..vm("vm", devices) };
    let switches = [switch("lan", Some("52:54:00:12:34:56")), switch("private", None)];
    let file = build_with(std::slice::from_ref(&vm), &switches).unwrap();
    let bundle = Bundle::parse(&file).unwrap();
    assert_eq!((bundle.vms(), bundle.switches()), (&[vm][..], &switches[..]));
}

#[test]
fn a_device_that_cannot_be_is_refused_with_its_slot() {
    let with_disk = |disk: DiskSpec| refused(vec![DeviceSpec::Rng, DeviceSpec::Disk(disk)]);
    for name in ["", "two words", "n\u{fc}rnberg", "tab\t", &"x".repeat(MAX_SERIAL + 1)] {
        assert_eq!(with_disk(disk(name)), DeviceError::DiskName);
    }
    for size in [0, 512, IMAGE, 1025, MAX_DISK + SECTOR, u64::MAX] {
        let source = DiskSource::File { image: BlobId(1), size };
        let error = DeviceError::DiskSize { found: size, least: IMAGE };
        assert_eq!(with_disk(DiskSpec { source, ..disk("d") }), error);
    }
    let source = DiskSource::File { image: BlobId(2), size: 1024 };
    assert_eq!(with_disk(DiskSpec { source, ..disk("d") }), DeviceError::NoSuchBlob { found: 2, count: 2 });
    assert_eq!(with_disk(physical("", None)), DeviceError::PhysicalDisk);
    for (name, error) in [
        (PartitionName::Number(0), NameError::Number),
        (PartitionName::Label(String::new()), NameError::Label { found: 0 }),
        (PartitionName::Label("\u{1f4bd}".repeat(19)), NameError::Label { found: 38 }),
        (PartitionName::Uuid("0123456-89".into()), NameError::Uuid),
        (PartitionName::Uuid("01234567-8g".into()), NameError::Uuid),
        (PartitionName::Uuid("01234567-89ab-cdef-0123".into()), NameError::Uuid),
        (PartitionName::Uuid("01234567-89-".into()), NameError::Uuid),
    ] {
        assert_eq!(with_disk(physical("disk0", Some(name))), DeviceError::Partition(error));
    }
    for uuid in ["01234567-89ab-cdef-0123-456789ABCDEF", "deadbeef-0a"] {
        assert_eq!(PartitionName::Uuid(uuid.into()).validate(), Ok(()));
    }

    let with_net = |net: NetSpec| refused(vec![DeviceSpec::Net(net)]);
    assert_eq!(with_net(NetSpec { switch: 1, ..net(1) }), DeviceError::NoSuchSwitch { found: 1, count: 1 });
    for mac in [Mac([0; 6]), Mac([0xff; 6]), Mac([0x33, 0x33, 0, 0, 0, 1])] {
        assert_eq!(with_net(NetSpec { mac, ..net(1) }), DeviceError::Mac { found: mac });
    }
    for vlan in [0, MAX_VLAN + 1, u16::MAX] {
        let error = DeviceError::Vlan { found: vlan };
        assert_eq!(with_net(NetSpec { vlan: Some(vlan), ..net(1) }), error);
    }
    assert_eq!(with_net(NetSpec { rate: Some(0), ..net(1) }), DeviceError::Rate);
    let guard = Some(vec![[10, 0, 0, 1]; MAX_GUARD + 1]);
    assert_eq!(with_net(NetSpec { guard, ..net(1) }), DeviceError::Guard { found: MAX_GUARD + 1 });
    assert_eq!(with_net(NetSpec { mtu: 67, ..net(1) }), DeviceError::Mtu { found: 67 });
    for queues in [0, MAX_QUEUES + 1] {
        let error = DeviceError::Queues { found: queues };
        assert_eq!(with_net(NetSpec { queues, ..net(1) }), error);
        assert_eq!(with_disk(DiskSpec { queues, ..disk("d") }), error);
    }

    for cid in [0, 1, 2, u32::MAX] {
        assert_eq!(refused(vec![DeviceSpec::Vsock { cid }]), DeviceError::Cid { found: cid });
    }
    for ports in [0, MAX_PORTS + 1] {
        assert_eq!(refused(vec![DeviceSpec::Console { ports }]), DeviceError::Ports { found: ports });
    }
}

#[test]
fn what_must_be_unique_is() {
    let one_of_each = || {
        let console = DeviceSpec::Console { ports: 1 };
        let disk = DeviceSpec::Disk(disk("root"));
        vec![disk, DeviceSpec::Rng, DeviceSpec::Balloon, DeviceSpec::Vsock { cid: 3 }, console]
    };
    for (slot, device) in one_of_each().into_iter().enumerate() {
        let again = [one_of_each(), vec![device]].concat();
        assert_eq!(refused(again), DeviceError::Clash { other: slot });
    }
    let nets = (0..32).map(|last| DeviceSpec::Net(net(last)));
    let full = vm("full", nets.collect());
    assert!(build(std::slice::from_ref(&full)).is_ok());
    let mut more = full.clone();
    more.devices.push(DeviceSpec::Rng);
    let error = VmError::DeviceCount { found: 33, limit: 32 };
    assert_eq!(build(&[more]), Err(BundleError::Vm { name: "full".into(), error }));

    let mac = DeviceError::DuplicateMac { found: net(31).mac };
    let cid = DeviceError::DuplicateCid { found: 3 };
    for (device, error) in [(DeviceSpec::Net(net(31)), mac), (DeviceSpec::Vsock { cid: 3 }, cid)] {
        let first = VmSpec { name: "first".into(), ..vm("", vec![DeviceSpec::Vsock { cid: 3 }]) };
        let vms = [full.clone(), first, vm("second", vec![DeviceSpec::Rng, device])];
        let error = VmError::Device { slot: 1, error };
        assert_eq!(build(&vms), Err(BundleError::Vm { name: "second".into(), error }));
    }
}

#[test]
fn switches_have_names_and_uplinks_of_their_own() {
    let vms = [vm("vm", Vec::new())];
    let refused = |switches: &[SwitchSpec]| build_with(&vms, switches).unwrap_err();
    assert_eq!(refused(&[switch("", None)]), BundleError::SwitchName { switch: 0 });
    assert_eq!(
        refused(&[switch("lan", None), switch("lan", None)]),
        BundleError::DuplicateSwitch { name: "lan".into() }
    );
    assert_eq!(refused(&[switch("lan", Some("nic 0"))]), BundleError::Uplink { switch: "lan".into() });
    assert_eq!(
        refused(&[switch("a", Some("nic0")), switch("b", None), switch("c", Some("nic0"))]),
        BundleError::DuplicateUplink { uplink: "nic0".into() }
    );
    let many: Vec<_> = (0..=MAX_SWITCHES).map(|n| switch(&n.to_string(), None)).collect();
    assert_eq!(refused(&many), BundleError::SwitchCount { found: MAX_SWITCHES + 1 });
    assert!(build_with(&vms, &many[1..]).is_ok());
}

#[test]
fn a_kernel_on_a_disk_must_be_there_to_find() {
    let refused = |name: &str, partition: Option<PartitionName>, path: &str| {
        let initrd = FileSource::OnDisk { disk: name.into(), partition, path: path.into() };
        let boot =
            BootSource::Kernel { image: BlobId(0).into(), initrd: Some(initrd), append: String::new() };
        let vm = VmSpec { boot, ..vm("vm", vec![DeviceSpec::Disk(disk("root"))]) };
        match build(&[vm]) {
            Err(BundleError::Vm { error, .. }) => Some(error),
            other => other.map(|_| None).unwrap(),
        }
    };
    assert_eq!(refused("root", None, "/initrd.img"), None);
    assert_eq!(refused("boot", None, "/initrd.img"), Some(VmError::NoSuchDisk { name: "boot".into() }));
    for (path, found) in [("", 0), ("/a\0", 3), (&*"x".repeat(MAX_PATH + 1), MAX_PATH + 1)] {
        assert_eq!(refused("root", None, path), Some(VmError::Path { found }));
    }
    let partition = Some(PartitionName::Number(0));
    assert_eq!(refused("root", partition, "/a"), Some(VmError::BootPartition(NameError::Number)));
}

#[test]
fn a_refusal_of_a_device_can_be_read() {
    let text = |error| {
        let error = VmError::Device { slot: 2, error };
        BundleError::Vm { name: "web".into(), error }.to_string()
    };
    assert_eq!(
        text(DeviceError::DuplicateMac { found: net(0xab).mac }),
        "VM \"web\": device 2: the MAC address 52:54:00:00:00:ab is another device's too"
    );
    assert_eq!(
        text(DeviceError::DiskSize { found: 1000, least: 400 }),
        "VM \"web\": device 2: a disk of 0x3e8 bytes, multiples of 512 from 0x190 to 0x10000000000 are possible"
    );
}

proptest! {
    /// Whatever byte of a bundle with devices is changed: what is accepted keeps every bound.
    #[test]
    fn damaged_devices_keep_every_bound(offset in 0..300_usize, value in any::<u8>()) {
        let devices = vec![
            DeviceSpec::Disk(disk("root")),
            DeviceSpec::Disk(physical("disk0", Some(PartitionName::Number(1)))),
            DeviceSpec::Net(NetSpec { vlan: Some(7), rate: Some(1000), guard: Some(vec![[10; 4]]), ..net(1) }),
            DeviceSpec::Vsock { cid: 3 },
            DeviceSpec::Console { ports: 2 },
        ];
        let file = build(&[vm("a", devices.clone()), vm("b", devices[..1].to_vec())]).unwrap();
        let Ok((switches, vms)) = crate::vm::bundle::tests::damaged(&file, offset, value) else { return Ok(()) };
        for vm in &vms {
            prop_assert!(vm.devices.len() <= vm.arch.limits().devices);
            for device in &vm.devices {
                match device {
                    DeviceSpec::Disk(disk) => {
                        prop_assert!(is_word(&disk.name, MAX_SERIAL) && (1..=MAX_QUEUES).contains(&disk.queues));
                        if let DiskSource::File { image, size } = disk.source {
                            let least = [6, IMAGE][image.0 as usize];
                            prop_assert!((least..=MAX_DISK).contains(&size) && size % SECTOR == 0);
                        }
                    }
                    DeviceSpec::Net(net) => {
                        prop_assert!((net.switch as usize) < switches.len() && is_station(net.mac));
                        prop_assert!(net.mtu >= MIN_MTU && net.vlan.is_none_or(|vlan| (1..4095).contains(&vlan)));
                    }
                    DeviceSpec::Vsock { cid } => prop_assert!((MIN_CID..=MAX_CID).contains(cid)),
                    DeviceSpec::Console { ports } => prop_assert!((1..=MAX_PORTS).contains(ports)),
                    DeviceSpec::Rng | DeviceSpec::Balloon => {}
                }
            }
        }
    }
}
