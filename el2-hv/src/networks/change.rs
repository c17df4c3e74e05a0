//! Network cards of VMs that run: what they may send, and whether their link is there.

use hv_abi::Status;
use hv_abi::guest_map::NIC_SLOT;
use hv_core::switch::Rate;

use super::{NETWORKS, Place};
use crate::vm::Vm;

/// Where a VM's network card of that number is.
fn place(vm: &Vm, nic: u8) -> Result<Place, Status> {
    vm.nics.at(u64::from(NIC_SLOT) + u64::from(nic)).map(Place::of).ok_or(Status::InvalidArgument)
}

/// Limits what a card sends. What waited for another limit is looked at at once.
#[inline(never)]
pub fn limit(vm: &Vm, nic: u8, rate: Rate) -> Result<(), Status> {
    let place = place(vm, nic)?;
    let mut network = NETWORKS[place.network].lock();
    network.switch.set_rate(place.port, rate).map_err(|_| Status::InvalidArgument)?;
    network.transmit(place);
    Ok(())
}

/// Takes a card's link away, or brings it back, and tells its guest.
#[inline(never)]
pub fn set_link(vm: &Vm, nic: u8, up: bool) -> Result<(), Status> {
    let place = place(vm, nic)?;
    let mut network = NETWORKS[place.network].lock();
    let card = &mut network.cards[place.port.index()];
    card.net.set_link(up);
    card.pulse();
    if !up {
        // What waits in its queue goes nowhere, instead of somewhere later.
        network.transmit(place);
    }
    Ok(())
}
