use super::*;
use crate::testing::{Load, elf, load, message};

const RX: u32 = 5;
const RW: u32 = 6;

fn text() -> Vec<u8> {
    let mut text = vec![0xaa; 0x100];
    text[8..16].fill(0);
    text[16..24].fill(0xee);
    text[24..32].copy_from_slice(&0xau64.to_le_bytes());
    text[0x38..0x3c].copy_from_slice(b"ARM\x64");
    text
}

fn data_and_bss() -> Load {
    Load { memory: 0x2345, ..load(0x2000, &[7; 0x10], RW) }
}

fn with_text(text: &[u8]) -> Input {
    elf(0, &[load(0, text, RX), data_and_bss()], &[])
}

#[test]
fn segments_lie_at_their_addresses_and_bss_counts_in_the_header_only() {
    let image = image(&with_text(&text())).unwrap();
    assert_eq!(image.len(), 0x2010, "no bss in the file");
    assert_eq!(image[..16], text()[..16]);
    assert_eq!(image[16..24], 0x5000u64.to_le_bytes(), "0x2000 + 0x2345, in pages");
    assert_eq!(image[24..0x100], text()[24..]);
    assert!(image[0x100..0x2000].iter().all(|&byte| byte == 0));
    assert_eq!(image[0x2000..], [7; 0x10]);
}

#[test]
fn segments_in_any_order_give_the_same_image() {
    let swapped = elf(0, &[data_and_bss(), load(0, &text(), RX)], &[]);
    assert_eq!(image(&swapped).unwrap(), image(&with_text(&text())).unwrap());
}

#[test]
fn a_bss_in_the_middle_is_stored_as_zeroes() {
    let middle = Load { memory: 0x1000, ..load(0x1000, &[], RW) };
    let file = elf(0, &[load(0, &text(), RX), middle, load(0x2000, &[9], RW)], &[]);
    let image = image(&file).unwrap();
    assert_eq!(image.len(), 0x2001);
    assert!(image[0x1000..0x2000].iter().all(|&byte| byte == 0));
}

#[test]
fn a_header_that_loaders_would_not_take_is_refused() {
    for (place, value, expected) in [
        (0x38, b'B', "no magic ARM\\x64 at 0x38"),
        (0x09, 8, "text_offset at 0x8 is not 0"),
        (0x18, 0xb, "flags at 0x18 say big-endian"),
    ] {
        let mut bad = text();
        bad[place] = value;
        let error = message(image(&with_text(&bad)));
        assert_eq!(error, format!("test.elf: arm64 Image header: {expected}"));
    }
    let short = elf(0, &[load(0, &[0; 60], RX)], &[]);
    assert_eq!(message(image(&short)), "test.elf: arm64 Image header: the image is shorter than one");
}

#[test]
fn a_relocation_that_is_not_packed_is_refused() {
    // R_AARCH64_RELATIVE and R_AARCH64_ABS64.
    for kind in [1027, 257] {
        let error = message(image(&elf(0, &[load(0, &text(), RX)], &[(0x48, kind)])));
        assert!(error.starts_with("test.elf: relocation of type "), "{error}");
        assert!(error.ends_with(" at 0x48, only packed relative ones are applied at boot"), "{error}");
    }
    assert!(image(&elf(0, &[load(0, &text(), RX)], &[])).is_ok());
}

#[test]
fn files_that_are_no_such_elf_are_refused_with_the_reason() {
    let good = with_text(&text());
    let mutated = |place: usize, value: u8| {
        let mut bytes = good.bytes.clone();
        bytes[place] = value;
        message(image(&Input { path: "x.elf".into(), bytes }))
    };
    assert!(mutated(1, b'X').starts_with("x.elf: not a 64-bit ELF file: "));
    assert!(mutated(4, 1).starts_with("x.elf: not a 64-bit ELF file: "), "32-bit");
    assert_eq!(mutated(5, 2), "x.elf: big-endian, little-endian is needed");
    assert!(mutated(18, 62).contains("(AArch64) is needed"), "x86-64");
    assert!(message(image(&Input { path: "e".into(), bytes: vec![] })).starts_with("e: not a 64-bit"));
    assert_eq!(message(image(&elf(0, &[], &[]))), "test.elf: has no loadable segment");
}

#[test]
fn segments_that_cannot_be_are_refused_with_their_address() {
    let refused = |loads: &[Load]| message(image(&elf(0, loads, &[])));
    let first = || load(0, &text(), RX);
    let overlap = [first(), load(0x80, &[1], RW)];
    assert_eq!(refused(&overlap), "test.elf: segment at 0x80: overlaps the one below");
    let smaller = [first(), Load { memory: 1, ..load(0x1000, &[1, 2], RW) }];
    assert_eq!(refused(&smaller), "test.elf: segment at 0x1000: is smaller in memory than in the file");
    let far = [first(), load(0xffff_ffff_ffff_f000, &[1], RW)];
    assert!(refused(&far).ends_with("ends more than 64 MiB above the lowest one"));
    let huge = [first(), Load { memory: u64::MAX, ..load(0x1000, &[1], RW) }];
    assert!(refused(&huge).ends_with("ends more than 64 MiB above the lowest one"));
    let both = [first(), load(0x1000, &[1], 7)];
    assert_eq!(refused(&both), "test.elf: segment at 0x1000: is both writable and executable");
    let moved = [load(0x1000, &text(), RX)];
    assert!(message(image(&elf(0x1000, &moved, &[]))).contains("linked at 0x1000"));
    let entry = elf(0x9000, &[first()], &[]);
    assert_eq!(message(image(&entry)), "test.elf: entry 0x9000 lies outside of the segments");
    let mut cut = with_text(&text());
    cut.bytes.truncate(200);
    assert!(message(image(&cut)).ends_with("its bytes lie outside of the file"));
}

#[test]
fn mutated_files_give_an_image_or_an_error() {
    let good = elf(0, &[load(0, &text(), RX), data_and_bss()], &[(0x40, 1027)]).bytes;
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    let mut accepted = 0;
    for _ in 0..10_000 {
        let mut bytes = good.clone();
        for _ in 0..3 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let place = (random % bytes.len() as u64) as usize;
            bytes[place] = (random >> 40) as u8;
        }
        let result = image(&Input { path: "m".into(), bytes });
        accepted += u32::from(result.is_ok_and(|image| image.len() <= 64 << 20));
    }
    assert!(accepted > 0, "some mutations hit nothing that matters");
}
