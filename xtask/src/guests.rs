//! Guest material from Debian's archive: kernels, a busybox initramfs, U-Boot, and the Pi's devicetree and
//! boot firmware.
//!
//! Each item is a directory of the cache with the files taken out of one package and a `record.toml` that
//! names the package, its version and its SHA-256. The record is written last: with it the item is complete.

use std::{
    cell::OnceCell,
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    apt::{Apt, Package},
    cpio::Archive,
    paths::Paths,
    process::find_program,
    progress::{Progress, note},
};

const ARCHITECTURE: &str = "arm64";
const RECORD: &str = "record.toml";
/// Every suite that an item comes from.
const SUITES: [&str; 3] = ["bookworm", "trixie", "sid"];
const COMPONENTS: [&str; 2] = ["main", "non-free-firmware"];

/// Something that is taken out of a Debian package.
#[derive(Debug, PartialEq, Eq)]
pub struct Item {
    /// What it is called here and on the command line.
    pub name: &'static str,
    suite: &'static str,
    package: &'static str,
    files: &'static [Wanted],
    /// How the paths of kernel modules begin, below `lib/modules/RELEASE/kernel`. A flavour need not have them.
    modules: &'static [&'static str],
}

/// A file inside a package.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    /// Directory that must be part of its path.
    under: &'static str,
    /// How the file name begins.
    name: &'static str,
    /// What it is called in the cache; `None` keeps the package's name.
    renamed: Option<&'static str>,
}

const fn wanted(under: &'static str, name: &'static str, renamed: Option<&'static str>) -> Wanted {
    Wanted { under, name, renamed }
}

const KERNEL_FILES: &[Wanted] = &[wanted("", "vmlinuz", Some("kernel"))];
/// The kernel that also brings the devicetree of the Pi.
const DEFAULT_KERNEL_FILES: &[Wanted] =
    &[wanted("", "vmlinuz", Some("kernel")), wanted("broadcom/", "bcm2711-rpi-4-b.dtb", None)];

/// What a kernel needs to notice the power button: its key, and who tells user space.
const KERNEL_MODULES: &[&str] = &["drivers/input/evdev.ko", "drivers/input/keyboard/gpio_keys.ko"];
/// The directory of an item that has a directory of modules for each kernel release.
const MODULES: &str = "modules";

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

const BUSYBOX: Item = Item {
    name: "busybox",
    suite: "trixie",
    package: "busybox-static",
    files: &[wanted("bin/", "busybox", Some("busybox"))],
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

const RASPI_FIRMWARE: Item = Item {
    name: "raspi-firmware",
    suite: "trixie",
    package: "raspi-firmware",
    files: &[wanted("raspi-firmware/", "start4.elf", None), wanted("raspi-firmware/", "fixup4.dat", None)],
    modules: &[],
};

/// Which package an item was taken from.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    package: String,
    version: String,
    suite: String,
    sha256: String,
}

/// The guests in the cache, and the way to get the missing ones.
pub struct Guests<'a> {
    paths: &'a Paths,
    apt: OnceCell<Apt>,
}

impl<'a> Guests<'a> {
    /// Nothing is fetched before it is asked for.
    pub fn new(paths: &'a Paths) -> Self {
        Self { paths, apt: OnceCell::new() }
    }

    /// The kernel with that name of [`KERNELS`].
    pub fn kernel(&self, name: &str) -> Result<PathBuf> {
        let Some(item) = KERNELS.iter().find(|item| item.name == name) else {
            let names: Vec<_> = KERNELS.iter().map(|item| item.name).collect();
            bail!("there is no kernel {name:?}; there are {}", names.join(", "));
        };
        Ok(self.item(item)?.join("kernel"))
    }

    /// U-Boot, to be placed at the start of flash.
    pub fn u_boot(&self) -> Result<PathBuf> {
        Ok(self.item(&U_BOOT)?.join("u-boot.bin"))
    }

    /// The devicetree of a Raspberry Pi 4.
    pub fn raspi4b_devicetree(&self) -> Result<PathBuf> {
        let kernel = self.kernel(DEFAULT_KERNEL)?;
        Ok(kernel.with_file_name("bcm2711-rpi-4-b.dtb"))
    }

