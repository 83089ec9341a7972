//! Where to attack: guest-physical addresses, mostly at the edges of things.

use guest_support::{
    gic::Version,
    machine::{RTC, UART},
};

use super::Attack;

const PAGE: u64 = 0x1000;
/// QEMU's fw_cfg: its DMA register would make the device write to memory of this program.
const FW_CFG: u64 = 0x0902_0000;
/// Below this, nothing of QEMU `virt` but RAM is above 1 GiB: what is not ours there must fault.
pub const RAM_LIMIT: u64 = 256 << 30;

impl Attack {
    /// An address, aligned or not, that is neither in this program's RAM nor a device whose answer would be
    /// noise on the console.
    pub fn place(&mut self) -> u64 {
        loop {
            let ram = &self.machine.ram;
            let gic = &self.machine.gic;
            let edges = [
                0,
                0x0400_0000,
                0x0800_0000,
                gic.distributor() + 0x1_0000,
                gic.cpu_interface(),
                gic.cpu_interface() + 0x2_0000,
                0x0802_0000,
                0x0808_0000,
                RTC,
                RTC + PAGE,
                UART + PAGE,
                0x0a00_0000,
                0x0a00_4000,
                0x0b00_0000,
                0x0c00_0000,
                0x1000_0000,
                0x3eff_0000,
                0x3f00_0000,
                ram.start,
                ram.end,
                ram.end + (2 << 20),
                1 << 31,
                1 << 32,
                1 << 33,
                1 << 36,
                RAM_LIMIT,
                1 << 39,
                1 << 40,
                1 << 42,
                1 << 44,
                1 << 47,
                (1 << 48) - PAGE,
                1 << 48,
            ];
            let base = match self.rng.below(4) {
                0 => self.rng.next_u64() >> 16,
                // Where a hypervisor, or another guest, would have its memory.
                1 => ram.end + self.rng.below(16 << 30),
                _ => self.rng.pick(&edges).copied().unwrap_or(0),
            };
            let offset = match self.rng.below(3) {
                0 => self.rng.below(0x40).wrapping_sub(0x20),
                1 => self.rng.below(PAGE),
                _ => self.rng.below(0x2_0000) & !7,
            };
            let address = base.wrapping_add(offset) & 0xffff_ffff_ffff;
            if self.is_fair(address) && !self.spares(address) {
                return address;
            }
        }
    }

    /// Whether `address` must be left alone on QEMU's own machine: GICD_SPENDSGIR of its GICv2, where a zero
    /// byte makes an SGI pending that nobody sent, and acknowledging that ends QEMU 10.0 (an assertion in
    /// `gic_clear_pending_sgi`).
    pub fn spares(&self, address: u64) -> bool {
        let start = self.machine.gic.distributor() + 0xf20;
        self.bare
            && self.machine.gic.version() == Version::V2
            && (start - 0x40..start + 0x10).contains(&address)
    }

    /// Whether `address` and what is near it (an instruction reaches 512 bytes to either side) may be hit.
    fn is_fair(&self, address: u64) -> bool {
        let reach = 0x400;
        let misses = |start: u64, end: u64| {
            address.saturating_add(reach) <= start || address >= end.saturating_add(reach)
        };
        misses(self.machine.ram.start, self.machine.ram.end)
            && misses(UART, UART + PAGE)
            && misses(FW_CFG, FW_CFG + PAGE)
    }
}
