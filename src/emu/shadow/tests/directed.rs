//! Cases that have a name.

use super::super::{Flush, MIN_TABLES, Page, Rights};
use super::{ENGINE, Hart, MACHINE, RAM, SUM, SUPERVISOR, USER, World, page, space};
use crate::shadow::Shadow;

const LOW: u64 = 0x40_0000;
const HIGH: u64 = 0xffff_ffff_8000_0000;

fn shadow(world: &mut World) -> &mut Shadow<Hart> {
    &mut world.harts[0]
}

fn present(world: &World, addresses: &[u64]) -> std::vec::Vec<bool> {
    addresses.iter().map(|&address| world.walk(0, address).is_some()).collect()
}

#[test]
fn a_page_is_mapped_for_el0_and_never_executable() {
    let mut world = World::new(1, 64, 256);
    shadow(&mut world).enter(space(1, 1), USER);
    assert!(shadow(&mut world).map(LOW + 0x18, page(RAM + 0x1008, false)));
    // UXN, PXN, nG, AF, inner shareable, AP[1], page; and linked.
    assert_eq!(world.walk(0, LOW).unwrap().0, 1 << 55 | 0b11 << 53 | (RAM + 0x1000) | 0xf43);
    assert_eq!(world.walk(0, LOW + 0x1000), None);
    let read_only = Page { rights: Rights { load: true, store: false }, ..page(RAM + 0x1000, false) };
    assert!(shadow(&mut world).map(LOW, read_only));
    assert_eq!(world.walk(0, LOW).unwrap().0, 0b11 << 53 | (RAM + 0x1000) | 0xfc3);
}

#[test]
fn nothing_is_mapped_in_the_hole() {
    let mut world = World::new(1, 64, 256);
    assert!(!shadow(&mut world).map(LOW, page(RAM, false)), "before anything is entered");
    shadow(&mut world).enter(space(1, 1), USER);
    for address in [1 << 47, 1 << 48, 1 << 63, 0xffff_7fff_ffff_ffff] {
        assert!(!shadow(&mut world).map(address, page(RAM, false)), "{address:#x}");
        shadow(&mut world).flush(Flush::Page { address, space_asid: None });
    }
    assert!(shadow(&mut world).map((1 << 47) - 1, page(RAM, false)));
    assert!(shadow(&mut world).map(0xffff_8000_0000_0000, page(RAM, false)));
}

#[test]
fn address_spaces_and_views_are_remembered() {
    let mut world = World::new(1, 200, 256);
    let places = [(space(1, 1), USER), (space(1, 1), SUM), (space(2, 1), USER), (0, MACHINE)];
    for (number, (space, view)) in (0..).zip(places) {
        shadow(&mut world).enter(space, view);
        assert_eq!(world.walk(0, LOW), None);
        assert!(shadow(&mut world).map(LOW, page(RAM + number * 0x1000, false)));
    }
    for (number, (space, view)) in (0..).zip(places) {
        shadow(&mut world).enter(space, view);
        assert_eq!(world.walk(0, LOW).unwrap().address(), RAM + number * 0x1000);
    }
}

#[test]
fn kernel_pages_are_shared_until_an_address_space_has_others() {
    let mut world = World::new(1, 200, 256);
    let [first, second, third] = [1, 2, 3].map(|asid| space(asid, 1));
    shadow(&mut world).enter(first, SUPERVISOR);
    assert!(shadow(&mut world).map(HIGH, page(RAM, true)));
    for (space, view, seen) in [(second, SUM, true), (second, USER, false), (second, MACHINE, false)] {
        shadow(&mut world).enter(space, view);
        assert_eq!(world.walk(0, HIGH).is_some(), seen, "{view}");
    }

    shadow(&mut world).enter(second, SUPERVISOR);
    assert!(shadow(&mut world).map(HIGH + 0x1000, Page { global: false, ..page(RAM, true) }));
    assert_eq!(present(&world, &[HIGH, HIGH + 0x1000]), [false, true]);
    shadow(&mut world).enter(third, SUPERVISOR);
    assert_eq!(present(&world, &[HIGH, HIGH + 0x1000]), [true, false]);

    // A user's page is not for who has no SUM.
    shadow(&mut world).enter(third, SUM);
    assert!(shadow(&mut world).map(HIGH + 0x2000, Page { user: true, ..page(RAM, true) }));
    shadow(&mut world).enter(third, SUPERVISOR);
    assert_eq!(present(&world, &[HIGH, HIGH + 0x2000]), [false, false]);
}

#[test]
fn a_fence_takes_what_it_names() {
    let mut world = World::new(1, 200, 256);
    let other = space(2, 1);
    let fill = |world: &mut World| {
        for (space, view) in
            [(other, USER), (other, SUPERVISOR), (space(1, 1), SUPERVISOR), (space(1, 1), USER)]
        {
            shadow(world).enter(space, view);
            for address in [LOW, LOW + 0x1000] {
                assert!(shadow(world).map(address, page(RAM, false)));
            }
            if view == SUPERVISOR {
                assert!(shadow(world).map(HIGH, page(RAM, true)));
            }
        }
    };
    // What is left: of the address space itself, of the kernel, of the other address space.
    let left = |world: &mut World| {
        let own = present(world, &[LOW, LOW + 0x1000]);
        shadow(world).enter(space(1, 1), SUPERVISOR);
        let kernel = present(world, &[HIGH]);
        shadow(world).enter(other, USER);
        [own, kernel, present(world, &[LOW, LOW + 0x1000])].concat()
    };
    let page_of = |address, space_asid| Flush::Page { address, space_asid };
    for (flush, expected) in [
        (page_of(LOW, Some(1)), [false, true, true, true, true]),
        (page_of(LOW, None), [false, true, true, false, true]),
        (page_of(HIGH, Some(1)), [true, true, true, true, true]),
        (page_of(HIGH, None), [true, true, false, true, true]),
        (Flush::Space(1), [false, false, true, true, true]),
        (Flush::All, [false, false, false, false, false]),
    ] {
        fill(&mut world);
        shadow(&mut world).flush(flush);
        assert_eq!(left(&mut world), expected, "{flush:?}");
    }
}

