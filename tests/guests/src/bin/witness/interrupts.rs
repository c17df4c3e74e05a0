//! The GIC as it was set up: every field of every interrupt, and the CPU interface.

use crate::check;
use alloc::vec::Vec;
use core::arch::asm;
use core::ops::Range;
use hv_abi::guest_map::GICD_BASE;
use test_guests::random::Random;
use test_guests::{gic, read_register, write_register};

extern crate alloc;

/// Registers that are looked at in a round.
const LOOKS: u64 = 24;
/// GICD_ISPENDR1: the console's interrupt waits, disabled, when input has come.
const PENDING_WITH_INPUT: u64 = GICD_BASE + 0x204;
/// ICC_BPR1_EL1: not what it is at reset.
const BINARY_POINT: u64 = 5;
const SPECIAL_NONE: u64 = 1023;
const IDLE_PRIORITY: u64 = 0xff;

/// Registers with a value that stays: configuration of SPIs by vCPU 0, of SGIs and PPIs by each.
pub(crate) struct Configuration {
    registers: Vec<(u64, u32)>,
}

impl Configuration {
    /// Sets up what vCPU `cpu` is to watch. No interrupt but the timer's is enabled where it could come.
    pub(crate) fn make(random: &mut Random, cpu: usize) -> Self {
        let mut registers = Vec::new();
        let private = gic::redistributor(cpu) + gic::SGI_BASE;
        // IGROUPR, IPRIORITYR of SGIs and PPIs but for the timer's word, ICFGR1.
        write(&mut registers, random, private + 0x400..private + 0x418);
        write(&mut registers, random, private + 0xc04..private + 0xc08);
        if cpu == 0 {
            // IPRIORITYR, ICFGR, IROUTER of SPIs (IHI0069 §12.9): 256 of them.
            write(&mut registers, random, GICD_BASE + 0x420..GICD_BASE + 0x520);
            write(&mut registers, random, GICD_BASE + 0xc08..GICD_BASE + 0xc48);
            write(&mut registers, random, GICD_BASE + 0x6100..GICD_BASE + 0x6900);
        }
        // ISENABLER, ISPENDR, ISACTIVER: nothing is enabled, pending or active but what this program made so.
        for row in [0x100, 0x200, 0x300] {
            let (start, end) = (GICD_BASE + row, GICD_BASE + row + 0x24);
            let words = (start + 4..end).step_by(4).filter(|address| *address != PENDING_WITH_INPUT);
            registers.extend(words.map(|address| (address, read(address))));
        }
        registers.extend([(private + 0x100, read(private + 0x100)), (GICD_BASE, read(GICD_BASE))]);
        // ICC_BPR1_EL1 and ICC_PMR_EL1.
        write_register!("S3_0_C12_C12_3", BINARY_POINT);
        write_register!("S3_0_C4_C6_0", 0xf0);
        Self { registers }
    }

    /// Looks at some of it.
    pub(crate) fn check(&self, random: &mut Random) {
        for _ in 0..LOOKS {
            let (address, value) = random.pick(&self.registers);
            check("GIC register", u64::from(value), u64::from(read(address)));
        }
        check("ICC_BPR1_EL1", BINARY_POINT, read_register!("S3_0_C12_C12_3"));
        check("ICC_PMR_EL1", 0xf0, read_register!("S3_0_C4_C6_0"));
        check("ICC_IGRPEN1_EL1", 1, read_register!("S3_0_C12_C12_7"));
        check("ICC_AP1R0_EL1", 0, read_register!("S3_0_C12_C9_0"));
        check("ICC_RPR_EL1", IDLE_PRIORITY, read_register!("S3_0_C12_C11_3"));
        check("ICC_HPPIR1_EL1", SPECIAL_NONE, read_register!("S3_0_C12_C12_2"));
    }
}

/// Random bits, and what stays of them.
fn write(registers: &mut Vec<(u64, u32)>, random: &mut Random, range: Range<u64>) {
    for address in range.step_by(4) {
        let value = random.next() as u32;
        // SAFETY: a register of the GIC; see `read` for the form.
        unsafe { asm!("str {0:w}, [{1}]", in(reg) value, in(reg) address, options(nostack)) }
        registers.push((address, read(address)));
    }
}

fn read(address: u64) -> u32 {
    let value: u32;
    // SAFETY: a register of the GIC. A compiler might choose a form with write-back, which is not described to EL2.
    unsafe { asm!("ldr {0:w}, [{1}]", out(reg) value, in(reg) address, options(nostack)) }
    value
}
