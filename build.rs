//! Hands the linker script to the firmware's link, and only to that one; tells whether there is a guest to
//! build in.

fn main() {
    println!("cargo::rerun-if-changed=linker.ld");
    println!("cargo::rerun-if-changed=arch");
    println!("cargo::rerun-if-env-changed=POLYVISOR_BUILTIN_GUEST");
    println!("cargo::rustc-check-cfg=cfg(polyvisor_builtin_guest)");
    if std::env::var_os("POLYVISOR_BUILTIN_GUEST").is_some() {
        println!("cargo::rustc-cfg=polyvisor_builtin_guest");
    }
    let on_bare_metal = std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "none");
    if on_bare_metal {
        let root = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
        for argument in [&format!("-T{root}/linker.ld"), "-pie", "--no-dynamic-linker", "-znotext"] {
            println!("cargo::rustc-link-arg-bins={argument}");
        }
    }
}
