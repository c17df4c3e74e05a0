//! Answers as lines for the tests: `CLIENT <what> <values>`.

use crate::Answer;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use hv_abi::handle::label_text;
use hv_abi::mailbox::HvErrorKind;
use hv_abi::message::{Reply, VmSummary, decode};
use hv_abi::record::{HvInfo, LogHeader, QueryKind, SOS_STATES, SosStatus, VCPU_STATES, VcpuRecord, VcpusHeader};
use test_guests::println;
use zerocopy::FromBytes;

/// Prints a reply of the service partition.
pub(crate) fn reply(outcome: Result<Vec<u8>, HvErrorKind>) -> Answer {
    let bytes = outcome.map_err(|kind| format!("hv: {kind}"))?;
    match decode::<Reply>(&bytes).map_err(|error| error.to_string())? {
        Reply::Done | Reply::Pending => {}
        Reply::VmList(list) => list.iter().for_each(summary),
        Reply::Vm(detail) => {
            summary(&detail.summary);
            let end = detail.last_end.as_deref().unwrap_or("-");
            println!("CLIENT vm {} last-end {end}", detail.summary.name);
        }
        Reply::Error(failure) => {
            return Err(format!("sos: {:?}: {}", failure.code, failure.message));
        }
    }
    Ok(())
}

fn summary(vm: &VmSummary) {
    let running = vm.uptime_ns.is_some();
    println!("CLIENT vm {} state {} vcpus {} memory {} has-uptime {running}", vm.name, vm.state, vm.vcpus, vm.memory);
}

/// Prints a record of EL2.
pub(crate) fn record(kind: QueryKind, bytes: &[u8]) -> Answer {
    match kind {
        QueryKind::SosStatus => status(&read(bytes)?),
        QueryKind::HvInfo => info(&read(bytes)?),
        QueryKind::Log | QueryKind::Console => {
            let header: LogHeader = read(bytes)?;
            let text = bytes.get(size_of::<LogHeader>()..).unwrap_or_default();
            println!("CLIENT log from {} to {}: {} bytes", header.position, header.end, text.len());
        }
        QueryKind::Vcpus => {
            vcpus(bytes)?;
        }
        QueryKind::Lives
        | QueryKind::Askers
        | QueryKind::Disks
        | QueryKind::Nics
        | QueryKind::Packets
        | QueryKind::Balloons
        | QueryKind::ConsoleNext
        | QueryKind::ConsoleType
        | QueryKind::Plugs => {
            println!("CLIENT {} bytes", bytes.len());
        }
    }
    Ok(())
}

/// Prints vCPUs; the position of the next.
pub(crate) fn vcpus(bytes: &[u8]) -> Result<u64, String> {
    let header: VcpusHeader = read(bytes)?;
    let name = label_text(&header.label);
    for record in bytes[size_of::<VcpusHeader>()..].chunks(size_of::<VcpuRecord>()) {
        let record: VcpuRecord = read(record)?;
        let state = VCPU_STATES.get(usize::from(record.state)).copied().unwrap_or("?");
        println!(
            "CLIENT vcpu {name} {} on {} {state} at {} ran {} waited {} exits {:?}",
            record.vcpu,
            record.cpu,
            header.up_ns,
            record.ran_ns,
            record.waited_ns,
            record.exits.map(|count| count.get()),
        );
    }
    Ok(header.next.get())
}

fn read<T: FromBytes>(bytes: &[u8]) -> Result<T, String> {
    T::read_from_prefix(bytes).map(|(record, _)| record).map_err(|_| format!("record of {} bytes", bytes.len()))
}

fn status(status: &SosStatus) {
    let state = SOS_STATES.get(status.state.get() as usize).copied().unwrap_or("?");
    println!(
        "CLIENT sos state {state} lives {} failures {} requests {} frames {} woken-by {}",
        status.lives,
        status.failures,
        status.requests,
        status.frames,
        label_text(&status.woken_by),
    );
}

fn info(info: &HvInfo) {
    let rows = [
        info.guests,
        info.sos,
        info.el2_image,
        info.el2_stacks,
        info.el2_tables,
        info.el2_rings,
        info.el2_mailboxes,
        info.archive,
        info.notes,
        info.firmware,
        info.free,
    ];
    let sum: u64 = rows.iter().map(|row| row.get()).sum();
    println!(
        "CLIENT hv cpus {} ram {} sum {sum} guests {} sos {} free {} held {}",
        info.cpus, info.ram, info.guests, info.sos, info.free, info.held
    );
}
