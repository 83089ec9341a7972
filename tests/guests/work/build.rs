//! Links the payload as guests are linked: see `guest.ld` in the support crate.

fn main() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../support/guest.ld");
    println!("cargo::rerun-if-changed={script}");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "none") {
        for argument in ["-pie", "--no-dynamic-linker", "-znorelro", "-T", script] {
            println!("cargo::rustc-link-arg-bins={argument}");
        }
    }
}
