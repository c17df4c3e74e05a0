//! What went through a VM's disks and network cards, as EL2 has counted it.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use hv_abi::VmHandle;
use hv_abi::message::{DiskUse, NicDrops, NicUse, VmSpec};
use hv_abi::record::{DevicesHeader, DiskRecord, NicRecord, QueryKind};
use zerocopy::{FromBytes, Immutable, KnownLayout};

use crate::error::Error;
use crate::hypervisor::Hypervisor;

/// Answers that are asked for at most: more than a VM has devices.
const ANSWERS_MAX: usize = 8;

/// What the disks of a VM have done, in their order.
pub(super) fn disks<H: Hypervisor>(hypervisor: &mut H, vm: VmHandle, spec: &VmSpec) -> Result<Vec<DiskUse>, Error> {
    let records: Vec<DiskRecord> = records(hypervisor, QueryKind::Disks, vm)?;
    let of = |record: &DiskRecord| {
        let disk = spec.disks.get(usize::from(record.disk));
        disk_use(disk.map_or_else(|| format!("disk-{}", record.disk), |disk| disk.name.clone()), record)
    };
    Ok(records.iter().map(of).collect())
}

/// What went by the network cards of a VM, in their order.
pub(super) fn nics<H: Hypervisor>(hypervisor: &mut H, vm: VmHandle, spec: &VmSpec) -> Result<Vec<NicUse>, Error> {
    let records: Vec<NicRecord> = records(hypervisor, QueryKind::Nics, vm)?;
    let of = |record: &NicRecord| {
        let nic = spec.nics.get(usize::from(record.nic));
        nic_use(nic.map_or_else(String::new, |nic| nic.name.clone()), record)
    };
    Ok(records.iter().map(of).collect())
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
