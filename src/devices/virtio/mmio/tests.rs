//! The transport, as a driver sees it.

use std::sync::Mutex as StdMutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::devices::virtio::DeviceId;
use crate::devices::virtio::queue::{Chain, Token};
use crate::devices::virtio::testing::{Driver, Mode, Rig};
use crate::mm::guest_memory::GuestMemory;

/// A device that gives every request back, and remembers what happened.
struct Echo {
    channel: Channel,
    log: StdMutex<Vec<&'static str>>,
    served: AtomicUsize,
    late: StdMutex<Option<Token>>,
}

impl Device for Echo {
    fn id(&self) -> DeviceId {
        DeviceId::Entropy
    }

    fn features(&self) -> Features {
        Features::from_bits_retain(1 << 3)
    }

    fn channel(&self) -> &Channel {
        &self.channel
    }

    fn read_config(&self, offset: u64, bytes: &mut [u8]) {
        bytes.iter_mut().zip(offset..).for_each(|(byte, at)| *byte = at as u8);
    }

    fn start(&self) {
        self.log.lock().unwrap().push("start");
    }

    fn reset(&self) {
        self.log.lock().unwrap().push("reset");
    }

    fn notified(&self, queue: usize) {
        let mut chain = Chain::default();
        self.channel.visit(queue, |visit| {
            while visit.next(&mut chain)? {
                *self.late.lock().unwrap() = Some(chain.token());
                visit.complete(chain.token(), 0)?;
                self.served.fetch_add(1, Ordering::SeqCst);
            }
            Ok(())
        });
    }

    fn save(&self) -> Vec<u8> {
        vec![7]
    }

    fn restore(&self, state: &[u8]) -> Result<(), RestoreError> {
        match state {
            [7] => Ok(()),
            _ => Err(RestoreError { field: "echo", found: 0, limit: 0 }),
        }
    }
}

fn plugged(rig: &Rig) -> (Transport, Arc<Echo>) {
    let device = Arc::new(Echo {
        channel: rig.channel(&[8, 4]),
        log: StdMutex::default(),
        served: AtomicUsize::new(0),
        late: StdMutex::default(),
    });
    let transport = Transport::default();
    transport.plug(Some(device.clone()));
    (transport, device)
}

fn access(offset: u64, width: Width) -> Access {
    Access { offset, width, vcpu: 0 }
}

fn get(transport: &Transport, register: u64) -> u32 {
    transport.read(access(register, Width::Word)) as u32
}

fn put(transport: &Transport, register: u64, value: u32) {
    transport.write(access(register, Width::Word), value.into());
}

/// Goes as far as `FEATURES_OK`, and tells whether the device has agreed.
fn negotiate(transport: &Transport, features: Features) -> bool {
    put(transport, reg::STATUS, 0);
    put(transport, reg::STATUS, 1);
    put(transport, reg::STATUS, 3);
    for half in 0..2 {
        put(transport, reg::DRIVER_FEATURES_SEL, half);
        put(transport, reg::DRIVER_FEATURES, (features.bits() >> (32 * half)) as u32);
    }
    put(transport, reg::STATUS, 11);
    get(transport, reg::STATUS) & 8 != 0
}

/// Sets a queue up as the test driver has laid it out.
fn enable(transport: &Transport, queue: u32, setup: Setup) {
    put(transport, reg::QUEUE_SEL, queue);
    put(transport, reg::QUEUE_NUM, setup.size.into());
    for (register, area) in [
        (reg::QUEUE_DESC_LOW, setup.descriptors),
        (reg::QUEUE_DRIVER_LOW, setup.driver),
        (reg::QUEUE_DEVICE_LOW, setup.device),
    ] {
        put(transport, register, area.0 as u32);
        put(transport, register + 4, (area.0 >> 32) as u32);
    }
    put(transport, reg::QUEUE_READY, 1);
}

#[test]
fn an_empty_slot_has_no_device() {
    let transport = Transport::default();
    assert_eq!(get(&transport, reg::MAGIC_VALUE), 0x7472_6976);
    assert_eq!(get(&transport, reg::VERSION), 2);
    assert_eq!(get(&transport, reg::VENDOR_ID), 0x554d_4551);
    for register in (8..0x200).step_by(4).filter(|register| *register != reg::VENDOR_ID) {
        assert_eq!(get(&transport, register), 0, "{register:#x}");
        put(&transport, register, 1);
    }
}

