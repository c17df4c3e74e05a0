//! The host's PL031 real-time clock (DDI0224): EL2 only reads it.

use core::ptr::NonNull;

use hv_core::addr::Pa;

/// A PL031.
#[derive(Clone, Copy, Debug)]
pub struct Pl031 {
    /// RTCDR, the register at offset 0 (DDI0224 §3.3.1).
    data: NonNull<u32>,
}

// SAFETY: reading the counter has no side effect and needs no state of a CPU.
unsafe impl Send for Pl031 {}
// SAFETY: as above.
unsafe impl Sync for Pl031 {}

impl Pl031 {
    /// The clock at `base`. `None` if `base` is 0.
    ///
    /// # Safety
    ///
    /// While the driver lives, `base` is the address of a PL031's registers, mapped there as device memory
    /// (or the MMU is off).
    pub const unsafe fn new(base: Pa) -> Option<Self> {
        match NonNull::new(core::ptr::with_exposed_provenance_mut(base.0 as usize)) {
            Some(data) => Some(Self { data }),
            None => None,
        }
    }

    /// Seconds since 1970, as far as 32 bits go: until 2106.
    pub fn seconds(&self) -> u32 {
        // SAFETY: `new`'s caller has promised that the register is there.
        unsafe { self.data.read_volatile() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_is_the_first_register() {
        let registers = [0x6900_0000_u32, 1, 2, 3];
        let base = Pa(registers.as_ptr().expose_provenance() as u64);
        // SAFETY: `registers` outlives the driver and is only read.
        let clock = unsafe { Pl031::new(base) }.unwrap();
        assert_eq!(clock.seconds(), 0x6900_0000);
    }
}
