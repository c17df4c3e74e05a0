//! Where the board has virtio devices that EL2 drives: first those of virtio-mmio slots, by address, then those of PCI, by host
//! bridge and function. Drives are numbered in that order, and the first network card is the board's.

use core::fmt;

use hv_board::pci::Bdf;
use hv_board::virtio::{self, Found, Kind};
use hv_board::{Board, Irq};
use hv_core::addr::{Pa, PaRange};
use hv_core::smmu::StreamId;

use crate::machine::machine;
use crate::{drives, iommu, networks, pci, report};

/// Where a device is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum At {
    /// In the virtio-mmio slot with these registers.
    Mmio(Pa),
    /// On PCI: the host bridge in the tree's order, and the function.
    Pci(usize, Bdf),
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mmio(registers) => write!(f, "{registers}"),
            Self::Pci(host, bdf) => write!(f, "{host:04x}:{bdf}"),
        }
    }
}

/// How a device is connected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Where it is.
    pub at: At,
    /// Its interrupt.
    pub irq: Irq,
    /// What an SMMU sees it as, where its DMA goes through one.
    pub stream: Option<StreamId>,
}

impl Place {
    /// Lets the device reach guests' memory and these of EL2's, where an SMMU would not. `None`, after the log has it: that
    /// cannot be.
    pub fn admit(&self, own: &[PaRange]) -> Option<()> {
        let Some(stream) = self.stream else { return Some(()) };
        let admitted = iommu::attach(stream).and_then(|()| own.iter().try_for_each(|range| iommu::share(*range)));
        if let Err(error) = admitted {
            log::warn!("smmu:    stream {stream}, the device at {}, stays blocked: {error}", self.at);
            self.dismiss();
            return None;
        }
        Some(())
    }

    /// Lets the device reach nothing any more, by the SMMU before it. Whether that is so.
    pub fn dismiss(&self) -> bool {
        self.stream.is_some_and(|stream| iommu::detach(stream).is_ok())
    }
}

/// Brings up what the board has.
#[inline(never)]
pub fn open(board: &Board) {
    for slot in &board.virtio {
        let place = Place { at: At::Mmio(slot.regs.start), irq: slot.irq, stream: None };
        // SAFETY: the tree says that a slot's registers are there, EL2 has mapped them as a device, and is their only user.
        match unsafe { virtio::look(slot.regs) } {
            None => {}
            Some(Ok(found)) => {
                bring_up(found, &place);
            }
            Some(Err(error)) => log::warn!("virtio:  device at {} {error}", place.at),
        }
    }
    for (number, host) in board.pci.iter().enumerate() {
        pci::open(number, host);
    }
}

/// Brings a device up; whether EL2 uses it.
pub fn bring_up(found: Found, place: &Place) -> bool {
    let is_used = match found.kind {
        Kind::Disk => drives::open(found, place),
        Kind::Nic => networks::open(found, place),
        Kind::Other => {
            log::info!("virtio:  device at {} is none that EL2 drives", place.at);
            false
        }
    };
    if is_used {
        let (id, mut distributor) = (place.irq.id, machine().distributor.lock());
        if let Err(error) =
            distributor.configure(place.irq, hv_arch::cpu::mpidr()).and_then(|()| distributor.enable(id))
        {
            report::fatal(format_args!("virtio: device at {}: {error}", place.at));
        }
    }
    is_used
}
