//! Boards and physical drivers, found through the devicetree.
