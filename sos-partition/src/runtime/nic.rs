//! The partition's network card: virtio (virtio 1.2 §5.1), in the slot where EL2 puts it.
//!
//! Stage 1 maps RAM at its IPA, so that an address of the heap is what the device takes, and EL2 sees this CPU's caches.

use alloc::alloc::{Layout, alloc_zeroed, dealloc};
use alloc::vec;
use alloc::vec::Vec;
use core::ptr::NonNull;

use hv_abi::guest_map::{NIC_SLOT, VIRTIO_BASE, VIRTIO_STRIDE};
use sos_partition::web::Card;
use virtio_drivers::device::net::VirtIONetRaw;
use virtio_drivers::transport::mmio::MmioTransport;
use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr};

/// Buffers of each queue.
const QUEUE: usize = 16;
/// Bytes of one: a header and the largest frame, by what the heap gives.
const BUFFER: usize = 2048;
/// Of the header before a frame (virtio 1.2 §5.1.6).
const HEADER: usize = 12;
const REGISTERS: u64 = VIRTIO_BASE + NIC_SLOT as u64 * VIRTIO_STRIDE;

/// Memory that the device sees.
struct Heap;

// SAFETY: pages are zeroed, aligned, and nobody else's until they are given back; a buffer's address is the device's.
unsafe impl Hal for Heap {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        // SAFETY: a layout is of a page at least.
        let start = layout(pages).and_then(|layout| NonNull::new(unsafe { alloc_zeroed(layout) }));
        // The address 0 is the crate's word for no memory.
        start.map_or((0, NonNull::dangling()), |start| (start.as_ptr() as PhysAddr, start))
    }

    unsafe fn dma_dealloc(_: PhysAddr, start: NonNull<u8>, pages: usize) -> i32 {
        if let Some(layout) = layout(pages) {
            // SAFETY: by the contract of this function it is from `dma_alloc`, with this layout.
            unsafe { dealloc(start.as_ptr(), layout) };
        }
        0
    }

    unsafe fn mmio_phys_to_virt(address: PhysAddr, _: usize) -> NonNull<u8> {
        // Only PCI asks. An address of registers is never 0.
        NonNull::new(address as *mut u8).unwrap_or(NonNull::dangling())
    }

    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
        buffer.as_ptr().cast::<u8>() as PhysAddr
    }

    unsafe fn unshare(_: PhysAddr, _: NonNull<[u8]>, _: BufferDirection) {}
}

/// Pages as the heap takes them, one at least.
fn layout(pages: usize) -> Option<Layout> {
    let bytes = pages.max(1).checked_mul(PAGE_SIZE)?;
    Layout::from_size_align(bytes, PAGE_SIZE).ok()
}

/// A buffer that the device has, and the descriptor's number.
struct Lent {
    token: u16,
    buffer: Vec<u8>,
}

/// The card.
pub(crate) struct Nic {
    device: VirtIONetRaw<Heap, MmioTransport<'static>, QUEUE>,
    receiving: Vec<Lent>,
    sending: Vec<Lent>,
}

impl Nic {
    /// Starts the card; `None` where there is none, or it does not start.
    ///
    /// # Safety
    /// To be called once in a life.
    pub(crate) unsafe fn start() -> Option<Self> {
        let registers = NonNull::new(REGISTERS as *mut _)?;
        // SAFETY: the slot's registers and configuration, which stage 1 maps as device memory and nobody else uses.
        let transport = unsafe { MmioTransport::new(registers, VIRTIO_STRIDE as usize) };
        let device = VirtIONetRaw::new(transport.ok()?).ok()?;
        let mut nic = Self { device, receiving: Vec::with_capacity(QUEUE), sending: Vec::with_capacity(QUEUE) };
        (0..QUEUE).for_each(|_| nic.lend(vec![0; BUFFER]));
        Some(nic)
    }

    /// Takes the interrupt back.
    pub(crate) fn acknowledge(&mut self) {
        self.device.ack_interrupt();
    }

    /// Gives the device a buffer for a frame. It is lost where the device takes none.
    fn lend(&mut self, mut buffer: Vec<u8>) {
        // SAFETY: the buffer stays in `receiving`, unread, until the device is done with it.
        if let Ok(token) = unsafe { self.device.receive_begin(&mut buffer) } {
            self.receiving.push(Lent { token, buffer });
        }
    }

    /// Takes back what has been sent.
    fn reap(&mut self) {
        while let Some(lent) = self.device.poll_transmit().and_then(|token| take(&mut self.sending, token)) {
            // SAFETY: the buffer that was given under this token.
            if unsafe { self.device.transmit_complete(lent.token, &lent.buffer) }.is_err() {
                return;
            }
        }
    }
}

impl Card for Nic {
    fn receive(&mut self) -> Option<Vec<u8>> {
        let mut lent = take(&mut self.receiving, self.device.poll_receive()?)?;
        // SAFETY: the buffer that was given under this token.
        let (header, length) = unsafe { self.device.receive_complete(lent.token, &mut lent.buffer) }.ok()?;
        let frame = lent.buffer.get(header..header.saturating_add(length)).map(<[u8]>::to_vec);
        self.lend(lent.buffer);
        frame
    }

    fn send(&mut self, frame: &[u8]) {
        self.reap();
        if self.sending.len() == QUEUE {
            return;
        }
        // All zero: no checksum to be made, no segmentation (virtio 1.2 §5.1.6.2).
        let mut buffer = Vec::with_capacity(HEADER + frame.len());
        buffer.resize(HEADER, 0);
        buffer.extend_from_slice(frame);
        // SAFETY: the buffer stays in `sending`, unchanged, until the device is done with it.
        if let Ok(token) = unsafe { self.device.transmit_begin(&buffer) } {
            self.sending.push(Lent { token, buffer });
        }
    }
}

/// The buffer of that token.
fn take(buffers: &mut Vec<Lent>, token: u16) -> Option<Lent> {
    let place = buffers.iter().position(|lent| lent.token == token)?;
    Some(buffers.swap_remove(place))
}
