use proptest::prelude::*;

use super::*;

fn spec(name: &str, boot: BootSource) -> VmSpec {
    VmSpec::new(name, 2, 256 * MIB, boot)
}

/// Two VMs that share a kernel; blobs of lengths on both sides of a page, and an empty one.
fn sample() -> Vec<u8> {
    let kernel: Vec<u8> = (0..5000_u32).map(|n| (n * 7) as u8).collect();
    let (copy, firmware) = (kernel.clone(), vec![0x5a; 4096]);
    let mut builder = BundleBuilder::new();
    let image = builder.blob(&kernel);
    let initrd = Some(builder.blob(&[]));
    let append = String::from("console=ttyAMA0");
    let flash = builder.blob(&firmware);
    assert_eq!(builder.blob(&copy), image, "the same contents are stored once");
    builder
        .vm(spec("linux", BootSource::Kernel { image: image.into(), initrd: initrd.map(Into::into), append }))
        .vm(spec("u-boot", BootSource::Firmware { image: flash }));
    builder.build().unwrap()
}

/// What a bundle means, to compare two of them.
fn meaning(bytes: &[u8]) -> Result<(Vec<VmSpec>, Vec<Vec<u8>>), BundleError> {
    let bundle = Bundle::parse(bytes)?;
    Ok((bundle.vms.clone(), bundle.blobs.iter().map(|blob| blob.to_vec()).collect()))
}

#[test]
fn what_is_built_is_parsed() {
    let file = sample();
    let bundle = Bundle::parse(&file).unwrap();
    let [linux, uboot] = bundle.vms() else { panic!("{:?}", bundle.vms()) };
    assert_eq!((linux.name.as_str(), linux.vcpus, linux.memory), ("linux", 2, 256 * MIB));
    let BootSource::Kernel { image: FileSource::Blob(image), initrd: Some(FileSource::Blob(initrd)), append } =
        &linux.boot
    else {
        panic!()
    };
    assert_eq!(bundle.blob(*image).unwrap().len(), 5000);
    assert_eq!(bundle.blob(*initrd).unwrap(), []);
    assert_eq!(append, "console=ttyAMA0");
    let BootSource::Firmware { image } = uboot.boot else { panic!() };
    assert_eq!(bundle.blob(image).unwrap(), [0x5a; 4096]);
    assert_eq!(bundle.blob(BlobId(3)), Err(VmError::NoSuchBlob { found: 3, count: 3 }));
    for blob in &bundle.blobs {
        assert_eq!((blob.as_ptr() as usize - file.as_ptr() as usize) % PAGE_SIZE as usize, 0);
    }
}

#[test]
fn bytes_behind_the_end_are_ignored() {
    let mut file = sample();
    let expected = meaning(&file);
    file.resize(file.len() + 5000, 0xff);
    assert_eq!(meaning(&file), expected);
}

#[test]
fn every_truncation_is_an_error() {
    let file = sample();
    for len in 0..file.len() {
        let Err(BundleError::Truncated { found, .. }) = Bundle::parse(&file[..len]) else { panic!("{len}") };
        assert_eq!(found, len as u64);
    }
}

#[test]
fn every_flipped_byte_is_an_error_or_padding() {
    let mut file = sample();
    let expected = meaning(&file).unwrap();
    let mut padding = 0;
    for offset in 0..file.len() {
        for flip in [0x01, 0x80, 0xff] {
            file[offset] ^= flip;
            if let Ok(found) = meaning(&file) {
                assert_eq!(found, expected, "byte {offset:#x} xor {flip:#x} changes the meaning");
                padding += 1;
            }
            file[offset] ^= flip;
        }
    }
    assert!((1..3 * 2 * PAGE_SIZE).contains(&padding), "{padding}");
}

