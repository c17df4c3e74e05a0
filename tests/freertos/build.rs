//! Compiles FreeRTOS's kernel, as its crate brings it, for EL1 and GICv3, and links it like the other guests.

use std::path::{Path, PathBuf};

const COMPILER: &str = "aarch64-linux-gnu-gcc";
const ARCHIVER: &str = "aarch64-linux-gnu-ar";
const SOURCES: [&str; 6] = [
    "list.c",
    "queue.c",
    "tasks.c",
    "portable/MemMang/heap_4.c",
    "portable/GCC/ARM_AARCH64_SRE/port.c",
    "portable/GCC/ARM_AARCH64_SRE/portASM.S",
];

fn main() {
    let kernel = PathBuf::from(variable("DEP_FREERTOS_KERNEL"));
    println!("cargo::rerun-if-changed=config");
    println!("cargo::rerun-if-changed=../guests/guest.ld");
    // The host's tools look at this crate too, and have no use for code of another machine.
    if variable("CARGO_CFG_TARGET_ARCH") == "aarch64" && variable("CARGO_CFG_TARGET_OS") == "none" {
        compile(&kernel);
        link();
    }
}

fn compile(kernel: &Path) {
    cc::Build::new()
        .compiler(COMPILER)
        .archiver(ARCHIVER)
        .files(SOURCES.map(|source| kernel.join(source)))
        .include("config")
        .include(kernel.join("include"))
        .include(kernel.join("portable/GCC/ARM_AARCH64_SRE"))
        // The port's name for EL1.
        .define("GUEST", None)
        .flag("-ffreestanding")
        .flag("-fPIE")
        .flag("-fno-stack-protector")
        .flag("-mgeneral-regs-only")
        .pic(false)
        .warnings(false)
        .compile("freertos");
}

fn link() {
    let script = format!("-T{}/../guests/guest.ld", variable("CARGO_MANIFEST_DIR"));
    for argument in
        [&script, "-pie", "--no-dynamic-linker", "-znotext", "-zpack-relative-relocs", "-zmax-page-size=4096"]
    {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|error| panic!("{name}: {error}"))
}
