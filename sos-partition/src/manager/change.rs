//! Changes of devices that a VM uses: limits, the size of a disk, a network card's link, memory.
//!
//! They hold for the life that the VM has, as what is set of the CPUs does. A disk that has grown stays so until the board is
//! powered off: what its guest has made of it needs all of it.

use alloc::format;
use alloc::string::String;

use hv_abi::Status;
use hv_abi::call::{DeviceChange, DiskLimits};
use hv_abi::message::{DeviceChanges, DeviceSet, DiskSet, NicSet, Origin, Reply, VmSpec};

use super::Manager;
use super::devices::Devices;
use crate::error::Error;
use crate::hypervisor::Hypervisor;
use crate::notes::{self, Grown};
use crate::vm::{Vm, find_vm};

impl Manager<'_> {
    /// Changes a device of a VM that runs or is paused.
    pub(super) fn change<H: Hypervisor>(
        &mut self,
        hypervisor: &mut H,
        set: DeviceSet,
        now: u64,
    ) -> Result<Reply, Error> {
        let found = self.find(hypervisor, &set.vm)?;
        let vm = find_vm(hypervisor, &set.vm)?.filter(Vm::is_alive);
        let (Some((spec, origin)), Some(vm)) = (found, vm) else {
            return Err(self.not_running(hypervisor, &set.vm)?);
        };
        match set.change {
            DeviceChanges::Disk(set) => Changed { hypervisor, spec: &spec, origin, vm: &vm }.disk(&set)?,
            DeviceChanges::Nic(set) => Changed { hypervisor, spec: &spec, origin, vm: &vm }.nic(&set)?,
            DeviceChanges::Memory(set) => self.set_memory(hypervisor, (&vm, &spec), set, now)?,
        }
        Ok(Reply::Done)
    }
}

/// A VM that is changed.
struct Changed<'a, H> {
    hypervisor: &'a mut H,
    spec: &'a VmSpec,
    origin: Origin,
    vm: &'a Vm,
}

impl<H: Hypervisor> Changed<'_, H> {
    /// Changes a disk. What may be refused comes first, so that then nothing was changed.
    fn disk(&mut self, set: &DiskSet) -> Result<(), Error> {
        let number = number(self.spec.disks.iter().map(|disk| &*disk.name), &set.disk);
        let number = number.ok_or_else(|| self.no_device("disk", &set.disk))?;
        let Some(disk) = self.spec.disks.get(usize::from(number)) else {
            return Err(self.no_device("disk", &set.disk));
        };
        if let Some(sectors) = set.sectors {
            // The VM's next life would have what the table says.
            if disk.partition.is_some() {
                return Err(Error::PartitionSize { name: self.spec.name.clone(), disk: disk.name.clone() });
            }
            self.call(&disk.name, DeviceChange::DiskSectors { disk: number, sectors })?;
            if self.origin == Origin::Description {
                let grown = Grown { vm: self.spec.name.clone(), disk: disk.name.clone(), sectors };
                notes::add_grown(self.hypervisor, &grown)?;
            }
        }
        if set.iops.or(set.kbytes_per_s).is_some() {
            let has = Devices::of(self.hypervisor, self.vm.handle(), self.spec)?.disk(number);
            let (iops, kbytes_per_s) = has.unwrap_or((disk.iops, disk.kbytes_per_s));
            let iops = set.iops.unwrap_or(iops);
            let kbytes_per_s = set.kbytes_per_s.unwrap_or(kbytes_per_s);
            let limits = DiskLimits { disk: number, iops, kbytes_per_s };
            self.call(&disk.name, DeviceChange::DiskLimits(limits))?;
        }
        self.keep(|spec| {
            let Some(disk) = spec.disks.get_mut(usize::from(number)) else { return };
            disk.sectors = set.sectors.unwrap_or(disk.sectors);
            disk.iops = set.iops.unwrap_or(disk.iops);
            disk.kbytes_per_s = set.kbytes_per_s.unwrap_or(disk.kbytes_per_s);
        })
    }

    /// Changes a network card.
    fn nic(&mut self, set: &NicSet) -> Result<(), Error> {
        let number = number(self.spec.nics.iter().map(|nic| &*nic.name), &set.nic);
        let number = number.ok_or_else(|| self.no_device("network card", &set.nic))?;
        let Some(nic) = self.spec.nics.get(usize::from(number)) else {
            return Err(self.no_device("network card", &set.nic));
        };
        if set.kbit_per_s.or(set.packets_per_s).is_some() {
            let has = Devices::of(self.hypervisor, self.vm.handle(), self.spec)?.nic(number);
            let (kbit_per_s, packets_per_s) = has.unwrap_or((nic.kbit_per_s, nic.packets_per_s));
            let kbit_per_s = set.kbit_per_s.unwrap_or(kbit_per_s);
            let packets_per_s = set.packets_per_s.unwrap_or(packets_per_s);
            self.call(&nic.name, DeviceChange::NicLimits { nic: number, kbit_per_s, packets_per_s })?;
        }
        if let Some(up) = set.link_up {
            self.call(&nic.name, DeviceChange::NicLink { nic: number, up })?;
        }
        self.keep(|spec| {
            let Some(nic) = spec.nics.get_mut(usize::from(number)) else { return };
            nic.kbit_per_s = set.kbit_per_s.unwrap_or(nic.kbit_per_s);
            nic.packets_per_s = set.packets_per_s.unwrap_or(nic.packets_per_s);
        })
    }

    /// Has EL2 make a change.
    fn call(&mut self, device: &str, change: DeviceChange) -> Result<(), Error> {
        self.hypervisor.vm_device_set(self.vm.handle(), change).map_err(|status| refusal(self.vm, device, status))
    }

    /// Changes the spec of a created VM, which keeps what is set.
    fn keep(&mut self, edit: impl FnMut(&mut VmSpec)) -> Result<(), Error> {
        match self.origin {
            Origin::Created => notes::change_created(self.hypervisor, &self.spec.name, edit),
            Origin::Description => Ok(()),
        }
    }

    fn no_device(&self, kind: &'static str, device: &str) -> Error {
        Error::NoDevice { name: self.spec.name.clone(), kind, device: String::from(device) }
    }
}

/// The number of a device: it was called by its name, or else by that.
fn number<'n>(names: impl Iterator<Item = &'n str> + Clone, asked: &str) -> Option<u8> {
    let by_name = names.clone().position(|name| name == asked);
    let by_number = || asked.parse().ok().filter(|number| *number < names.count());
    by_name.or_else(by_number).and_then(|number: usize| u8::try_from(number).ok())
}

/// What a status of `vm_device_set` means for a disk or a network card.
fn refusal(vm: &Vm, device: &str, status: Status) -> Error {
    let reason = match status {
        Status::InvalidArgument => "its drive does not have these sectors, or not as whole blocks",
        Status::Denied => "a disk is never made smaller",
        Status::Conflict => "another VM writes to some of these sectors",
        Status::WrongState => "the VM has ended",
        status => return Error::Call { call: "vm_device_set", status },
    };
    Error::Change { name: vm.name().into(), what: format!("{device:?}"), reason, status }
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn a_device_is_found_by_its_name_before_its_number() {
        let names = ["root", "0", "data"];
        for (asked, found) in
            [("root", Some(0)), ("0", Some(1)), ("1", Some(1)), ("2", Some(2)), ("3", None), ("-1", None), ("", None)]
        {
            assert_eq!(number(names.into_iter(), asked), found, "{asked}");
        }
    }
}
