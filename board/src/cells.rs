//! Decoding of property values: big-endian cells and lists of strings (Devicetree 0.4 §2.2.4).
//!
//! A length that does not fit gives `None`; nothing here indexes.

/// Bytes in a cell.
pub(crate) const CELL: usize = 4;

/// Cells in the widest address or size that this machine has.
pub(crate) const MAX_CELLS: u32 = 2;

/// A value of one or of two cells, told apart by its length.
pub(crate) fn number(value: &[u8]) -> Option<u64> {
    match value.len() {
        4 => value.first_chunk().map(|cell| u64::from(u32::from_be_bytes(*cell))),
        8 => value.first_chunk().map(|cells| u64::from_be_bytes(*cells)),
        _ => None,
    }
}

/// A value of exactly one cell.
pub(crate) fn cell(value: &[u8]) -> Option<u32> {
    <[u8; CELL]>::try_from(value).ok().map(u32::from_be_bytes)
}

/// Takes a number of `cells` cells from the front of `bytes`. No cells make the number 0.
pub(crate) fn take(bytes: &mut &[u8], cells: u32) -> Option<u64> {
    let (head, rest) = bytes.split_at_checked(cells as usize * CELL)?;
    *bytes = rest;
    if cells == 0 { Some(0) } else { number(head) }
}

/// Whether two names are equal. On a target that loads only aligned words a comparison goes byte by byte,
/// and of all the names in a tree most differ in length or in an end.
#[inline(always)]
pub(crate) fn is(name: &[u8], wanted: &[u8]) -> bool {
    name.len() == wanted.len() && name.last() == wanted.last() && name.first() == wanted.first() && name == wanted
}

/// The strings of a string list, without their NULs.
pub(crate) fn strings(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.strip_suffix(&[0]).unwrap_or(list).split(|byte| *byte == 0)
}

/// A value that is one string, without its NUL.
pub(crate) fn string(value: &[u8]) -> &[u8] {
    strings(value).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_one_or_two_cells_and_nothing_else() {
        assert_eq!(number(&[0, 0, 1, 2]), Some(0x102));
        assert_eq!(number(&[0, 0, 0, 1, 0, 0, 0, 2]), Some(0x1_0000_0002));
        for length in [0, 1, 3, 5, 7, 9, 12] {
            assert_eq!(number(&vec![0; length]), None);
        }
    }

    #[test]
    fn take_moves_on_and_stops_at_the_end() {
        let mut bytes: &[u8] = &[0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
        assert_eq!(take(&mut bytes, 1), Some(1));
        assert_eq!(take(&mut bytes, 0), Some(0));
        assert_eq!(take(&mut bytes, 2), Some(0x2_0000_0003));
        assert_eq!(take(&mut bytes, 1), None);
    }

    #[test]
    fn take_refuses_more_cells_than_a_number_has() {
        assert_eq!(take(&mut [0; 16].as_slice(), 3), None);
    }

    #[test]
    fn strings_are_split_at_nul_with_or_without_a_last_one() {
        assert_eq!(strings(b"a\0bc\0").collect::<Vec<_>>(), [&b"a"[..], b"bc"]);
        assert_eq!(strings(b"a\0bc").collect::<Vec<_>>(), [&b"a"[..], b"bc"]);
        assert_eq!(string(b"psci\0"), b"psci");
        assert_eq!(string(b""), b"");
    }
}
