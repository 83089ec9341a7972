//! From words to what they name.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::Failure;
use crate::vm::operator::{Address, Line, Operator, SwitchStatus};

/// Candidates that an error names.
const CANDIDATES: usize = 6;
/// Characters of a wrong word that an error repeats.
const WORD: usize = 32;

/// Finds the VM that `word` names, abbreviates, or numbers.
///
/// # Errors
/// [`Failure`], with what might have been meant.
pub fn vm(operator: &dyn Operator, word: &str) -> Result<usize, Failure> {
    let names: Vec<String> = operator.vms().into_iter().map(|vm| vm.name).collect();
    if let Some(exact) = names.iter().position(|name| name == word) {
        return Ok(exact);
    }
    if let Ok(number) = word.parse::<usize>() {
        return match number {
            _ if number < names.len() => Ok(number),
            _ => Err(Failure(format!("there is no VM {number}: {}", numbers("VMs", names.len())))),
        };
    }
    let fitting: Vec<usize> =
        names.iter().enumerate().filter(|(_, name)| name.starts_with(word)).map(|(vm, _)| vm).collect();
    let called = |vms: &[usize]| alternatives(vms.iter().filter_map(|&vm| names.get(vm)).map(String::as_str));
    match *fitting {
        [vm] => Ok(vm),
        [] => Err(Failure(format!(
            "no VM is called {}: expected {}",
            quoted(word),
            alternatives(names.iter().map(String::as_str))
        ))),
        _ => Err(Failure(format!("{} is ambiguous: is {} meant?", quoted(word), called(&fitting)))),
    }
}

/// Finds the VMs that `words` name; `all` means all.
///
/// # Errors
/// [`Failure`] for the first word that names none.
pub fn vms(operator: &dyn Operator, words: &[&str]) -> Result<Vec<usize>, Failure> {
    let mut found = Vec::new();
    for word in words {
        match vm(operator, word) {
            Ok(vm) => found.push(vm),
            Err(_) if *word == "all" => found.extend(0..operator.vms().len()),
            Err(failure) => return Err(failure),
        }
    }
    // Each once, in the order in which they were named.
    let mut unique = Vec::new();
    found.into_iter().for_each(|vm| {
        if !unique.contains(&vm) {
            unique.push(vm);
        }
    });
    Ok(unique)
}

/// Finds the vCPU that `word`, which is `VM` or `VM.CPU`, names. Without a number it is the first one.
///
/// # Errors
/// [`Failure`].
pub fn vcpu(operator: &dyn Operator, word: &str) -> Result<(usize, usize), Failure> {
    let vms = operator.vms();
    // A VM's name may end with what looks like a number.
    let exact = vms.iter().any(|vm| vm.name == word);
    let split = word.rsplit_once('.').filter(|_| !exact);
    let Some((name, index)) = split else { return Ok((vm(operator, word)?, 0)) };
    let Ok(index) = index.parse::<usize>() else { return Ok((vm(operator, word)?, 0)) };
    let vm = vm(operator, name)?;
    let count = vms.get(vm).map_or(0, |vm| vm.vcpus as usize);
    match index < count {
        true => Ok((vm, index)),
        false => Err(Failure(format!("{name} has no vCPU {index}: {}", numbers("vCPUs", count)))),
    }
}

/// Finds the line that `word`, which is `VM` or `VM:PORT`, names. Without a number it is the UART.
///
/// # Errors
/// [`Failure`].
pub fn line(operator: &dyn Operator, word: &str) -> Result<Line, Failure> {
    // No VM's name has a colon.
    let Some((name, port)) = word.split_once(':') else { return Ok(Line::uart(vm(operator, word)?)) };
    let (vm, port) = (vm(operator, name)?, number(port)?);
    let count = operator.vms().get(vm).map_or(0, |vm| vm.ports);
    match usize::try_from(port).ok().filter(|port| *port < count) {
        Some(port) => Ok(Line { vm, port: Some(port) }),
        None => Err(Failure(format!("{name} has no console port {port}: {}", numbers("ports", count)))),
    }
}

/// Finds the slot of the disk of a VM that `word` names.
///
/// # Errors
/// [`Failure`], with the disks that there are.
pub fn disk(operator: &dyn Operator, vm: usize, word: &str) -> Result<usize, Failure> {
    let disks = operator.disks(vm);
    let found = disks.iter().find(|disk| disk.name == word).map(|disk| disk.slot);
    let names = || alternatives(disks.iter().map(|disk| disk.name.as_str()));
    found.ok_or_else(|| Failure(format!("the VM has no disk {}: expected {}", quoted(word), names())))
}

/// Finds the slot of the network device of a VM that `word` numbers.
///
/// # Errors
/// [`Failure`].
pub fn net(operator: &dyn Operator, vm: usize, word: &str) -> Result<usize, Failure> {
    let (nets, index) = (operator.nets(vm), number(word)?);
    let found = usize::try_from(index).ok().and_then(|index| nets.get(index)).map(|net| net.slot);
    let possible = || numbers("network devices", nets.len());
    found.ok_or_else(|| Failure(format!("the VM has no network device {index}: {}", possible())))
}

