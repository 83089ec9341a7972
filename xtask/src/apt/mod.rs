//! Debian's package manager through private configurations, so that the machine's own stays as it is.
//!
//! Both configurations derive their sources from the machine's (a change of suite, component and
//! architecture), so a mirror or proxy that is set up there is used here too.

pub mod sources;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    apt::sources::Source,
    paths::Paths,
    process::{self, find_program, shown},
    progress::{Progress, note},
    version::Version,
};

/// The release of the Debian system that this is running on, or why there is none.
pub fn debian_release() -> Result<String> {
    let text = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    let field = |name: &str| {
        text.lines()
            .filter_map(|line| line.split_once('='))
            .find(|(field, _)| *field == name)
            .map(|(_, v)| v.trim_matches('"'))
    };
    let name = field("PRETTY_NAME").unwrap_or("an unnamed system");
    ensure!(field("ID") == Some("debian"), "this is {name}, not Debian");
    ensure!(find_program("apt-get").is_some(), "this is {name}, but apt-get is not in PATH");
    // Debian's testing and unstable releases have no code name.
    Ok(field("VERSION_CODENAME").unwrap_or("sid").to_owned())
}

/// A package as the index describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// The name, without architecture.
    pub name: String,
    /// The full version.
    pub version: String,
    /// SHA-256 of the `.deb` file, in hexadecimal.
    pub sha256: String,
    /// Size of the `.deb` file in bytes.
    pub size: u64,
    /// Names of the packages that it depends on, first alternatives only.
    pub depends: Vec<String>,
}

impl Package {
    /// The first stanza of `apt-cache show`.
    fn parse(stanza: &str) -> Result<Self> {
        let field = |name: &str| {
            stanza
                .lines()
                .take_while(|line| !line.is_empty())
                .filter_map(|line| line.split_once(": "))
                .find(|(field, _)| *field == name)
                .map(|(_, value)| value.trim())
        };
        let must =
            |name: &str| field(name).with_context(|| format!("the package index has no {name}:\n{stanza}"));
        let depends = field("Depends").unwrap_or_default().split(',');
        let depends = depends
            .filter_map(|dependency| dependency.split_whitespace().next())
            .map(str::to_owned)
            .collect();
        Ok(Self {
            name: must("Package")?.to_owned(),
            version: must("Version")?.to_owned(),
            sha256: must("SHA256")?.to_owned(),
            size: must("Size")?.parse().context("a package's size is not a number")?,
            depends,
        })
    }
}

/// A private configuration.
pub struct Apt {
    config: PathBuf,
}

impl Apt {
    /// For packages of the machine itself: its own sources, and another suite of the same archive if wanted.
    fn for_machine(paths: &Paths, suite: Option<&str>) -> Result<Self> {
        let own = sources::read(Path::new("/etc/apt"))?;
        let mut text: Vec<String> = own.iter().map(Source::to_string).collect();
        if let Some(suite) = suite {
            let source = archive(&own, &debian_release()?)?;
            text.push(source.derive(&[suite], &["main"], &[&native_architecture()?]).to_string());
        }
        Self::configure(&paths.cache_dir("apt-machine")?, &text.join("\n"), "")
    }

    /// For guests: packages of `architecture` from `suites`, never installed, only unpacked. Lists and downloads go to
    /// `dir`.
    pub fn for_guests(dir: &Path, suites: &[&str], components: &[&str], architecture: &str) -> Result<Self> {
        let own = sources::read(Path::new("/etc/apt"))?;
        let source = archive(&own, &debian_release()?)?.derive(suites, components, &[architecture]);
        // An empty status: no package counts as installed. The sources offer one architecture only, so that a
        // name without architecture means that one, or `all`.
        let status = dir.join("status");
        fs::write(&status, "")?;
        let native = native_architecture()?;
        let extra = format!(
            "Dir::State::status \"{}\";\n\
             Dir::Etc::preferences \"/dev/null\";\nDir::Etc::preferencesparts \"/dev/null\";\n\
             APT::Architectures {{ \"{native}\"; \"{architecture}\"; }};\n",
            status.display()
        );
        Self::configure(dir, &source.to_string(), &extra)
    }

    fn configure(dir: &Path, sources: &str, extra: &str) -> Result<Self> {
        for part in ["sources", "lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(dir.join(part))?;
        }
        fs::write(dir.join("sources/derived.sources"), sources)?;
        let config = dir.join("apt.conf");
        let text = format!(
            "Dir::Etc::sourcelist \"/dev/null\";\nDir::Etc::sourceparts \"{dir}/sources\";\n\
             Dir::State::lists \"{dir}/lists\";\nDir::Cache \"{dir}/cache\";\n\
             Acquire::Languages \"none\";\nAcquire::Retries \"3\";\nAPT::Sandbox::User \"root\";\n{extra}",
            dir = dir.display()
        );
        fs::write(&config, text)?;
        Ok(Self { config })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("-c").arg(&self.config);
        command
    }

    /// Fetches the package indices.
    pub fn update(&self) -> Result<()> {
        let progress = Progress::start("fetching Debian's package indices");
        process::output(self.command("apt-get").args(["-q", "update", "--error-on=any"]))?;
        progress.done();
        Ok(())
    }

