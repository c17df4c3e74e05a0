//! The emulated EL1 physical timer, and the queue of deadlines of a CPU.
//!
//! Pure: the count is an argument, in ticks of CNTPCT_EL0; the image programs the hardware timer of EL2.

use crate::sysreg::TimerRegister;
use crate::vgic::Level;

mod queue;
#[cfg(test)]
mod tests;

pub use queue::{QueueFull, TimerKey, TimerQueue};

/// CNTP_CTL_EL0.ENABLE.
const CTL_ENABLE: u64 = 1 << 0;
/// CNTP_CTL_EL0.IMASK.
const CTL_IMASK: u64 = 1 << 1;
/// CNTP_CTL_EL0.ISTATUS, read-only.
const CTL_ISTATUS: u64 = 1 << 2;

/// CNTP_CTL_EL0 and CNTP_CVAL_EL0 of a vCPU (Arm ARM D11.2.4). The reset value is disabled.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PhysicalTimer {
    /// ENABLE and IMASK.
    control: u64,
    /// CNTP_CVAL_EL0.
    compare_value: u64,
}

impl PhysicalTimer {
    /// A disabled timer.
    pub const RESET: Self = Self { control: 0, compare_value: 0 };

    /// What the guest reads at the count `now`.
    ///
    /// ISTATUS of a disabled timer is UNKNOWN and reads 0. TVAL is the low half of the distance to the compare value.
    #[inline]
    pub const fn read(&self, register: TimerRegister, now: u64) -> u64 {
        match register {
            TimerRegister::Control => self.control | if self.condition(now) { CTL_ISTATUS } else { 0 },
            TimerRegister::CompareValue => self.compare_value,
            TimerRegister::TimerValue => self.compare_value.wrapping_sub(now) & 0xffff_ffff,
        }
    }

    /// The guest writes `value` at the count `now`.
    ///
    /// TVAL is signed, 32 bits: the compare value becomes that far from now, in the past if it is negative.
    #[inline]
    pub const fn write(&mut self, register: TimerRegister, value: u64, now: u64) {
        match register {
            TimerRegister::Control => self.control = value & (CTL_ENABLE | CTL_IMASK),
            TimerRegister::CompareValue => self.compare_value = value,
            TimerRegister::TimerValue => {
                self.compare_value = now.wrapping_add(value as u32 as i32 as i64 as u64);
            }
        }
    }

    /// The timer's interrupt line at the count `now`. It is a level: it falls only by the guest's writes.
    #[inline]
    pub const fn line(&self, now: u64) -> Level {
        if self.control & CTL_IMASK == 0 && self.condition(now) { Level::High } else { Level::Low }
    }

    /// The count at which the line rises, or rose; `None` if it cannot without a write by the guest.
    #[inline]
    pub const fn deadline(&self) -> Option<u64> {
        if self.control & (CTL_ENABLE | CTL_IMASK) == CTL_ENABLE { Some(self.compare_value) } else { None }
    }

    /// TimerConditionMet of an enabled timer: the comparison is unsigned (Arm ARM D11.2.4).
    #[inline]
    const fn condition(&self, now: u64) -> bool {
        self.control & CTL_ENABLE != 0 && now >= self.compare_value
    }
}
