//! Hands the linker script to the linker.

fn main() {
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("image.ld");
    println!("cargo:rerun-if-changed={}", script.display());
    println!("cargo:rustc-link-arg-bins=-T{}", script.display());
    for argument in [
        "-pie",
        "--no-dynamic-linker",
        "-znotext",
        "-zpack-relative-relocs",
        "-zmax-page-size=4096",
        "--no-eh-frame-hdr",
        "--build-id=none",
        // Debug information of functions that were dropped names no address: at 0 is the image's first instruction.
        "-zdead-reloc-in-nonalloc=.debug_*=0xffffffffffffffff",
    ] {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
}
