use std::vec;
use std::vec::Vec;

use super::*;

/// A header by booting.rst, field by field.
fn image(text_offset: u64, size: u64, flags: u64) -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    bytes[..4].copy_from_slice(b"MZ\0\x91");
    bytes[8..16].copy_from_slice(&text_offset.to_le_bytes());
    bytes[16..24].copy_from_slice(&size.to_le_bytes());
    bytes[24..32].copy_from_slice(&flags.to_le_bytes());
    bytes[56..60].copy_from_slice(&0x644d_5241u32.to_le_bytes());
    bytes
}

#[test]
fn a_kernel_of_debian_is_read() {
    let parsed = LinuxImage::parse(&image(0, 0x1aa_0000, 0xa)).unwrap();
    assert_eq!(parsed, LinuxImage { text_offset: 0, memory_size: 0x1aa_0000, placement: Placement::Anywhere });
    let old = LinuxImage::parse(&image(0x8_0000, 0x10_0000, 0x2)).unwrap();
    assert_eq!(old.placement, Placement::NearStart);
}

#[test]
fn each_wrong_header_is_refused_by_name() {
    let refused = |bytes: &[u8]| LinuxImage::parse(bytes).unwrap_err();
    assert_eq!(refused(&[0; 63]), ImageError::Short(63));
    assert_eq!(refused(&[0; 64]), ImageError::Magic);
    assert_eq!(refused(b"\x1f\x8b\x08\0zzzz"), ImageError::Compressed);
    assert_eq!(refused(b"MZ\0\0zimg"), ImageError::Compressed);
    assert_eq!(refused(&image(0, 0, 0xa)), ImageError::NoSize);
    assert_eq!(refused(&image(0, 0x10000, 1)), ImageError::BigEndian);
    assert_eq!(refused(&image(0x20_0000, 0x10000, 0xa)), ImageError::TextOffset(0x20_0000));
    assert_eq!(refused(&image(0, 4095, 0xa)), ImageError::Size { size: 4095, file: 4096 });
}
