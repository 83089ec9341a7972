//! How often driver and device tell each other something under load: many requests are under way, the driver looks only when
//! it is interrupted, and notifies only if it is asked to.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use guest_support::{
    cpu,
    exception::on_irq,
    machine::{self, Machine},
    println,
    virtio::Device,
};

/// How many requests are measured, and per how many figures are given.
const REQUESTS: u64 = 1000;

/// Interrupts of devices so far.
static INTERRUPTS: AtomicU64 = AtomicU64::new(0);

/// What was done about an interrupt.
pub struct Served {
    /// Requests that have ended, in whose places others were made.
    pub requests: u64,
    /// How often devices were notified.
    pub notifications: u64,
}

/// Devices that interrupt, as long as this exists.
pub struct Load<'a, const N: usize> {
    machine: &'a Machine,
    devices: [Device; N],
}

impl<'a, const N: usize> Load<'a, N> {
    /// Lets the devices interrupt. Then they are to be given their first requests.
    pub fn begin(machine: &'a Machine, devices: [Device; N]) -> Self {
        on_irq(take);
        for device in &devices {
            device.acknowledge();
            machine.gic.enable(device.intid());
        }
        INTERRUPTS.store(0, Relaxed);
        cpu::unmask_irqs();
        Self { machine, devices }
    }

    /// Lets `serve` see to every interrupt, until so many requests have ended, and prints notifications and interrupts for
    /// as many as that.
    pub fn measure(self, [notifications, interrupts]: [&str; 2], mut serve: impl FnMut() -> Served) {
        // The first one has been made.
        let (mut requests, mut notified, mut seen) = (0, 1, 0);
        while requests < REQUESTS {
            while INTERRUPTS.load(Relaxed) == seen {
                cpu::relax();
            }
            seen = INTERRUPTS.load(Relaxed);
            let served = serve();
            requests += served.requests;
            notified += served.notifications;
        }
        cpu::mask_irqs();
        let per_thousand = |count: u64| (count * REQUESTS + requests / 2) / requests;
        println!("bench: {notifications} {}", per_thousand(notified));
        println!("bench: {interrupts} {}", per_thousand(INTERRUPTS.load(Relaxed)));
    }
}

impl<const N: usize> Drop for Load<'_, N> {
    fn drop(&mut self) {
        self.devices.iter().for_each(|device| self.machine.gic.disable(device.intid()));
    }
}

/// An interrupt of a device's.
fn take() {
    let Some(Machine { gic, .. }) = machine::get() else { return };
    let ack = gic.acknowledge();
    if ack.is_spurious() {
        return;
    }
    if let Some(device) = Device::of_interrupt(ack.intid()) {
        device.acknowledge();
        INTERRUPTS.fetch_add(1, Relaxed);
    }
    gic.end(ack);
}
