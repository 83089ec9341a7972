//! Guest material from Debian's archive: kernels, a busybox initramfs, OpenSBI, U-Boot, and the Pi's devicetree and
//! boot firmware.
//!
//! Each item is a directory of the cache with the files taken out of one package and a `record.toml` that
//! names the package, its version and its SHA-256. The record is written last: with it the item is complete.

use std::{
    cell::OnceCell,
    fs,
    path::{Path, PathBuf},
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
    size::Size,
};

mod catalogue;
mod root;
mod unpack;

pub use catalogue::{Architecture, DEFAULT_KERNEL, FIRMWARE, INSTALLER, Item, KERNELS, U_BOOT_SMODE};
use catalogue::{RASPI_FIRMWARE, busybox, e2fsck};
use root::Entry;
use unpack::{MODULES, unpack};

const RECORD: &str = "record.toml";
const COMPONENTS: [&str; 2] = ["main", "non-free-firmware"];

/// Which package an item was taken from.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    package: String,
    version: String,
    suite: String,
    sha256: String,
    /// The modules that were looked for.
    #[serde(default)]
    modules: Vec<String>,
}

/// The guests in the cache, and the way to get the missing ones.
pub struct Guests<'a> {
    paths: &'a Paths,
    arm64: OnceCell<Apt>,
    riscv64: OnceCell<Apt>,
}

impl<'a> Guests<'a> {
    /// Nothing is fetched before it is asked for.
    pub fn new(paths: &'a Paths) -> Self {
        Self { paths, arm64: OnceCell::new(), riscv64: OnceCell::new() }
    }

    /// The kernel with that name of [`KERNELS`].
    pub fn kernel(&self, name: &str) -> Result<PathBuf> {
        Ok(self.item(named(&KERNELS, name)?)?.join("kernel"))
    }

    /// The file of the kernel of that name that ends so: a module.
    pub fn module(&self, kernel: &str, name: &str) -> Result<PathBuf> {
        for release in sorted_entries(&self.kernel(kernel)?.with_file_name(MODULES))? {
            let found = sorted_entries(&release)?.into_iter().find(|path| file_name(path).ends_with(name));
            if let Some(path) = found {
                return Ok(path);
            }
        }
        bail!("the kernel {kernel} has no module {name}")
    }

    /// The kernel and the initramfs of Debian's installer.
    pub fn installer(&self) -> Result<(PathBuf, PathBuf)> {
        let directory = self.item(&INSTALLER)?;
        Ok((directory.join("kernel"), directory.join("initrd")))
    }

    /// The firmware with that name of [`FIRMWARE`].
    pub fn firmware(&self, name: &str) -> Result<PathBuf> {
        self.only_file(named(&FIRMWARE, name)?)
    }

    /// U-Boot in supervisor mode.
    pub fn u_boot_smode(&self) -> Result<PathBuf> {
        self.only_file(&U_BOOT_SMODE)
    }

