//! What guests are made of, and in which Debian packages that is.

/// The architecture of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// Native.
    Arm64,
    /// Translated.
    Riscv64,
}

impl Architecture {
    /// Every architecture.
    pub const ALL: [Self; 2] = [Self::Arm64, Self::Riscv64];

    /// What Debian calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Arm64 => "arm64",
            Self::Riscv64 => "riscv64",
        }
    }

    /// Every suite that its items come from.
    pub(super) const fn suites(self) -> &'static [&'static str] {
        match self {
            Self::Arm64 => &["bookworm", "trixie", "sid"],
            // It was not yet part of bookworm.
            Self::Riscv64 => &["trixie", "sid"],
        }
    }
}

/// Something that is taken out of a Debian package.
#[derive(Debug, PartialEq, Eq)]
pub struct Item {
    /// What it is called here and on the command line.
    pub name: &'static str,
    /// The guests that it is for.
    pub architecture: Architecture,
    pub(super) suite: &'static str,
    pub(super) package: &'static str,
    pub(super) files: &'static [Wanted],
    /// How the paths of kernel modules begin, below `lib/modules/RELEASE/kernel`, in the order in which they are to be
    /// loaded. A flavour need not have them.
    pub(super) modules: &'static [&'static str],
}

/// A file inside a package.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// What its directory ends with.
    pub(super) under: &'static str,
    /// How the file name begins.
    pub(super) name: &'static str,
    /// What it is called in the cache; `None` keeps the package's name.
    pub(super) renamed: Option<&'static str>,
}

const fn wanted(under: &'static str, name: &'static str, renamed: Option<&'static str>) -> Wanted {
    Wanted { under, name, renamed }
}

const KERNEL_FILES: &[Wanted] = &[wanted("", "vmlinuz", Some("kernel"))];
/// The kernel that also brings the devicetree of the Pi.
const DEFAULT_KERNEL_FILES: &[Wanted] =
    &[wanted("", "vmlinuz", Some("kernel")), wanted("broadcom/", "bcm2711-rpi-4-b.dtb", None)];

/// Uncompressed, and so called `vmlinux` up to Linux 6 and `vmlinuz` from then on.
const RISCV64_KERNEL_FILES: &[Wanted] = &[wanted("", "vmlinu", Some("kernel"))];

/// What a kernel needs to notice the power button (its key, and who tells user space), for virtio devices, and for ext4;
/// each behind those that it needs.
const KERNEL_MODULES: &[&str] = &[
    "drivers/input/evdev.ko",
    "drivers/input/keyboard/gpio_keys.ko",
    "drivers/virtio/virtio_mmio.ko",
    "drivers/block/virtio_blk.ko",
    "net/core/failover.ko",
    "drivers/net/net_failover.ko",
    "drivers/net/virtio_net.ko",
    "drivers/char/hw_random/virtio-rng.ko",
    "drivers/virtio/virtio_balloon.ko",
    "net/vmw_vsock/vsock.ko",
    "net/vmw_vsock/vmw_vsock_virtio_transport_common.ko",
    "net/vmw_vsock/vmw_vsock_virtio_transport.ko",
    "crypto/crc32c_generic.ko",
    "lib/libcrc32c.ko",
    "lib/crc16.ko",
    "fs/mbcache.ko",
    "fs/jbd2/jbd2.ko",
    "fs/ext4/ext4.ko",
];
/// The kernel that is booted unless another is asked for.
pub const DEFAULT_KERNEL: &str = "linux-6.12";

/// The Linux kernels, by version, flavour and architecture.
pub const KERNELS: [Item; 7] = [
    kernel("linux-6.1", Architecture::Arm64, "bookworm", "linux-image-arm64", KERNEL_FILES),
    kernel(DEFAULT_KERNEL, Architecture::Arm64, "trixie", "linux-image-arm64", DEFAULT_KERNEL_FILES),
    kernel("linux-newest", Architecture::Arm64, "sid", "linux-image-arm64", KERNEL_FILES),
    kernel("linux-cloud", Architecture::Arm64, "trixie", "linux-image-cloud-arm64", KERNEL_FILES),
    kernel("linux-rt", Architecture::Arm64, "trixie", "linux-image-rt-arm64", KERNEL_FILES),
    kernel(
        "linux-6.12-riscv64",
        Architecture::Riscv64,
        "trixie",
        "linux-image-riscv64",
        RISCV64_KERNEL_FILES,
    ),
    kernel("linux-newest-riscv64", Architecture::Riscv64, "sid", "linux-image-riscv64", RISCV64_KERNEL_FILES),
];