/// Finds the switch that `word` names or abbreviates.
///
/// # Errors
/// [`Failure`], with the switches that there are.
pub fn switch<'s>(switches: &'s [SwitchStatus], word: &str) -> Result<&'s SwitchStatus, Failure> {
    if let Some(exact) = switches.iter().find(|switch| switch.name == word) {
        return Ok(exact);
    }
    let fitting: Vec<&SwitchStatus> =
        switches.iter().filter(|switch| switch.name.starts_with(word)).collect();
    match *fitting {
        [switch] => Ok(switch),
        _ => {
            let names = alternatives(switches.iter().map(|switch| switch.name.as_str()));
            Err(Failure(format!("{} is no switch: expected {names}", quoted(word))))
        }
    }
}

/// Reads an amount of memory in bytes: a number, with K, M or G behind it for powers of 1024.
///
/// # Errors
/// [`Failure`] where it is none, or exceeds 64 bits.
pub fn size(word: &str) -> Result<u64, Failure> {
    let units = [("K", 1 << 10), ("M", 1 << 20), ("G", 1 << 30)];
    let unit = units.iter().find_map(|(unit, factor)| Some((word.strip_suffix(unit)?, *factor)));
    let (digits, factor) = unit.unwrap_or((word, 1));
    let size = number(digits).ok().and_then(|number| number.checked_mul(factor));
    size.ok_or_else(|| Failure(format!("{} is no size: expected one like 4096, 64M or 1G", quoted(word))))
}

/// Reads a number, decimal or hexadecimal behind `0x`.
///
/// # Errors
/// [`Failure`] where it is none, or exceeds 64 bits.
pub fn number(word: &str) -> Result<u64, Failure> {
    let digits = word.replace('_', "");
    let value = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => digits.parse(),
    };
    value.map_err(|_| Failure(format!("{} is no number: expected one like 42 or 0x2a", quoted(word))))
}

/// Reads a number of things, from 1 to `limit`.
///
/// # Errors
/// [`Failure`].
pub fn count(word: &str, limit: u64) -> Result<u64, Failure> {
    match number(word)? {
        value if (1..=limit).contains(&value) => Ok(value),
        value => Err(Failure(format!("{value} is out of range: expected 1 to {limit}"))),
    }
}

/// Reads an address: virtual as `vcpu` sees it, or physical behind `p:` or `phys:`.
///
/// # Errors
/// [`Failure`].
pub fn address(word: &str, vcpu: usize) -> Result<(Address, u64), Failure> {
    match word.strip_prefix("phys:").or_else(|| word.strip_prefix("p:")) {
        Some(physical) => number(physical).map(|address| (Address::Physical(address), address)),
        None => number(word).map(|address| (Address::Virtual(vcpu, address), address)),
    }
}

/// What an error repeats of a wrong word.
pub fn quoted(word: &str) -> String {
    match word.char_indices().nth(WORD) {
        Some((end, _)) => format!("\"{}...\"", word.get(..end).unwrap_or_default()),
        None => format!("\"{word}\""),
    }
}

/// `a, b or c`, or as many of them as an error has room for.
pub fn alternatives<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let names: Vec<&str> = names.collect();
    match names.split_last() {
        None => "none, for there is none".into(),
        Some((last, [])) => last.to_string(),
        Some((last, others)) if others.len() < CANDIDATES => format!("{} or {last}", others.join(", ")),
        Some(_) => format!("{} or another", names.get(..CANDIDATES).unwrap_or_default().join(", ")),
    }
}

fn numbers(things: &str, count: usize) -> String {
    match count.checked_sub(1) {
        None => format!("there are no {things}"),
        Some(last) => format!("expected 0 to {last}"),
    }
}

/// Whether `word` may be a mistyped `name`: whether two insertions, deletions or replacements at most, and
/// fewer than half of its characters, make the one the other.
pub fn is_near(word: &str, name: &str) -> bool {
    let limit = 2.min(name.len().saturating_sub(1) / 2);
    if word.len() > name.len() + limit {
        return false;
    }
    // The distances of the prefixes of `name` from the part of `word` that was looked at (Levenshtein).
    let mut distances: Vec<usize> = (0..=name.len()).collect();
    for (row, typed) in word.bytes().enumerate() {
        let mut diagonal = row;
        let mut left = row + 1;
        let mut next = alloc::vec![left];
        for (above, meant) in distances.iter().skip(1).zip(name.bytes()) {
            left = (diagonal + usize::from(typed != meant)).min(above + 1).min(left + 1);
            diagonal = *above;
            next.push(left);
        }
        distances = next;
    }
    distances.last().is_some_and(|&distance| distance <= limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names() {
        for (word, name, expected) in [
            ("strat", "start", true),
            ("lsit", "list", false),
            ("lis", "list", true),
            ("polwroff", "poweroff", true),
            ("x", "top", false),
            ("", "top", false),
            ("destory", "destroy", true),
            ("help", "kill", false),
        ] {
            assert_eq!(is_near(word, name), expected, "{word} {name}");
        }
    }

    #[test]
    fn numbers_are_decimal_or_hexadecimal() {
        assert_eq!(number("42"), Ok(42));
        assert_eq!(number("0xffff_ffff_ffff_ffff"), Ok(u64::MAX));
        for wrong in ["", "0x", "0x1_0000_0000_0000_0000", "-1", "4k"] {
            assert!(number(wrong).is_err(), "{wrong}");
        }
        assert_eq!(["4096", "0x10K", "64M", "1G"].map(size), [4096, 16 << 10, 64 << 20, 1 << 30].map(Ok));
        for wrong in ["", "M", "1T", "64m", "0xffffffffffffffffG"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
        assert_eq!(count("0", 5).unwrap_err().0, "0 is out of range: expected 1 to 5");
    }
}
