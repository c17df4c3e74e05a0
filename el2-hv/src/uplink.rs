//! The board's network card, through which the first network reaches the world.

use hv_arch::lock::{Mutex, MutexGuard};
use hv_board::Irq;
use hv_board::virtio::nic::{self, HEADER, Nic, Received};
use hv_board::virtio::{DmaMemory, Found, VirtioError};
use hv_core::addr::{IntId, Pa, PaRange};
use hv_core::frames::Owner;
use hv_core::switch::Mac;
use spin::Once;

use crate::machine::machine;
use crate::memory::frames;
use crate::slots::Place;

/// How long the card may have no place for a frame before those for it are dropped and not kept, in nanoseconds.
const STUCK_NS: u64 = 100_000_000;

/// The card.
static UPLINK: Once<Uplink> = Once::new();

/// The board's network card.
pub struct Uplink {
    /// Its address.
    pub address: Mac,
    /// It completes checksums.
    pub checksum: bool,
    /// Bytes of the longest frame that it sends.
    pub longest: u32,
    place: Place,
    card: Mutex<Card>,
}

/// The card's queues.
pub struct Card {
    nic: Nic,
    /// It has stopped.
    dead: bool,
    /// Since when it has had no place for a frame, in nanoseconds since boot.
    full_since: Option<u64>,
}

/// The card, if the board has one.
pub fn uplink() -> Option<&'static Uplink> {
    UPLINK.get()
}

/// Its interrupt.
pub fn irq() -> Option<Irq> {
    Some(uplink()?.place.irq)
}

/// Brings a card up. `None`: it cannot be used.
pub fn open(found: Found, place: &Place) -> Option<&'static Uplink> {
    let at = place.at;
    if uplink().is_some() {
        log::warn!("uplink:  network card at {at} is one too many, the first one is used");
        return None;
    }
    let Ok(start) = frames().allocate(nic::MEMORY.next_power_of_two(), Owner::Rings) else {
        log::warn!("uplink:  no memory for the network card at {at}");
        return None;
    };
    let range = PaRange { start, size: nic::MEMORY };
    // SAFETY: the frames were allocated for this and nothing else, are RAM that EL2 maps, and stay the card's for ever.
    let memory = unsafe { DmaMemory::new(range) }?;
    place.admit(&[range])?;
    let nic = match Nic::start(found, memory) {
        Ok(nic) => nic,
        Err(error) => {
            log::warn!("uplink:  network card at {at} {error}");
            place.dismiss();
            return None;
        }
    };
    let shape = *nic.shape();
    // Without an address of its own it needs none: it only passes on what others send.
    let address = Mac(shape.mac.unwrap_or([0x02, 0, 0, 0, 0, 0]));
    let link = if nic.link_is_up() { "" } else { ", no link" };
    log::info!("uplink:  network card at {at}, {address}, MTU {}{link}", shape.mtu);
    let card = Mutex::new(Card { nic, dead: false, full_since: None });
    let (checksum, longest) = (shape.checksum, shape.longest());
    Some(UPLINK.call_once(|| Uplink { address, checksum, longest, place: *place, card }))
}

impl Uplink {
    /// Whether this is its interrupt.
    pub fn is_irq(&self, id: IntId) -> bool {
        self.place.irq.id == id
    }

    /// Its queues, locked.
    pub fn card(&self) -> MutexGuard<'_, Card> {
        self.card.lock()
    }

    /// It does not do what a network card does: nothing is received or sent from here on.
    fn give_up(&self, card: &mut Card, error: VirtioError) {
        card.dead = true;
        log::error!("uplink:  network card at {} {error}: it is not used any more", self.place.at);
        if let Err(error) = card.nic.stop() {
            // Its memory is its own for ever.
            log::error!("uplink:  network card at {} {error}", self.place.at);
            self.place.dismiss();
        }
    }

    /// Takes its interrupt back.
    pub fn acknowledge(&self, card: &mut Card) {
        if card.nic.acknowledge() && !card.dead {
            if card.nic.needs_reset() {
                return self.give_up(card, VirtioError::NeedsReset);
            }
            let state = if card.nic.link_is_up() { "up" } else { "down" };
            log::info!("uplink:  link {state}");
        }
    }

    /// A frame that has come.
    pub fn received(&self, card: &mut Card) -> Option<Received> {
        if card.dead {
            return None;
        }
        let received = card.nic.received();
        received.unwrap_or_else(|error| {
            self.give_up(card, error);
            None
        })
    }

    /// Whether it has places for so many frames, or frames for it need not wait: it does not go on.
    pub fn takes_frames(&self, card: &mut Card, count: u16) -> bool {
        let wanted = u32::from(count).clamp(1, nic::DEPTH as u32);
        loop {
            if card.dead || card.nic.free() >= wanted {
                card.full_since = None;
                return true;
            }
            match card.nic.reclaim() {
                Err(error) => self.give_up(card, error),
                Ok(0) if !card.nic.want_room(wanted) => {
                    let now = machine().up_ns();
                    return now.saturating_sub(*card.full_since.get_or_insert(now)) > STUCK_NS;
                }
                Ok(_) => {}
            }
        }
    }
}

impl Card {
    /// Where a frame that has come is.
    pub fn frame(&self, received: &Received) -> Pa {
        self.nic.frame(received.slot)
    }

    /// A frame that came is not needed any more.
    pub fn give_back(&mut self, received: &Received) {
        self.nic.give_back(received.slot);
    }

    /// Asks for an interrupt at the next frame that comes; whether one came meanwhile.
    pub fn arm(&mut self) -> bool {
        self.nic.refill_notify();
        !self.dead && self.nic.arm()
    }

    /// Frames that come are looked for without an interrupt.
    pub fn quiet(&mut self) {
        self.nic.refill_notify();
        self.nic.quiet();
    }

    /// A place for a frame, and where its bytes go.
    pub fn place(&mut self) -> Option<(u16, Pa)> {
        self.nic.place()
    }

    /// Sends what was put at a place; whether that can be.
    pub fn send(&mut self, place: u16, header: [u8; HEADER], length: u32) -> bool {
        self.nic.send(place, header, length)
    }

    /// Tells the card of what was sent.
    pub fn notify(&mut self) {
        self.nic.notify();
    }
}
