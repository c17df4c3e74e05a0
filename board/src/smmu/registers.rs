//! The registers of an SMMUv3 that EL2 uses (IHI0070 §6.2), and how a driver reaches them.

use core::ptr::NonNull;

use hv_core::addr::{Pa, PaRange};
use tock_registers::interfaces::{Readable, Writeable};
use tock_registers::register_structs;
use tock_registers::registers::ReadWrite;

use crate::barrier;

/// A register, by its offset. Those of 64 bits are two of them, the lower one first (§6.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(usize)]
pub enum Register {
    /// Identification (§6.3.1, §6.3.2, §6.3.6).
    Idr0 = 0x00,
    /// The same.
    Idr1 = 0x04,
    /// The same.
    Idr5 = 0x14,
    /// What is on (§6.3.9), and what of it is in force.
    Cr0 = 0x20,
    /// See CR0.
    Cr0Ack = 0x24,
    /// How tables and queues are accessed (§6.3.11).
    Cr1 = 0x28,
    /// More controls (§6.3.12).
    Cr2 = 0x2c,
    /// What happens while it is off (§6.3.14).
    Gbpa = 0x44,
    /// Which interrupts are on (§6.3.16), and which of them are in force.
    IrqCtrl = 0x50,
    /// See IRQ_CTRL.
    IrqCtrlAck = 0x54,
    /// Its errors, each a bit that changes (§6.3.18), and those that are acknowledged.
    Gerror = 0x60,
    /// See GERROR.
    Gerrorn = 0x64,
    /// The stream table (§6.3.24).
    StrtabBase = 0x80,
    /// Its upper half.
    StrtabBaseHigh = 0x84,
    /// Its size and form (§6.3.25).
    StrtabBaseCfg = 0x88,
    /// The command queue (§6.3.26).
    CmdqBase = 0x90,
    /// Its upper half.
    CmdqBaseHigh = 0x94,
    /// Index of the next command that the driver writes.
    CmdqProd = 0x98,
    /// Index of the next command that the SMMU reads.
    CmdqCons = 0x9c,
    /// The event queue (§6.3.29).
    EventqBase = 0xa0,
    /// Its upper half.
    EventqBaseHigh = 0xa4,
    /// Index of the next event that the SMMU writes; in register page 1, as the next one.
    EventqProd = 0x1_00a8,
    /// Index of the next event that the driver reads.
    EventqCons = 0x1_00ac,
}

/// Bytes of the two register pages.
pub(super) const REGISTERS_SIZE: u64 = 0x2_0000;
/// Bytes of one.
const PAGE: usize = 0x1_0000;

/// An SMMU as its driver reaches it.
pub trait Hardware {
    /// Reads a register.
    fn read(&self, register: Register) -> u32;
    /// Writes a register.
    fn write(&mut self, register: Register, value: u32);
    /// Stores to memory before it are seen before stores after it.
    fn order(&mut self);
    /// Writes back what caches hold of memory that the SMMU reads past them, and forgets what they hold of it: loads after
    /// it get what the SMMU wrote.
    fn maintain(&mut self, range: PaRange);
}

register_structs! {
    /// What is used of either register page.
    Page {
        (0x00 => words: [ReadWrite<u32>; 44]),
        (0xb0 => @END),
    }
}

/// The registers in memory.
pub struct Mmio {
    pages: [NonNull<Page>; 2],
    maintain: fn(Pa, u64),
}

// SAFETY: it is the only way to its registers, and each access is a volatile one of a whole register.
unsafe impl Send for Mmio {}

impl core::fmt::Debug for Mmio {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("Mmio").field(&self.pages[0]).finish()
    }
}

impl Mmio {
    /// The registers at `regs`. `maintain` cleans and invalidates so many bytes of the data caches to the point of coherency,
    /// and waits for that. `None` at address 0, and where there are fewer than two pages.
    ///
    /// # Safety
    ///
    /// The range has an SMMUv3's registers, mapped there as device memory, and nobody else uses them as long as this lives.
    pub unsafe fn new(regs: PaRange, maintain: fn(Pa, u64)) -> Option<Self> {
        if regs.size < REGISTERS_SIZE {
            return None;
        }
        let page = |offset| NonNull::new(core::ptr::with_exposed_provenance_mut(regs.start.0 as usize + offset));
        page(0)
            .filter(|_| regs.start.0 != 0)
            .zip(page(PAGE))
            .map(|(first, second)| Self { pages: [first, second], maintain })
    }

    fn word(&self, register: Register) -> Option<&ReadWrite<u32>> {
        let offset = register as usize;
        let page = self.pages.get(offset / PAGE)?;
        // SAFETY: `new` was promised that both pages are there as long as this lives; each access is volatile.
        unsafe { page.as_ref() }.words.get(offset % PAGE / 4)
    }
}

impl Hardware for Mmio {
    fn read(&self, register: Register) -> u32 {
        self.word(register).map_or(0, Readable::get)
    }

    fn write(&mut self, register: Register, value: u32) {
        if let Some(word) = self.word(register) {
            word.set(value);
        }
    }

    fn order(&mut self) {
        barrier::before_device();
    }

    fn maintain(&mut self, range: PaRange) {
        (self.maintain)(range.start, range.size);
    }
}
