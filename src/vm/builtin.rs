//! The guest that the image carries for when it is given no other.

use alloc::string::String;
use alloc::vec::Vec;

use super::bundle::{BootSource, BundleBuilder, VmSpec};
use crate::mm::addr::MIB;

/// An arm64 `Image`, put here by `cargo xtask build`; empty where the firmware was built without it.
#[cfg(polyvisor_builtin_guest)]
static IMAGE: &[u8] = include_bytes!(env!("POLYVISOR_BUILTIN_GUEST"));
#[cfg(not(polyvisor_builtin_guest))]
static IMAGE: &[u8] = &[];

/// A bundle of the built-in guest alone.
pub fn bundle() -> Option<&'static [u8]> {
    if IMAGE.is_empty() {
        log::error!("this image was built without a built-in guest");
        return None;
    }
    let mut builder = BundleBuilder::new();
    let image = builder.blob(IMAGE);
    let boot = BootSource::Kernel { image: image.into(), initrd: None, append: String::new() };
    builder.vm(VmSpec::new("hello", 1, 64 * MIB, boot));
    let bundle = builder.build().map_err(|error| log::error!("the built-in guest: {error}")).ok()?;
    Some(Vec::leak(bundle))
}
