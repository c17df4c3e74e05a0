//! The mailbox: one page with two rings of frames, and the header that every frame begins with.
//!
//! ```text
//! 0x000  producer of the outbound ring (owner writes)    0x040  its consumer (EL2 writes)
//! 0x080  producer of the inbound ring  (EL2 writes)      0x0c0  its consumer (owner writes)
//! 0x100  outbound ring: 8 slots of 240 bytes, owner -> EL2
//! 0x880  inbound ring:  8 slots of 240 bytes, EL2 -> owner
//! ```
//!
//! Indices are free-running `u32`, little-endian, each on a cache line of its own; slot = index mod
//! 8; a ring is full when they differ by 8. Each ring has one producer and one consumer. The owner
//! publishes a frame by a store-release of its index and rings the doorbell; EL2 reads an index
//! with load-acquire. EL2 trusts nothing in the page: it keeps its own indices, copies a frame out
//! before it looks at it, and gives up on a ring whose owner's index is more than 8 away from its own.
//!
//! EL2 reads headers only. The same frames follow each other as bytes on a management port.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::VmHandle;

/// Bytes in the page.
pub const PAGE_SIZE: usize = 4096;
/// Slots in a ring.
pub const SLOTS: u32 = 8;
/// Bytes in a slot: a header and a body.
pub const SLOT_SIZE: usize = 240;
/// Bytes in a frame's header.
pub const HEADER_SIZE: usize = size_of::<FrameHeader>();
/// Most bytes in a frame's body.
pub const BODY_MAX: usize = SLOT_SIZE - HEADER_SIZE;
/// Most bytes in a message, over all its frames.
pub const MESSAGE_MAX: usize = 1024 * 1024;
/// Requests of all VMs that EL2 keeps open at most.
pub const OPEN_MAX: usize = 128;

/// Offset of the outbound ring's producer index.
pub const OUTBOUND_PRODUCER: usize = 0x000;
/// Offset of the outbound ring's consumer index.
pub const OUTBOUND_CONSUMER: usize = 0x040;
/// Offset of the inbound ring's producer index.
pub const INBOUND_PRODUCER: usize = 0x080;
/// Offset of the inbound ring's consumer index.
pub const INBOUND_CONSUMER: usize = 0x0c0;
/// Offset of the outbound ring's first slot.
pub const OUTBOUND_SLOTS: usize = 0x100;
/// Offset of the inbound ring's first slot.
pub const INBOUND_SLOTS: usize = OUTBOUND_SLOTS + SLOTS as usize * SLOT_SIZE;

const _: () = assert!(INBOUND_SLOTS + SLOTS as usize * SLOT_SIZE == PAGE_SIZE);
const _: () = assert!(SLOTS.is_power_of_two());
const _: () = assert!(HEADER_SIZE == 24);

/// Offset of the slot that index `index` means, in the ring that begins at `ring`.
#[inline]
pub const fn slot_offset(ring: usize, index: u32) -> usize {
    ring + (index % SLOTS) as usize * SLOT_SIZE
}

/// First bytes of every frame: "DMf1".
pub const MAGIC: u32 = u32::from_le_bytes(*b"DMf1");
/// Version of the frame format.
pub const VERSION: u8 = 1;

/// The header of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FrameHeader {
    /// [`MAGIC`].
    pub magic: U32,
    /// [`VERSION`].
    pub version: u8,
    /// Who the frame is for, or in a frame from EL2 who it is from: see [`Party`].
    pub party: u8,
    /// See [`Flags`].
    pub flags: U16,
    /// The asker's number for the request, the same in its reply; unique for each (VM, generation, port) while unanswered.
    pub id: U32,
    /// Bytes of body that follow, at most [`BODY_MAX`].
    pub length: U16,
    /// Port of the asker: 0 is the ring, n the n-th management port (from 1). EL2 fills it in; guests write 0.
    pub port: U16,
    /// The asking VM, a [`VmHandle`]. EL2 fills it in for the service partition; guests write 0.
    pub vm: U64,
}

/// Who a frame is for or from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Party {
    /// EL2 itself: fixed records, events.
    Hv = 0,
    /// The service partition.
    Sos = 1,
}

/// Flags of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(transparent)]
pub struct Flags(pub u16);

