//! Which vCPUs have to look at their list registers again.

use super::bank::ones;
use crate::addr::VcpuIdx;

/// The vCPUs whose list registers no longer show what the model holds.
///
/// Each one named must be folded and refilled before it next executes a guest instruction: the
/// vCPU that trapped does so on its way back, one that runs elsewhere is interrupted, one that
/// waits in WFI is woken, and one that is not loaded does so when it is, or at once from its
/// shadow.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(transparent)]
pub struct Kicks(u8);

impl Kicks {
    /// Nobody.
    pub const NONE: Self = Self(0);

    /// One vCPU; a number that no VM can have names nobody.
    #[inline]
    pub const fn of(vcpu: VcpuIdx) -> Self {
        if vcpu.0 < 8 { Self(1 << vcpu.0) } else { Self::NONE }
    }

    /// The vCPUs whose bits are set.
    #[inline]
    pub(super) const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// Bit n for vCPU n.
    #[inline]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Whether nobody is named.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `vcpu` is named.
    #[inline]
    pub const fn contains(self, vcpu: VcpuIdx) -> bool {
        self.0 & Self::of(vcpu).0 != 0
    }

    /// Everybody who is named by one of the two.
    #[inline]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The same without `vcpu`.
    #[inline]
    pub const fn without(self, vcpu: VcpuIdx) -> Self {
        Self(self.0 & !Self::of(vcpu).0)
    }

    /// Those who are named, lowest first.
    #[inline]
    pub fn iter(self) -> impl Iterator<Item = VcpuIdx> {
        ones(u32::from(self.0)).map(|n| VcpuIdx(n as u8))
    }
}
