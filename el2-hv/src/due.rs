//! When a device that waits for its limits goes on: one of the times that its VM's devices are looked at.

use core::sync::atomic::{AtomicU64, Ordering};

use hv_arch::counter;

use crate::machine::machine;
use crate::ports::PAUSE_NS;

/// A time, or none. It is a value of the counter; 0 is none.
pub struct Due(AtomicU64);

/// What a new time changes.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Waits {
    /// The device does not wait.
    Not,
    /// It waits, and did so until the same time before.
    AsBefore,
    /// It waits for something else than before. Whoever looks after its VM's devices finds that.
    Longer,
    /// It begins to wait: whoever looks after its VM's devices has to be told.
    Now,
}

impl Due {
    /// None.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// The device waits until then, in nanoseconds since EL2 began, or not.
    #[inline]
    pub fn set(&self, until_ns: Option<u64>) -> Waits {
        let Some(until) = until_ns else {
            // Seldom anything is there: others read it.
            if self.is_set() {
                self.clear();
            }
            return Waits::Not;
        };
        let machine = machine();
        // Ticks are rounded down: one more, so that the time has come when the timer fires.
        let at = machine.started.saturating_add(machine.ticks(until)).saturating_add(1);
        match self.0.swap(at, Ordering::Relaxed) {
            0 => Waits::Now,
            before if before == at => Waits::AsBefore,
            _ => Waits::Longer,
        }
    }

    /// It waits no longer.
    pub fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Whether it waits.
    #[inline]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }

    /// When to look at it, on the counter: never at once, so that one whose time is over while another CPU is at it keeps
    /// nobody.
    pub fn at(&self) -> Option<u64> {
        let at = self.0.load(Ordering::Relaxed);
        (at != 0).then(|| at.max(counter::now_relaxed().saturating_add(machine().ticks(PAUSE_NS))))
    }
}
