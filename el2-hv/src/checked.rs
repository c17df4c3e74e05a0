//! The checked build: each change of a frame's owner is held against a second, simpler account, and each frame that
//! changes between an owner and nobody is looked through for what was left in it. The board stops at the first
//! difference. A debugger can make allocations fail.

use core::sync::atomic::{AtomicU64, Ordering};

use hv_arch::ram::NoNewTables;
use hv_core::addr::{FRAME_SIZE, Pa, PaRange};
use hv_core::frames::{FrameTable, Owner};
use hv_core::ledger::{Difference, Ledger, Witness};
use hv_core::stage2::TableMemory;

use crate::report;

/// What allocations a debugger lets succeed: 0 means all; n, one less than n more, and then none.
// SAFETY: nothing else defines the name.
#[unsafe(no_mangle)]
static CHECKED_ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

/// The witness of this build.
pub struct Chosen(Ledger<'static>);

impl Chosen {
    fn hold(&self, done: Result<(), Difference>, table: &FrameTable<'_>, owners: &[Owner]) {
        if let Err(difference) = done.and_then(|()| self.0.compare(table, owners)) {
            report::fatal(format_args!("checked: {difference}"));
        }
    }
}

impl Witness for Chosen {
    const ROOM: u64 = 32 * FRAME_SIZE;

    fn new(room: &'static mut [u8], banks: &[PaRange]) -> Self {
        log::info!("checked: the second account of frames is at {:p}", room.as_ptr());
        match Ledger::new(room, banks) {
            Ok(ledger) => Self(ledger),
            Err(difference) => report::fatal(format_args!("checked: {difference}")),
        }
    }

    fn refuses(&mut self, size: u64, owner: Owner) -> bool {
        let left = CHECKED_ALLOCATIONS.load(Ordering::Relaxed);
        if left > 1 {
            CHECKED_ALLOCATIONS.store(left - 1, Ordering::Relaxed);
        }
        if left == 1 {
            log::warn!("checked: refused {size} bytes for {owner:?}");
        }
        left == 1
    }

    fn changed(&mut self, table: &FrameTable<'_>, range: &PaRange, from: Owner, to: Owner) {
        let done = self.0.transfer(range, from, to);
        self.hold(done, table, &[from, to]);
        let nobody = |owner| matches!(owner, Owner::Free | Owner::Held);
        if nobody(from) != nobody(to) {
            for frame in range.outer_frames().map(|frame| Pa(frame * FRAME_SIZE)) {
                if let Some(word) = NoNewTables.find(frame, 0) {
                    report::fatal(format_args!("checked: {frame} from {from:?} to {to:?}: word {word} is not zero"));
                }
            }
        }
    }

    fn reserved(&mut self, table: &FrameTable<'_>, range: &PaRange, to: Owner) {
        let done = self.0.reserve(range, to);
        self.hold(done, table, &[Owner::Free, to]);
    }
}
