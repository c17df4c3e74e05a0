//! Access to RAM by physical address: EL2 maps all of it one to one.
//!
//! Nothing here forms a reference to memory that others can write: bytes are copied. Addresses
//! are checked against what is RAM and against where EL2's own objects live, so that no caller can
//! break one of those; a wrong address is our bug and stops the board with a report.

use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};

use hv_core::addr::{FRAME_SIZE, Pa, PaRange};
use hv_core::ledger::Witness;
use hv_core::stage2::{TableMemory, VALID};

use crate::{cache, frames, mem};

/// Lowest and highest RAM address, and EL2's own range in it.
static LOW: AtomicU64 = AtomicU64::new(u64::MAX);
static HIGH: AtomicU64 = AtomicU64::new(0);
static OWN_START: AtomicU64 = AtomicU64::new(0);
static OWN_END: AtomicU64 = AtomicU64::new(u64::MAX);
static ARENA_START: AtomicU64 = AtomicU64::new(0);
static ARENA_END: AtomicU64 = AtomicU64::new(0);

/// Tells where RAM lies, and which part of it is the image with its statics and stacks.
pub fn describe(banks: &[PaRange], image: PaRange) {
    let low = banks.iter().map(|bank| bank.start.0).min().unwrap_or(u64::MAX);
    let high = banks.iter().map(|bank| bank.end().0).max().unwrap_or(0);
    OWN_START.store(image.start.0, Ordering::Relaxed);
    OWN_END.store(image.end().0, Ordering::Relaxed);
    LOW.store(low, Ordering::Relaxed);
    HIGH.store(high, Ordering::Relaxed);
}

/// Panics where `[at, at + size)` is not RAM that may be accessed as bytes.
#[inline]
fn check(at: Pa, size: u64) {
    let end = at.0.wrapping_add(size);
    let inside = at.0 >= LOW.load(Ordering::Relaxed) && end <= HIGH.load(Ordering::Relaxed) && end >= at.0;
    let own = at.0 < OWN_END.load(Ordering::Relaxed) && end > OWN_START.load(Ordering::Relaxed);
    let arena = at.0 < ARENA_END.load(Ordering::Relaxed) && end > ARENA_START.load(Ordering::Relaxed);
    if !inside || own || arena {
        outside(at, size);
    }
}

#[cold]
#[inline(never)]
fn outside(at: Pa, size: u64) -> ! {
    panic!("access to {at} ({size} bytes), which is not guests' RAM");
}

/// Takes `range` out of what can be accessed as bytes, zeroed, as a slice for ever. Once only.
///
/// # Panics
/// On a second call, and on a range that is not RAM.
pub fn take_arena(range: PaRange) -> &'static mut [u8] {
    check(range.start, range.size);
    assert!(ARENA_END.load(Ordering::Relaxed) == 0, "the arena is taken already");
    zero(range);
    ARENA_START.store(range.start.0, Ordering::Relaxed);
    ARENA_END.store(range.end().0, Ordering::Relaxed);
    // SAFETY: the range is mapped RAM outside the image; from now on `check` keeps every other
    // access out of it, and a second call panics, so the slice is the only way in.
    unsafe { core::slice::from_raw_parts_mut(range.start.0 as *mut u8, range.size as usize) }
}

/// A slice of memory that nobody writes any more: the boot archive and the device tree.
///
/// # Safety
/// The range is mapped, and neither EL2, a guest nor a device writes it as long as the slice is used.
pub unsafe fn constant(range: PaRange) -> &'static [u8] {
    // SAFETY: the caller's.
    unsafe { core::slice::from_raw_parts(range.start.0 as *const u8, range.size as usize) }
}

/// Bytes that are scrubbed between two looks for interrupts.
const SCRUB_STEP: u64 = 16 << 10;

/// Zeroes whole frames, cleaned to memory, until `look` finds that an interrupt waits, but a step at least: how many
/// bytes. [`crate::cache::finish`] waits for them.
pub fn scrub(range: PaRange, look: impl Fn() -> bool) -> u64 {
    check(range.start, range.size);
    let zeroing = cache::Zeroing::find();
    // `check` has seen that nothing here goes beyond the address space.
    let (mut at, end) = (range.start.0, range.end().0);
    while at != end {
        let next = end.min(at.wrapping_add(SCRUB_STEP));
        // SAFETY: `check` has passed: RAM, and no Rust object lives there.
        unsafe { cache::scrub(zeroing, Pa(at), Pa(next)) };
        at = next;
        if look() {
            break;
        }
    }
    at.wrapping_sub(range.start.0)
}

