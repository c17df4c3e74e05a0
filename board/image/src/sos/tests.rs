use super::*;
use crate::testing::{Load, elf, load, message};

const R: u32 = 4;
const RX: u32 = 5;
const RW: u32 = 6;

fn sections() -> [Load; 3] {
    [
        load(0x4000_1000, &[0x11; 0x1234], RX),
        load(0x4000_3000, &[0x22; 0x10], R),
        Load { memory: 0x3456, ..load(0x4000_4000, &[0x33; 0x20], RW) },
    ]
}

fn word(image: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*image[at..].first_chunk().unwrap())
}

#[test]
fn header_and_parts_lie_where_the_contract_says() {
    let image = image(&elf(0x4000_1008, &sections(), &[])).unwrap();
    assert_eq!(&image[..8], b"DormSOS1");
    assert_eq!(word(&image, 16), 0x4000_1008, "entry");
    assert_eq!(word(&image, 24), 0x4000, "read-only: header page, text, rodata");
    assert_eq!(word(&image, 32), 0x1000, "writable: .data in whole pages");
    assert_eq!(word(&image, 40), 0x2456, "bss: what of 0x3456 lies behind that page");
    assert_eq!(image.len(), 0x5000);
    assert!(image[56..0x1000].iter().all(|&byte| byte == 0));
    assert_eq!(image[0x1000..0x2234], [0x11; 0x1234]);
    assert_eq!(image[0x3000..0x3010], [0x22; 0x10]);
    assert_eq!(image[0x4000..0x4020], [0x33; 0x20]);
    assert!(image[0x4020..].iter().all(|&byte| byte == 0));
}

#[test]
fn the_contract_takes_the_image_and_notices_a_flipped_bit() {
    let mut image = image(&elf(0x4000_1000, &sections(), &[])).unwrap();
    assert!(SosLayout::check(&image).is_ok());
    image[0x1234] ^= 4;
    assert!(SosLayout::check(&image).is_err());
}

#[test]
fn without_data_everything_behind_the_text_is_bss() {
    let bss = Load { memory: 0x1800, ..load(0x4000_2000, &[], RW) };
    let image = image(&elf(0x4000_1000, &[load(0x4000_1000, &[1; 16], RX), bss], &[])).unwrap();
    assert_eq!([word(&image, 24), word(&image, 32), word(&image, 40)], [0x2000, 0, 0x1800]);
    assert_eq!(image.len(), 0x2000);
}

#[test]
fn a_partition_without_variables_is_all_read_only() {
    let image = image(&elf(0x4000_1000, &[load(0x4000_1000, &[1; 16], RX)], &[])).unwrap();
    assert_eq!([word(&image, 24), word(&image, 32), word(&image, 40)], [0x2000, 0, 0]);
    assert_eq!(image.len(), 0x2000);
}

#[test]
fn a_wrong_layout_is_refused_with_the_reason() {
    let refused = |entry, loads: &[Load]| message(image(&elf(entry, loads, &[])));
    let text = || load(0x4000_1000, &[1; 16], RX);
    assert_eq!(
        refused(0x4000_0000, &[load(0x4000_0000, &[1; 16], RX)]),
        "test.elf: linked at 0x40000000, the partition's text starts at 0x40001000"
    );
    assert_eq!(
        refused(0x4000_1000, &[text(), load(0x4000_1800, &[1], RW)]),
        "test.elf: the writable segment does not start on a page"
    );
    assert_eq!(
        refused(0x4000_1000, &[text(), load(0x4000_2000, &[1], RW), load(0x4000_3000, &[1], R)]),
        "test.elf: a read-only segment lies above a writable one"
    );
    assert_eq!(
        refused(0x4000_2000, &[text(), load(0x4000_2000, &[1; 8], RW)]),
        "test.elf: header: sizes or entry do not fit together",
        "an entry in the writable part"
    );
}
