//! The Generic Watchdog of Arm BSA (DEN0094, appendix "Generic Watchdog"), architecture version 1,
//! as a guest sees it: a refresh frame and a control frame.
//!
//! Owns enable, offset, compare value and the two signals. Time comes with each call as a value of
//! the guest's system counter, which never goes back. WS0 is an interrupt's level; what WS1 does is
//! the caller's.

#[cfg(test)]
mod tests;

/// Offsets into the control frame, and the identification that both frames have.
mod register {
    pub(super) const WCS: u64 = 0x000;
    pub(super) const WOR: u64 = 0x008;
    pub(super) const WOR_UPPER: u64 = 0x00c;
    pub(super) const WCV: u64 = 0x010;
    pub(super) const WCV_UPPER: u64 = 0x014;
    pub(super) const W_IIDR: u64 = 0xfcc;
    /// In the refresh frame.
    pub(super) const WRR: u64 = 0x000;
}

/// W_IIDR: product `D`, architecture version 1 (WOR has 48 bits), revision 0. The implementer is 0,
/// as no JEP106 code has been assigned to this one.
const IDENTIFICATION: u32 = (b'D' as u32) << 20 | 1 << 16;
/// Bits of WOR that exist.
const WOR_MASK: u64 = (1 << 48) - 1;

/// The frame that an access goes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Frame {
    /// WRR, which refreshes and does nothing else.
    Refresh,
    /// Everything.
    Control,
}

/// One watchdog.
#[derive(Clone, Debug)]
pub struct Watchdog {
    enabled: bool,
    /// The first and the second watch period went by.
    ws0: bool,
    ws1: bool,
    /// WOR: counts of a watch period.
    offset: u64,
    /// WCV: the counter above it ends the watch period.
    compare: u64,
}

impl Watchdog {
    /// As reset leaves it: disabled.
    pub const RESET: Self = Self { enabled: false, ws0: false, ws1: false, offset: 0, compare: 0 };

    /// Level of WS0 as of the last call with a time.
    pub const fn line(&self) -> bool {
        self.ws0
    }

    /// WS1, as of the last call with a time: nobody has refreshed it for two watch periods.
    pub const fn has_expired(&self) -> bool {
        self.ws1
    }

    /// When [`Watchdog::tick`] must be called for a signal to come in time.
    pub const fn deadline(&self) -> Option<u64> {
        if self.enabled && !self.ws1 { self.compare.checked_add(1) } else { None }
    }

    /// Lets time pass. A call that comes late finds what hardware, which compares at each count, has
    /// done meanwhile.
    pub fn tick(&mut self, now: u64) {
        while let Some(at) = self.deadline().filter(|at| *at <= now) {
            self.time_out(at);
        }
    }

    /// A watch period ends: the first loads a second one.
    const fn time_out(&mut self, at: u64) {
        if self.ws0 {
            self.ws1 = true;
        } else {
            self.ws0 = true;
            self.compare = at.saturating_add(self.offset);
        }
    }

    /// Answers a read of `size` bytes at `offset` into a frame; all but 4 bytes read zero.
    pub fn read(&mut self, frame: Frame, offset: u64, size: u8, now: u64) -> u64 {
        self.tick(now);
        if size != 4 {
            return 0;
        }
        let value = match (frame, offset) {
            (_, register::W_IIDR) => IDENTIFICATION,
            (Frame::Control, register::WCS) => {
                u32::from(self.enabled) | u32::from(self.ws0) << 1 | u32::from(self.ws1) << 2
            }
            (Frame::Control, register::WOR | register::WOR_UPPER) => half(self.offset, offset),
            (Frame::Control, register::WCV | register::WCV_UPPER) => half(self.compare, offset),
            _ => 0,
        };
        u64::from(value)
    }

    /// Performs a write of `size` bytes at `offset` into a frame; all but 4 bytes are ignored.
    pub fn write(&mut self, frame: Frame, offset: u64, size: u8, value: u64, now: u64) {
        self.tick(now);
        if size != 4 {
            return;
        }
        match (frame, offset) {
            (Frame::Refresh, register::WRR) => {}
            (Frame::Control, register::WCS) => self.enabled = value & 1 != 0,
            (Frame::Control, register::WOR | register::WOR_UPPER) => {
                self.offset = with_half(self.offset, offset, value) & WOR_MASK;
            }
            (Frame::Control, register::WCV | register::WCV_UPPER) => {
                return self.set_compare(with_half(self.compare, offset, value), now);
            }
            _ => return,
        }
        self.refresh(now);
    }

    /// An explicit refresh: a write to WRR, WCS or WOR takes both signals back.
    const fn refresh(&mut self, now: u64) {
        (self.ws0, self.ws1) = (false, false);
        self.compare = now.saturating_add(self.offset);
    }

    /// WCV, written directly: no refresh. A value that the counter has passed ends the period now.
    const fn set_compare(&mut self, compare: u64, now: u64) {
        self.compare = compare;
        if self.enabled && now > compare {
            self.time_out(now);
        }
    }
}

/// Where the half at `offset` begins in a register of 64 bits.
const fn shift_of(offset: u64) -> u64 {
    (offset & 4) * 8
}

/// The half at `offset` of a register of 64 bits.
const fn half(whole: u64, offset: u64) -> u32 {
    (whole >> shift_of(offset)) as u32
}

/// A register of 64 bits with another half at `offset`.
const fn with_half(whole: u64, offset: u64, half: u64) -> u64 {
    let mask = 0xffff_ffff << shift_of(offset);
    whole & !mask | half << shift_of(offset) & mask
}
