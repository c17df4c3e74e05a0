//! EL2's own map: one to one, by `aarch64-paging`, with the rights that each part needs.
//!
//! Code is read and executed, constants are read, everything else is read and written and never
//! executed; guard pages are not mapped (W^X, with SCTLR_EL2.WXN as the second lock).

use core::ptr::NonNull;

use aarch64_paging::Mapping;
use aarch64_paging::descriptor::{El23Attributes, PagingAttributes, PhysicalAddress, VirtualAddress};
use aarch64_paging::paging::{Constraints, El2, MemoryRegion, PageTable, Translation};
use hv_core::addr::{FRAME_SIZE, Pa, PaRange};

use crate::boot;

/// What a part of the map is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rights {
    /// EL2's code.
    Code,
    /// Constants, the boot archive.
    Constant,
    /// RAM.
    Data,
    /// Registers of devices.
    Device,
    /// Nothing: a guard.
    Guard,
}

impl Rights {
    fn attributes(self) -> El23Attributes {
        let valid = El23Attributes::VALID | El23Attributes::ACCESSED;
        let normal = valid | El23Attributes::ATTRIBUTE_INDEX_1 | El23Attributes::INNER_SHAREABLE;
        match self {
            Self::Code => normal | El23Attributes::READ_ONLY,
            Self::Constant => normal | El23Attributes::READ_ONLY | El23Attributes::XN,
            Self::Data => normal | El23Attributes::XN,
            Self::Device => valid | El23Attributes::ATTRIBUTE_INDEX_0 | El23Attributes::XN,
            Self::Guard => El23Attributes::empty(),
        }
    }
}

/// Pages for tables. A board with all of its RAM in a few banks needs about ten.
const POOL: usize = 40;

/// A page of a table.
#[repr(C, align(4096))]
#[derive(Clone, Copy)]
struct Page([u64; 512]);

/// Hands out pages of a static pool, one to one.
#[derive(Debug)]
struct Pool {
    next: u64,
    left: usize,
}

impl<A: PagingAttributes> Translation<A> for Pool {
    fn allocate_table(&mut self) -> (NonNull<PageTable<A>>, PhysicalAddress) {
        assert!(self.left > 0, "EL2's map needs more than {POOL} tables");
        self.left -= 1;
        let page = self.next;
        self.next += FRAME_SIZE;
        let pointer = NonNull::new(page as *mut PageTable<A>).expect("the pool is not at address 0");
        (pointer, PhysicalAddress(page as usize))
    }

    unsafe fn deallocate_table(&mut self, _table: NonNull<PageTable<A>>) {}

    fn physical_to_virtual(&self, pa: PhysicalAddress) -> NonNull<PageTable<A>> {
        NonNull::new(pa.0 as *mut PageTable<A>).expect("no table is at address 0")
    }
}

/// Why a part could not be mapped.
pub use aarch64_paging::MapError;

/// The map while it is being made.
#[derive(Debug)]
pub struct El2Map {
    mapping: Mapping<Pool, El2>,
}

static POOL_PAGES: PoolPages = PoolPages(core::cell::UnsafeCell::new([Page([0; 512]); POOL]));

struct PoolPages(core::cell::UnsafeCell<[Page; POOL]>);

// SAFETY: only the one El2Map of the boot touches the pages, by pointer.
unsafe impl Sync for PoolPages {}

impl El2Map {
    /// An empty map. Made once, by the CPU that boots.
    pub fn new() -> Self {
        let pool = Pool { next: POOL_PAGES.0.get() as u64, left: POOL };
        // Level 0: 48 bits of address, as boot::TCR says.
        Self { mapping: Mapping::new(pool, 0, El2) }
    }

    /// Gives `range`, widened to whole pages, these rights. Later calls win over earlier ones.
    ///
    /// # Errors
    /// The range is outside 48 bits.
    pub fn set(&mut self, range: PaRange, rights: Rights) -> Result<(), MapError> {
        let frames = range.outer_frames();
        let (start, end) = ((frames.start * FRAME_SIZE) as usize, (frames.end * FRAME_SIZE) as usize);
        let region = MemoryRegion::new(start, end);
        let attributes = rights.attributes();
        self.mapping.map_range(&region, PhysicalAddress(VirtualAddress(start).0), attributes, Constraints::empty())
    }

    /// Bytes of tables.
    pub fn table_bytes(&self) -> u64 {
        ((POOL - self.mapping.translation().left) as u64) * FRAME_SIZE
    }

    /// Switches this CPU to the map, for ever. Returns the root, for the other CPUs.
    pub fn activate(self) -> Pa {
        let root = Pa(self.mapping.root_address().0 as u64);
        core::mem::forget(self);
        // The CPUs that start later walk these tables with caches on, but may read them before.
        crate::cache::clean_to_poc(Pa(POOL_PAGES.0.get() as u64), (POOL as u64) * FRAME_SIZE);
        // SAFETY: the map holds the image, stack and data this CPU uses, one to one; the switch
        // goes through an MMU that is off, so that no two maps are mixed (Arm ARM D8.17.1).
        unsafe { boot::mmu_on(root.0) };
        root
    }
}

impl Default for El2Map {
    fn default() -> Self {
        Self::new()
    }
}
