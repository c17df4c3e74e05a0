//! A VM's disks, network cards and balloon, as EL2 has them.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use hv_abi::VmHandle;
use hv_abi::message::{DiskUse, NicDrops, NicUse, VmSpec};
use hv_abi::record::{BalloonRecord, DevicesHeader, DiskRecord, NicRecord, QueryKind};
use zerocopy::{FromBytes, Immutable, KnownLayout};

use crate::error::Error;
use crate::hypervisor::Hypervisor;

/// Answers that are asked for at most: more than a VM has devices.
const ANSWERS_MAX: usize = 8;

/// EL2's records of a VM's devices, each kind in its order.
#[derive(Default)]
pub(super) struct Devices {
    disks: Vec<DiskRecord>,
    nics: Vec<NicRecord>,
    /// Its balloon, if it has one.
    pub(super) balloon: Option<BalloonRecord>,
}

impl Devices {
    /// What EL2 says of a VM's devices, of the kinds that its spec has.
    pub(super) fn of<H: Hypervisor>(hypervisor: &mut H, vm: VmHandle, spec: &VmSpec) -> Result<Self, Error> {
        let balloon: Vec<BalloonRecord> = match spec.guarantee {
            Some(_) => records(hypervisor, QueryKind::Balloons, vm)?,
            None => Vec::new(),
        };
        Ok(Self {
            disks: records(hypervisor, QueryKind::Disks, vm)?,
            nics: records(hypervisor, QueryKind::Nics, vm)?,
            balloon: balloon.first().copied(),
        })
    }

    /// What the disks have done.
    pub(super) fn disks(&self, spec: &VmSpec) -> Vec<DiskUse> {
        let of = |record: &DiskRecord| {
            let disk = spec.disks.get(usize::from(record.disk));
            disk_use(disk.map_or_else(|| format!("disk-{}", record.disk), |disk| disk.name.clone()), record)
        };
        self.disks.iter().map(of).collect()
    }

    /// What went by the network cards.
    pub(super) fn nics(&self, spec: &VmSpec) -> Vec<NicUse> {
        let name = |record: &NicRecord| spec.nics.get(usize::from(record.nic)).map(|nic| nic.name.clone());
        self.nics.iter().map(|record| nic_use(name(record).unwrap_or_default(), record)).collect()
    }

    /// Names of the network cards whose link is down.
    pub(super) fn links_down(&self, spec: &VmSpec) -> Vec<String> {
        let down = self.nics.iter().filter(|record| record.link_down != 0);
        down.filter_map(|record| spec.nics.get(usize::from(record.nic))).map(|nic| nic.name.clone()).collect()
    }

    /// The limits that disk has.
    pub(super) fn disk(&self, number: u8) -> Option<(u32, u32)> {
        let record = self.disks.iter().find(|record| record.disk == number)?;
        Some((record.iops.get(), record.kbytes_per_s.get()))
    }

    /// The limits that network card has.
    pub(super) fn nic(&self, number: u8) -> Option<(u32, u32)> {
        let record = self.nics.iter().find(|record| record.nic == number)?;
        Some((record.kbit_per_s.get(), record.packets_per_s.get()))
    }

    /// Puts the limits into a spec that its devices have now.
    pub(super) fn limit(&self, spec: &mut VmSpec) {
        for (disk, number) in spec.disks.iter_mut().zip(0..) {
            if let Some(limits) = self.disk(number) {
                (disk.iops, disk.kbytes_per_s) = limits;
            }
        }
        for (nic, number) in spec.nics.iter_mut().zip(0..) {
            if let Some(limits) = self.nic(number) {
                (nic.kbit_per_s, nic.packets_per_s) = limits;
            }
        }
    }
}

/// The records of a VM's devices of a kind.
fn records<H, R>(hypervisor: &mut H, kind: QueryKind, vm: VmHandle) -> Result<Vec<R>, Error>
where
    H: Hypervisor,
    R: FromBytes + Immutable + KnownLayout,
{
    let mut all = Vec::new();
    let mut position = vm.index().map_or(u64::MAX, |slot| u64::from(slot) << 8);
    for _ in 0..ANSWERS_MAX {
        let answer = hypervisor.hv_query(kind, position);
        let bytes = answer.map_err(|status| Error::Call { call: "hv_query", status })?;
        // What cannot be read is no record: EL2 has checked the kind.
        let Ok((header, mut rest)) = DevicesHeader::read_from_prefix(&bytes) else { break };
        if header.handle.get() != vm.0 {
            break;
        }
        while let Ok((record, behind)) = R::read_from_prefix(rest) {
            all.push(record);
            rest = behind;
        }
        position = header.next.get();
    }
    Ok(all)
}

fn disk_use(name: String, record: &DiskRecord) -> DiskUse {
    DiskUse {
        name,
        reads: record.reads.get(),
        read_bytes: record.read_bytes.get(),
        writes: record.writes.get(),
        written_bytes: record.written_bytes.get(),
        flushes: record.flushes.get(),
        others: record.others.get(),
        failed: record.failed.get(),
        waits: record.waits.get(),
    }
}

fn nic_use(name: String, record: &NicRecord) -> NicUse {
    let [spoofed, storm, nobody, isolated, no_room] = record.dropped.map(|count| count.get());
    NicUse {
        name,
        sent_frames: record.sent_frames.get(),
        sent_bytes: record.sent_bytes.get(),
        received_frames: record.received_frames.get(),
        received_bytes: record.received_bytes.get(),
        dropped: NicDrops { spoofed, storm, nobody, isolated, no_room },
    }
}
