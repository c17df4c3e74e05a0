//! What went through disks and network cards, and what became of frames for the service partition.

use hv_abi::guest_map::{DISK_SLOT, DISKS_MAX, NIC_SLOT, NICS_MAX};
use hv_abi::mailbox::BODY_MAX;
use hv_abi::record::{BalloonRecord, DevicesHeader, DiskRecord, NicRecord, WakeRecord};
use hv_core::addr::VmId;
use hv_core::switch::Reason;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromZeros, Immutable, IntoBytes};

use super::put;
use crate::machine::machine;
use crate::networks::Account;
use crate::vm::{Phase, Vm};
use crate::{VMS, balloon, disks, networks};

/// Writes records of the first VM that has some from a position on: its slot, and in the low byte the device's number.
pub fn answer<R>(position: u64, body: &mut [u8; BODY_MAX], of: fn(&Vm, u8) -> Option<R>) -> usize
where
    R: IntoBytes + Immutable,
{
    let mut header = DevicesHeader::new_zeroed();
    (header.next, header.up_ns) = (U64::MAX_VALUE, U64::new(machine().up_ns()));
    let mut length = size_of::<DevicesHeader>();
    let first = usize::try_from(position >> 8).unwrap_or(VMS.len());
    let mut number = position as u8;
    for (slot, vm) in VMS.iter().enumerate().skip(first) {
        let last = if vm.phase() == Phase::Free { 0 } else { NUMBERS };
        let mut records = (number..last).filter_map(|number| Some((number, of(vm, number)?)));
        for place in body[length..].chunks_exact_mut(size_of::<R>()) {
            let Some((number, record)) = records.next() else { break };
            length += put(record.as_bytes(), place);
            header.next = U64::new((slot as u64) << 8 | (u64::from(number) + 1));
        }
        if length > size_of::<DevicesHeader>() {
            header.handle = U64::new(vm.handle(VmId(slot as u8)).0);
            header.label = vm.label().map_or(header.label, |label| *label.bytes());
            break;
        }
        number = 0;
    }
    put(header.as_bytes(), body);
    length
}

/// Numbers that a VM's devices of a kind have at most.
const NUMBERS: u8 = 4;
const _: () = assert!(DISKS_MAX == NUMBERS as usize && NICS_MAX <= DISKS_MAX);

/// A VM's disk of that number.
pub fn disk(vm: &Vm, number: u8) -> Option<DiskRecord> {
    let (counters, rate) = disks::account(vm.disks.at(u64::from(DISK_SLOT) + u64::from(number))?);
    Some(DiskRecord {
        disk: number,
        reserved: [0; 7],
        iops: U32::new(rate.iops),
        kbytes_per_s: U32::new((rate.bytes_per_s / 1000) as u32),
        reads: U64::new(counters.reads),
        read_bytes: U64::new(counters.read_bytes),
        writes: U64::new(counters.writes),
        written_bytes: U64::new(counters.written_bytes),
        flushes: U64::new(counters.flushes),
        others: U64::new(counters.others),
        failed: U64::new(counters.failed),
        waits: U64::new(counters.waits),
    })
}

/// A VM's network card of that number.
pub fn nic(vm: &Vm, number: u8) -> Option<NicRecord> {
    let Account { network, counters, rate, link_up } =
        networks::account(vm.nics.at(u64::from(NIC_SLOT) + u64::from(number))?)?;
    let dropped = |reason| U64::new(counters.dropped(reason));
    Some(NicRecord {
        nic: number,
        network,
        link_down: (!link_up).into(),
        reserved: [0; 5],
        kbit_per_s: U32::new((rate.bits_per_s / 1000) as u32),
        packets_per_s: U32::new(rate.packets_per_s),
        sent_frames: U64::new(counters.sent_frames),
        sent_bytes: U64::new(counters.sent_bytes),
        received_frames: U64::new(counters.received_frames),
        received_bytes: U64::new(counters.received_bytes),
        dropped: [
            dropped(Reason::Spoofed),
            dropped(Reason::Storm),
            // Bridges' own addresses are nobody's.
            U64::new(counters.dropped(Reason::Nobody).wrapping_add(counters.dropped(Reason::Reserved))),
            dropped(Reason::Isolated),
            U64::new(counters.missed),
        ],
    })
}

/// A VM's balloon: it has one at most.
pub fn balloon(vm: &Vm, number: u8) -> Option<BalloonRecord> {
    if number == 0 { balloon::account(vm) } else { None }
}

/// What became of frames for the service partition while it was off.
pub fn packets() -> WakeRecord {
    let seen = networks::partition::seen();
    WakeRecord {
        matched: U64::new(seen.matched),
        dropped: U64::new(seen.dropped),
        answered: U64::new(seen.answered),
        woken: U64::new(seen.woken),
        limited: U64::new(seen.limited),
    }
}
