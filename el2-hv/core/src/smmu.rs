//! What an SMMUv3 reads and writes in memory (IHI0070): stream table entries, commands, events, queue indices; and what its
//! identification registers say. Encoding only: who may reach what is decided elsewhere, and the registers are `board`'s.

mod event;
mod features;
mod queue;
#[cfg(test)]
mod tests;

pub use event::{Access, Event, Fault, GlobalErrors};
pub use features::{Features, Lack};
pub use queue::{QueueIndex, QueueSize};

use core::fmt;

use crate::addr::{FRAME_SIZE, Ipa, Pa, Vmid};
use hv_abi::guest_map::IPA_BITS;

/// A device as its SMMU knows it. Behind a PCI host bridge it is what `iommu-map` makes of bus, device and function.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct StreamId(pub u32);

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// Words of a stream table entry (§5.2).
pub const STE_WORDS: usize = 8;
/// Words of a command (§4.1).
pub const COMMAND_WORDS: usize = 2;
/// Words of an event record (§7.3).
pub const EVENT_WORDS: usize = 4;

/// STE.V, and STE.Config for stage 2 only; 0b000 aborts (§5.2, word 0).
const VALID: u64 = 1;
const CONFIG_STAGE_2: u64 = 0b110 << 1;
/// STE.MEV: equal events of a stream may be one record. STE.SHCFG: shareability as the device says (word 1).
const MERGE_EVENTS: u64 = 1 << 19;
const SHARE_AS_INCOMING: u64 = 0b01 << 44;
/// What STE.S2T0SZ to STE.S2TG say of the tables of [`crate::stage2`], as VTCR_EL2 does (word 2): walks begin at level 1,
/// tables are write-back and inner shareable, the granule is 4 KiB (0).
const S2T0SZ: u64 = (64 - IPA_BITS as u64) << 32;
const S2SL0_LEVEL_1: u64 = 1 << 38;
const S2IR0_WRITE_BACK: u64 = 0b01 << 40;
const S2OR0_WRITE_BACK: u64 = 0b01 << 42;
const S2SH0_INNER: u64 = 0b11 << 44;
const S2PS_SHIFT: u32 = 48;
/// STE.S2AA64, STE.S2R: tables are those of AArch64, faults are recorded.
const S2AA64: u64 = 1 << 51;
const S2R: u64 = 1 << 58;
/// STE.S2TTB (word 3).
const S2TTB: u64 = 0x000f_ffff_ffff_fff0;

/// A stream table entry: what a device reaches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ste([u64; STE_WORDS]);

impl Ste {
    /// The device reaches nothing, and nothing is recorded of what it tries (STE.Config 0b000).
    pub const ABORT: Self = Self([VALID, 0, 0, 0, 0, 0, 0, 0]);

    /// The device reaches what the tables of [`crate::stage2`] at `root` lead to. What the SMMU keeps of them has the tag
    /// `vmid`, so that all streams with one tag have one root.
    pub const fn stage_2(root: Pa, vmid: Vmid, features: &Features) -> Self {
        let walk = S2T0SZ | S2SL0_LEVEL_1 | S2IR0_WRITE_BACK | S2OR0_WRITE_BACK | S2SH0_INNER;
        let size = (features.output_size as u64) << S2PS_SHIFT;
        let word2 = vmid.0 as u64 | walk | size | S2AA64 | S2R;
        Self([VALID | CONFIG_STAGE_2, MERGE_EVENTS | SHARE_AS_INCOMING, word2, root.0 & S2TTB, 0, 0, 0, 0])
    }

    /// Its words, as they lie in memory. The first has the bit that makes the others count.
    pub const fn words(&self) -> &[u64; STE_WORDS] {
        &self.0
    }
}

/// A command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command {
    /// Forgets what is kept of a stream's entry (CMD_CFGI_STE, §4.3.1).
    CfgiSte(StreamId),
    /// Forgets what is kept of all entries (CMD_CFGI_ALL, §4.3.2).
    CfgiAll,
    /// Forgets all translations of EL1 and of VMs (CMD_TLBI_NSNH_ALL, §4.4).
    TlbiNsnhAll,
    /// Forgets all translations of a VM (CMD_TLBI_S12_VMALL, §4.4).
    TlbiS12Vmall(Vmid),
    /// Forgets the last step of a VM's translation of the frame at an IPA. Enough for streams without a stage 1
    /// (CMD_TLBI_S2_IPA, §4.4).
    TlbiS2Ipa(Vmid, Ipa),
    /// Is consumed when all commands before it are complete, and what went by the old tables has reached memory (CMD_SYNC
    /// with CS = SIG_NONE, §4.7).
    Sync,
}

impl Command {
    /// Its words.
    pub const fn encode(self) -> [u64; COMMAND_WORDS] {
        // Leaf: only the entry itself was changed, not a table above it.
        const LEAF: u64 = 1;
        // The range of CMD_CFGI_STE_RANGE that means all.
        const ALL: u64 = 31;
        match self {
            Self::CfgiSte(stream) => [0x03 | (stream.0 as u64) << 32, LEAF],
            Self::CfgiAll => [0x04, ALL],
            Self::TlbiNsnhAll => [0x30, 0],
            Self::TlbiS12Vmall(vmid) => [0x28 | (vmid.0 as u64) << 32, 0],
            Self::TlbiS2Ipa(vmid, ipa) => {
                [0x2a | (vmid.0 as u64) << 32, ipa.0 & ((1 << 52) - 1) & !(FRAME_SIZE - 1) | LEAF]
            }
            Self::Sync => [0x46, 0],
        }
    }
}