    /// The directory with a Raspberry Pi 4's second-stage boot firmware.
    pub fn raspi_firmware(&self) -> Result<PathBuf> {
        self.item(&RASPI_FIRMWARE)
    }

    /// An initramfs with busybox, the test guest's `/init`, and the modules of every kernel in the cache.
    pub fn initramfs(&self) -> Result<PathBuf> {
        let busybox = fs::read(self.item(&BUSYBOX)?.join("busybox"))?;
        let source = self.paths.root.join("tests/guests/linux");
        let script = |name: &str| {
            let path = source.join(name);
            fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        let mut archive = Archive::default();
        for directory in ["bin", "dev", "etc", "etc/acpi", "etc/acpi/PWRF", "lib", "lib/modules"] {
            archive.directory(directory)?;
        }
        archive.character_device("dev/console", 5, 1)?;
        archive.file("bin/busybox", 0o755, &busybox)?;
        archive.file("etc/profile", 0o644, &script("profile")?)?;
        archive.file("etc/acpi/PWRF/00000080", 0o755, &script("power-button")?)?;
        archive.file("init", 0o755, &script("init")?)?;
        for release in self.releases()? {
            let directory = format!("lib/modules/{}", file_name(&release));
            archive.directory(&directory)?;
            for module in sorted_entries(&release)? {
                archive.file(&format!("{directory}/{}", file_name(&module)), 0o644, &fs::read(&module)?)?;
            }
        }
        let path = self.paths.cache_dir("guests")?.join("initramfs.cpio");
        fs::write(&path, archive.finish()?).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// The directories of modules in the cache, each named after its kernel's release. Flavours differ in it.
    fn releases(&self) -> Result<Vec<PathBuf>> {
        let mut releases = Vec::new();
        for item in &KERNELS {
            let modules = self.paths.cache_dir("guests")?.join(item.name).join(MODULES);
            if modules.exists() {
                releases.extend(sorted_entries(&modules)?);
            }
        }
        Ok(releases)
    }

    /// Gets everything, so that later runs need no network.
    pub fn fetch_all(&self) -> Result<()> {
        for item in KERNELS.iter().chain([&BUSYBOX, &U_BOOT]) {
            self.item(item)?;
        }
        Ok(())
    }

    /// Forgets what was fetched, so that the newest versions are fetched when they are next asked for.
    pub fn forget(&self) -> Result<()> {
        for directory in ["guests", "apt-guests"] {
            fs::remove_dir_all(self.paths.cache_dir(directory)?)?;
        }
        Ok(())
    }

    /// One line per item of the cache: what was used.
    pub fn describe(&self) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        for entry in fs::read_dir(self.paths.cache_dir("guests")?)? {
            let directory = entry?.path();
            if let Ok(text) = fs::read_to_string(directory.join(RECORD)) {
                let record: Record = toml::from_str(&text)?;
                let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let Record { package, version, suite, sha256 } = record;
                lines.push(format!("{name:<14} {package} {version} ({suite}), sha256 {sha256}"));
            }
        }
        lines.sort();
        Ok(lines)
    }

    /// The directory of a complete item.
    fn item(&self, item: &Item) -> Result<PathBuf> {
        let directory = self.paths.cache_dir("guests")?.join(item.name);
        // An item that was fetched before modules were wanted has no directory of them.
        let has_modules = item.modules.is_empty() || directory.join(MODULES).exists();
        if directory.join(RECORD).exists() && has_modules {
            return Ok(directory);
        }
        self.fetch(item, &directory).with_context(|| {
            format!(
                "cannot get {}: it comes out of Debian's package {} (suite {}), which takes a Debian \
                 system with apt-get and dpkg-deb. Elsewhere `run --kernel FILE --initrd FILE` boots your own files",
                item.name, item.package, item.suite
            )
        })?;
        Ok(directory)
    }

    fn fetch(&self, item: &Item, directory: &Path) -> Result<()> {
        ensure!(find_program("dpkg-deb").is_some(), "dpkg-deb is not in PATH");
        let apt = self.apt()?;
        let package = self.resolve(apt, item)?;
        let downloads = tempfile::tempdir_in(&self.paths.cache)?;
        let deb = apt.download(&package, downloads.path())?;
        let sha256 = sha256(&deb)?;
        ensure!(
            sha256 == package.sha256,
            "{} has SHA-256 {sha256}, the index says {}",
            deb.display(),
            package.sha256
        );

        fs::create_dir_all(directory)?;
        let progress = Progress::start(format!("unpacking {}", package.name));
        unpack(&deb, item, directory)?;
        progress.done();
        let record =
            Record { package: package.name, version: package.version, suite: item.suite.to_owned(), sha256 };
        note(format!("{}: {} {}, sha256 {}", item.name, record.package, record.version, record.sha256));
        fs::write(directory.join(RECORD), toml::to_string(&record)?)?;
        Ok(())
    }

    /// Follows a kernel's metapackages (`linux-image-arm64` to a version, and from Linux 7 on to
    /// `linux-binary-*`) to the package that holds the files.
    fn resolve(&self, apt: &Apt, item: &Item) -> Result<Package> {
        let mut package = apt.show(item.package, item.suite)?;
        let next = |package: &Package| {
            let kernel = |prefix: &str| package.depends.iter().find(|name| name.starts_with(prefix)).cloned();
            kernel("linux-binary-").or_else(|| kernel("linux-image-"))
        };
        while let Some(name) = next(&package) {
            ensure!(name != package.name, "package {name} depends on itself");
            package = apt.show(&name, item.suite)?;
        }
        Ok(package)
    }

    fn apt(&self) -> Result<&Apt> {
        if let Some(apt) = self.apt.get() {
            return Ok(apt);
        }
        let apt = Apt::for_guests(self.paths, &SUITES, &COMPONENTS, ARCHITECTURE)?;
        apt.update()?;
        Ok(self.apt.get_or_init(|| apt))
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// What is in a directory, always in the same order.
fn sorted_entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// Takes the files and modules of `item` out of its package.
fn unpack(deb: &Path, item: &Item, directory: &Path) -> Result<()> {
    let files = item.files;
    if !item.modules.is_empty() {
        fs::create_dir_all(directory.join(MODULES))?;
    }
    let mut dpkg = Command::new("dpkg-deb");
    let mut child =
        dpkg.arg("--fsys-tarfile").arg(deb).stdout(Stdio::piped()).spawn().context("cannot run dpkg-deb")?;
    let mut stream = child.stdout.take().context("dpkg-deb has no output")?;
    let mut found = vec![false; files.len()];
    for entry in tar::Archive::new(&mut stream).entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str()))
        else {
            continue;
        };
        let parent = format!("{}/", parent.display());
        let matches = |file: &Wanted| parent.ends_with(file.under) && name.starts_with(file.name);
        if !entry.header().entry_type().is_file() {
            continue;
        }
        if let Some(release) = release_of(&path, item.modules) {
            let release = directory.join(MODULES).join(release);
            fs::create_dir_all(&release)?;
            let mut content = Vec::new();
            entry.read_to_end(&mut content)?;
            fs::write(release.join(name), content)?;
        } else if let Some(index) = files.iter().position(matches) {
            let mut content = Vec::new();
            entry.read_to_end(&mut content)?;
            fs::write(directory.join(files[index].renamed.unwrap_or(name)), content)?;
            found[index] = true;
        }
    }
    // dpkg-deb writes padding after the archive's end; it would die of a closed pipe.
    std::io::copy(&mut stream, &mut std::io::sink())?;
    ensure!(child.wait()?.success(), "dpkg-deb cannot unpack {}", deb.display());
    if let Some((missing, _)) = files.iter().zip(found).find(|(_, found)| !found) {
        bail!("{} has no file {}{}*", deb.display(), missing.under, missing.name);
    }
    Ok(())
}

/// The release of the kernel whose module lies at `path`, if it is one of `modules`.
fn release_of<'a>(path: &'a Path, modules: &[&str]) -> Option<&'a str> {
    let (_, path) = path.to_str()?.split_once("lib/modules/")?;
    let (release, path) = path.split_once("/kernel/")?;
    modules.iter().any(|module| path.starts_with(module)).then_some(release)
}

fn sha256(path: &Path) -> Result<String> {
    let mut hasher = Sha256::new();
    std::io::copy(&mut fs::File::open(path)?, &mut HashWriter(&mut hasher))?;
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Feeds what is written to a hash.
struct HashWriter<'a>(&'a mut Sha256);

impl std::io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
