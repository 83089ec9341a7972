//! Drivers of the machine's own virtio devices, on the queues and transports of the `virtio-drivers` crate.

pub mod block;
mod dma;
pub mod net;

use alloc::boxed::Box;
use core::fmt::{self, Debug, Display};
use core::ops::BitAnd;
use core::ptr::NonNull;

use bitflags::Flags;
use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::mmio::{MmioError, MmioTransport};
use virtio_drivers::transport::pci::VirtioPciError;
use virtio_drivers::transport::{DeviceStatus, SomeTransport, Transport};

pub use self::dma::Dma;
use crate::mm::addr::PhysAddr;
use crate::mm::frames::OutOfFrames;
use crate::mm::tables::TableError;
use crate::platform::board::PhysRange;

/// Why a device cannot be used.
#[derive(Debug)]
pub enum Error {
    /// The queues or the configuration are not as they should be.
    Device(virtio_drivers::Error),
    /// A PCI function without what makes it a virtio device.
    Pci(VirtioPciError),
    /// It does not accept the features that it has offered.
    Features,
    /// No memory for its buffers.
    Frames(OutOfFrames),
    /// Its registers cannot be mapped.
    Map(TableError),
    /// The host bridge's window has no room for a BAR of this many bytes.
    NoRoom(u64),
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(error) => Display::fmt(error, f),
            Self::Pci(error) => Display::fmt(error, f),
            Self::Features => f.write_str("it does not accept the features that it has offered"),
            Self::Frames(error) => Display::fmt(error, f),
            Self::Map(error) => write!(f, "mapping its registers: {error}"),
            Self::NoRoom(size) => write!(f, "no room for {size:#x} bytes of registers in the PCI window"),
        }
    }
}

impl core::error::Error for Error {}

impl From<virtio_drivers::Error> for Error {
    fn from(error: virtio_drivers::Error) -> Self {
        Self::Device(error)
    }
}

impl From<OutOfFrames> for Error {
    fn from(error: OutOfFrames) -> Self {
        Self::Frames(error)
    }
}

/// The device behind the MMIO transport at `registers`, if there is one.
///
/// # Safety
/// These are the registers of such a transport, mapped as device memory, which nobody else uses.
pub unsafe fn probe_mmio(registers: &PhysRange) -> Option<SomeTransport<'static>> {
    let PhysRange { start: PhysAddr(start), end: PhysAddr(end) } = *registers;
    let header = NonNull::new(start as *mut _)?;
    // SAFETY: the caller's promise.
    match unsafe { MmioTransport::new(header, end.saturating_sub(start) as usize) } {
        Ok(transport) => Some(transport.into()),
        // An empty one, or a device of a kind that the crate does not know.
        Err(MmioError::InvalidDeviceID(_)) => None,
        Err(error) => {
            log::warn!("virtio at {start:#x}: {error}");
            None
        }
    }
}

/// Resets the device and agrees with it on what both it and `wanted` have (VIRTIO 1.2, 3.1.1). `version_1` is what tells
/// a modern device.
fn negotiate<F>(transport: &mut SomeTransport<'static>, wanted: F, version_1: F) -> Result<F, Error>
where
    F: Flags<Bits = u64> + BitAnd<Output = F> + Debug + Copy,
{
    let features = transport.begin_init(wanted);
    // A legacy device has no such bit.
    let modern = features.contains(version_1);
    if modern && !transport.get_status().contains(DeviceStatus::FEATURES_OK) {
        return Err(Error::Features);
    }
    Ok(features)
}

/// Sets the queue of this number up. In a frame of its own: queues are large, and stacks are not.
#[inline(never)]
fn queue<const SIZE: usize>(
    transport: &mut SomeTransport<'static>,
    number: u16,
) -> Result<Box<VirtQueue<Dma, SIZE>>, Error> {
    // Without indirect descriptors, which would be allocated for each request, and without `EVENT_IDX`: the crate misses
    // a notification where its index wraps.
    Ok(Box::new(VirtQueue::new(transport, number, false, false)?))
}
