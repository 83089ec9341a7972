//! Hands the linker script to the firmware's link, and only to that one; tells whether there are images to carry inside:
//! a guest, and the engine of cells.

fn main() {
    println!("cargo::rerun-if-changed=linker.ld");
    println!("cargo::rerun-if-changed=arch");
    for (variable, name) in
        [("POLYVISOR_BUILTIN_GUEST", "polyvisor_builtin_guest"), ("POLYVISOR_ENGINE", "polyvisor_engine")]
    {
        println!("cargo::rerun-if-env-changed={variable}");
        println!("cargo::rustc-check-cfg=cfg({name})");
        if std::env::var_os(variable).is_some() {
            println!("cargo::rustc-cfg={name}");
        }
    }
    let on_bare_metal = std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "none");
    if on_bare_metal {
        let root = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
        for argument in [&format!("-T{root}/linker.ld"), "-pie", "--no-dynamic-linker", "-znotext"] {
            println!("cargo::rustc-link-arg-bins={argument}");
        }
    }
}
