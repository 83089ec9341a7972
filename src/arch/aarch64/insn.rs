//! Decoding of the loads and stores whose syndrome says nothing (ISV = 0).
