//! Tests of the virtual GIC against IHI0069: expected values are the specification's, or those of
//! a CPU interface and a distributor modelled independently (`machine`, `reference`).

mod asynchronous;
mod interrupts;
mod machine;
mod overflow;
mod random;
mod reference;
mod registers;
mod routing;
mod sgi;
mod timer;

use super::*;

/// A seeded generator (xorshift64*), so that a failure can be repeated.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(super) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

pub(super) const fn gicd(offset: u32) -> GicRegister {
    GicRegister::Distributor(offset)
}

pub(super) const fn gicr(vcpu: u8, offset: u32) -> GicRegister {
    GicRegister::Redistributor { vcpu: VcpuIdx(vcpu), offset }
}

pub(super) const SGI_BASE: u32 = 0x1_0000;
pub(super) const ISENABLER: u32 = 0x100;
pub(super) const ICENABLER: u32 = 0x180;
pub(super) const ISPENDR: u32 = 0x200;
pub(super) const ICPENDR: u32 = 0x280;
pub(super) const ISACTIVER: u32 = 0x300;
pub(super) const ICACTIVER: u32 = 0x380;