#[test]
fn the_builder_refuses_what_the_parser_would() {
    let kernel = BootSource::Kernel { image: BlobId(0).into(), initrd: None, append: String::new() };
    let build = |vms: &[VmSpec]| {
        let mut builder = BundleBuilder::new();
        builder.blob(b"kernel");
        for vm in vms {
            builder.vm(vm.clone());
        }
        builder.build().map(|_| ())
    };
    let refused = |vm: VmSpec| match build(&[vm]) {
        Err(BundleError::Vm { error, .. }) => error,
        other => panic!("{other:?}"),
    };
    let good = spec("vm", kernel);
    assert_eq!(build(std::slice::from_ref(&good)), Ok(()));
    assert_eq!(build(&[]), Err(BundleError::VmCount { found: 0 }));
    assert_eq!(build(&[good.clone(), good.clone()]), Err(BundleError::DuplicateName { name: "vm".into() }));
    for name in ["", "two words", "n\u{fc}rnberg", &"x".repeat(MAX_NAME + 1)] {
        assert_eq!(build(&[spec(name, good.boot.clone())]), Err(BundleError::Name { vm: 0 }));
    }
    let many: Vec<_> = (0..=MAX_VMS).map(|n| spec(&n.to_string(), good.boot.clone())).collect();
    assert_eq!(build(&many), Err(BundleError::VmCount { found: MAX_VMS + 1 }));
    assert_eq!(build(&many[1..]), Ok(()));
    for vcpus in [0, MAX_VCPUS + 1, u32::MAX] {
        assert_eq!(
            refused(VmSpec { vcpus, ..good.clone() }),
            VmError::Vcpus { found: vcpus, limit: MAX_VCPUS }
        );
    }
    for memory in [0, MIB, 3 * MIB, MAX_MEMORY + MEMORY_GRANULE, u64::MAX] {
        assert_eq!(
            refused(VmSpec { memory, ..good.clone() }),
            VmError::Memory { found: memory, limit: MAX_MEMORY }
        );
    }
    let with_append =
        |append: String| spec("vm", BootSource::Kernel { image: BlobId(0).into(), initrd: None, append });
    assert_eq!(build(&[with_append("x".repeat(MAX_APPEND))]), Ok(()));
    assert_eq!(refused(with_append("x".repeat(2048))), VmError::AppendLength { found: 2048 });
    assert_eq!(refused(with_append("quiet\0".into())), VmError::AppendNul { offset: 5 });
    let initrd =
        BootSource::Kernel { image: BlobId(0).into(), initrd: Some(BlobId(1).into()), append: String::new() };
    assert_eq!(refused(spec("vm", initrd)), VmError::NoSuchBlob { found: 1, count: 1 });

    for jit in [Jit::Off, Jit::LockStep, Jit::Record] {
        assert_eq!(refused(VmSpec { jit, ..good.clone() }), VmError::Jit);
        assert_eq!(build(&[VmSpec { jit, arch: Arch::Riscv64, ..good.clone() }]), Ok(()));
    }
    let saved = |arch, jit, blob| VmSpec { arch, jit, translations: Some(BlobId(blob)), ..good.clone() };
    assert_eq!(build(&[saved(Arch::Riscv64, Jit::LockStep, 0)]), Ok(()));
    for (arch, jit) in [(Arch::Aarch64, Jit::On), (Arch::Riscv64, Jit::Off), (Arch::Riscv64, Jit::Record)] {
        assert_eq!(refused(saved(arch, jit, 0)), VmError::Translations);
    }
    assert_eq!(refused(saved(Arch::Riscv64, Jit::On, 1)), VmError::NoSuchBlob { found: 1, count: 1 });
    let scheduled = |scheduling| VmSpec { scheduling, ..good.clone() };
    let usual = Scheduling::default();
    for weight in [0, MAX_WEIGHT + 1, u32::MAX] {
        assert_eq!(refused(scheduled(Scheduling { weight, ..usual })), VmError::Weight { found: weight });
    }
    assert_eq!(refused(scheduled(Scheduling { cpus: 0, ..usual })), VmError::NoCpus);
    let one = Scheduling { cpus: 0b100, dedicated: true, ..usual };
    assert_eq!(refused(scheduled(one)), VmError::Dedicated { vcpus: 2, cpus: 1 });
    assert_eq!(build(&[scheduled(Scheduling { dedicated: false, ..one })]), Ok(()));
    for delay in [0, MAX_BACKOFF + 1, u32::MAX] {
        let (restart, error) = (Reaction::Restart { delay }, VmError::RestartDelay { found: delay });
        assert_eq!(refused(VmSpec { on_stop: restart, ..good.clone() }), error);
        assert_eq!(refused(VmSpec { on_crash: restart, ..good.clone() }), error);
    }
}

#[test]
fn how_vms_are_run_survives_the_bundle() {
    let boot = BootSource::Firmware { image: BlobId(0) };
    let extreme = VmSpec {
        scheduling: Scheduling { weight: MAX_WEIGHT, cpus: 0b1010, dedicated: true },
        autostart: false,
        on_stop: Reaction::Restart { delay: MAX_BACKOFF },
        on_crash: Reaction::PowerOff,
        colour: Colour::White,
        ..spec("extreme", boot.clone())
    };
    let least = VmSpec {
        scheduling: Scheduling { weight: 1, cpus: 1 << 63, dedicated: false },
        on_crash: Reaction::Restart { delay: 1 },
        ..spec("least", boot)
    };
    let mut builder = BundleBuilder::new();
    builder.blob(b"firmware");
    builder.vm(extreme.clone()).vm(least.clone()).when_all_off(WhenAllOff::Stay);
    let file = builder.build().unwrap();
    let bundle = Bundle::parse(&file).unwrap();
    assert_eq!(bundle.vms(), [extreme, least]);
    assert_eq!(bundle.when_all_off(), WhenAllOff::Stay);
}

#[test]
fn another_version_is_refused_by_number() {
    let mut file = sample();
    for version in [0, 1, FORMAT_VERSION + 1] {
        file[8..12].copy_from_slice(&version.to_le_bytes());
        let error = Bundle::parse(&file).map(|_| ()).unwrap_err();
        assert_eq!(error, BundleError::Version { found: version });
    }
    file[8..12].copy_from_slice(&1_u32.to_le_bytes());
    assert_eq!(
        Bundle::parse(&file).map(|_| ()).unwrap_err().to_string(),
        "the bundle has format version 1, only version 6 is understood"
    );
}