/// Zeroes whole frames, cleaned to memory.
pub fn zero(range: PaRange) {
    let mut left = range;
    while left.size > 0 {
        let done = scrub(left, || false);
        left = PaRange { start: Pa(left.start.0 + done), size: left.size - done };
    }
    cache::finish();
}

/// Overwrites bytes of the device tree, which is EL2's to write and of which no slice is in use any more, cleaned to memory.
pub fn wipe(range: PaRange) {
    check(range.start, range.size);
    for at in range.start.0..range.end().0 {
        // SAFETY: `check` has passed; the caller uses no slice of the tree.
        unsafe { (at as *mut u8).write_volatile(0) };
    }
    cache::clean_to_poc(range.start, range.size);
}

/// Copies `size` bytes between two places in RAM, cleaned to memory at the target.
pub fn copy_clean(to: Pa, from: Pa, size: u64) {
    check(to, size);
    check(from, size);
    // SAFETY: `check` has passed for both.
    unsafe { mem::copy(to.0, from.0, size) };
    cache::clean_to_poc(to, size);
}

/// Copies `size` bytes between two places in RAM. Where these overlap, what is at the target is any mix of what was there.
pub fn copy(to: Pa, from: Pa, size: u64) {
    check(to, size);
    check(from, size);
    // SAFETY: `check` has passed for both; the copy is assembly, which no overlap takes elsewhere.
    unsafe { mem::copy(to.0, from.0, size) };
}

/// The same, and what was copied added up: 64-bit words as this machine has them in ones' complement, zeroes behind the last
/// byte.
pub fn copy_and_sum(to: Pa, from: Pa, size: u64) -> u64 {
    check(to, size);
    check(from, size);
    // SAFETY: as in `copy`.
    unsafe { mem::copy_and_sum(to.0, from.0, size) }
}

/// Copies bytes out of RAM. Two, four or eight aligned ones are one access: ring indices, which
/// others write at the same time, are read whole.
#[inline]
pub fn read(at: Pa, into: &mut [u8]) {
    check(at, into.len() as u64);
    macro_rules! whole {
        ($type:ty, $bytes:expr) => {
            // SAFETY: `check` has passed, and the guard below has checked the alignment.
            $bytes.copy_from_slice(&unsafe { (at.0 as *const $type).read_volatile() }.to_ne_bytes())
        };
    }
    match into.len() {
        2 if at.is_aligned_to(2) => return whole!(u16, into),
        4 if at.is_aligned_to(4) => return whole!(u32, into),
        8 if at.is_aligned_to(8) => return whole!(u64, into),
        // A descriptor of a virtqueue.
        16 if at.is_aligned_to(8) => {
            let (low, high) = into.split_at_mut(8);
            for (half, offset) in [(low, 0), (high, 8)] {
                // SAFETY: `check` has passed for all 16 bytes, and the place is aligned.
                half.copy_from_slice(&unsafe { ((at.0 + offset) as *const u64).read_volatile() }.to_ne_bytes());
            }
            return;
        }
        _ => {}
    }
    // SAFETY: the source passed `check`; the target is an exclusive slice.
    unsafe { mem::copy(into.as_mut_ptr() as u64, at.0, into.len() as u64) };
}

/// Copies bytes into RAM, in the same way.
#[inline]
pub fn write(at: Pa, from: &[u8]) {
    check(at, from.len() as u64);
    macro_rules! whole {
        ($type:ty, $bytes:expr) => {
            // SAFETY: `check` has passed, and the guard below has checked the alignment.
            unsafe { (at.0 as *mut $type).write_volatile(<$type>::from_ne_bytes($bytes)) }
        };
    }
    match *from {
        [a, b] if at.is_aligned_to(2) => return whole!(u16, [a, b]),
        [a, b, c, d] if at.is_aligned_to(4) => return whole!(u32, [a, b, c, d]),
        [a, b, c, d, e, f, g, h] if at.is_aligned_to(8) => {
            return whole!(u64, [a, b, c, d, e, f, g, h]);
        }
        _ => {}
    }
    // SAFETY: the target passed `check`; the source is a shared slice.
    unsafe { mem::copy(at.0, from.as_ptr() as u64, from.len() as u64) };
}

/// A 32-bit word that a guest writes too.
#[inline]
fn word(at: Pa) -> *const core::sync::atomic::AtomicU32 {
    check(at, 4);
    assert!(at.is_aligned_to(4), "unaligned word at {at}");
    at.0 as *const core::sync::atomic::AtomicU32
}

/// Reads an aligned word with acquire order.
#[inline]
pub fn load_acquire(at: Pa) -> u32 {
    // SAFETY: `word` has checked place and alignment; atomics are how others access it too.
    unsafe { (*word(at)).load(Ordering::Acquire) }
}

