//! Leaves symbols and debug information out of the binary that goes into a guest's initial RAM
//! disk; Cargo's profiles cannot say so for one package.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let target = std::env::var("TARGET").unwrap_or_default();
    if target.ends_with("-linux-musl") {
        println!("cargo::rustc-link-arg-bins=--strip-all");
    }
}
