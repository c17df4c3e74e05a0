//! What a vCPU is to get: weight, cap, CPUs, reservation.

use hv_abi::call::Scheduling;

use crate::addr::CpuId;

/// The weight of a vCPU that was given none.
pub const WEIGHT_DEFAULT: u16 = Scheduling::DEFAULT.weight as u16;
/// The largest weight.
pub const WEIGHT_MAX: u16 = *Scheduling::WEIGHTS.end() as u16;

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

    /// The first `count` CPUs, of at least one.
    pub const fn first_of(count: usize) -> Self {
        Self(u8::MAX >> (u8::BITS as usize).saturating_sub(count) as u8)
    }

    /// How many they are.
    pub const fn count(self) -> u32 {
        self.0.count_ones()
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

impl Params {
    /// What `vm_sched` asks for, on a board of these CPUs whose counter goes at `hz`. `None` where a value is out of its
    /// range, or two do not go together.
    pub fn asked(words: &Scheduling, cpus: CpuMask, hz: u64) -> Option<Self> {
        let affinity = match words.cpus {
            Scheduling::EVERY_CPU => CpuMask::ALL,
            mask => {
                let asked = u8::try_from(mask).ok().map(CpuMask);
                asked.filter(|asked| !asked.is_empty() && asked.without(cpus).is_empty())?
            }
        };
        let weight = u16::try_from(words.weight).ok().and_then(Weight::new)?;
        // A second at most: no overflow with any counter.
        let ticks = |us: u32| u64::from(us).wrapping_mul(hz) / 1_000_000;
        let class = match (words.cap, words.budget_us, words.period_us, words.pinned) {
            (0, 0, 0, false) => Class::Fair { cap: None },
            (0, 0, 0, true) => Class::Pinned,
            (cap, 0, 0, false) if Scheduling::CAPS.contains(&cap) => {
                let period = ticks(Scheduling::CAP_PERIOD_US);
                Class::Fair { cap: Some(Bandwidth { budget: period.wrapping_mul(u64::from(cap)) / 1000, period }) }
            }
            (0, budget, period, false)
                if Scheduling::PERIODS_US.contains(&period)
                    && (Scheduling::BUDGET_MIN_US..=period).contains(&budget) =>
            {
                Class::Reserved(Bandwidth { budget: ticks(budget), period: ticks(period) })
            }
            _ => return None,
        };
        Some(Self { weight, affinity, class })
    }
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
