//! Work of the kind that CoreMark measures, after its public description: lists, matrices of small integers and a state
//! machine, each over about 666 bytes, and a CRC over all results. How long the lists and texts are and how often each part
//! runs is as there, so that instructions and calls are mixed as there.

mod crc;
mod list;
mod matrix;
mod states;

use crc::Crc;
use list::{Item, List, Node};
use matrix::Matrices;
use states::Text;

/// How many items a list has.
const ITEMS: usize = 31;
/// How many times a list is searched.
const SEARCHES: i16 = 100;
/// How often the whole is done in a round.
const ITERATIONS: u16 = 6;

/// What evaluating an item works on.
struct Context {
    matrices: Matrices,
    text: Text,
    crc: Crc,
}

/// A round of it: the CRC of all results.
pub fn round() -> u64 {
    let mut context = Context { matrices: Matrices::new(), text: Text::new(), crc: Crc::default() };
    for iteration in 0..ITERATIONS {
        context.crc.add(iteration);
        work_on_list(&mut context, 1);
        work_on_list(&mut context, -1);
    }
    context.crc.value().into()
}

/// Searches a list, reverses it, sorts it by the values of its items and back by their places.
fn work_on_list(context: &mut Context, step: i16) {
    let items: [Item; ITEMS] = core::array::from_fn(|index| Item::new(index as i16));
    let nodes: [Node; ITEMS] = core::array::from_fn(|index| Node::new(&items[index]));
    let mut list = List::of(&nodes);
    let mut sought = 0;
    for _ in 0..SEARCHES {
        let found = list.find(|item| item.place == sought);
        list.reverse();
        if let Some(node) = found {
            context.crc.add(node.item().data.get());
            list.move_to_front(node);
        } else if let Some(node) = list.find(|item| item.data.get() == sought as u16) {
            context.crc.add(node.item().place as u16);
        }
        sought = (sought + step).rem_euclid(ITEMS as i16 + 2);
    }
    list.sort(context, |context, left, right| {
        i32::from(value(context, left)) - i32::from(value(context, right))
    });
    list.iter().for_each(|node| context.crc.add(node.item().data.get()));
    list.sort(context, |_, left, right| i32::from(left.place) - i32::from(right.place));
    list.iter().for_each(|node| context.crc.add(node.item().place as u16));
}

/// What an item comes to: some work, which leaves the result in the item.
fn value(context: &mut Context, item: &Item) -> u8 {
    /// The low byte holds the result.
    const KNOWN: u16 = 0x80;
    let data = item.data.get();
    if data & KNOWN != 0 {
        return (data & !KNOWN) as u8;
    }
    let operand = data >> 8;
    let result = match data & 7 {
        0 => context.text.work(operand, context.crc),
        1 => context.matrices.work(operand, context.crc),
        _ => data,
    };
    context.crc.add(result);
    let result = result & !KNOWN & 0xff;
    item.data.set(operand << 8 | KNOWN | result);
    result as u8
}
