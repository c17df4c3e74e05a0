//! Links every guest as a position-independent image at 0, as its arm64 Image header promises.

fn main() {
    let directory = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    println!("cargo::rerun-if-changed=guest.ld");
    let script = format!("-T{directory}/guest.ld");
    for argument in
        [&script, "-pie", "--no-dynamic-linker", "-znotext", "-zpack-relative-relocs", "-zmax-page-size=4096"]
    {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
}
