use super::*;

fn bus(address_cells: u32, size_cells: u32, ranges: Option<&[u8]>) -> Bus<'_> {
    Bus { address_cells, size_cells, ranges }
}

fn up(buses: &[Bus], address: u64, size: u64) -> Option<u64> {
    translate(buses.iter(), address, size)
}

fn cells(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

#[test]
fn an_address_below_the_root_is_the_cpus() {
    assert_eq!(up(&[bus(2, 2, None)], 0x900_0000, 0x1000), Some(0x900_0000));
}

#[test]
fn a_bus_without_ranges_leads_nowhere_and_an_empty_one_changes_nothing() {
    let root = bus(2, 2, None);
    assert_eq!(up(&[root, bus(1, 1, None)], 0x10, 1), None);
    assert_eq!(up(&[root, bus(1, 1, Some(&[]))], 0x10, 1), Some(0x10));
    assert_eq!(up(&[root, bus(1, 1, None), bus(1, 1, Some(&[]))], 0x10, 1), None);
}

#[test]
fn the_window_that_holds_the_whole_range_translates_it() {
    // As on a Raspberry Pi 4.
    let ranges = cells(&[
        0x7e00_0000,
        0,
        0xfe00_0000,
        0x0180_0000, //
        0x4000_0000,
        0,
        0xff80_0000,
        0x0080_0000,
    ]);
    let levels = [bus(2, 1, None), bus(1, 1, Some(&ranges))];
    assert_eq!(up(&levels, 0x7e20_1000, 0x200), Some(0xfe20_1000));
    assert_eq!(up(&levels, 0x4004_1000, 0x1000), Some(0xff84_1000));
    assert_eq!(up(&levels, 0x7f7f_f000, 0x1000), Some(0xff7f_f000));
    assert_eq!(up(&levels, 0x7f7f_f000, 0x1001), None, "its end is outside");
    assert_eq!(up(&levels, 0x7f80_0000, 0), None, "one past the window");
    assert_eq!(up(&levels, 0x7dff_ffff, 1), None);
    assert_eq!(up(&levels, u64::MAX, u64::MAX), None);
}

#[test]
fn a_window_that_passes_the_end_of_the_address_space_translates_nothing_there() {
    let ranges = cells(&[0, 0xffff_ffff, 0xffff_f000, 0x0001_0000]);
    let levels = [bus(2, 1, None), bus(1, 1, Some(&ranges))];
    assert_eq!(up(&levels, 0x800, 1), Some(0xffff_ffff_ffff_f800));
    assert_eq!(up(&levels, 0x1000, 1), None);
}

#[test]
fn cells_beyond_an_address_and_torn_entries_translate_nothing() {
    let ranges = cells(&[0x0200_0000, 0, 0x1000, 0, 0x1000, 0, 0x1000]);
    assert_eq!(up(&[bus(2, 2, None), bus(3, 2, Some(&ranges))], 0x1000, 1), None);
    let torn = cells(&[0x1000, 0, 0x1000]);
    assert_eq!(up(&[bus(2, 1, None), bus(1, 1, Some(&torn))], 0x1000, 1), None);
}

#[test]
fn entries_of_no_cells_do_not_hang() {
    let ranges = cells(&[1, 2, 3]);
    assert_eq!(up(&[bus(0, 0, None), bus(0, 0, Some(&ranges))], 0, 1), None);
}
