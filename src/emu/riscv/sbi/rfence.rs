//! RFENCE: fences on other harts (SBI, chapter 8).

use super::super::fence;
use super::super::hart::Hart;
use super::super::platform::Platform;
use super::{Answer, Error, Request};
use crate::interp::Flush;

impl<P: Platform> Hart<P> {
    pub(super) fn sbi_rfence(&mut self, request: Request) -> Answer {
        let [mask, base, start, size, asid, ..] = request.arguments;
        let fence = match request.function {
            0 => fence::Request::Code,
            1 => fence::Request::Translations(of_range(start, size, None)),
            2 => fence::Request::Translations(of_range(start, size, Some(asid as u16))),
            // Those of the hypervisor extension, which is not there.
            _ => return Err(Error::NotSupported),
        };
        let harts = self.hart_mask(mask, base)?;
        self.fence(harts, fence);
        Ok(0)
    }
}

/// What is to be forgotten for these addresses at least. What is not about one page is about the whole space.
fn of_range(start: u64, size: u64, asid: Option<u16>) -> Flush {
    let in_one_page = size != 0 && (start % 4096).checked_add(size).is_some_and(|end| end <= 4096);
    if in_one_page { Flush::page(start, asid) } else { Flush::space(asid) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_in_a_page_is_a_page() {
        for (asid, all) in [(None, Flush::All), (Some(7), Flush::Space(7))] {
            assert_eq!(of_range(0x1000, 0x1000, asid), Flush::page(0x1000, asid));
            assert_eq!(of_range(0x1ff8, 8, asid), Flush::page(0x1000, asid));
            for (start, size) in
                [(0x1ff8, 9), (0x1000, 0x1001), (0, 0), (0x1000, 0), (0, u64::MAX), (0xfff, u64::MAX)]
            {
                assert_eq!(of_range(start, size, asid), all);
            }
        }
    }
}
