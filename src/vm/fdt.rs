//! The devicetree that a guest is given.
