//! What EL2 knows of RISC-V: how a guest's page tables are read, so that an operator can look at its memory.

/// How `address` is translated in `mode` with this `satp`, by page tables that `read` reads 64 bits of (Privileged ISA,
/// 12.3.2); `None` where it is not. Rights do not matter.
pub fn walk(mode: u64, satp: u64, address: u64, read: impl Fn(u64) -> Option<u64>) -> Option<u64> {
    const MACHINE: u64 = 3;
    const VALID: u64 = 1 << 0;
    const LEAF: u64 = 0b1110;
    const PPN: u64 = (1 << 44) - 1;
    let levels = match satp >> 60 {
        0 => return Some(address),
        _ if mode == MACHINE => return Some(address),
        8 => 3,
        9 => 4,
        10 => 5,
        _ => return None,
    };
    let bits = 12 + 9 * levels;
    if (address as i64) << (64 - bits) >> (64 - bits) != address as i64 {
        return None;
    }
    let mut table = (satp & PPN) << 12;
    for level in (0..levels).rev() {
        let shift = 12 + 9 * level;
        let entry = read(table + (address >> shift & 0x1ff) * 8)?;
        if entry & VALID == 0 {
            return None;
        }
        let page = (entry >> 10 & PPN) << 12;
        if entry & LEAF != 0 {
            let offset = (1 << shift) - 1;
            return (page & offset == 0).then_some(page | address & offset);
        }
        table = page;
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const SV39: u64 = 8 << 60;
    const SUPERVISOR: u64 = 1;

    /// Tables that map a page of 4 KiB, one of 2 MiB and one of 1 GiB.
    fn tables() -> HashMap<u64, u64> {
        let pte = |page: u64, flags: u64| page >> 12 << 10 | flags;
        HashMap::from([
            (0x1000 + 8 * 2, pte(0x2000, 1)),
            (0x2000 + 8 * 3, pte(0x3000, 1)),
            (0x3000 + 8 * 4, pte(0x8_0000_5000, 0xf)),
            (0x2000 + 8 * 5, pte(0x8_0020_0000, 0xf)),
            (0x2000 + 8 * 6, pte(0x8_0020_1000, 0xf)),
            (0x1000 + 8 * 0x1ff, pte(0xc000_0000, 0xf)),
        ])
    }

    #[test]
    fn tables_are_read_as_the_specification_says() {
        let tables = tables();
        let at = |address| walk(SUPERVISOR, SV39 | 1, address, |at| tables.get(&at).copied());
        let base = 2 << 30;
        assert_eq!(at(base | 3 << 21 | 4 << 12 | 0x123), Some(0x8_0000_5123));
        assert_eq!(at(base | 5 << 21 | 0x1_2345), Some(0x8_0021_2345));
        assert_eq!(at(base | 6 << 21), None, "a misaligned superpage");
        assert_eq!(at(base | 3 << 21 | 5 << 12), None, "no entry");
        assert_eq!(at(0xffff_ffff_c123_4567), Some(0xc123_4567));
        assert_eq!(at(0x7f_c123_4567), None, "not canonical");
        assert_eq!(walk(3, SV39 | 1, 0x77, |_| None), Some(0x77), "machine mode");
        assert_eq!(walk(SUPERVISOR, 0, 0x77, |_| None), Some(0x77), "bare");
    }
}
