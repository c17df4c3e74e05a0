//! Writes the partition's linker script, its translation tables among it.
//!
//! The tables are finished when the image is linked: a life then begins without building any, and
//! they lie in its read-only part, which costs no frame. The linker knows where each section ends,
//! so that it, not the code, decides which page is what (W^X, Arm ARM D8.3.1 for the descriptors).

use std::fmt::Write as _;
use std::path::PathBuf;
use std::{env, fs};

use hv_abi::guest_map::{ARCHIVE_BASE, GICD_BASE, MAILBOX_BASE, RAM_BASE, UART_BASE, VIRTIO_BASE};

const PAGE: u64 = 4 << 10;
const BLOCK: u64 = 2 << 20;
const ENTRIES: u64 = 512;

/// Descriptor: valid, block or (bit 1) table or page.
const VALID_BLOCK: u64 = 0b01;
const VALID_PAGE: u64 = 0b11;
const VALID_TABLE: u64 = 0b11;
/// AttrIndx 0: normal memory, write-back. AttrIndx 1: device. The entry code sets MAIR_EL1 to match.
const NORMAL: u64 = INNER_SHAREABLE;
const DEVICE: u64 = 1 << 2;
const READ_ONLY: u64 = 1 << 7;
const INNER_SHAREABLE: u64 = 0b11 << 8;
const ACCESSED: u64 = 1 << 10;
const NO_EXECUTE: u64 = 1 << 53 | 1 << 54;
const NO_EXECUTE_EL0: u64 = 1 << 54;

const CODE: u64 = NORMAL | ACCESSED | READ_ONLY | NO_EXECUTE_EL0;
const CONSTANT: u64 = NORMAL | ACCESSED | READ_ONLY | NO_EXECUTE;
const VARIABLE: u64 = NORMAL | ACCESSED | NO_EXECUTE;
const REGISTERS: u64 = DEVICE | ACCESSED | NO_EXECUTE;

const HEAD: &str = "\
ENTRY(_start)
PHDRS { text PT_LOAD FLAGS(5); rodata PT_LOAD FLAGS(4); data PT_LOAD FLAGS(6); }
SECTIONS {
  . = 0x40001000;
  .text : { *(.text.entry) *(.text .text.*) } :text
  . = ALIGN(4096);
  __text_end = .;
  .rodata : { *(.rodata .rodata.*) } :rodata
  .tables : ALIGN(4096) {
";

const TAIL: &str = "  } :rodata
  . = ALIGN(4096);
  __read_only_end = .;
  .data : { *(.data .data.*) *(.got .got.*) . = ALIGN(4096); } :data
  .bss (NOLOAD) : ALIGN(4096) {
    __guard = .;
    . += 4096;
    . += 65536;
    __stack_top = .;
    . += 4096;
    __fault_stack_top = .;
    *(.bss .bss.*) *(COMMON)
    . = ALIGN(4096);
  } :data
  __heap = .;
  /DISCARD/ : { *(.eh_frame .eh_frame_hdr .comment) }
}
ASSERT(__heap <= 0x40200000, \"the image does not fit the pages that level 3 describes\")
";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("none") {
        return;
    }
    let directory = env::var_os("OUT_DIR").expect("cargo sets OUT_DIR");
    let script = PathBuf::from(directory).join("sos.ld");
    fs::write(&script, format!("{HEAD}{}{TAIL}", tables())).expect("OUT_DIR can be written");
    println!("cargo::rustc-link-arg-bin=sos=-T{}", script.display());
    println!("cargo::rustc-link-arg-bin=sos=-zmax-page-size=4096");
}

/// All tables, as statements of a linker script. 32-bit addresses: level 1 has four entries.
fn tables() -> String {
    let mut out = String::new();
    table(&mut out, "__level3_ram", |index| {
        let page = RAM_BASE + index * PAGE;
        let (code, constant, variable) =
            (page | CODE | VALID_PAGE, page | CONSTANT | VALID_PAGE, page | VARIABLE | VALID_PAGE);
        if index == 0 {
            // The image's header page.
            return format!("{constant:#x}");
        }
        format!(
            "{page:#x} < __text_end ? {code:#x} : {page:#x} < __read_only_end ? {constant:#x} \
             : {page:#x} == __guard ? 0 : {variable:#x}"
        )
    });
    table(&mut out, "__level2_ram", |index| match index {
        0 => format!("__level3_ram + {VALID_TABLE:#x}"),
        // More RAM than there is does no harm: stage 2 has nothing there.
        _ => format!("{:#x}", (RAM_BASE + index * BLOCK) | VARIABLE | VALID_BLOCK),
    });
    table(&mut out, "__level2_devices", |index| {
        let address = index * BLOCK;
        match address {
            GICD_BASE | UART_BASE | VIRTIO_BASE => format!("{:#x}", address | REGISTERS | VALID_BLOCK),
            MAILBOX_BASE => format!("{:#x}", address | VARIABLE | VALID_BLOCK),
            _ => "0".to_owned(),
        }
    });
    out.push_str("    __level1 = .;\n");
    for entry in [
        format!("__level2_devices + {VALID_TABLE:#x}"),
        format!("__level2_ram + {VALID_TABLE:#x}"),
        format!("{:#x}", ARCHIVE_BASE | CONSTANT | VALID_BLOCK),
        "0".to_owned(),
    ] {
        quad(&mut out, &entry);
    }
    out
}

fn table(out: &mut String, name: &str, entry: impl Fn(u64) -> String) {
    writeln!(out, "    {name} = .;").expect("a string takes all");
    (0..ENTRIES).for_each(|index| quad(out, &entry(index)));
}

fn quad(out: &mut String, value: &str) {
    writeln!(out, "    QUAD({value});").expect("a string takes all");
}