impl Flags {
    /// Asking twice does no harm: after a crash of the service partition EL2 delivers the request to
    /// the next life. Only for requests of one frame.
    pub const REPEAT_SAFE: Self = Self(1);
    /// More frames of the same message follow.
    pub const MORE: Self = Self(1 << 1);
    /// The body is an [`HvError`], from EL2.
    pub const ERROR: Self = Self(1 << 2);
    /// The body is an [`Event`], from EL2, to the service partition.
    pub const EVENT: Self = Self(1 << 3);

    /// Whether all of `other` is set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets together.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A header that was checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame {
    /// Who it is for or from.
    pub party: Party,
    /// Its flags.
    pub flags: Flags,
    /// The asker's number.
    pub id: u32,
    /// The asker's port.
    pub port: u16,
    /// The asking VM.
    pub vm: VmHandle,
    /// Bytes of body.
    pub length: usize,
}

/// Why a header was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FrameError {
    /// It does not begin with [`MAGIC`].
    #[error("frame: magic {0:#x}")]
    Magic(u32),
    /// Another version of the format.
    #[error("frame: version {0}")]
    Version(u8),
    /// Neither `hv` nor `sos`.
    #[error("frame: party {0}")]
    Party(u8),
    /// A flag that does not exist.
    #[error("frame: flags {0:#x}")]
    Flags(u16),
    /// A body longer than a slot has room for.
    #[error("frame: length {0}")]
    Length(u16),
}

impl Frame {
    /// A frame without a sender: what a guest writes.
    pub const fn request(party: Party, flags: Flags, id: u32, length: usize) -> Self {
        Self { party, flags, id, port: 0, vm: VmHandle(0), length }
    }

    /// Checks a header.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn parse(header: &FrameHeader) -> Result<Self, FrameError> {
        if header.magic.get() != MAGIC {
            return Err(FrameError::Magic(header.magic.get()));
        }
        if header.version != VERSION {
            return Err(FrameError::Version(header.version));
        }
        let party = match header.party {
            0 => Party::Hv,
            1 => Party::Sos,
            other => return Err(FrameError::Party(other)),
        };
        let flags = header.flags.get();
        if flags & !0b1111 != 0 {
            return Err(FrameError::Flags(flags));
        }
        let length = header.length.get();
        if usize::from(length) > BODY_MAX {
            return Err(FrameError::Length(length));
        }
        Ok(Self {
            party,
            flags: Flags(flags),
            id: header.id.get(),
            port: header.port.get(),
            vm: VmHandle(header.vm.get()),
            length: usize::from(length),
        })
    }

    /// The header for this frame.
    pub fn header(&self) -> FrameHeader {
        FrameHeader {
            magic: U32::new(MAGIC),
            version: VERSION,
            party: self.party as u8,
            flags: U16::new(self.flags.0),
            id: U32::new(self.id),
            // A Frame's length is at most BODY_MAX, which fits.
            length: U16::new(self.length as u16),
            port: U16::new(self.port),
            vm: U64::new(self.vm.0),
        }
    }
}

/// A frame with its bytes, as it lies in a slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct Slot {
    /// Its header.
    pub header: FrameHeader,
    /// Its body; what is behind the header's length is zero.
    pub body: [u8; BODY_MAX],
}

const _: () = assert!(size_of::<Slot>() == SLOT_SIZE);

impl Slot {
    /// A slot of zeroes.
    pub const EMPTY: Self = Self {
        header: FrameHeader {
            magic: U32::ZERO,
            version: 0,
            party: 0,
            flags: U16::ZERO,
            id: U32::ZERO,
            length: U16::ZERO,
            port: U16::ZERO,
            vm: U64::ZERO,
        },
        body: [0; BODY_MAX],
    };

    /// The slot for `frame` with `body`, cut at [`BODY_MAX`].
    pub fn new(frame: Frame, body: &[u8]) -> Self {
        let length = body.len().min(BODY_MAX);
        let mut slot = Self { header: Frame { length, ..frame }.header(), body: [0; BODY_MAX] };
        slot.body[..length].copy_from_slice(&body[..length]);
        slot
    }
}

/// Body of a frame with [`Flags::ERROR`]: why EL2 ended a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct HvError {
    /// See [`HvErrorKind`].
    pub kind: U32,
}

/// Why EL2 ended a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum HvErrorKind {
    /// The VM has no grant for it.
    NotGranted = 1,
    /// The header cannot be understood.
    BadFrame = 2,
    /// The service partition crashed or hung while the request was in progress; it may have been carried out in part.
    SosFailed = 3,
    /// The service partition crashes again and again, and is not started for a while.
    SosDown = 4,
    /// There is no such query.
    NoSuchQuery = 5,
    /// Nothing is known of a VM of that name.
    NoSuchVm = 6,
    /// No console is attached here, or not to type.
    NotAttached = 7,
}

