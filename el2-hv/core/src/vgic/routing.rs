//! Which vCPU an SPI goes to, which vCPU has it, and which words of SPIs a vCPU need look at.
//!
//! Routing says where an interrupt that is pending goes *next*. One that sits in a list register
//! or is active stays with that vCPU, its home, until it is deactivated (IHI0069 §12.9, `GICD_IROUTER<n>`).

use super::bank::ones;
use super::{Place, SPI_WORDS, Vgic, slot};
use crate::addr::VcpuIdx;
use crate::vgic::Kicks;
use hv_abi::guest_map::MAX_VCPUS;

/// `GICD_IROUTER<n>.Interrupt_Routing_Mode`: 1 of N.
const ANY_VCPU: u64 = 1 << 31;
/// `GICD_IROUTER<n>.Aff2.Aff1.Aff0`.
const LOW_AFFINITY: u64 = 0x00ff_ffff;
/// `GICD_IROUTER<n>.Aff3`, which has bits 39:32 there.
const HIGH_AFFINITY_SHIFT: u32 = 32;

/// The SPIs' routes and homes, a word of 32 at a time.
pub(super) struct Routes {
    /// Goes to vCPU v when pending.
    pub(super) routed: [[u32; SPI_WORDS]; MAX_VCPUS],
    /// Is active on vCPU v, or in one of its list registers.
    pub(super) home: [[u32; SPI_WORDS]; MAX_VCPUS],
    /// Bit w: vCPU v has to find room for an SPI of word w.
    pub(super) wanted: [u8; MAX_VCPUS],
    /// Aff3.Aff2.Aff1.Aff0, as written.
    affinity: [[u32; 32]; SPI_WORDS],
    /// 1 of N.
    any: [u32; SPI_WORDS],
}

impl Routes {
    /// All zeroes, for tables that exist before their machines.
    pub(super) const UNUSED: Self = Self { routed: [[0; SPI_WORDS]; MAX_VCPUS], ..Self::new() };

    /// Everything goes to vCPU 0: affinity 0.0.0.0.
    pub(super) const fn new() -> Self {
        let mut routed = [[0; SPI_WORDS]; MAX_VCPUS];
        routed[0] = [u32::MAX; SPI_WORDS];
        Self {
            routed,
            home: [[0; SPI_WORDS]; MAX_VCPUS],
            wanted: [0; MAX_VCPUS],
            affinity: [[0; 32]; SPI_WORDS],
            any: [0; SPI_WORDS],
        }
    }
}

impl Vgic {
    /// `GICD_IROUTER<32 + spi>`.
    pub(super) fn read_route(&self, spi: u32) -> u64 {
        let (word, n) = split(spi);
        let affinity = u64::from(self.routes.affinity[word][n as usize]);
        let any = if self.routes.any[word] >> n & 1 != 0 { ANY_VCPU } else { 0 };
        (affinity >> 24) << HIGH_AFFINITY_SHIFT | (affinity & LOW_AFFINITY) | any
    }

    /// `GICD_IROUTER<32 + spi>`; every affinity can be written and read back, also one that names
    /// no vCPU: such an interrupt stays pending in the distributor.
    pub(super) fn write_route(&mut self, spi: u32, value: u64) -> Kicks {
        let (word, n) = split(spi);
        let bit = 1 << n;
        let high = (value >> HIGH_AFFINITY_SHIFT) as u32 & 0xff;
        self.routes.affinity[word][n as usize] = high << 24 | (value & LOW_AFFINITY) as u32;
        self.routes.any[word] &= !bit;
        if value & ANY_VCPU != 0 {
            self.routes.any[word] |= bit;
        }
        self.route(word, bit)
    }

    /// Chooses the targets of 1-of-N interrupts anew, after a vCPU's redistributor woke or slept.
    pub(super) fn route_any(&mut self) -> Kicks {
        let mut kicks = Kicks::NONE;
        for word in 0..SPI_WORDS {
            let any = self.routes.any[word];
            if any != 0 {
                kicks = kicks.union(self.route(word, any));
            }
        }
        kicks
    }

