//! Sets of physical CPUs, and whether the VMs that own theirs fit.

use toml::de::DeValue;

use super::table::number;

/// A set of CPUs: bit n is CPU n of the board's list.
pub type CpuSet = u64;

/// A set from a list of numbers, or from a text such as `0-3` or `0,2-3`. An empty one is none.
pub fn read(value: &DeValue) -> Option<CpuSet> {
    let set = match value {
        DeValue::Array(items) => {
            items.iter().try_fold(0, |set, item| Some(set | bit(number(item.get_ref())?)?))
        }
        DeValue::String(text) => text.split(',').try_fold(0, |set, part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
            (first <= last).then_some(())?;
            (first..=last).try_fold(set, |set, cpu| Some(set | bit(cpu)?))
        }),
        _ => None,
    };
    set.filter(|set| *set != 0)
}

fn bit(cpu: u32) -> Option<CpuSet> {
    1_u64.checked_shl(cpu)
}

/// The first `count` CPUs.
pub fn first(count: u32) -> CpuSet {
    bit(count).map_or(CpuSet::MAX, |next| next - 1)
}

/// Gives CPUs to those who want one of a set for themselves: a matching, found by augmenting paths, so one is
/// refused only where no distribution serves it together with all before it.
#[derive(Debug, Clone)]
pub struct Owners {
    /// For each CPU the set that its owner may choose from.
    owners: [Option<CpuSet>; CpuSet::BITS as usize],
}

impl Owners {
    /// Every CPU is free.
    pub fn new() -> Self {
        Self { owners: [None; CpuSet::BITS as usize] }
    }

    /// Gives one CPU of `wanted` away, where owners may have to move. `false`: none can be had.
    pub fn take(&mut self, wanted: CpuSet) -> bool {
        self.augment(wanted, &mut 0)
    }

    /// Each CPU is tried once: those of `tried` were.
    fn augment(&mut self, wanted: CpuSet, tried: &mut CpuSet) -> bool {
        for cpu in 0..self.owners.len() {
            let bit = 1 << cpu;
            if wanted & bit == 0 || *tried & bit != 0 {
                continue;
            }
            *tried |= bit;
            if self.owners[cpu].is_none_or(|owner| self.augment(owner, tried)) {
                self.owners[cpu] = Some(wanted);
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> Option<CpuSet> {
        read(DeValue::parse(text).unwrap().get_ref())
    }

    #[test]
    fn sets_are_lists_or_ranges() {
        assert_eq!(set("[0, 2]"), Some(0b101));
        assert_eq!(set("'0-3'"), Some(0b1111));
        assert_eq!(set("'0, 2-3,63'"), Some(1 << 63 | 0b1101));
        assert_eq!(set("'5'"), Some(1 << 5));
        for wrong in ["[]", "''", "[64]", "[-1]", "[0.5]", "['0']", "'3-1'", "'0-64'", "'1-'", "'a'", "3"] {
            assert_eq!(set(wrong), None, "{wrong}");
        }
        assert_eq!((first(1), first(4), first(64), first(0)), (1, 0b1111, u64::MAX, 0));
    }

    #[test]
    fn owners_move_over_where_that_helps() {
        let mut owners = Owners::new();
        // Whoever came first took CPU 0, and gives it up for one who can have no other.
        assert!(owners.take(0b011) && owners.take(0b001) && owners.take(0b111));
        assert!(!owners.take(0b111));
        assert!(owners.take(0b1000));
        // Three who want two.
        let mut owners = Owners::new();
        assert!(owners.take(0b11) && owners.take(0b11) && !owners.take(0b11));
    }
}
