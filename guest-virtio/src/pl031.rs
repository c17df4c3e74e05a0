//! The PL031 real-time clock as a guest sees it (DDI0224 r1p3).
//!
//! Owns the guest's offset from the board's clock and its alarm. Time comes with each call as
//! whole seconds of a clock that never goes back; setting the guest's clock moves the guest's
//! own offset and nothing else.

#[cfg(test)]
mod tests;

use crate::pl011::identity;

/// Offsets (DDI0224 §3.2).
mod register {
    pub(super) const DR: u64 = 0x000;
    pub(super) const MR: u64 = 0x004;
    pub(super) const LR: u64 = 0x008;
    pub(super) const CR: u64 = 0x00c;
    pub(super) const IMSC: u64 = 0x010;
    pub(super) const RIS: u64 = 0x014;
    pub(super) const MIS: u64 = 0x018;
    pub(super) const ICR: u64 = 0x01c;
    pub(super) const PERIPHERAL_ID: u64 = 0xfe0;
    pub(super) const LAST: u64 = 0xffc;
}

/// RTCPeriphID0-3 and RTCPCellID0-3 (DDI0224 §3.3.9, §3.3.10): part 0x031, designer 0x41,
/// revision 0.
const ID: [u8; 8] = [0x31, 0x10, 0x04, 0x00, 0x0d, 0xf0, 0x05, 0xb1];

/// One clock.
#[derive(Clone, Debug)]
pub struct Pl031 {
    /// What RTCDR shows more than the caller's clock, modulo 2^32.
    offset: u32,
    /// RTCMR, if the guest has written it; the reset value is no alarm.
    matched: Option<u32>,
    load: u32,
    mask: bool,
    raised: bool,
    /// When the counter next equals RTCMR, by the caller's clock.
    alarm: Option<u64>,
}

impl Pl031 {
    /// A clock that shows `base` (seconds since 1970, for the usual guest) when the caller's
    /// clock shows `at_base`.
    pub const fn new(base: u32, at_base: u64) -> Self {
        let offset = base.wrapping_sub(at_base as u32);
        Self { offset, matched: None, load: 0, mask: false, raised: false, alarm: None }
    }

    /// Level of RTCINTR as of the last call with a time.
    pub const fn line(&self) -> bool {
        self.raised && self.mask
    }

    /// When [`Pl031::tick`] must be called for the alarm to come in time, in seconds of the
    /// caller's clock.
    pub const fn deadline(&self) -> Option<u64> {
        self.alarm
    }

    /// Lets time pass: raises the interrupt if the alarm's time has come.
    pub fn tick(&mut self, now: u64) {
        if self.alarm.is_some_and(|alarm| alarm <= now) {
            self.alarm = None;
            self.raised = true;
        }
    }

    /// Answers a read of `size` bytes at `offset` into the page; all but 4 bytes read zero.
    pub fn read(&mut self, offset: u64, size: u8, now: u64) -> u64 {
        self.tick(now);
        if size != 4 {
            return 0;
        }
        u64::from(match offset {
            register::DR => self.counter(now),
            register::MR => self.matched.unwrap_or(0),
            register::LR => self.load,
            // RTC start: it always runs (§3.3.4).
            register::CR => 1,
            register::IMSC => u32::from(self.mask),
            register::RIS => u32::from(self.raised),
            register::MIS => u32::from(self.line()),
            register::PERIPHERAL_ID..=register::LAST if offset & 3 == 0 => u32::from(identity(offset, &ID)),
            _ => 0,
        })
    }

    /// Performs a write of `size` bytes at `offset` into the page; all but 4 bytes are ignored.
    pub fn write(&mut self, offset: u64, size: u8, value: u64, now: u64) {
        self.tick(now);
        if size != 4 {
            return;
        }
        let value = value as u32;
        match offset {
            register::MR => {
                self.matched = Some(value);
                self.set_alarm(now);
            }
            register::LR => {
                self.load = value;
                self.offset = value.wrapping_sub(now as u32);
                self.set_alarm(now);
            }
            register::IMSC => self.mask = value & 1 != 0,
            register::ICR => self.raised &= value & 1 == 0,
            _ => {}
        }
    }

    /// RTCDR: counts seconds and wraps at 2^32.
    const fn counter(&self, now: u64) -> u32 {
        self.offset.wrapping_add(now as u32)
    }

    /// Finds when the counter next equals RTCMR; equal now is a match at once (§2.2.3).
    fn set_alarm(&mut self, now: u64) {
        let Some(matched) = self.matched else { return };
        let wait = matched.wrapping_sub(self.counter(now));
        self.alarm = now.checked_add(u64::from(wait));
        self.tick(now);
    }
}
