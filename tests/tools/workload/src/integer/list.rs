//! Singly linked lists: pointers are followed, and little is done at each.

use core::{cell::Cell, iter};

/// What a node is about.
#[derive(Debug)]
pub struct Item {
    /// The low bits say what work the item stands for, the high byte on what.
    pub data: Cell<u16>,
    /// Where in the list it was first.
    pub place: i16,
}

impl Item {
    /// The item that is first at `place`.
    pub fn new(place: i16) -> Self {
        let mixed = (place as u16).wrapping_mul(0x3a5d) & 0xff78 & !0x80;
        Self { data: Cell::new(mixed | place as u16 & 7), place }
    }
}

/// An element of a list.
#[derive(Debug)]
pub struct Node<'a> {
    next: Cell<Option<&'a Node<'a>>>,
    item: &'a Item,
}

impl<'a> Node<'a> {
    /// A node in no list.
    pub fn new(item: &'a Item) -> Self {
        Self { next: Cell::new(None), item }
    }

    /// What it is about.
    pub fn item(&self) -> &'a Item {
        self.item
    }
}

/// A list of nodes that are somewhere else.
#[derive(Debug)]
pub struct List<'a> {
    head: Option<&'a Node<'a>>,
}

impl<'a> List<'a> {
    /// Nodes in their order.
    pub fn of(nodes: &'a [Node<'a>]) -> Self {
        let mut head = None;
        for node in nodes.iter().rev() {
            node.next.set(head);
            head = Some(node);
        }
        Self { head }
    }

    /// From the first to the last.
    pub fn iter(&self) -> impl Iterator<Item = &'a Node<'a>> + use<'a> {
        iter::successors(self.head, |node| node.next.get())
    }

    /// The first node whose item is right.
    #[inline(never)]
    pub fn find(&self, is_right: impl Fn(&Item) -> bool) -> Option<&'a Node<'a>> {
        self.iter().find(|node| is_right(node.item))
    }

    /// The last becomes the first.
    #[inline(never)]
    pub fn reverse(&mut self) {
        let mut behind = None;
        let mut next = self.head;
        while let Some(node) = next {
            next = node.next.replace(behind);
            behind = Some(node);
        }
        self.head = behind;
    }

    /// What follows `node` becomes the first.
    pub fn move_to_front(&mut self, node: &'a Node<'a>) {
        if let Some(moved) = node.next.get() {
            node.next.set(moved.next.replace(self.head));
            self.head = Some(moved);
        }
    }

    /// Sorts by merging runs, which double in length each time. `compare` is negative where the left one comes first.
    #[inline(never)]
    pub fn sort<C>(&mut self, context: &mut C, compare: fn(&mut C, &Item, &Item) -> i32) {
        let mut run = 1;
        loop {
            let mut merges = 0;
            let mut rest = self.head.take();
            let mut tail: Option<&'a Node<'a>> = None;
            while let Some(first) = rest {
                merges += 1;
                let (mut left, mut right) = (Some(first), Some(first));
                let mut left_len = 0;
                while let (Some(node), true) = (right, left_len < run) {
                    right = node.next.get();
                    left_len += 1;
                }
                let mut right_len = run;
                loop {
                    let right_node = right.filter(|_| right_len > 0);
                    let node = match (left.filter(|_| left_len > 0), right_node) {
                        (Some(left_node), Some(right_node)) => {
                            if compare(context, left_node.item, right_node.item) <= 0 {
                                left_node
                            } else {
                                right_node
                            }
                        }
                        (Some(node), None) | (None, Some(node)) => node,
                        (None, None) => break,
                    };
                    if right_node.is_some_and(|right_node| core::ptr::eq(right_node, node)) {
                        right = node.next.get();
                        right_len -= 1;
                    } else {
                        left = node.next.get();
                        left_len -= 1;
                    }
                    match tail {
                        Some(tail) => tail.next.set(Some(node)),
                        None => self.head = Some(node),
                    }
                    tail = Some(node);
                }
                rest = right;
            }
            if let Some(tail) = tail {
                tail.next.set(None);
            }
            if merges <= 1 {
                return;
            }
            run *= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_sorted_and_reversed() {
        const COUNT: usize = 23;
        let items: [Item; COUNT] = core::array::from_fn(|index| Item::new((index * 7 % COUNT) as i16));
        let nodes: [Node; COUNT] = core::array::from_fn(|index| Node::new(&items[index]));
        let mut list = List::of(&nodes);
        list.sort(&mut (), |_, left, right| i32::from(left.place) - i32::from(right.place));
        assert!(list.iter().map(|node| node.item().place).eq(0..COUNT as i16));
        list.reverse();
        assert!(list.iter().map(|node| node.item().place).eq((0..COUNT as i16).rev()));
        list.move_to_front(list.find(|item| item.place == 5).unwrap());
        assert_eq!(list.iter().next().unwrap().item().place, 4);
        assert_eq!(list.iter().count(), COUNT);
    }
}