const fn kernel(
    name: &'static str,
    architecture: Architecture,
    suite: &'static str,
    package: &'static str,
    files: &'static [Wanted],
) -> Item {
    Item { name, architecture, suite, package, files, modules: KERNEL_MODULES }
}

/// The test guest's userland.
pub const fn busybox(architecture: Architecture) -> Item {
    Item {
        name: match architecture {
            Architecture::Arm64 => "busybox",
            Architecture::Riscv64 => "busybox-riscv64",
        },
        architecture,
        suite: "trixie",
        package: "busybox-static",
        files: const { &[wanted("bin/", "busybox", Some("busybox"))] },
        modules: &[],
    }
}

/// Checks an ext4 file system, inside the guest.
pub const fn e2fsck(architecture: Architecture) -> Item {
    Item {
        name: match architecture {
            Architecture::Arm64 => "e2fsck",
            Architecture::Riscv64 => "e2fsck-riscv64",
        },
        architecture,
        suite: "sid",
        package: "e2fsck-static",
        files: const { &[wanted("sbin/", "e2fsck.static", Some("e2fsck"))] },
        modules: &[],
    }
}

/// Debian's installer, as it is booted from a network.
pub const INSTALLER: Item = Item {
    name: "installer",
    architecture: Architecture::Arm64,
    suite: "trixie",
    package: "debian-installer-13-netboot-arm64",
    files: &[
        wanted("text/debian-installer/arm64/", "linux", Some("kernel")),
        wanted("text/debian-installer/arm64/", "initrd.gz", Some("initrd")),
    ],
    modules: &[],
};

/// U-Boot in supervisor mode: no firmware to its machine, but what is loaded above one, as a kernel is.
pub const U_BOOT_SMODE: Item = firmware(
    "u-boot-smode-riscv64",
    Architecture::Riscv64,
    "u-boot-qemu",
    &[wanted("qemu-riscv64_smode/", "u-boot.bin", None)],
);

/// Firmware for guests, each one file; by its name on the command line.
pub const FIRMWARE: [Item; 4] = [
    firmware("u-boot", Architecture::Arm64, "u-boot-qemu", &[wanted("qemu_arm64/", "u-boot.bin", None)]),
    // In machine mode.
    firmware(
        "u-boot-riscv64",
        Architecture::Riscv64,
        "u-boot-qemu",
        &[wanted("qemu-riscv64/", "u-boot.bin", None)],
    ),
    // Goes on to a fixed address, 2 MiB behind its own.
    firmware(
        "opensbi-jump",
        Architecture::Riscv64,
        "opensbi",
        &[wanted("riscv64-linux-gnu/opensbi/generic/", "fw_jump.bin", None)],
    ),
    // Goes on to where the earlier stage's `fw_dynamic_info`, in a2, says.
    firmware(
        "opensbi-dynamic",
        Architecture::Riscv64,
        "opensbi",
        &[wanted("riscv64-linux-gnu/opensbi/generic/", "fw_dynamic.bin", None)],
    ),
];

const fn firmware(
    name: &'static str,
    architecture: Architecture,
    package: &'static str,
    files: &'static [Wanted],
) -> Item {
    Item { name, architecture, suite: "trixie", package, files, modules: &[] }
}

/// What starts the image on a Raspberry Pi 4.
pub const RASPI_FIRMWARE: Item = Item {
    name: "raspi-firmware",
    architecture: Architecture::Arm64,
    suite: "trixie",
    package: "raspi-firmware",
    files: &[wanted("raspi-firmware/", "start4.elf", None), wanted("raspi-firmware/", "fixup4.dat", None)],
    modules: &[],
};
