//! Where each address is: those of the ports, which stay, and those that were learnt, which age (IEEE 802.1Q §8.8).
//!
//! The first slots are the ports' own addresses, by number; learnt ones follow. An address is in one slot only, so
//! none that is learnt can stand before a port's own. Slots are found by a hash and a chain: a sender who knows the hash
//! makes a chain as long as the table, which is the bound of all work here.

use super::address::Mac;
use super::ports::{MAX_PORTS, PortId};

/// Addresses that are learnt at most.
pub const LEARNT_MAX: usize = 64;
/// Of these, at one port: who sends from ever new addresses loses only its own.
pub const LEARNT_PER_PORT: usize = 16;
/// Nanoseconds until an address of which nothing was heard is forgotten: 300 s (IEEE 802.1Q §8.8.3, table 8-6).
pub const AGE_NS: u64 = 300_000_000_000;

const SLOTS: usize = MAX_PORTS + LEARNT_MAX;
const CHAINS: usize = 64;
const _: () = assert!(SLOTS < u8::MAX as usize && CHAINS.is_power_of_two());

/// A slot, or none: slot n is n + 1, so that an empty table is all zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Link(u8);

impl Link {
    const NONE: Self = Self(0);

    #[inline]
    const fn to(slot: usize) -> Self {
        Self(slot as u8 + 1)
    }

    #[inline]
    fn slot(self) -> Option<usize> {
        usize::from(self.0).checked_sub(1)
    }
}

/// An address and its place; of none where the address is 0.
#[derive(Clone, Copy, Debug)]
struct Entry {
    address: u64,
    /// When a frame came from there, in nanoseconds. A port's own does not age.
    seen: u64,
    port: PortId,
    /// The next of its chain.
    next: Link,
}

impl Entry {
    const NONE: Self = Self { address: 0, seen: 0, port: PortId(0), next: Link::NONE };

    const fn is_taken(&self) -> bool {
        self.address != 0
    }

    const fn is_at(&self, port: PortId) -> bool {
        self.is_taken() && self.port.0 == port.0
    }
}

/// The table.
#[derive(Debug)]
pub(super) struct Table {
    entries: [Entry; SLOTS],
    chains: [Link; CHAINS],
}

impl Table {
    /// An empty table: all zero.
    pub(super) const NONE: Self = Self { entries: [Entry::NONE; SLOTS], chains: [Link::NONE; CHAINS] };

    /// The chain of an address: the high bits of a product that each of its bits reaches (Fibonacci hashing).
    #[inline]
    const fn chain(address: u64) -> usize {
        (address.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - CHAINS.trailing_zeros())) as usize
    }

    #[inline]
    fn find(&self, address: u64) -> Option<usize> {
        let mut link = self.chains[Self::chain(address)];
        while let Some(slot) = link.slot() {
            if self.entries[slot].address == address {
                return Some(slot);
            }
            link = self.entries[slot].next;
        }
        None
    }

    /// The port that an address leads to.
    #[inline]
    pub(super) fn port_of(&self, mac: Mac, now: u64) -> Option<PortId> {
        let slot = self.find(mac.packed())?;
        let entry = &self.entries[slot];
        let known = slot < MAX_PORTS || now.saturating_sub(entry.seen) < AGE_NS;
        known.then_some(entry.port)
    }

    /// The port whose own address it is.
    #[inline]
    pub(super) fn owner_of(&self, mac: Mac) -> Option<PortId> {
        self.find(mac.packed()).filter(|&slot| slot < MAX_PORTS).map(|slot| self.entries[slot].port)
    }

    /// Whether it is the address of this port, which exists.
    #[inline]
    pub(super) fn is_own(&self, port: PortId, mac: Mac) -> bool {
        self.entries[port.index()].address == mac.packed()
    }

    /// A port that exists, and had no address, has this one, which is a station's and no other port's.
    pub(super) fn own(&mut self, port: PortId, mac: Mac) {
        if let Some(slot) = self.find(mac.packed()) {
            self.remove(slot);
        }
        self.insert(port.index(), port, mac, 0);
    }

    /// A frame came from a station's address, by this port. What was learnt at another port moves here; a port's own
    /// address is left alone.
    #[inline]
    pub(super) fn learn(&mut self, port: PortId, mac: Mac, now: u64) {
        match self.find(mac.packed()) {
            Some(slot) if slot < MAX_PORTS => {}
            Some(slot) if self.entries[slot].port == port => {
                self.entries[slot].seen = now.max(self.entries[slot].seen);
            }
            known => self.settle(known, port, mac, now),
        }
    }

    /// An address is new, or has moved from where it was known.
    #[cold]
    fn settle(&mut self, known: Option<usize>, port: PortId, mac: Mac, now: u64) {
        if let Some(slot) = known {
            self.remove(slot);
        }
        let slot = self.place_for(port);
        self.remove(slot);
        self.insert(slot, port, mac, now);
    }

    /// The slot for one more address at `port`: one that is free, or the oldest; its own oldest where it has as many as
    /// it may. Those that have aged are the oldest of all.
    fn place_for(&self, port: PortId) -> usize {
        let learnt = || self.entries.iter().enumerate().skip(MAX_PORTS);
        let full = learnt().filter(|(_, entry)| entry.is_at(port)).count() >= LEARNT_PER_PORT;
        let oldest = learnt()
            .filter(|(_, entry)| !full || entry.is_at(port))
            .min_by_key(|(_, entry)| (entry.is_taken(), entry.seen));
        oldest.map_or(MAX_PORTS, |(slot, _)| slot)
    }

    /// Puts an address that is nowhere into a free slot.
    fn insert(&mut self, slot: usize, port: PortId, mac: Mac, seen: u64) {
        let address = mac.packed();
        let head = &mut self.chains[Self::chain(address)];
        self.entries[slot] = Entry { address, seen, port, next: *head };
        *head = Link::to(slot);
    }

    /// Frees a slot, where it is taken.
    fn remove(&mut self, slot: usize) {
        let Entry { address, next, .. } = self.entries[slot];
        let mut link = &mut self.chains[Self::chain(address)];
        while let Some(other) = link.slot() {
            if other == slot {
                *link = next;
                break;
            }
            link = &mut self.entries[other].next;
        }
        self.entries[slot] = Entry::NONE;
    }

    /// Forgets the address of a port, and what was learnt there.
    pub(super) fn forget(&mut self, port: PortId) {
        for slot in 0..SLOTS {
            if self.entries[slot].is_at(port) {
                self.remove(slot);
            }
        }
    }
}
