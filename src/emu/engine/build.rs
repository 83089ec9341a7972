//! Links the engine at the addresses that the ABI gives it.

use polyvisor_cell_abi::{HOLE, IMAGE, IMAGE_MAX, PRIVATE};

fn main() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../engine.ld");
    println!("cargo::rerun-if-changed={script}");
    println!("cargo::rerun-if-changed=start.S");
    println!("cargo::rerun-if-changed=vectors.S");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "none") {
        // The compiler makes position-independent code of all that is for this target; a link at fixed addresses leaves
        // nothing to relocate.
        println!("cargo::rustc-link-arg-bins=--no-pie");
        println!("cargo::rustc-link-arg-bins=-T{script}");
        for (name, value) in [
            ("CELL_HOLE", HOLE),
            ("CELL_IMAGE", IMAGE),
            ("CELL_IMAGE_MAX", IMAGE_MAX),
            ("CELL_PRIVATE", PRIVATE),
        ] {
            println!("cargo::rustc-link-arg-bins=--defsym={name}={value:#x}");
        }
    }
}