#[test]
fn a_superpage_goes_as_a_whole() {
    for (level, beside) in [(1, 0x20_0000), (2, 0x4000_0000), (3, 0x80_0000_0000_u64)] {
        let mut world = World::new(1, 200, 256);
        shadow(&mut world).enter(space(1, 1), USER);
        let inside = [beside, beside + 0x1000, beside * 2 - 0x1000];
        for address in inside {
            assert!(shadow(&mut world).map(address, Page { level, ..page(RAM, false) }));
        }
        for address in [beside - 0x1000, beside * 2] {
            assert!(shadow(&mut world).map(address, page(RAM, false)));
        }
        shadow(&mut world).flush(Flush::Page { address: beside * 2, space_asid: Some(1) });
        assert_eq!(
            present(&world, &[inside[0], inside[1], inside[2], beside * 2]),
            [true, true, true, false]
        );
        shadow(&mut world).flush(Flush::Page { address: beside + 0x3000, space_asid: Some(1) });
        assert_eq!(
            present(&world, &[inside[0], inside[1], inside[2], beside - 0x1000]),
            [false, false, false, true]
        );
    }
}

#[test]
fn code_can_be_written_by_nobody() {
    let mut world = World::new(2, 64, 256);
    for hart in &mut world.harts {
        for (view, address) in [(USER, LOW), (SUM, LOW + 0x5000), (SUPERVISOR, HIGH)] {
            hart.enter(space(1, 1), view);
            assert!(hart.map(address, page(RAM + 0x2000, view == SUPERVISOR)));
        }
    }
    let writable = |world: &mut World, hart: usize| {
        [(USER, LOW), (SUM, LOW + 0x5000), (SUPERVISOR, HIGH)].map(|(view, address)| {
            world.harts[hart].enter(space(1, 1), view);
            world.walk(hart, address).unwrap().is_writable()
        })
    };
    assert_eq!((writable(&mut world, 0), writable(&mut world, 1)), ([true; 3], [true; 3]));
    world.code.protect(world.harts[0].hardware(), RAM + 0x2008);
    assert_eq!((writable(&mut world, 0), writable(&mut world, 1)), ([false; 3], [false; 3]));

    // It can be read all the same, and be written later.
    assert!(world.harts[1].map(HIGH, page(RAM + 0x2000, true)));
    assert_eq!(writable(&mut world, 1), [false; 3]);
    world.code.unprotect(RAM + 0x2000);
    assert_eq!(writable(&mut world, 1), [false; 3]);
    assert!(world.harts[1].map(HIGH, page(RAM + 0x2000, true)));
    assert_eq!(writable(&mut world, 1), [false, false, true]);
}

#[test]
fn a_page_that_is_mapped_everywhere_has_few_writable_entries() {
    let mut world = World::new(1, 64, 256);
    shadow(&mut world).enter(space(1, 1), USER);
    let addresses: std::vec::Vec<u64> = (0..200).map(|number| LOW + number * 0x1000).collect();
    for &address in &addresses {
        assert!(shadow(&mut world).map(address, page(RAM, false)));
        assert!(world.walk(0, address).unwrap().is_writable());
        let writable = addresses.iter().filter_map(|&at| world.walk(0, at)).filter(|it| it.is_writable());
        assert!((1..=64).contains(&writable.count()));
    }
    world.code.protect(world.harts[0].hardware(), RAM);
    assert!(addresses.iter().all(|&at| !world.walk(0, at).unwrap().is_writable()));
}

#[test]
fn a_hart_with_few_tables_gets_on() {
    let world = World::new(1, MIN_TABLES, 256);
    let hardware = Hart { machine: world.machine.clone(), index: 0 };
    assert!(Shadow::new(hardware.clone(), world.code.clone(), MIN_TABLES, ENGINE).is_none(), "none is left");
    assert!(Shadow::new(hardware, world.code.clone(), MIN_TABLES - 1, ENGINE).is_none());

    let mut world = world;
    for number in 0..100 {
        shadow(&mut world).enter(space(number, 1), USER);
        // An access to two pages, which share no table, must be able to succeed.
        let pair = [number << 39, (number << 39) + (1 << 39)];
        while present(&world, &pair) != [true, true] {
            for address in pair {
                if world.walk(0, address).is_none() {
                    assert!(shadow(&mut world).map(address, page(RAM, false)));
                }
            }
        }
    }
}

#[test]
fn the_least_recently_used_address_space_makes_room() {
    let mut world = World::new(1, 400, 256);
    let fill = |world: &mut World, asid| {
        shadow(world).enter(space(asid, 1), USER);
        assert!(shadow(world).map(LOW, page(RAM, false)));
    };
    (0..24).for_each(|asid| fill(&mut world, asid));
    shadow(&mut world).enter(space(0, 1), USER);
    fill(&mut world, 24);
    for (asid, seen) in [(0, true), (1, false), (3, true)] {
        shadow(&mut world).enter(space(asid, 1), USER);
        assert_eq!(world.walk(0, LOW).is_some(), seen, "{asid}");
    }
}
