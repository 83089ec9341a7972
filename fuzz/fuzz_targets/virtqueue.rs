//! Virtqueues against a hostile driver.
#![no_main]

use libfuzzer_sys::fuzz_target;
use polyvisor::devices::virtio::queue::hostile;

fuzz_target!(|input: &[u8]| hostile::run(input));
