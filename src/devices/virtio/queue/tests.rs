//! Queues against the test driver.

use super::*;
use crate::devices::virtio::testing::{Driver, Mode, Rig};
use proptest::prelude::*;
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
            rig.memory.write(segment.ipa, &vec![count as u8; segment.len as usize]).unwrap();
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

proptest! {
    /// What the fuzzer does, for as long as a test may take.
    #[test]
    fn a_hostile_driver_is_survived(input in proptest::collection::vec(any::<u8>(), 0..600)) {
        hostile::run(&input);
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// A driver and a device that do as they may, in any order: every request comes once and in order, none is forgotten,
    /// and whoever waits is told.
    #[test]
    fn nothing_is_lost(
        mode in prop::sample::select(Mode::all().collect::<Vec<_>>()),
        size in 1u16..20,
        steps in proptest::collection::vec((0u8..8, 0usize..4, 0usize..4), 1..300),
    ) {
        let rig = Rig::new();
        let size = if mode.packed { size } else { size.next_power_of_two() };
        let mut driver = Driver::unconnected(&rig, size, mode);
        let mut queue = queue(&driver, &rig);
        let (mut offered, mut taken, mut given) = (VecDeque::new(), Vec::<(u16, Token, u32)>::new(), VecDeque::new());
        // The device has found nothing and waits to be told; the driver does.
        let (mut idle, mut waits) = (true, true);
        let mut chain = Chain::default();
        for (step, a, b) in steps {
            match step {
                0..3 if a + b > 0 && a + b <= usize::from(size) => {
                    let parts = vec![&b"abc"[..]; a];
                    if let Some(id) = driver.add(&parts, &vec![5; b]) {
                        offered.push_back((id, a, b));
                        let kick = driver.kick();
                        prop_assert!(kick || !idle, "the device waits and was not told");
                        idle = false;
                    }
                }
                3 | 4 => {
                    let mut visit = queue.open(&*rig.memory).unwrap().unwrap();
                    // As many as it likes, and maybe it gives the last one back.
                    for _ in 0..=a {
                        let is_there = visit.next(&mut chain).unwrap();
                        prop_assert_eq!(is_there, !offered.is_empty());
                        let Some((id, readable, writable)) = offered.pop_front() else {
                            idle = true;
                            break;
                        };
                        prop_assert_eq!((chain.readable.len(), chain.writable.len()), (readable, writable));
                        prop_assert_eq!(chain.bytes() as usize, 3 * readable + 5 * writable);
                        if b == 3 {
                            visit.put_back(chain.token());
                            offered.push_front((id, readable, writable));
                            break;
                        }
                        taken.push((id, chain.token(), 5 * writable as u32));
                    }
                    prop_assert!(!visit.publish().unwrap());
                }
                5 | 6 => {
                    let mut visit = queue.open(&*rig.memory).unwrap().unwrap();
                    let before = given.len();
                    for _ in 0..=a.min(taken.len()) {
                        if taken.is_empty() { break; }
                        let (id, token, written) = taken.swap_remove(b % taken.len());
                        visit.complete(token, written).unwrap();
                        prop_assert_eq!(driver.is_used(), before > 0, "seen before the visit's end");
                        given.push_back((id, written));
                    }
                    let signal = visit.publish().unwrap();
                    if given.len() > before {
                        prop_assert!(signal || !waits, "the driver waits and was not told");
                        waits = false;
                    }
                }
                _ => {
                    while let Some((id, written)) = given.pop_front() {
                        let used = driver.used().unwrap();
                        prop_assert_eq!((used.id, used.written), (id, written));
                    }
                    prop_assert_eq!(driver.used(), None);
                    driver.want_interrupts(true);
                    waits = true;
                }
            }
        }
    }
}
