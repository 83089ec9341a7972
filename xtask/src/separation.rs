//! The translator belongs into cells: nothing of it is in the program that runs at EL2.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use object::{Object, ObjectSection};

/// What the names of all that is the translator's contain, mangled or not.
const TRANSLATOR: &str = "polyvisor_emu";
/// Where an ELF file has names: of symbols, and of what has been inlined elsewhere.
const NAMES: [&str; 2] = [".strtab", ".debug_str"];

/// Makes sure that the ELF file `firmware` has nothing of the translator, and that `engine` has: one that has lost its
/// names would prove nothing.
///
/// # Errors
/// The name that is where it does not belong.
pub fn check(firmware: &Path, engine: &Path) -> Result<()> {
    ensure!(find(engine, TRANSLATOR)?.is_some(), "{} has nothing of {TRANSLATOR}", engine.display());
    let stray = find(firmware, TRANSLATOR)?;
    ensure!(
        stray.is_none(),
        "{} has code of {TRANSLATOR}, which belongs into the engine: {}",
        firmware.display(),
        stray.unwrap_or_default()
    );
    Ok(())
}

/// A name in the ELF file `elf` that contains `part`.
fn find(elf: &Path, part: &str) -> Result<Option<String>> {
    let bytes = fs::read(elf).with_context(|| format!("cannot read {}", elf.display()))?;
    let file = object::File::parse(&*bytes).with_context(|| format!("cannot read {}", elf.display()))?;
    for section in NAMES.iter().filter_map(|name| file.section_by_name(name)) {
        let names = String::from_utf8_lossy(section.data()?);
        if let Some(name) = names.split('\0').find(|name| name.contains(part)) {
            return Ok(Some(name.to_owned()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_a_program_is_found() {
        let program = std::env::current_exe().unwrap();
        let module = module_path!().rsplit("::").nth(1).unwrap();
        assert!(find(&program, module).unwrap().is_some_and(|name| name.contains(module)));
        // What a test only mentions is a constant, and no name.
        assert_eq!(find(&program, "nobody calls anything that").unwrap(), None);
    }
}