    /// Recomputes where the SPIs of `bits` go.
    fn route(&mut self, word: usize, bits: u32) -> Kicks {
        for routed in &mut self.routes.routed {
            routed[word] &= !bits;
        }
        for n in ones(bits) {
            if let Some(target) = self.target(word, n) {
                self.routes.routed[slot(target)][word] |= 1 << n;
            }
        }
        self.shared_changed(word, bits)
    }

    /// Where an SPI goes when it is pending: the vCPU of its affinity, or of all the lowest whose
    /// redistributor is awake (IHI0069 leaves the choice among those that take part to us; `GICR_WAKER` is how a PE
    /// says that it does).
    pub(super) fn target(&self, word: usize, n: u32) -> Option<VcpuIdx> {
        if self.routes.any[word] >> (n & 31) & 1 != 0 {
            let awake = self.awake;
            return (awake != 0).then(|| VcpuIdx(awake.trailing_zeros() as u8));
        }
        let affinity = self.routes.affinity[word][(n & 31) as usize];
        (affinity < u32::from(self.vcpus)).then_some(VcpuIdx(affinity as u8))
    }

    /// Gives active SPIs of `word` a home, and takes it from those that are neither active nor in
    /// a list register, after a guest changed active bits by hand.
    pub(super) fn settle_homes(&mut self, word: usize) {
        let bank = &self.shared[word];
        let (held, listed) = (bank.active | bank.listed, bank.listed);
        let mut housed = 0;
        for home in &mut self.routes.home {
            home[word] &= held;
            housed |= home[word];
        }
        for n in ones(held & !listed & !housed) {
            let home = self.target(word, n).unwrap_or_default();
            self.routes.home[slot(home)][word] |= 1 << n;
        }
    }

    /// What vCPU `v` has to find room for in `word`: deliverable SPIs that are routed to it, and
    /// active ones whose home it is.
    #[inline]
    pub(super) const fn wanted_shared(&self, v: usize, word: usize) -> u32 {
        let bank = &self.shared[word];
        (bank.deliverable(self.groups) & self.routes.routed[v][word])
            | (bank.unlisted_active() & self.routes.home[v][word])
    }

    /// Brings the summaries of `word` up to date.
    #[inline]
    pub(super) fn summarize(&mut self, word: usize) {
        for v in 0..self.count() {
            let flag = 1 << word;
            if self.wanted_shared(v, word) != 0 {
                self.routes.wanted[v] |= flag;
            } else {
                self.routes.wanted[v] &= !flag;
            }
        }
    }

    /// The SPIs of `bits` have a new state: brings the summaries up to date and names the vCPUs
    /// that have them in a list register or want them in one.
    pub(super) fn shared_changed(&mut self, word: usize, bits: u32) -> Kicks {
        self.summarize(word);
        let mut kicks = 0;
        let listed = self.shared[word].listed & bits;
        let outdated = self.shared[word].outdated(self.groups) & bits;
        for v in 0..self.count() {
            let home = self.routes.home[v][word];
            if (listed & home) | (bits & self.wanted_shared(v, word)) != 0 {
                kicks |= 1 << v;
            }
            if outdated & home != 0 {
                self.withdrawing |= 1 << v;
            }
        }
        Kicks::from_bits(kicks)
    }

    /// Bit `n` of `word` became pending: the short way of `shared_changed`.
    #[inline]
    pub(super) fn shared_raised(&mut self, word: usize, n: u32) -> Kicks {
        let bank = &self.shared[word];
        if bank.listed >> n & 1 != 0 {
            return self.shared_changed(word, 1 << n);
        }
        if bank.deliverable(self.groups) >> n & 1 == 0 {
            return Kicks::NONE;
        }
        let Some(target) = self.target(word, n) else {
            return Kicks::NONE;
        };
        self.routes.wanted[slot(target)] |= 1 << word;
        Kicks::of(target)
    }

    /// Dispatches a change to the bank's side.
    #[inline]
    pub(super) fn changed(&mut self, place: Place, bits: u32) -> Kicks {
        match place {
            Place::Private(v) => self.private_changed(v, bits),
            Place::Shared(word) => self.shared_changed(word, bits),
        }
    }
}

/// Word and bit of an SPI, counted from INTID 32.
#[inline]
const fn split(spi: u32) -> (usize, u32) {
    ((spi >> 5) as usize & (SPI_WORDS - 1), spi & 31)
}
