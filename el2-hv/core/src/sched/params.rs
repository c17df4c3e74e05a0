//! What a vCPU is to get: weight, cap, CPUs, reservation.

use crate::addr::CpuId;

/// The weight of a vCPU that was given none.
pub const WEIGHT_DEFAULT: u16 = 100;
/// The largest weight.
pub const WEIGHT_MAX: u16 = 10_000;

/// A share among those that compete: 1 to [`WEIGHT_MAX`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Weight(u16);

impl Weight {
    /// The weight of that number, if it is one.
    pub const fn new(weight: u16) -> Option<Self> {
        if weight >= 1 && weight <= WEIGHT_MAX { Some(Self(weight)) } else { None }
    }

    /// The number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self(WEIGHT_DEFAULT)
    }
}

/// A set of CPUs, bit n for CPU n.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CpuMask(pub u8);

const _: () = assert!(super::MAX_CPUS <= u8::BITS as usize);

impl CpuMask {
    /// Every CPU.
    pub const ALL: Self = Self(u8::MAX);
    /// No CPU.
    pub const NONE: Self = Self(0);

    /// This CPU.
    #[inline]
    pub const fn one(cpu: CpuId) -> Self {
        Self(1 << (cpu.0 & 7))
    }

    /// Whether `cpu` is in the set.
    #[inline]
    pub const fn contains(self, cpu: CpuId) -> bool {
        self.0 & Self::one(cpu).0 != 0
    }

    /// Those in both.
    #[inline]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those that are not in `other`.
    #[inline]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether the set is empty.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// These and this one.
    #[must_use]
    pub const fn with(self, cpu: CpuId) -> Self {
        Self(self.0 | Self::one(cpu).0)
    }

    /// Its CPUs, lowest first.
    #[inline]
    pub fn iter(self) -> impl Iterator<Item = CpuId> {
        core::iter::successors(Some(self), |left| Some(Self(left.0 & left.0.wrapping_sub(1)))).map_while(Self::first)
    }

    /// Its lowest CPU.
    #[inline]
    pub const fn first(self) -> Option<CpuId> {
        if self.0 == 0 { None } else { Some(CpuId(self.0.trailing_zeros() as u8)) }
    }
}

/// So many ticks of the counter in each period.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bandwidth {
    /// Ticks that it may run.
    pub budget: u64,
    /// Ticks of a period.
    pub period: u64,
}

impl Bandwidth {
    /// Its share of a CPU in millionths.
    pub const fn millionths(self) -> u64 {
        // At most 1 s in ticks of at most 1 GHz: no overflow.
        self.budget.saturating_mul(1_000_000) / self.period
    }
}

/// How it competes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// By its weight, and never above its cap.
    Fair {
        /// The most that it gets, whatever is free.
        cap: Option<Bandwidth>,
    },
    /// Before all that are fair: its budget in each period, and no more.
    Reserved(Bandwidth),
    /// It has a CPU for itself.
    Pinned,
}

/// What a vCPU is to get.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Params {
    /// Its share.
    pub weight: Weight,
    /// CPUs that it may run on.
    pub affinity: CpuMask,
    /// How it competes.
    pub class: Class,
}

impl Default for Params {
    fn default() -> Self {
        Self { weight: Weight::default(), affinity: CpuMask::ALL, class: Class::Fair { cap: None } }
    }
}

/// Why parameters were not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    /// None of the CPUs of its affinity runs, or others own them all.
    #[error("no CPU of that affinity is open to it")]
    NoCpu,
    /// No CPU of its affinity has so much left to reserve.
    #[error("the reservation does not fit beside the others of any CPU")]
    Overcommitted,
    /// Another vCPU would have no CPU left.
    #[error("another vCPU would be left without a CPU")]
    Strands,
}
