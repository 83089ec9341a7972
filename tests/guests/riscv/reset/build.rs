//! Links the payload for the start of RAM: see `payload.ld` in the support crate.

fn main() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../support/payload.ld");
    println!("cargo::rerun-if-changed={script}");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "none") {
        println!("cargo::rustc-link-arg-bins=-T{script}");
    }
}
