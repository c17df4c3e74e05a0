//! The first network card, with memory of this guest's for its frames.

use alloc::vec::Vec;
use core::cell::UnsafeCell;

use hv_abi::guest_map::{NIC_SLOT, VIRTIO_BASE, VIRTIO_SPI, VIRTIO_STRIDE};
use hv_board::virtio::nic::{DEPTH, HEADER, MEMORY, Nic};
use hv_board::virtio::{self, DmaMemory};
use hv_core::addr::{Pa, PaRange};
use test_guests::{cpu, gic};

/// The card's interrupt.
const SPI: u32 = VIRTIO_SPI + NIC_SLOT;

/// Memory that the card reads and writes.
#[repr(C, align(4096))]
struct Shared(UnsafeCell<[u64; MEMORY as usize / 8]>);

// SAFETY: one vCPU uses it, and the card what it was given.
unsafe impl Sync for Shared {}

static FRAMES: Shared = Shared(UnsafeCell::new([0; MEMORY as usize / 8]));

/// The card.
pub(crate) struct Card(Nic);

impl Card {
    /// Brings it up, with its interrupt enabled.
    pub(crate) fn open() -> Self {
        let regs = PaRange { start: Pa(VIRTIO_BASE + u64::from(NIC_SLOT) * VIRTIO_STRIDE), size: VIRTIO_STRIDE };
        // SAFETY: the machine has its first card there, and nobody else drives it.
        let found = unsafe { virtio::look(regs) }.expect("a card").expect("a card of virtio 1.0");
        let range = PaRange { start: Pa(FRAMES.0.get().expose_provenance() as u64), size: MEMORY };
        // SAFETY: a static that nothing else uses, page-aligned.
        let memory = unsafe { DmaMemory::new(range) }.expect("memory for its frames");
        let nic = Nic::start(found, memory).expect("the card starts");
        gic::enable_spi(SPI);
        Self(nic)
    }

    /// Its own address.
    pub(crate) fn address(&self) -> [u8; 6] {
        self.0.shape().mac.expect("a card with an address")
    }

    /// Puts a frame into the queue. It is told of it by [`Card::notify`].
    pub(crate) fn put(&mut self, frame: &[u8]) {
        let (slot, at) = self.0.place().expect("room for a frame");
        let to = core::ptr::with_exposed_provenance_mut::<u8>(at.0 as usize);
        // SAFETY: the place is the driver's until it is sent, and has room for the longest frame.
        unsafe { core::ptr::copy_nonoverlapping(frame.as_ptr(), to, frame.len()) };
        assert!(self.0.send(slot, [0; HEADER], frame.len() as u32), "a frame");
    }

    /// Tells the card of what was put.
    pub(crate) fn notify(&mut self) {
        self.0.notify();
    }

    /// Waits until all that was put is sent, without an interrupt.
    pub(crate) fn await_sent(&mut self) {
        while self.0.free() < DEPTH as u32 {
            self.0.reclaim().expect("an honest card");
            cpu::relax();
        }
    }

    /// The next frame, for which it waits in WFI.
    pub(crate) fn receive(&mut self) -> Vec<u8> {
        loop {
            if let Some(frame) = self.take() {
                return frame;
            }
            self.0.refill_notify();
            if !self.0.arm() {
                cpu::wait();
                self.acknowledge();
            }
        }
    }

    /// A frame that has come.
    pub(crate) fn take(&mut self) -> Option<Vec<u8>> {
        let received = self.0.received().expect("an honest card")?;
        let from = core::ptr::with_exposed_provenance::<u8>(self.0.frame(received.slot).0 as usize);
        // SAFETY: the buffer is the driver's until it is given back.
        let frame = unsafe { core::slice::from_raw_parts(from, received.length as usize) }.to_vec();
        self.0.give_back(received.slot);
        Some(frame)
    }

    fn acknowledge(&mut self) {
        match gic::acknowledge() {
            none if none >= gic::SPECIAL => {}
            interrupt => {
                if interrupt == SPI + 32 {
                    self.0.acknowledge();
                }
                gic::end(interrupt);
            }
        }
    }
}
