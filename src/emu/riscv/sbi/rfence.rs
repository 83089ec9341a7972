//! RFENCE: fences on other harts (SBI, chapter 8).

use super::super::fence;
use super::super::hart::Hart;
use super::super::platform::Platform;
use super::{Answer, Error, Request};

impl<P: Platform> Hart<P> {
    pub(super) fn sbi_rfence(&mut self, request: Request) -> Answer {
        let [mask, base, start, size, ..] = request.arguments;
        let fence = match request.function {
            0 => fence::Request::Code,
            // The second one has an ASID: there is only one address space.
            1 | 2 => of_range(start, size),
            // Those of the hypervisor extension, which is not there.
            _ => return Err(Error::NotSupported),
        };
        let harts = self.hart_mask(mask, base)?;
        self.fence(harts, fence);
        Ok(0)
    }
}

/// A fence for these addresses at least. Those for a page are the only ones that are not for everything.
fn of_range(start: u64, size: u64) -> fence::Request {
    let in_one_page = size != 0 && (start % 4096).checked_add(size).is_some_and(|end| end <= 4096);
    if in_one_page { fence::Request::Page(start) } else { fence::Request::All }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_in_a_page_is_a_page() {
        assert_eq!(of_range(0x1000, 0x1000), fence::Request::Page(0x1000));
        assert_eq!(of_range(0x1ff8, 8), fence::Request::Page(0x1ff8));
        for (start, size) in
            [(0x1ff8, 9), (0x1000, 0x1001), (0, 0), (0x1000, 0), (0, u64::MAX), (0xfff, u64::MAX)]
        {
            assert_eq!(of_range(start, size), fence::Request::All);
        }
    }
}
