//! Taking files out of a Debian package.

use std::{
    fs,
    io::Read,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};

use super::catalogue::{Item, Wanted};

/// The directory of an item that has a directory of modules for each kernel release. Their names begin with their
/// positions in the order in which they are to be loaded.
pub const MODULES: &str = "modules";

/// Takes the files and modules of `item` out of its package.
pub fn unpack(deb: &Path, item: &Item, directory: &Path) -> Result<()> {
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
        if let Some((release, position)) = module_at(&path, item.modules) {
            let release = directory.join(MODULES).join(release);
            fs::create_dir_all(&release)?;
            let mut content = Vec::new();
            entry.read_to_end(&mut content)?;
            fs::write(release.join(format!("{position:02}-{name}")), content)?;
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

/// The release of the kernel whose module lies at `path`, and its position in `modules`, if it is one of these.
fn module_at<'a>(path: &'a Path, modules: &[&str]) -> Option<(&'a str, usize)> {
    let (_, path) = path.to_str()?.split_once("lib/modules/")?;
    let (release, path) = path.split_once("/kernel/")?;
    Some((release, modules.iter().position(|module| path.starts_with(module))?))
}