#[test]
fn features_are_what_both_sides_know() {
    let rig = Rig::new();
    let (transport, device) = plugged(&rig);
    put(&transport, reg::DEVICE_FEATURES_SEL, 0);
    assert_eq!(get(&transport, reg::DEVICE_FEATURES), 1 << 3 | 1 << 28 | 1 << 29);
    put(&transport, reg::DEVICE_FEATURES_SEL, 1);
    assert_eq!(get(&transport, reg::DEVICE_FEATURES), 0b111);
    put(&transport, reg::DEVICE_FEATURES_SEL, 2);
    assert_eq!(get(&transport, reg::DEVICE_FEATURES), 0);

    assert!(!negotiate(&transport, Features::EVENT_IDX), "without VERSION_1");
    assert!(!negotiate(&transport, Features::VERSION_1 | Features::from_bits_retain(1)), "not offered");
    put(&transport, reg::STATUS, 15);
    assert_eq!(get(&transport, reg::STATUS), 3, "no DRIVER_OK without FEATURES_OK");
    assert!(negotiate(&transport, Features::VERSION_1 | Features::EVENT_IDX));
    put(&transport, reg::DRIVER_FEATURES, 0);
    assert_eq!(device.channel.features(), Features::VERSION_1 | Features::EVENT_IDX);
    put(&transport, reg::STATUS, 15);
    assert_eq!(device.log.lock().unwrap().last(), Some(&"start"));
}

#[test]
fn requests_are_served_between_driver_ok_and_reset() {
    for mode in Mode::all() {
        let rig = Rig::new();
        let (transport, device) = plugged(&rig);
        let mut driver = Driver::unconnected(&rig, 4, mode);
        enable(&transport, 1, driver.setup());
        assert_eq!(get(&transport, reg::QUEUE_READY), 0, "before FEATURES_OK");
        assert!(negotiate(&transport, mode.features()));
        enable(&transport, 1, driver.setup());
        assert_eq!((get(&transport, reg::QUEUE_READY), get(&transport, reg::QUEUE_NUM_MAX)), (1, 4));
        driver.add(&[b"x"], &[]).unwrap();
        put(&transport, reg::QUEUE_NOTIFY, 1);
        assert_eq!(device.served.load(Ordering::SeqCst), 0, "before DRIVER_OK");
        put(&transport, reg::STATUS, 15);
        put(&transport, reg::QUEUE_NOTIFY, 2);
        put(&transport, reg::QUEUE_NOTIFY, u32::MAX);
        put(&transport, reg::QUEUE_NOTIFY, 0);
        assert_eq!(device.served.load(Ordering::SeqCst), 0, "another queue");
        put(&transport, reg::QUEUE_NOTIFY, 1);
        assert_eq!(device.served.load(Ordering::SeqCst), 1);
        assert!(driver.used().is_some());
        assert!(rig.irq.is_high());
        assert_eq!(get(&transport, reg::INTERRUPT_STATUS), 1);
        put(&transport, reg::INTERRUPT_ACK, 1);
        assert!(!rig.irq.is_high());
        device.channel.config_changed();
        assert_eq!((get(&transport, reg::INTERRUPT_STATUS), get(&transport, reg::CONFIG_GENERATION)), (2, 1));

        // A guest that is saved here goes on elsewhere.
        let state = transport.save().unwrap();
        let bytes = postcard::to_allocvec(&state).unwrap();
        let (other, other_device) = plugged(&rig);
        other.restore(&postcard::from_bytes(&bytes).unwrap()).unwrap();
        assert_eq!(other.save().unwrap(), state);
        driver.add(&[b"x"], &[]).unwrap();
        put(&other, reg::QUEUE_NOTIFY, 1);
        assert_eq!(other_device.served.load(Ordering::SeqCst), 1);
        assert!(driver.used().is_some());

        let token = other_device.late.lock().unwrap().unwrap();
        put(&other, reg::STATUS, 0);
        assert!(!rig.irq.is_high());
        put(&other, reg::QUEUE_SEL, 1);
        assert_eq!((get(&other, reg::STATUS), get(&other, reg::QUEUE_READY)), (0, 0));
        assert_eq!(other_device.log.lock().unwrap().last(), Some(&"reset"));
        device.channel.raise(Cause::USED);
        other_device.channel.raise(Cause::USED);
        assert_eq!(get(&other, reg::INTERRUPT_STATUS), 0, "nothing follows a reset");

        // What comes too late is dropped.
        let mut fresh = Driver::unconnected(&rig, 4, mode);
        assert!(negotiate(&other, mode.features()));
        enable(&other, 1, fresh.setup());
        put(&other, reg::STATUS, 15);
        other_device.channel.visit(1, |visit| visit.complete(token, 0)).unwrap();
        assert_eq!(fresh.used(), None);
    }
}

