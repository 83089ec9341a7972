//! The control queue (VIRTIO 1.2, 5.1.6.5).

use super::super::queue::{Chain, QueueError, Reader};
use super::filter::{Addresses, MAX_ADDRESSES, Modes};
use super::header::NetFeatures;
use super::{NetDevice, Settings};
use crate::mm::guest_memory::{GuestMemory, Segment};
use crate::net::Mac;

/// `VIRTIO_NET_OK` and `VIRTIO_NET_ERR`.
const OK: u8 = 0;
const ERR: u8 = 1;

/// Commands that are carried out at a time.
const BUDGET: usize = 16;

/// Classes of commands, and commands.
mod class {
    pub const RX: u8 = 0;
    pub const MAC: u8 = 1;
    pub const VLAN: u8 = 2;
    pub const ANNOUNCE: u8 = 3;
    pub const MQ: u8 = 4;
    pub const GUEST_OFFLOADS: u8 = 5;
}
const MAC_TABLE_SET: u8 = 0;
const MAC_ADDR_SET: u8 = 1;
const VLAN_ADD: u8 = 0;
const VLAN_DEL: u8 = 1;
const ANNOUNCE_ACK: u8 = 0;
const MQ_VQ_PAIRS_SET: u8 = 0;
const GUEST_OFFLOADS_SET: u8 = 0;

impl NetDevice {
    /// Carries out commands.
    pub(super) fn control(&self, queue: usize) {
        let features = NetFeatures::negotiated(self.channel.features());
        let more = self.channel.visit(queue, |visit| {
            let mut chain = self.commands.lock();
            for _ in 0..BUDGET {
                if !visit.next(&mut chain)? {
                    return Ok(false);
                }
                let command = Command { memory: visit.memory(), bytes: &chain.readable };
                let done = self.change(|settings| self.execute(&command, features, settings));
                let status = if done.is_some() { OK } else { ERR };
                let written = acknowledge(visit.memory(), &chain, status)?;
                visit.complete(chain.token(), written)?;
            }
            Ok(true)
        });
        if more == Some(true) {
            self.channel.defer(queue);
        }
    }

    /// Carries a command out; `None`: it cannot be done, and nothing has changed.
    fn execute(&self, command: &Command<'_>, features: NetFeatures, settings: &mut Settings) -> Option<()> {
        const START: u64 = 2;
        let [class, code] = command.read(0)?;
        let (needed, known) = match class {
            class::RX if code < 2 => (NetFeatures::CTRL_RX, true),
            class::RX => {
                (NetFeatures::CTRL_RX_EXTRA, Modes::from_bits(1_u8.checked_shl(code.into())?).is_some())
            }
            class::MAC if code == MAC_TABLE_SET => (NetFeatures::CTRL_RX, true),
            class::MAC => (NetFeatures::CTRL_MAC_ADDR, code == MAC_ADDR_SET),
            class::VLAN => (NetFeatures::CTRL_VLAN, code == VLAN_ADD || code == VLAN_DEL),
            class::ANNOUNCE => (NetFeatures::GUEST_ANNOUNCE, code == ANNOUNCE_ACK),
            class::MQ => (NetFeatures::MQ, code == MQ_VQ_PAIRS_SET),
            class::GUEST_OFFLOADS => (NetFeatures::CTRL_GUEST_OFFLOADS, code == GUEST_OFFLOADS_SET),
            _ => return None,
        };
        if !known || !features.contains(needed) {
            return None;
        }
        match (class, code) {
            (class::RX, _) => {
                let [on] = command.read(START)?;
                settings.filter.modes.set(Modes::from_bits_truncate(1 << code), on != 0);
            }
            (class::MAC, MAC_TABLE_SET) => {
                let (unicast, next) = command.addresses(START)?;
                let (multicast, _) = command.addresses(next)?;
                (settings.filter.unicast, settings.filter.multicast) = (unicast, multicast);
            }
            (class::MAC, _) => {
                settings.mac = Some(Mac(command.read(START)?)).filter(|mac| !mac.is_group())?;
            }
            (class::VLAN, _) => {
                let vlan = u16::from_le_bytes(command.read(START)?);
                settings.filter.vlans.as_mut()?.set(vlan, code == VLAN_ADD).then_some(())?;
            }
            (class::ANNOUNCE, _) => settings.announce = false,
            (class::MQ, _) => {
                let pairs = u16::from_le_bytes(command.read(START)?);
                settings.pairs = Some(pairs).filter(|pairs| (1..=self.config.pairs).contains(pairs))?;
            }
            _ => {
                let offloads = NetFeatures::from_bits(u64::from_le_bytes(command.read(START)?))?;
                settings.accepts = Some(offloads).filter(|offloads| features.contains(*offloads))?.accepts();
            }
        }
        Some(())
    }
}

/// Writes the status, and returns how many bytes that are.
fn acknowledge(memory: &dyn GuestMemory, chain: &Chain, status: u8) -> Result<u32, QueueError> {
    let Some(segment) = chain.writable.first() else { return Ok(0) };
    memory.write(segment.ipa, &[status]).map_err(|_| QueueError::Unbacked(segment.ipa))?;
    Ok(1)
}

/// What the driver has written.
struct Command<'a> {
    memory: &'a dyn GuestMemory,
    bytes: &'a [Segment],
}

impl Command<'_> {
    /// The bytes at `offset`; `None`: they are not there.
    fn read<const LEN: usize>(&self, offset: u64) -> Option<[u8; LEN]> {
        let mut buffer = [0; LEN];
        self.read_into(offset, &mut buffer).then_some(buffer)
    }

    fn read_into(&self, offset: u64, buffer: &mut [u8]) -> bool {
        // No request has more bytes than these.
        let Ok(offset) = u32::try_from(offset) else { return false };
        let mut reader = Reader::new(self.memory, self.bytes);
        reader.skip(offset);
        reader.read_exact(buffer)
    }

    /// The table of addresses at `offset` (5.1.6.5.2), and where it ends.
    fn addresses(&self, offset: u64) -> Option<(Addresses, u64)> {
        const ADDRESS: usize = 6;
        let count = u32::from_le_bytes(self.read(offset)?);
        let start = offset + 4;
        let end = start + u64::from(count) * ADDRESS as u64;
        let mut addresses = Addresses { overflow: count as usize > MAX_ADDRESSES, ..Addresses::default() };
        if !addresses.overflow {
            let mut bytes = [0; MAX_ADDRESSES * ADDRESS];
            let bytes = bytes.get_mut(..count as usize * ADDRESS)?;
            self.read_into(start, bytes).then_some(())?;
            addresses.list = bytes.as_chunks().0.iter().map(|address| Mac(*address)).collect();
        }
        Some((addresses, end))
    }
}
