//! Lays a release build out so that a running shop needs few of its pages: packaging/order.ld.

use std::env::var;

fn main() {
    println!("cargo::rerun-if-changed=packaging/order.ld");
    let is = |name: &str, value: &str| var(name).is_ok_and(|v| v == value);
    if is("PROFILE", "release") && is("CARGO_CFG_TARGET_OS", "linux") {
        let here = var("CARGO_MANIFEST_DIR").expect("cargo sets it");
        println!("cargo::rustc-link-arg-bin=fulfilld=-Wl,-T,{here}/packaging/order.ld");
    }
}