/// Writes an aligned word with release order.
#[inline]
pub fn store_release(at: Pa, value: u32) {
    // SAFETY: as in `load_acquire`.
    unsafe { (*word(at)).store(value, Ordering::Release) };
}

/// An entry of a translation table, which a walker reads at any time.
#[inline]
fn entry(table: Pa, index: u64) -> *const AtomicU64 {
    let at = Pa(table.0 + index % 512 * 8);
    check(at, 8);
    at.0 as *const AtomicU64
}

/// Stage-2 tables in RAM: the walker's memory for `hv_core::stage2`, with tables from `owner`.
#[derive(Debug)]
pub struct Tables<'f, W> {
    /// Where new tables come from.
    pub frames: &'f mut frames::Frames<W>,
}

impl<W: Witness> TableMemory for Tables<'_, W> {
    #[inline]
    fn read(&self, table: Pa, index: u64) -> u64 {
        read_entry(table, index)
    }

    #[inline]
    fn write(&mut self, table: Pa, index: u64, value: u64) {
        write_entry(table, index, value);
    }

    fn fill(&mut self, table: Pa, places: Range<u64>, entry: u64, step: u64) -> u64 {
        fill_entries(table, places, entry, step)
    }

    fn allocate(&mut self) -> Option<Pa> {
        self.frames.allocate(FRAME_SIZE, hv_core::frames::Owner::Tables).ok()
    }
}

/// Tables that are only read, or taken down.
#[derive(Debug, Clone, Copy)]
pub struct NoNewTables;

impl TableMemory for NoNewTables {
    #[inline]
    fn read(&self, table: Pa, index: u64) -> u64 {
        read_entry(table, index)
    }

    #[inline]
    fn write(&mut self, table: Pa, index: u64, value: u64) {
        write_entry(table, index, value);
    }

    fn fill(&mut self, table: Pa, places: Range<u64>, entry: u64, step: u64) -> u64 {
        fill_entries(table, places, entry, step)
    }

    fn allocate(&mut self) -> Option<Pa> {
        None
    }

    fn find(&self, table: Pa, index: u64) -> Option<u64> {
        find_entry(table, index)
    }
}

/// [`TableMemory::find`], with one check for the whole table.
fn find_entry(table: Pa, index: u64) -> Option<u64> {
    check(table, FRAME_SIZE);
    // SAFETY: `check` has passed for the frame, which is aligned and holds 512 entries; atomics are how they are written.
    let eights: &[[AtomicU64; 8]; 64] = unsafe { &*(table.0 as *const _) };
    let entry = |index: &u64| eights[(index / 8 % 64) as usize][(index % 8) as usize].load(Ordering::Relaxed);
    // Most of a table is empty: eight entries a round.
    let empty = |[a, b, c, d, e, f, g, h]: &[AtomicU64; 8]| {
        let [a, b, c, d, e, f, g, h] = [a, b, c, d, e, f, g, h].map(|entry| entry.load(Ordering::Relaxed));
        a | b | c | d | e | f | g | h == 0
    };
    let rest = eights.get((index / 8) as usize..)?;
    let found = rest.iter().position(|eight| !empty(eight))? as u64;
    (index.max((index / 8 + found) * 8)..512).find(|index| entry(index) != 0)
}

/// [`TableMemory::fill`], with one check and one barrier for the whole table.
fn fill_entries(table: Pa, places: Range<u64>, entry: u64, step: u64) -> u64 {
    check(table, FRAME_SIZE);
    // SAFETY: `check` has passed for the frame, which is aligned and holds 512 entries; atomics are how they are written.
    let entries: &[AtomicU64; 512] = unsafe { &*(table.0 as *const _) };
    let places = entries.get(places.start as usize..places.end as usize).unwrap_or_default();
    let mut value = entry;
    let mut filled = 0;
    for place in places {
        if place.load(Ordering::Relaxed) & VALID != 0 {
            break;
        }
        place.store(value, Ordering::Relaxed);
        value = value.wrapping_add(step);
        filled += 1;
    }
    crate::cpu::store_barrier();
    filled
}

#[inline]
fn read_entry(table: Pa, index: u64) -> u64 {
    // SAFETY: `entry` has checked the place; index % 512 * 8 keeps it aligned in its table.
    unsafe { (*entry(table, index)).load(Ordering::Relaxed) }
}

#[inline]
fn write_entry(table: Pa, index: u64, value: u64) {
    // SAFETY: as in `read_entry`.
    unsafe { (*entry(table, index)).store(value, Ordering::Relaxed) };
    crate::cpu::store_barrier();
}
