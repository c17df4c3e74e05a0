//! Parts of drives that VMs have as disks: which drive, from where, how far, and whether they may write there.

/// A part of a drive. Sectors are of 512 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Extent {
    /// Number of the drive.
    pub drive: u8,
    /// Its first sector there.
    pub first: u64,
    /// How many: at least one.
    pub sectors: u64,
    /// Whether its owner may write there.
    pub writable: bool,
}

/// What of a drive a VM cannot have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ExtentError {
    /// No sector, or more than the drive has.
    #[error("drive {drive} has {has} sectors: {sectors} from {first} on are not among them", drive = .0.drive, first = .0.first, sectors = .0.sectors, has = .1)]
    Outside(Extent, u64),
    /// It begins or ends within one of the drive's blocks.
    #[error("drive {drive} has blocks of {block} sectors: {first} or {sectors} is no multiple of that", drive = .0.drive, first = .0.first, sectors = .0.sectors, block = .1)]
    Unaligned(Extent, u64),
    /// Another VM writes to some of it.
    #[error("drive {drive}: sectors {first} to {last} are written by another", drive = .0.drive, first = .0.first, last = .0.end() - 1)]
    Taken(Extent),
    /// It has more sectors already.
    #[error("it has {has} sectors: with {wanted} it would lose some", has = .0.sectors, wanted = .1)]
    Smaller(Extent, u64),
}

impl Extent {
    /// Behind its last sector.
    pub const fn end(&self) -> u64 {
        self.first.saturating_add(self.sectors)
    }

    /// Checks that it lies on a drive of so many sectors, with blocks of so many.
    ///
    /// # Errors
    /// [`ExtentError::Outside`], [`ExtentError::Unaligned`].
    pub const fn check(&self, has: u64, block: u64) -> Result<(), ExtentError> {
        let inside = match self.first.checked_add(self.sectors) {
            Some(end) => end <= has && self.sectors > 0,
            None => false,
        };
        if !inside {
            return Err(ExtentError::Outside(*self, has));
        }
        if block > 1 && !(self.first.is_multiple_of(block) && self.sectors.is_multiple_of(block)) {
            return Err(ExtentError::Unaligned(*self, block));
        }
        Ok(())
    }

    /// The same with so many sectors: no fewer than it has, so that its owner loses none.
    ///
    /// # Errors
    /// [`ExtentError::Smaller`].
    pub const fn grown(&self, sectors: u64) -> Result<Self, ExtentError> {
        if sectors < self.sectors {
            return Err(ExtentError::Smaller(*self, sectors));
        }
        Ok(Self { sectors, ..*self })
    }

    /// Whether two VMs cannot have both: they would write to the same sectors.
    pub const fn clashes(&self, other: &Self) -> bool {
        let overlap = self.first < other.end() && other.first < self.end();
        self.drive == other.drive && overlap && self.writable && other.writable
    }

    /// Where on the drive a range of its own sectors is, all of which it must have.
    pub const fn place(&self, sector: u64, sectors: u64) -> Option<u64> {
        match sector.checked_add(sectors) {
            Some(end) if end <= self.sectors => self.first.checked_add(sector),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn extent() -> impl Strategy<Value = Extent> {
        (0_u8..2, 0_u64..40, 1_u64..40, any::<bool>()).prop_map(|(drive, first, sectors, writable)| Extent {
            drive,
            first,
            sectors,
            writable,
        })
    }

    proptest! {
        #[test]
        fn two_clash_where_both_could_write_a_sector(a in extent(), b in extent()) {
            let writes = |extent: &Extent, drive: u8, sector: u64| {
                extent.writable && extent.drive == drive && extent.place(sector.wrapping_sub(extent.first), 1) == Some(sector)
            };
            let both = (0..2).any(|drive| (0..100).any(|sector| writes(&a, drive, sector) && writes(&b, drive, sector)));
            prop_assert_eq!(a.clashes(&b), both);
            prop_assert_eq!(b.clashes(&a), both);
        }

        #[test]
        fn a_place_is_inside_or_none(extent in extent(), sector in 0_u64..100, sectors in 0_u64..100) {
            match extent.place(sector, sectors) {
                Some(place) => prop_assert!(place >= extent.first && place + sectors <= extent.end()),
                None => prop_assert!(sector + sectors > extent.sectors),
            }
        }
    }

    #[test]
    fn an_extent_is_of_whole_blocks_of_its_drive() {
        let extent = |first, sectors| Extent { drive: 1, first, sectors, writable: true };
        assert_eq!(extent(0, 100).check(100, 1), Ok(()));
        assert_eq!(extent(8, 16).check(100, 8), Ok(()));
        for wrong in [extent(0, 101), extent(100, 1), extent(u64::MAX, 2), extent(2, u64::MAX), extent(5, 0)] {
            assert_eq!(wrong.check(100, 1), Err(ExtentError::Outside(wrong, 100)));
        }
        for wrong in [extent(4, 8), extent(8, 4)] {
            assert_eq!(wrong.check(100, 8), Err(ExtentError::Unaligned(wrong, 8)));
        }
        assert_eq!(extent(0, 8).place(u64::MAX, 2), None);
    }

    #[test]
    fn an_extent_grows_at_its_end_and_never_shrinks() {
        let extent = Extent { drive: 1, first: 16, sectors: 8, writable: true };
        assert_eq!(extent.grown(8), Ok(extent));
        let grown = extent.grown(u64::MAX).unwrap();
        assert_eq!((grown.first, grown.sectors, grown.drive, grown.writable), (16, u64::MAX, 1, true));
        assert_eq!(extent.grown(7), Err(ExtentError::Smaller(extent, 7)));
    }
}
