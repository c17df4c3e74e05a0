//! The service partition's reads of a drive: one at a time, into a page of EL2's, where it waits until it is fetched.
//!
//! No read is ever taken back. One that nobody fetches is dropped for the next, and one that a life has left behind is
//! nobody's: the number that its caller chose is not asked for again.

/// Bytes of a read.
pub const READ_SIZE: u64 = 4096;
/// Sectors of 512 bytes of a read.
pub const READ_SECTORS: u64 = READ_SIZE / 512;

/// What a drive has of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DriveRead {
    /// Nothing.
    #[default]
    None,
    /// The drive has the read of that number.
    Going(u64),
    /// The read of that number is over.
    Over {
        /// Its number.
        number: u64,
        /// The page has what was read.
        went_well: bool,
    },
}

/// What is done for who asks.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// The read is to be begun; it is asked for again.
    Begin,
    /// It is asked for again.
    Wait,
    /// The page has what was read.
    Fetch,
    /// It has failed.
    Failed,
}

impl DriveRead {
    /// Somebody asks for the read of that number. `has_room`: the drive takes a request.
    pub const fn ask(&mut self, number: u64, has_room: bool) -> Answer {
        match *self {
            Self::Over { number: over, went_well } if over == number => {
                *self = Self::None;
                if went_well { Answer::Fetch } else { Answer::Failed }
            }
            Self::None | Self::Over { .. } if has_room => {
                *self = Self::Going(number);
                Answer::Begin
            }
            _ => Answer::Wait,
        }
    }

    /// What the drive has is over.
    pub const fn ended(&mut self, went_well: bool) {
        if let Self::Going(number) = *self {
            *self = Self::Over { number, went_well };
        }
    }

    /// Whether the drive has a read, and the page with it.
    pub const fn is_going(&self) -> bool {
        matches!(self, Self::Going(_))
    }
}

/// Where a read of a drive of so many sectors begins: whole blocks of it, and inside.
pub const fn is_inside(sector: u64, sectors: u64, block_sectors: u64) -> bool {
    let end = sector.checked_add(READ_SECTORS);
    let inside = matches!(end, Some(end) if end <= sectors);
    inside && block_sectors != 0 && sector.is_multiple_of(block_sectors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_is_begun_waited_for_and_fetched_once() {
        let mut read = DriveRead::None;
        assert_eq!(read.ask(7, false), Answer::Wait);
        assert_eq!(read, DriveRead::None, "without room nothing is begun");
        assert_eq!(read.ask(7, true), Answer::Begin);
        assert_eq!(read.ask(7, true), Answer::Wait);
        read.ended(true);
        assert_eq!(read.ask(7, true), Answer::Fetch);
        assert_eq!(read.ask(7, true), Answer::Begin, "what was fetched is read anew");
        read.ended(false);
        assert_eq!(read.ask(7, true), Answer::Failed);
    }

    /// Every sequence of six steps, among two numbers, against what a reader may rely on.
    #[test]
    fn whatever_comes_in_which_order_the_page_is_never_the_drives_and_a_readers_at_once() {
        const STEPS: usize = 7;
        for mut word in 0..STEPS.pow(6) {
            let mut read = DriveRead::None;
            // What the drive has, and what is in the page since, by a second account.
            let (mut drive_has, mut page): (Option<u64>, Option<(u64, bool)>) = (None, None);
            for _ in 0..6 {
                let step = word % STEPS;
                word /= STEPS;
                match step {
                    0..=3 => {
                        let (number, has_room) = (1 + step as u64 % 2, step < 2);
                        match read.ask(number, has_room) {
                            Answer::Begin => {
                                assert!(has_room && drive_has.is_none());
                                drive_has = Some(number);
                                page = None;
                            }
                            Answer::Wait => assert!(drive_has.is_some() || !has_room),
                            Answer::Fetch => assert_eq!((drive_has, page.take()), (None, Some((number, true)))),
                            Answer::Failed => assert_eq!((drive_has, page.take()), (None, Some((number, false)))),
                        }
                    }
                    4 | 5 => {
                        read.ended(step == 4);
                        page = drive_has.take().map(|number| (number, step == 4)).or(page);
                    }
                    _ => assert_eq!(read.is_going(), drive_has.is_some()),
                }
            }
        }
    }

    #[test]
    fn a_read_is_of_whole_blocks_inside_the_drive() {
        for (sector, sectors, block, inside) in [
            (0, 8, 1, true),
            (0, 7, 1, false),
            (1, 8, 1, false),
            (1, 9, 1, true),
            (1, 9, 8, false),
            (8, 16, 8, true),
            (u64::MAX - 7, u64::MAX, 1, false),
            (u64::MAX - 8, u64::MAX, 1, true),
            (0, 8, 0, false),
        ] {
            assert_eq!(is_inside(sector, sectors, block), inside, "{sector} {sectors} {block}");
        }
    }
}
