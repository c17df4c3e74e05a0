//! The board's PCI devices: of those on root buses, EL2 uses disks and network cards, and all others are silent.

use hv_board::pci::{self, Allocator, Bdf, ConfigSpace, Ecam, Function, FunctionKind, PciHost, Window};
use hv_board::virtio::{Kind, look_pci};

use crate::slots::{At, Place, bring_up};

/// Brings up what is on a host bridge's root bus. `number` is the bridge's place in the tree.
pub fn open(number: usize, host: &PciHost) {
    if !host.coherent {
        log::warn!("pci:     host bridge {number} does not see caches (no dma-coherent): it is not used");
        return;
    }
    // SAFETY: the tree says that the root bus' configuration space is there, EL2 has mapped it as a device, and is its only user.
    let Some(mut config) = (unsafe { Ecam::new(host.root_config(), host.bus) }) else {
        log::warn!("pci:     host bridge {number} has no configuration space for a bus: it is not used");
        return;
    };
    // Addresses that firmware gave may be those that others get.
    each(&mut config, host.bus, |config, function| {
        if function.kind == FunctionKind::Endpoint {
            pci::quiet(config, function.bdf);
        }
    });
    let mut room = Allocator::new(host.windows.iter().map(Window::own));
    each(&mut config, host.bus, |config, function| {
        let at = At::Pci(number, function.bdf);
        match (function.kind, Kind::of_function(function)) {
            (FunctionKind::Endpoint, Kind::Disk | Kind::Nic) => {
                if !use_device(config, &mut room, function, (number, host)) {
                    pci::quiet(config, function.bdf);
                }
            }
            (FunctionKind::Endpoint, Kind::Other) => {
                let (vendor, device) = (function.vendor, function.device);
                log::info!("pci:     {at} ({vendor:04x}:{device:04x}) is none that EL2 drives");
            }
            (FunctionKind::Bridge, _) => log::info!("pci:     {at} is a bridge, behind which EL2 does not look"),
            (FunctionKind::Other, _) => {}
        }
    });
}

fn each(config: &mut Ecam, bus: u8, mut visit: impl FnMut(&mut Ecam, &Function)) {
    let mut next = Some(Bdf::first(bus));
    while let Some(function) = next.and_then(|from| pci::find(config, from)) {
        visit(config, &function);
        next = function.bdf.next();
    }
}

/// Brings a disk or a network card up; whether it is used.
fn use_device(
    config: &mut impl ConfigSpace,
    room: &mut Allocator,
    function: &Function,
    (number, host): (usize, &PciHost),
) -> bool {
    let bdf = function.bdf;
    let at = At::Pci(number, bdf);
    let Some(irq) = host.irq(bdf, function.pin) else {
        log::warn!("pci:     {at} has no interrupt pin that goes to the GIC: it is not used");
        return false;
    };
    let bars = match pci::prepare(config, bdf, room) {
        Ok(bars) => bars,
        Err(error) => {
            log::warn!("pci:     {at} {error}");
            return false;
        }
    };
    // SAFETY: the BARs were just put in EL2's parts of the windows, which are mapped as devices, and nothing else is there.
    let found = match unsafe { look_pci(config, function, &bars) } {
        Ok(found) => found,
        Err(error) => {
            log::warn!("virtio:  device at {at} {error}");
            return false;
        }
    };
    let behind = host.stream(bdf);
    if behind.is_some() && !found.translated {
        // It may reach all memory by that (virtio 1.2 §6.1), as any virtio-mmio device does.
        log::warn!("pci:     {at} does not offer VIRTIO_F_ACCESS_PLATFORM: its DMA goes around the SMMU before it");
    }
    let place = Place { at, irq, stream: behind.filter(|_| found.translated) };
    pci::start(config, bdf);
    bring_up(found, &place)
}
