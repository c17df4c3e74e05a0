//! A network card as smoltcp takes it: frames are copied at the border, so that no buffer of the card is held.

use alloc::vec;
use alloc::vec::Vec;

use hv_abi::call::MTU_MAX;
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;

/// Addresses and type before a packet (IEEE 802.3 §3.2).
const ETHERNET_HEADER: usize = 14;

/// A network card.
pub trait Card {
    /// A copy of the next frame that came.
    fn receive(&mut self) -> Option<Vec<u8>>;

    /// Sends a frame, or drops it where the card has no room: who waits for it asks again.
    fn send(&mut self, frame: &[u8]);
}

/// A card under smoltcp.
pub(super) struct Port<C>(pub(super) C);

/// A frame that came.
pub(super) struct Received(Vec<u8>);

/// A frame that may be sent.
pub(super) struct Sending<'a, C>(&'a mut C);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

impl<C: Card> TxToken for Sending<'_, C> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: F) -> R {
        let mut frame = vec![0; length];
        let result = fill(&mut frame);
        self.0.send(&frame);
        result
    }
}

impl<C: Card> Device for Port<C> {
    type RxToken<'a>
        = Received
    where
        C: 'a;
    type TxToken<'a>
        = Sending<'a, C>
    where
        C: 'a;

    fn receive(&mut self, _: Instant) -> Option<(Received, Sending<'_, C>)> {
        let frame = self.0.receive()?;
        Some((Received(frame), Sending(&mut self.0)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sending<'_, C>> {
        Some(Sending(&mut self.0))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = ETHERNET_HEADER + usize::from(MTU_MAX);
        capabilities
    }
}
