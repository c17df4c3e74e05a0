//! Kinds of addresses and identities, one type each, so that the compiler keeps them apart.
//!
//! An IPA that is used as a PA is the classic hypervisor bug; here it does not compile.

use core::fmt;
use core::ops::Range;

/// Bytes in a frame, the unit of ownership: the 4 KiB granule (Arm ARM D8.1.8).
pub const FRAME_SIZE: u64 = 4096;

macro_rules! address {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[repr(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// The address `bytes` higher, or `None` past the end of the address space.
            #[inline]
            pub const fn checked_add(self, bytes: u64) -> Option<Self> {
                match self.0.checked_add(bytes) {
                    Some(sum) => Some(Self(sum)),
                    None => None,
                }
            }

            /// The address rounded down to its frame.
            #[inline]
            pub const fn frame(self) -> Self {
                Self(self.0 & !(FRAME_SIZE - 1))
            }

            /// Whether the address is a multiple of `alignment`, a power of two.
            #[inline]
            pub const fn is_aligned_to(self, alignment: u64) -> bool {
                self.0 & (alignment - 1) == 0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:#x})"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }
    };
}

address!(
    /// A physical address: what the bus sees.
    Pa
);
address!(
    /// An intermediate physical address: what a VM takes for physical (Arm ARM D8.1.2).
    Ipa
);
address!(
    /// A virtual address of a guest.
    Va
);

macro_rules! index {
    ($(#[$doc:meta])* $name:ident($raw:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        #[repr(transparent)]
        pub struct $name(pub $raw);

        impl $name {
            /// The number as an index into a table.
            #[inline]
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

index!(
    /// A physical CPU, numbered in the order of the host's device tree.
    CpuId(u8)
);
index!(
    /// A slot in the VM table. It says nothing about which life of the slot is meant: see `hv_abi::VmHandle`.
    VmId(u8)
);
index!(
    /// A vCPU's number inside its VM.
    VcpuIdx(u8)
);
index!(
    /// A slot in EL2's table of all vCPUs.
    VcpuId(u16)
);
index!(
    /// A stage-2 TLB tag (Arm ARM D8.16, VMID).
    Vmid(u16)
);
index!(
    /// An interrupt number as the GIC knows it (IHI0069 §2.2): SGI 0-15, PPI 16-31, SPI 32-1019.
    IntId(u32)
);

/// A range of physical memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PaRange {
    /// First byte.
    pub start: Pa,
    /// Length in bytes.
    pub size: u64,
}

impl PaRange {
    /// The range `[start, start + size)`, or `None` if it passes the end of the address space.
    pub const fn new(start: Pa, size: u64) -> Option<Self> {
        match start.0.checked_add(size) {
            Some(_) => Some(Self { start, size }),
            None => None,
        }
    }

    /// One past the last byte.
    pub const fn end(&self) -> Pa {
        Pa(self.start.0 + self.size)
    }

    /// Whether the two ranges share a byte.
    pub const fn overlaps(&self, other: &Self) -> bool {
        self.start.0 < other.end().0 && other.start.0 < self.end().0
    }

    /// The smallest range of whole frames that holds this one.
    pub const fn outer_frames(&self) -> Range<u64> {
        self.start.0 / FRAME_SIZE..self.end().0.div_ceil(FRAME_SIZE)
    }
}
