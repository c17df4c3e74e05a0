//! Translation of addresses through the buses of a device tree (Devicetree 0.4 §2.3.8).

use crate::cells;

/// How a node addresses its children, and how that leads to its own siblings.
#[derive(Clone, Copy)]
pub(crate) struct Bus<'a> {
    /// Cells of an address.
    pub(crate) address_cells: u32,
    /// Cells of a size.
    pub(crate) size_cells: u32,
    /// `ranges`: from the children's addresses to the siblings'.
    pub(crate) ranges: Option<&'a [u8]>,
}

/// Translates an address on the last of `buses`, which go from the root down, into one that CPUs use.
/// `None` if a bus on the way has no window that holds all of the range.
pub(crate) fn translate<'b, 'a: 'b>(
    buses: impl DoubleEndedIterator<Item = &'b Bus<'a>>,
    mut address: u64,
    size: u64,
) -> Option<u64> {
    let mut upwards = buses.rev();
    let mut bus = upwards.next()?;
    for parent in upwards {
        address = bus.through(parent, address, size)?;
        bus = parent;
    }
    Some(address)
}

impl Bus<'_> {
    /// One step up: from the children to the siblings, the children of `parent`. An empty `ranges` changes
    /// nothing; without one there is no way up.
    fn through(&self, parent: &Bus, address: u64, size: u64) -> Option<u64> {
        let mut ranges = self.ranges?;
        if ranges.is_empty() {
            return Some(address);
        }
        // Entries without a byte would never end.
        if [self.address_cells, parent.address_cells, self.size_cells] == [0; 3] {
            return None;
        }
        while !ranges.is_empty() {
            let child = cells::take(&mut ranges, self.address_cells)?;
            let up = cells::take(&mut ranges, parent.address_cells)?;
            let length = cells::take(&mut ranges, self.size_cells)?;
            let Some(offset) = address.checked_sub(child) else {
                continue;
            };
            if offset.checked_add(size).is_some_and(|end| offset < length && end <= length) {
                return up.checked_add(offset);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