#[test]
fn a_refusal_names_the_value_and_the_bound() {
    let text = |error: VmError| BundleError::Vm { name: "web".into(), error }.to_string();
    assert_eq!(
        text(VmError::Weight { found: 10_001 }),
        "VM \"web\": a weight of 10001, 1 to 10000 are possible"
    );
    assert_eq!(
        text(VmError::RestartDelay { found: 0 }),
        "VM \"web\": a restart after 0 ms, 1 to 60000 are possible"
    );
    assert_eq!(
        text(VmError::Dedicated { vcpus: 3, cpus: 2 }),
        "VM \"web\": 3 vCPUs are to own a CPU each, out of a set of 2"
    );
}

/// A file with correct checksums whatever its manifest says: what an attacker would write.
fn forge(manifest: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut body = manifest.to_vec();
    body.resize((Header::LEN + manifest.len()).next_multiple_of(4096) - Header::LEN, 0);
    body.extend_from_slice(payload);
    let mut file = Header {
        version: FORMAT_VERSION,
        manifest_len: manifest.len() as u32,
        total_len: (Header::LEN + body.len()) as u64,
        manifest_crc32: crc32fast::hash(manifest),
    }
    .encode();
    file.extend_from_slice(&body);
    file
}

/// What a bundle says whose manifest, of less than a page, has `value` at `offset`, and correct checksums.
pub(super) fn damaged(
    file: &[u8],
    offset: usize,
    value: u8,
) -> Result<(Vec<SwitchSpec>, Vec<VmSpec>), BundleError> {
    let len = u32::from_le_bytes(file[12..16].try_into().unwrap()) as usize;
    let mut manifest = file[Header::LEN..Header::LEN + len].to_vec();
    manifest[offset % len] = value;
    Bundle::parse(&forge(&manifest, &file[4096..])).map(|bundle| (bundle.switches, bundle.vms))
}

#[test]
fn blobs_lie_apart_and_inside() {
    let vm = spec("vm", BootSource::Firmware { image: BlobId(0) });
    let payload = [0; 0x3000];
    let parse = |ranges: &[(u64, u64)]| {
        let crc = |len: u64| crc32fast::hash(&vec![0; len.min(0x10000) as usize]);
        let blobs = ranges.iter().map(|&(offset, len)| BlobEntry { offset, len, crc32: crc(len) }).collect();
        let manifest =
            postcard::to_allocvec(&Manifest { blobs, vms: vec![vm.clone()], ..Manifest::default() }).unwrap();
        Bundle::parse(&forge(&manifest, &payload)).map(|_| ())
    };
    assert_eq!(parse(&[(0, 0x1000), (0x1000, 0x2000)]), Ok(()));
    assert_eq!(
        parse(&[(0, 0x1001), (0x1000, 0x2000)]),
        Err(BundleError::BlobOffset { blob: 1, found: 0x1000, free_from: 0x1001 })
    );
    assert_eq!(parse(&[(0x800, 1)]), Err(BundleError::BlobOffset { blob: 0, found: 0x800, free_from: 0 }));
    for (offset, len) in [(0, 0x3001), (0x4000, 0), (0x3000, 1), (!0xfff, 0x2000), (0, u64::MAX)] {
        assert_eq!(
            parse(&[(offset, len)]),
            Err(BundleError::BlobRange { blob: 0, offset, len, limit: 0x3000 })
        );
    }
}

#[test]
fn absurd_counts_are_refused() {
    let count = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    assert!(matches!(Bundle::parse(&forge(&count, &[])), Err(BundleError::Manifest(_))));
    let mut long = forge(&[], &[]);
    long.resize(MAX_MANIFEST + 4096, 0);
    let header = Header {
        version: FORMAT_VERSION,
        manifest_len: MAX_MANIFEST as u32 + 1,
        total_len: long.len() as u64,
        manifest_crc32: 0,
    };
    long[..Header::LEN].copy_from_slice(&header.encode());
    assert_eq!(
        Bundle::parse(&long).map(|_| ()),
        Err(BundleError::ManifestLength { found: MAX_MANIFEST + 1 })
    );
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        prop_assert!(Bundle::parse(&bytes).is_err());
    }

    #[test]
    fn no_manifest_makes_it_panic(
        manifest in prop::collection::vec(prop_oneof![Just(0), Just(1), Just(0xff), any::<u8>()], 0..96),
    ) {
        if let Ok(bundle) = Bundle::parse(&forge(&manifest, &[0; 8192])) {
            prop_assert!(bundle.vms().len() <= MAX_VMS);
        }
    }

    #[test]
    fn a_damaged_manifest_keeps_every_bound(offset in 0..120_usize, value in any::<u8>()) {
        for vm in damaged(&sample(), offset, value).map(|(_, vms)| vms).unwrap_or_default() {
            prop_assert!(is_name(&vm.name) && (1..=MAX_VCPUS).contains(&vm.vcpus));
            prop_assert!((1..=MAX_WEIGHT).contains(&vm.scheduling.weight) && vm.scheduling.cpus != 0);
            prop_assert!(vm.boot.blobs().all(|blob| blob.0 < 3));
        }
    }
}
