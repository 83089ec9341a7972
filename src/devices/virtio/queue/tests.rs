//! Queues against the test driver.

use super::*;
use crate::devices::virtio::testing::{Driver, Mode, Rig};
use std::collections::VecDeque;

fn queue(driver: &Driver, rig: &Rig) -> Queue {
    let mut queue = Queue::new(256);
    queue.enable(driver.setup(), &*rig.memory).unwrap();
    queue
}

/// Takes all there is, and gives back how many bytes could be written, and whether the driver wants to know.
fn serve(queue: &mut Queue, rig: &Rig) -> (usize, bool) {
    let mut visit = queue.open(&*rig.memory).unwrap().unwrap();
    let mut chain = Chain::default();
    let mut count = 0;
    while visit.next(&mut chain).unwrap() {
        let written = chain.writable.iter().map(|segment| segment.len).sum();
        for segment in &chain.writable {
            rig.memory.slice(segment.ipa, segment.len.into()).unwrap().fill(count as u8);
        }
        visit.complete(chain.token(), written).unwrap();
        count += 1;
    }
    (count, visit.publish().unwrap())
}

#[test]
fn requests_come_and_go_in_order() {
    for mode in Mode::all() {
        let rig = Rig::new();
        let mut driver = Driver::unconnected(&rig, 8, mode);
        let mut queue = queue(&driver, &rig);
        let mut expected = VecDeque::new();
        // Several rounds of the ring, with requests of different sizes.
        for round in 0..50 {
            driver.want_interrupts(true);
            let mut added = 0;
            while let Some(id) = driver.add(&[&b"head"[..], b"tail"][..1 + round % 2], &[16, 1][..round % 3])
            {
                expected.push_back((id, [0, 16, 17][round % 3]));
                added += 1;
            }
            assert!(driver.kick(), "{mode:?}");
            assert_eq!(serve(&mut queue, &rig), (added, true), "{mode:?}");
            for number in 0..added {
                let used = driver.used().unwrap();
                assert_eq!(Some((used.id, used.written)), expected.pop_front(), "{mode:?}");
                assert!(used.bytes.iter().all(|byte| *byte == number as u8));
            }
            assert_eq!(driver.used(), None);
        }
    }
}
