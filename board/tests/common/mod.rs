//! Device trees for tests, compiled by `dtc`.
#![allow(dead_code, missing_docs, unreachable_pub)]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// All trees in `tests/trees`.
pub const TREES: [&str; 5] = ["virt-gicv3", "virt-gicv3-8g", "virt-gicv2-4g", "virt-el1", "rpi4-like"];

/// QEMU pads its blobs to this size.
pub const QEMU_PADDING: usize = 1 << 20;

pub fn source(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/trees").join(format!("{name}.dts"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub fn compile(source: &str) -> Vec<u8> {
    let mut dtc = Command::new("dtc")
        .args(["-q", "-I", "dts", "-O", "dtb", "-o", "-", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("dtc is installed");
    dtc.stdin.take().unwrap().write_all(source.as_bytes()).unwrap();
    let output = dtc.wait_with_output().unwrap();
    assert!(output.status.success(), "dtc refuses the tree");
    output.stdout
}

pub fn blob(name: &str) -> Vec<u8> {
    compile(&source(name))
}

/// The tree with one text replaced by another that must be there.
pub fn edited(name: &str, from: &str, to: &str) -> Vec<u8> {
    let source = source(name);
    assert!(source.contains(from), "{name} has no {from}");
    compile(&source.replace(from, to))
}

/// The blob with `size` bytes, its header telling so.
pub fn padded(mut blob: Vec<u8>, size: usize) -> Vec<u8> {
    assert!(blob.len() <= size);
    blob.resize(size, 0);
    blob[4..8].copy_from_slice(&(size as u32).to_be_bytes());
    blob
}