    /// What the index of `suite` says about a package.
    pub fn show(&self, package: &str, suite: &str) -> Result<Package> {
        let stanzas = process::stdout(self.command("apt-cache").args([
            "-t",
            suite,
            "show",
            "--no-all-versions",
            package,
        ]))?;
        Package::parse(&stanzas).with_context(|| format!("package {package} of suite {suite}"))
    }

    /// Downloads one `.deb` file into `dir` and returns its path.
    pub fn download(&self, package: &Package, dir: &Path) -> Result<PathBuf> {
        let progress = Progress::start(format!(
            "downloading {} {} ({:.1} MB)",
            package.name,
            package.version,
            package.size as f64 / 1e6
        ));
        let mut command = self.command("apt-get");
        command.args(["-q", "download"]).arg(format!("{}={}", package.name, package.version));
        process::output(command.current_dir(dir))?;
        progress.done();
        let prefix = format!("{}_", package.name);
        fs::read_dir(dir)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix)))
            .with_context(|| format!("apt-get download left no file {prefix}*.deb"))
    }

    /// The version of `package` that would be installed from `suite`, or from the machine's usual ones.
    fn candidate(&self, package: &str, suite: Option<&str>) -> Result<Option<Version>> {
        let suite = suite.iter().flat_map(|suite| ["-t", suite]);
        let text = process::stdout(self.command("apt-cache").args(suite).args(["policy", package]))?;
        let candidate = text.lines().find_map(|line| line.trim().strip_prefix("Candidate: "));
        Ok(candidate.and_then(|version| version.parse().ok()))
    }

    /// Installs packages on the machine. Without the right to do so the error is the command to type.
    fn install(&self, packages: &[&str], suite: Option<&str>, why: &str) -> Result<()> {
        let mut install = Command::new("apt-get");
        install.arg("-c").arg(&self.config).args(["-q", "-y", "--no-install-recommends", "install"]);
        if let Some(suite) = suite {
            install.args(["-t", suite]);
        }
        install.args(packages);
        let mut command = match privileges() {
            Some(prefix) => Command::new(prefix),
            None => bail!(
                "{why} needs the packages {}, which only root can install. Run this first:\n  sudo {}",
                packages.join(" "),
                shown(&install)
            ),
        };
        if command.get_program() == "sudo" {
            command.args(["-n", "env"]);
        }
        command.arg("DEBIAN_FRONTEND=noninteractive").arg(install.get_program()).args(install.get_args());
        note(format!("installing {}: {why} needs them", packages.join(" ")));
        let progress = Progress::start("installing packages");
        process::output(&mut command)?;
        progress.done();
        Ok(())
    }
}

/// Installs packages on the machine, from its release or else from the release's backports.
///
/// # Errors
/// If the first of `packages` is nowhere as new as `at_least`, or we may not install.
pub fn install(paths: &Paths, packages: &[&str], at_least: Version, why: &str) -> Result<()> {
    let backports = format!("{}-backports", debian_release()?);
    let package = packages.first().context("no package to install")?;
    let mut newest = None;
    for suite in [None, Some(backports.as_str())] {
        let apt = Apt::for_machine(paths, suite)?;
        apt.update()?;
        newest = apt.candidate(package, suite)?;
        if newest.is_some_and(|version| version >= at_least) {
            return apt.install(packages, suite, why);
        }
    }
    match newest {
        Some(version) => bail!("the newest {package} that this machine's sources offer is {version}"),
        None => bail!("no source of this machine offers {package}"),
    }
}

/// The program through which a command runs as root; `None` if we may not.
fn privileges() -> Option<&'static str> {
    if rustix::process::geteuid().is_root() {
        return Some("env");
    }
    process::output(Command::new("sudo").args(["-n", "true"])).is_ok().then_some("sudo")
}

/// The machine's source of the Debian release that it runs.
fn archive<'a>(own: &'a [Source], release: &str) -> Result<&'a Source> {
    [release, "stable", "testing", "unstable"]
        .iter()
        .find_map(|suite| own.iter().find(|source| source.serves(suite)))
        .with_context(|| {
            format!(
                "no package source in /etc/apt has component main of suite {release}: nothing to derive from"
            )
        })
}

fn native_architecture() -> Result<String> {
    Ok(process::stdout(Command::new("dpkg").arg("--print-architecture"))?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stanza_of_the_index_is_read() {
        let package = Package::parse(
            "Package: linux-image-arm64\nVersion: 6.12.107-1\n\
             Depends: linux-image-6.12.107+deb13-arm64 (= 6.12.107-1), \
             dracut | initramfs-tools (>= 0.120)\nSize: 1444\nSHA256: 90a8\n\nPackage: other\nVersion: 1\n",
        )
        .unwrap();
        assert_eq!(package.version, "6.12.107-1");
        assert_eq!(package.depends, ["linux-image-6.12.107+deb13-arm64", "dracut"]);
        assert_eq!((package.size, package.sha256.as_str()), (1444, "90a8"));
        assert!(Package::parse("Package: half\n").is_err());
    }
}
