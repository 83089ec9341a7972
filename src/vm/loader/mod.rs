//! Loaders for what a guest boots from.
