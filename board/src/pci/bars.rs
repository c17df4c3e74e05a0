//! Addresses for functions: what a base address register asks for, and where there is room.

use arrayvec::ArrayVec;
use hv_core::addr::Pa;

use super::host::{MAX_WINDOWS, Space, Window};

/// The least that a BAR is given, so that no two share a page of EL2's or of a guest's.
const PAGE: u64 = 0x1000;
const FOUR_GIB: u64 = 1 << 32;

/// What a base address register asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bar {
    /// Which addresses it can hold.
    pub space: Space,
    /// Reads have no side effects.
    pub prefetchable: bool,
    /// Bytes, a power of two.
    pub size: u64,
}

/// Where a BAR is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Placed {
    /// What it asked for.
    pub bar: Bar,
    /// Its address on the bus.
    pub bus: u64,
    /// Where CPUs find it.
    pub cpu: Pa,
}

/// What is left of windows.
#[derive(Clone, Debug)]
pub struct Allocator {
    left: ArrayVec<Window, MAX_WINDOWS>,
}

impl Allocator {
    /// Everything in these windows, of which the first [`MAX_WINDOWS`] count.
    pub fn new(windows: impl Iterator<Item = Window>) -> Self {
        Self { left: windows.take(MAX_WINDOWS).collect() }
    }

    /// A place for a BAR. `None`: there is no room where it can be.
    ///
    /// One of 64 bits may be anywhere, and leaves the addresses of 32 bits to others as long as it can.
    pub fn place(&mut self, bar: Bar) -> Option<Placed> {
        let spaces: &[Space] = match bar.space {
            Space::Memory32 => &[Space::Memory32],
            Space::Memory64 => &[Space::Memory64, Space::Memory32],
        };
        spaces.iter().find_map(|space| {
            let mut windows = self.left.iter_mut().filter(|window| window.space == *space);
            windows.find_map(|window| take(window, bar))
        })
    }
}

/// Takes the first place in a window that is aligned to the BAR's size.
fn take(window: &mut Window, bar: Bar) -> Option<Placed> {
    // A host bridge may merge or repeat accesses to a prefetchable window.
    if window.prefetchable && !bar.prefetchable || !bar.size.is_power_of_two() {
        return None;
    }
    let size = bar.size.max(PAGE);
    // An address of 0 would be none.
    let bus = window.bus.max(1).checked_next_multiple_of(size)?;
    let skipped = bus - window.bus;
    let used = skipped.checked_add(size).filter(|used| *used <= window.size)?;
    let end = bus.checked_add(size)?;
    if bar.space == Space::Memory32 && end > FOUR_GIB {
        return None;
    }
    let cpu = Pa(window.cpu.0.checked_add(skipped)?);
    let rest = Pa(window.cpu.0.checked_add(used)?);
    *window = Window { bus: end, cpu: rest, size: window.size - used, ..*window };
    Some(Placed { bar, bus, cpu })
}