impl HvErrorKind {
    /// The kind with that number.
    pub const fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            1 => Self::NotGranted,
            2 => Self::BadFrame,
            3 => Self::SosFailed,
            4 => Self::SosDown,
            5 => Self::NoSuchQuery,
            6 => Self::NoSuchVm,
            7 => Self::NotAttached,
            _ => return None,
        })
    }
}

impl core::fmt::Display for HvErrorKind {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::NotGranted => "this VM has no grant for it",
            Self::BadFrame => "the hypervisor could not read the request's header",
            Self::SosFailed => "the service partition failed while it worked on the request; it may be done in part",
            Self::SosDown => "the service partition keeps failing and is held off for a while",
            Self::NoSuchQuery => "the hypervisor knows no such query",
            Self::NoSuchVm => "the hypervisor has nothing of a VM of that name",
            Self::NotAttached => "no console is attached to this port",
        })
    }
}

/// Body of a frame with [`Flags::EVENT`]: what happened, for the service partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Event {
    /// See [`EventKind`].
    pub kind: U32,
    /// Zero.
    pub reserved: U32,
}

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum EventKind {
    /// The board was powered on: guests that are to start by themselves have not been started.
    PowerOn = 1,
    /// A VM ended by itself; `vm_query` says why. The header names it.
    VmEnded = 2,
    /// EL2 asks for the end of this life: answer with `sos_idle`.
    Drain = 3,
    /// The time that `sos_alarm` has set has come.
    Alarm = 4,
}

impl EventKind {
    /// The kind with that number.
    pub const fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            1 => Self::PowerOn,
            2 => Self::VmEnded,
            3 => Self::Drain,
            4 => Self::Alarm,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_has_its_golden_bytes() {
        let frame = Frame {
            party: Party::Sos,
            flags: Flags::REPEAT_SAFE,
            id: 0x0403_0201,
            port: 2,
            vm: VmHandle::new(3, 9),
            length: 5,
        };
        let golden = [b'D', b'M', b'f', b'1', 1, 1, 1, 0, 1, 2, 3, 4, 5, 0, 2, 0, 3, 0, 0, 0, 9, 0, 0, 0];
        assert_eq!(frame.header().as_bytes(), golden);
        assert_eq!(Frame::parse(&FrameHeader::read_from_bytes(&golden).unwrap()), Ok(frame));
    }

    #[test]
    fn each_wrong_field_is_refused_by_name() {
        let good = Frame::request(Party::Hv, Flags::default(), 1, BODY_MAX).header();
        assert!(Frame::parse(&good).is_ok());
        assert_eq!(Frame::parse(&FrameHeader { magic: U32::ZERO, ..good }), Err(FrameError::Magic(0)));
        assert_eq!(Frame::parse(&FrameHeader { version: 2, ..good }), Err(FrameError::Version(2)));
        assert_eq!(Frame::parse(&FrameHeader { party: 2, ..good }), Err(FrameError::Party(2)));
        assert_eq!(Frame::parse(&FrameHeader { flags: U16::new(16), ..good }), Err(FrameError::Flags(16)));
        assert_eq!(Frame::parse(&FrameHeader { length: U16::new(217), ..good }), Err(FrameError::Length(217)));
    }

    #[test]
    fn slots_of_both_rings_fill_the_page_without_overlap() {
        let mut bytes = [0u8; PAGE_SIZE];
        for ring in [OUTBOUND_SLOTS, INBOUND_SLOTS] {
            for index in u32::MAX - 3..=u32::MAX {
                let _ = slot_offset(ring, index);
            }
            for index in 0..SLOTS {
                let start = slot_offset(ring, index);
                bytes[start..start + SLOT_SIZE].iter_mut().for_each(|byte| *byte += 1);
            }
        }
        assert!(bytes[OUTBOUND_SLOTS..].iter().all(|&byte| byte == 1));
        // The index wraps without a seam because the number of slots divides 2^32.
        assert_eq!(slot_offset(0, u32::MAX) + SLOT_SIZE, 8 * SLOT_SIZE);
        assert_eq!(slot_offset(0, u32::MAX.wrapping_add(1)), 0);
    }
}