    fn only_file(&self, item: &Item) -> Result<PathBuf> {
        let file = item.files.first().with_context(|| format!("{} has no file", item.name))?;
        Ok(self.item(item)?.join(file.name))
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

    /// An initramfs with busybox, the test guest's `/init`, and the modules of the architecture's kernels in the cache.
    pub fn initramfs(&self, architecture: Architecture) -> Result<PathBuf> {
        let mut archive = Archive::default();
        for entry in self.userland(architecture)? {
            match entry {
                Entry::Directory(path) => archive.directory(&path)?,
                Entry::File { path, executable, content } => {
                    archive.file(&path, if executable { 0o755 } else { 0o644 }, &content)?;
                }
            }
        }
        archive.character_device("dev/console", 5, 1)?;
        let name = format!("initramfs-{}.cpio", architecture.name());
        let path = self.paths.cache_dir("guests")?.join(name);
        fs::write(&path, archive.finish()?).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// An ext4 file system of this size in the file `image`, with the test guest's userland and, in `/boot`, the kernel of
    /// that name and an initramfs that goes on to it.
    pub fn root_image(&self, kernel: &str, size: Size, image: &Path) -> Result<()> {
        let architecture = named(&KERNELS, kernel)?.architecture;
        let mut entries = self.userland(architecture)?;
        entries.push(Entry::Directory("boot".to_owned()));
        entries.push(Entry::file("boot/vmlinuz", fs::read(self.kernel(kernel)?)?));
        entries.push(Entry::file("boot/initrd.img", fs::read(self.initramfs(architecture)?)?));
        entries.push(Entry::file("etc/on-disk", Vec::new()));
        root::make(self.paths, &entries, size, image)
    }

    /// What the test guest's root file system has in it.
    fn userland(&self, architecture: Architecture) -> Result<Vec<Entry>> {
        let source = self.paths.root.join("tests/guests/linux");
        let script = |name: &str| {
            let path = source.join(name);
            fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        let directories = [
            "bin",
            "sbin",
            "dev",
            "etc",
            "etc/udhcpc",
            "etc/acpi",
            "etc/acpi/PWRF",
            "lib",
            "lib/modules",
            "mnt",
            "proc",
            "root",
            "sys",
            "tmp",
        ];
        let mut entries: Vec<_> = directories.map(|path| Entry::Directory(path.to_owned())).into();
        let busybox = fs::read(self.item(&busybox(architecture))?.join("busybox"))?;
        let e2fsck = fs::read(self.item(&e2fsck(architecture))?.join("e2fsck"))?;
        entries.push(Entry::program("bin/busybox", busybox));
        entries.push(Entry::program("sbin/e2fsck", e2fsck));
        entries.push(Entry::file("etc/profile", script("profile")?));
        entries.push(Entry::program("etc/acpi/PWRF/00000080", script("power-button")?));
        entries.push(Entry::program("etc/udhcpc/default.script", script("udhcpc")?));
        entries.push(Entry::program("init", script("init")?));
        for release in self.releases(architecture)? {
            let directory = format!("lib/modules/{}", file_name(&release));
            entries.push(Entry::Directory(directory.clone()));
            for module in sorted_entries(&release)? {
                let path = format!("{directory}/{}", file_name(&module));
                entries.push(Entry::file(path, fs::read(&module)?));
            }
        }
        Ok(entries)
    }

    /// The directories of modules in the cache, each named after its kernel's release. Flavours differ in it.
    fn releases(&self, architecture: Architecture) -> Result<Vec<PathBuf>> {
        let mut releases = Vec::new();
        for item in KERNELS.iter().filter(|item| item.architecture == architecture) {
            let modules = self.paths.cache_dir("guests")?.join(item.name).join(MODULES);
            if modules.exists() {
                releases.extend(sorted_entries(&modules)?);
            }
        }
        Ok(releases)
    }

    /// Gets everything, so that later runs need no network.
    pub fn fetch_all(&self) -> Result<()> {
        for item in KERNELS.iter().chain(&FIRMWARE).chain([&U_BOOT_SMODE, &INSTALLER]) {
            self.item(item)?;
        }
        for architecture in Architecture::ALL {
            self.item(&busybox(architecture))?;
            self.item(&e2fsck(architecture))?;
        }
        Ok(())
    }

    /// Forgets what was fetched, so that the newest versions are fetched when they are next asked for.
    pub fn forget(&self) -> Result<()> {
        let sources = Architecture::ALL.map(sources);
        for directory in sources.iter().map(String::as_str).chain(["guests"]) {
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
                let Record { package, version, suite, sha256, .. } = record;
                lines.push(format!("{name:<20} {package} {version} ({suite}), sha256 {sha256}"));
            }
        }
        lines.sort();
        Ok(lines)
    }

    /// The directory of a complete item.
    fn item(&self, item: &Item) -> Result<PathBuf> {
        let directory = self.paths.cache_dir("guests")?.join(item.name);
        if let Ok(text) = fs::read_to_string(directory.join(RECORD))
            && toml::from_str::<Record>(&text)?.modules == item.modules
        {
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
        let apt = self.apt(item.architecture)?;
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

        if directory.exists() {
            fs::remove_dir_all(directory)?;
        }
        fs::create_dir_all(directory)?;
        let progress = Progress::start(format!("unpacking {}", package.name));
        unpack(&deb, item, directory)?;
        progress.done();
        let record = Record {
            package: package.name,
            version: package.version,
            suite: item.suite.to_owned(),
            sha256,
            modules: item.modules.iter().map(|&module| module.to_owned()).collect(),
        };
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

    fn apt(&self, architecture: Architecture) -> Result<&Apt> {
        let cell = match architecture {
            Architecture::Arm64 => &self.arm64,
            Architecture::Riscv64 => &self.riscv64,
        };
        if let Some(apt) = cell.get() {
            return Ok(apt);
        }
        let directory = self.paths.cache_dir(&sources(architecture))?;
        let apt = Apt::for_guests(&directory, architecture.suites(), &COMPONENTS, architecture.name())?;
        apt.update()?;
        Ok(cell.get_or_init(|| apt))
    }
}

/// The one of `items` with that name.
fn named<'a>(items: &'a [Item], name: &str) -> Result<&'a Item> {
    items.iter().find(|item| item.name == name).with_context(|| {
        let names: Vec<_> = items.iter().map(|item| item.name).collect();
        format!("there is no {name:?} among {}", names.join(", "))
    })
}

/// The directory of the cache with an architecture's package lists.
fn sources(architecture: Architecture) -> String {
    format!("apt-{}", architecture.name())
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
