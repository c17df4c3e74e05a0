//! `vm_device` and `vm_share`: what a VM gets besides memory of its own.

use hv_abi::Status;
use hv_abi::call::{DeviceChange, DeviceKind, DiskLimits, DiskPart, NicPort, PORTS_MAX, SharedRegion};
use hv_abi::guest_map::{MAILBOX_BASE, STOLEN_TIME_BASE};
use hv_abi::handle::Label;
use hv_abi::wake::{RULES_MAX, WakeRule};
use hv_arch::ram::Tables;
use hv_core::addr::{FRAME_SIZE, Ipa, Pa, PaRange};
use hv_core::frames::Owner;
use hv_core::stage2::Access;
use hv_core::switch::Rate;
use zerocopy::{FromZeros, IntoBytes};

use super::{Results, building, named, read_caller};
use crate::memory::frames;
use crate::networks::partition;
use crate::vm::Vm;
use crate::{balloon, disks, networks, rng, shared, sos};

/// Gives a VM a device.
pub fn device(handle: u64, kind: u64, parameters: [u64; 3]) -> Result<(), Status> {
    let (id, vm) = building(handle)?;
    let [parameter, ..] = parameters;
    match DeviceKind::from_register(kind).ok_or(Status::InvalidArgument)? {
        DeviceKind::Mailbox => mailbox(vm),
        DeviceKind::ManagementPorts => {
            let count = u8::try_from(parameter).ok().filter(|count| (1..=PORTS_MAX).contains(&u64::from(*count)));
            vm.set_ports(count.ok_or(Status::InvalidArgument)?);
            Ok(())
        }
        DeviceKind::Watchdog => {
            vm.add_watchdog();
            Ok(())
        }
        DeviceKind::StolenTime => stolen_time(vm),
        DeviceKind::Disk => disks::add(id, vm, &DiskPart::from_registers(parameters).ok_or(Status::InvalidArgument)?),
        DeviceKind::DiskLimits => {
            disks::limit(vm, &DiskLimits::from_registers(parameters).ok_or(Status::InvalidArgument)?)
        }
        DeviceKind::Entropy => rng::add(vm),
        DeviceKind::Nic => networks::add(id, vm, &NicPort::from_registers(parameters).ok_or(Status::InvalidArgument)?),
        DeviceKind::Balloon => balloon::add(id, vm, parameter),
    }
}

/// Changes a device of a VM that was started.
pub fn change(handle: u64, registers: [u64; 4]) -> Result<(), Status> {
    let (id, vm) = named(handle)?;
    if !vm.phase().is_alive() {
        return Err(Status::WrongState);
    }
    match DeviceChange::from_registers(registers).ok_or(Status::InvalidArgument)? {
        DeviceChange::DiskLimits(limits) => disks::limit_anew(vm, &limits),
        DeviceChange::DiskSectors { disk, sectors } => disks::grow(vm, disk, sectors),
        DeviceChange::NicLimits { nic, kbit_per_s, packets_per_s } => {
            networks::limit(vm, nic, Rate { bits_per_s: u64::from(kbit_per_s) * 1000, packets_per_s })
        }
        DeviceChange::NicLink { nic, up } => networks::set_link(vm, nic, up),
        DeviceChange::Memory { bytes } => balloon::set_memory(id, vm, bytes),
    }?;
    sos::progress();
    Ok(())
}

/// Gives a VM that was started a disk.
pub fn attach(handle: u64, part: [u64; 3]) -> Result<(), Status> {
    let (id, vm) = named(handle)?;
    disks::attach(id, vm, &DiskPart::from_registers(part).ok_or(Status::InvalidArgument)?)?;
    sos::progress();
    Ok(())
}

/// Takes a disk from a VM that was started.
pub fn detach(handle: u64, disk: u64, at_once: u64) -> Result<(), Status> {
    let (_, vm) = named(handle)?;
    if at_once > 1 {
        return Err(Status::InvalidArgument);
    }
    disks::detach(vm, disk, at_once == 1)?;
    sos::progress();
    Ok(())
}

/// Gives a VM its mailbox page.
fn mailbox(vm: &Vm) -> Result<(), Status> {
    if vm.mailbox.lock().is_attached() {
        return Err(Status::Exists);
    }
    let page = page(vm, MAILBOX_BASE, Access::ReadWrite)?;
    vm.mailbox.lock().attach(page);
    Ok(())
}

/// Gives a VM its page of stolen time.
fn stolen_time(vm: &Vm) -> Result<(), Status> {
    if vm.stolen_time.is_attached() {
        return Err(Status::Exists);
    }
    vm.stolen_time.attach(page(vm, STOLEN_TIME_BASE, Access::Read)?);
    Ok(())
}

/// A page that a VM shares with EL2.
fn page(vm: &Vm, ipa: u64, access: Access) -> Result<Pa, Status> {
    let mut control = vm.control.lock();
    let stage2 = control.stage2.as_mut().ok_or(Status::WrongState)?;
    let mut frames = frames();
    let page = frames.allocate(FRAME_SIZE, Owner::Mailboxes).map_err(|_| Status::NoMemory)?;
    let range = PaRange { start: page, size: FRAME_SIZE };
    if stage2.map(Ipa(ipa), range, access, &mut Tables { frames: &mut frames }).is_err() {
        frames.free(range, Owner::Mailboxes);
        return Err(Status::NoMemory);
    }
    Ok(page)
}

/// Gives the service partition its network card.
pub fn network(registers: [u64; 3]) -> Result<(), Status> {
    partition::connect(&NicPort::from_registers(registers).ok_or(Status::InvalidArgument)?)
}

/// Sets what becomes of frames for the service partition while it is off.
// Inlined, its rules would stand on the stack of every exit.
#[inline(never)]
pub fn rules(ipa: u64, count: u64) -> Result<(), Status> {
    let mut rules = [WakeRule::new_zeroed(); RULES_MAX];
    let count = usize::try_from(count).ok().filter(|count| *count <= RULES_MAX).ok_or(Status::InvalidArgument)?;
    let rules = &mut rules[..count];
    read_caller(ipa, rules.as_mut_bytes())?;
    partition::set_rules(rules)
}

/// Gives a VM memory that it shares.
pub fn share(handle: u64, name: [u64; 4], region: u64, results: &mut Results) -> Result<(), Status> {
    let (id, vm) = building(handle)?;
    let name = Label::from_registers(name).ok_or(Status::InvalidArgument)?;
    let region = SharedRegion::from_register(region).ok_or(Status::InvalidArgument)?;
    results[0] = shared::share(id, vm, name, region)?;
    sos::progress();
    Ok(())
}
