//! What guests are made of, and in which Debian packages that is.

/// Something that is taken out of a Debian package.
#[derive(Debug, PartialEq, Eq)]
pub struct Item {
    /// What it is called here and on the command line.
    pub name: &'static str,
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

/// The Linux kernels, by version and flavour.
pub const KERNELS: [Item; 5] = [
    kernel("linux-6.1", "bookworm", "linux-image-arm64", KERNEL_FILES),
    kernel(DEFAULT_KERNEL, "trixie", "linux-image-arm64", DEFAULT_KERNEL_FILES),
    kernel("linux-newest", "sid", "linux-image-arm64", KERNEL_FILES),
    kernel("linux-cloud", "trixie", "linux-image-cloud-arm64", KERNEL_FILES),
    kernel("linux-rt", "trixie", "linux-image-rt-arm64", KERNEL_FILES),
];

const fn kernel(
    name: &'static str,
    suite: &'static str,
    package: &'static str,
    files: &'static [Wanted],
) -> Item {
    Item { name, suite, package, files, modules: KERNEL_MODULES }
}

/// The test guest's userland.
pub const BUSYBOX: Item = Item {
    name: "busybox",
    suite: "trixie",
    package: "busybox-static",
    files: &[wanted("bin/", "busybox", Some("busybox"))],
    modules: &[],
};

/// Checks an ext4 file system, inside the guest.
pub const E2FSCK: Item = Item {
    name: "e2fsck",
    suite: "sid",
    package: "e2fsck-static",
    files: &[wanted("sbin/", "e2fsck.static", Some("e2fsck"))],
    modules: &[],
};

/// Debian's installer, as it is booted from a network.
pub const INSTALLER: Item = Item {
    name: "installer",
    suite: "trixie",
    package: "debian-installer-13-netboot-arm64",
    files: &[
        wanted("text/debian-installer/arm64/", "linux", Some("kernel")),
        wanted("text/debian-installer/arm64/", "initrd.gz", Some("initrd")),
    ],
    modules: &[],
};

/// U-Boot for QEMU's arm64 `virt`, by its name on the command line.
pub const U_BOOT: Item = Item {
    name: "u-boot",
    suite: "trixie",
    package: "u-boot-qemu",
    files: &[wanted("qemu_arm64/", "u-boot.bin", None)],
    modules: &[],
};

/// What starts the image on a Raspberry Pi 4.
pub const RASPI_FIRMWARE: Item = Item {
    name: "raspi-firmware",
    suite: "trixie",
    package: "raspi-firmware",
    files: &[wanted("raspi-firmware/", "start4.elf", None), wanted("raspi-firmware/", "fixup4.dat", None)],
    modules: &[],
};
