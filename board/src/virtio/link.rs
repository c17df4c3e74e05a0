//! A device's transport, whichever it is, with what that of `virtio-drivers` would not do safely.

use core::mem::ManuallyDrop;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

use virtio_drivers::transport::{DeviceStatus, SomeTransport, Transport};

/// Queues that a device of EL2 has at most.
pub(super) const QUEUES: usize = 2;

/// Where a PCI device is told of its queues (virtio 1.2 §4.1.4.4).
pub(super) type Doorbells = [NonNull<u16>; QUEUES];

/// A transport. It is not dropped itself: over PCI that would wait for a reset without a bound. Its device is told to reset.
#[derive(Debug)]
pub(super) struct Link {
    transport: ManuallyDrop<SomeTransport<'static>>,
    /// Those of a PCI device. The transport's own would be looked up, and checked, at each notification.
    doorbells: Option<Doorbells>,
}

// SAFETY: the doorbells are registers of the device that only this link writes, from any CPU.
unsafe impl Send for Link {}

impl Link {
    pub(super) const fn new(transport: SomeTransport<'static>, doorbells: Option<Doorbells>) -> Self {
        Self { transport: ManuallyDrop::new(transport), doorbells }
    }

    /// Tells the device of its queue's new buffers.
    pub(super) fn notify(&mut self, queue: u16) {
        match self.doorbells {
            None => self.transport.notify(queue),
            Some(doorbells) => {
                if let Some(doorbell) = doorbells.get(usize::from(queue)) {
                    // SAFETY: `look_pci` has found it to be one of the device's registers, which are the transport's.
                    unsafe { doorbell.write_volatile(queue) }
                }
            }
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.transport.set_status(DeviceStatus::empty());
    }
}

impl Deref for Link {
    type Target = SomeTransport<'static>;

    fn deref(&self) -> &Self::Target {
        &self.transport
    }
}

impl DerefMut for Link {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.transport
    }
}