#[test]
fn a_broken_queue_needs_a_reset() {
    let rig = Rig::new();
    let (transport, device) = plugged(&rig);
    let good = Driver::unconnected(&rig, 4, Mode::default()).setup();
    for setup in [
        Setup { size: 0, ..good },
        Setup { size: 3, ..good },
        Setup { size: 8, ..good },
        Setup { descriptors: Ipa(good.descriptors.0 + 8), ..good },
        Setup { driver: Ipa(good.driver.0 + 1), ..good },
        Setup { device: Ipa(good.device.0 + 2), ..good },
        Setup { device: Ipa(0x1000), ..good },
        Setup { descriptors: Ipa(!0xf), ..good },
    ] {
        assert!(negotiate(&transport, Features::VERSION_1));
        enable(&transport, 1, setup);
        assert_eq!(
            (get(&transport, reg::QUEUE_READY), get(&transport, reg::STATUS)),
            (0, 64 | 11),
            "{setup:?}"
        );
        assert!(!rig.irq.is_high(), "before DRIVER_OK");
    }
    assert!(negotiate(&transport, Features::VERSION_1));
    enable(&transport, 1, good);
    put(&transport, reg::STATUS, 15);
    // More is offered than there is room for.
    rig.memory.write(Ipa(good.driver.0 + 2), &5u16.to_le_bytes()).unwrap();
    put(&transport, reg::QUEUE_NOTIFY, 1);
    assert_eq!(get(&transport, reg::STATUS), 64 | 15);
    assert_eq!(get(&transport, reg::INTERRUPT_STATUS), 2);
    rig.memory.write(Ipa(good.driver.0 + 2), &1u16.to_le_bytes()).unwrap();
    put(&transport, reg::QUEUE_NOTIFY, 1);
    assert_eq!(device.served.load(Ordering::SeqCst), 0);
    put(&transport, reg::STATUS, 0);
    assert_eq!(get(&transport, reg::STATUS), 0);
}

#[test]
fn configuration_is_read_by_bytes_and_registers_by_words() {
    let rig = Rig::new();
    let (transport, _) = plugged(&rig);
    assert_eq!(transport.read(access(0x103, Width::Byte)), 3);
    assert_eq!(transport.read(access(0x102, Width::Half)), 0x0302);
    assert_eq!(transport.read(access(0x104, Width::Word)), 0x0706_0504);
    assert_eq!(transport.read(access(0x100, Width::Double)), 0x0706_0504_0302_0100);
    assert_eq!(transport.read(access(reg::VERSION, Width::Byte)), 0);
    assert_eq!(transport.read(access(reg::MAGIC_VALUE, Width::Double)), 0);
    assert_eq!(get(&transport, reg::SHM_LEN_LOW), u32::MAX);
}

#[test]
fn a_device_can_be_taken_out() {
    let rig = Rig::new();
    let (transport, device) = plugged(&rig);
    assert_eq!(get(&transport, reg::DEVICE_ID), 4);
    assert!(negotiate(&transport, Features::VERSION_1));
    put(&transport, reg::STATUS, 15);
    device.channel.config_changed();
    assert!(rig.irq.is_high());
    transport.plug(None);
    assert!(!rig.irq.is_high());
    assert_eq!((get(&transport, reg::DEVICE_ID), get(&transport, reg::STATUS)), (0, 0));
    assert!(transport.save().is_none());
    transport.plug(Some(device));
    assert_eq!((get(&transport, reg::DEVICE_ID), get(&transport, reg::STATUS)), (4, 0));
}

#[test]
fn a_damaged_state_is_refused() {
    let rig = Rig::new();
    let (transport, _) = plugged(&rig);
    assert!(negotiate(&transport, Features::VERSION_1));
    enable(&transport, 1, Driver::unconnected(&rig, 4, Mode::default()).setup());
    put(&transport, reg::STATUS, 15);
    let state = transport.save().unwrap();
    let mut bad = [(); 5].map(|()| state.clone());
    bad[0].id = 1;
    bad[1].registers.queues.clear();
    bad[2].registers.driver_features |= 1;
    bad[3].registers.status = Status::DRIVER_OK;
    bad[4].device = vec![];
    for bad in bad {
        transport.restore(&bad).unwrap_err();
        assert_eq!(transport.save().unwrap(), state);
    }
}
