//! Commands about VMs: what they ask the service partition, and how VMs are shown to people.

use hv_abi::message::{
    BalloonUse, CpuShare, Crash, DiskSpec, ImageFormat, NicSpec, Origin, Reply, Reservation, SharedMemory, VmDetail,
    VmSpec, VmSummary,
};

use super::{Done, Output, ask, done, done_text, show};
use crate::agent;
use crate::cli::{Cli, VmCommand};
use crate::counters;
use crate::error::Error;
use crate::session::Session;
use crate::text::{Align, bytes, pairs, printable, span, table};

/// A command about VMs.
pub(super) fn run(arguments: &Cli, session: &mut Session, command: &VmCommand) -> Result<Output, Error> {
    let Some(request) = command.request() else {
        return Err(Error::Reply("request"));
    };
    let (name, what) = match command {
        VmCommand::Logs(vm) => (&*vm.name, "shown"),
        VmCommand::List => {
            let Reply::VmList(list) = ask(session, &request)? else {
                return Err(Error::Reply("list of VMs"));
            };
            return show(arguments, &list[..], list_text);
        }
        VmCommand::Show(_) => {
            let Reply::Vm(detail) = ask(session, &request)? else {
                return Err(Error::Reply("VM"));
            };
            return show(arguments, &*detail, detail_text);
        }
        VmCommand::Create(create) => (create.name(), "created"),
        VmCommand::Set(set) => (set.name(), "set"),
        VmCommand::Memory(memory) => (memory.name(), "asked"),
        VmCommand::Start(vm) => (&*vm.name, "started"),
        VmCommand::Stop(vm) => (&*vm.name, "stopped"),
        VmCommand::Destroy(vm) => (&*vm.name, "destroyed"),
        VmCommand::Reboot(vm) => (&*vm.name, "rebooted"),
        VmCommand::Pause(vm) => (&*vm.name, "paused"),
        VmCommand::Resume(vm) => (&*vm.name, "resumed"),
        VmCommand::Attach(attach) => (&*attach.name, "attached"),
        VmCommand::Detach(detach) => {
            agent::await_detach(arguments, session, &request)?;
            return show(arguments, &Done::new(Some(&detach.name), "detached"), done_text);
        }
    };
    done(session, &request)?;
    show(arguments, &Done::new(Some(name), what), done_text)
}

/// A span of time that may not have been.
fn uptime(ns: Option<u64>) -> String {
    ns.map_or_else(|| "-".to_owned(), span)
}

fn list_text(list: &[VmSummary]) -> String {
    let heads = [
        ("NAME", Align::Left),
        ("STATE", Align::Left),
        ("VCPUS", Align::Right),
        ("MEMORY", Align::Right),
        ("UPTIME", Align::Right),
    ];
    let row = |vm: &VmSummary| {
        [printable(&vm.name), vm.state.to_string(), vm.vcpus.to_string(), bytes(vm.memory), uptime(vm.uptime_ns)]
    };
    table(&heads, &list.iter().map(row).collect::<Vec<_>>())
}

fn detail_text(vm: &VmDetail) -> String {
    let or_dash = |text: &str| {
        if text.is_empty() { "-".to_owned() } else { printable(text) }
    };
    let spec = &vm.spec;
    let format = match spec.format {
        ImageFormat::Linux => "Linux".to_owned(),
        ImageFormat::Raw { load_address } => format!("raw at {load_address:#x}"),
    };
    let origin = match vm.origin {
        Origin::Description => "system description",
        Origin::Created => "vm create",
    };
    let facts = pairs([
        ("name", printable(&vm.summary.name)),
        ("state", vm.summary.state.to_string()),
        ("vcpus", vm.summary.vcpus.to_string()),
        ("memory", bytes(vm.summary.memory)),
        ("memory target", or_dash(&vm.balloon.as_ref().map_or_else(String::new, balloon))),
        ("guaranteed", bytes(spec.guarantee.unwrap_or(spec.memory))),
        ("uptime", uptime(vm.summary.uptime_ns)),
        ("last end", or_dash(vm.last_end.as_deref().unwrap_or(""))),
        ("from", origin.to_owned()),
        ("image", format!("{} ({format})", printable(&spec.image))),
        ("initrd", or_dash(spec.initrd.as_deref().unwrap_or(""))),
        ("bootargs", or_dash(&spec.bootargs)),
        ("autostart", yes_or_no(spec.autostart)),
        ("grants", or_dash(&spec.grants.join(", "))),
        ("ports", spec.ports.to_string()),
        ("watchdog", yes_or_no(spec.watchdog)),
        ("cpu weight", spec.cpu.weight.to_string()),
        ("cpu cap", or_dash(&cap(&spec.cpu))),
        ("cpu affinity", affinity(&spec.cpu)),
        ("cpu reservation", or_dash(&reservation(&spec.cpu))),
        ("cpu pinned", yes_or_no(spec.cpu.pinned)),
        ("shared memory", or_dash(&shared(spec))),
        ("disks", or_dash(&disks(spec))),
        ("network cards", or_dash(&nics(vm))),
        ("entropy device", yes_or_no(spec.rng)),
        ("restart", restart_text(spec)),
        ("restarts", vm.restarts.to_string()),
    ]);
    let facts = facts + &counters::text(vm);
    match &vm.crash {
        Some(crash) => facts + &crash_text(crash),
        None => facts,
    }
}

/// How the last life crashed.
fn crash_text(crash: &Crash) -> String {
    let life = format!("\nLAST CRASH: {}, life {} of slot {}", printable(&crash.reason), crash.generation, crash.slot);
    let Some(vcpu) = &crash.vcpu else {
        return life + "; no vCPU's registers are known\n";
    };
    let hex = |value: u64| format!("{value:#018x}");
    let named = [
        ("pc", vcpu.pc),
        ("pstate", vcpu.pstate),
        ("esr_el2", vcpu.esr),
        ("far_el2", vcpu.far),
        ("elr_el1", vcpu.elr_el1),
        ("esr_el1", vcpu.esr_el1),
        ("far_el1", vcpu.far_el1),
        ("sp_el1", vcpu.sp_el1),
    ];
    let named = named.map(|(name, value)| (name.to_owned(), hex(value)));
    let general = vcpu.x.iter().enumerate().map(|(number, value)| (format!("x{number}"), hex(*value)));
    let registers: Vec<_> = named.into_iter().chain(general).collect();
    let rows = registers.chunks(4).map(|row| {
        let cells: String = row.iter().map(|(name, value)| format!("  {name:<7} {value}")).collect();
        cells + "\n"
    });
    format!("{life}, vcpu {}\n{}", vcpu.vcpu, rows.collect::<String>())
}

/// Disks, each with the part of a drive that it is.
fn disks(spec: &VmSpec) -> String {
    let one = |disk: &DiskSpec| {
        let access = if disk.writable { "read-write" } else { "read-only" };
        let part = match (disk.first, disk.sectors) {
            _ if disk.partition.is_some() => format!("{}, ", printable(disk.partition.as_deref().unwrap_or_default())),
            (0, 0) => String::new(),
            (first, 0) => format!("from {} on, ", bytes(first * 512)),
            (first, sectors) => format!("{} from {} on, ", bytes(sectors * 512), bytes(first * 512)),
        };
        let iops = (disk.iops > 0).then(|| format!(", at most {} requests/s", disk.iops));
        let kbytes = (disk.kbytes_per_s > 0).then(|| format!(", at most {} kbyte/s", disk.kbytes_per_s));
        let limits = [iops, kbytes].into_iter().flatten().collect::<String>();
        format!("{} (drive {}, {part}{access}{limits})", disk.name, disk.drive)
    };
    spec.disks.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// What it is to have of its memory, where that is not all of it, and how far it is.
fn balloon(balloon: &BalloonUse) -> String {
    let BalloonUse { target, actual, taken, left_ms, missed } = *balloon;
    let left = left_ms.map_or_else(String::new, |ms| format!(", {} left", span(ms.saturating_mul(1_000_000))));
    let missed = if missed { ", not given up in time" } else { "" };
    format!("{} (says it has {}, {} taken{left}{missed})", bytes(target), bytes(actual), bytes(taken))
}

/// Network cards, each with its network and address.
fn nics(vm: &VmDetail) -> String {
    let spec = &vm.spec;
    let one = |nic: &NicSpec| {
        let mac = nic.address(&spec.name).map(|byte| format!("{byte:02x}")).join(":");
        let kbit = (nic.kbit_per_s > 0).then(|| format!(", at most {} kbit/s", nic.kbit_per_s));
        let packets = (nic.packets_per_s > 0).then(|| format!(", at most {} packets/s", nic.packets_per_s));
        let limits = [kbit, packets].into_iter().flatten().collect::<String>();
        let down = vm.links_down.contains(&nic.name);
        let flags = [(down, ", link down"), (nic.isolated, ", isolated"), (nic.any_source, ", any source")];
        let flags = flags.iter().filter(|(set, _)| *set).map(|(_, text)| *text).collect::<String>();
        format!("{} (network {}, {mac}{flags}{limits})", printable(&nic.name), printable(&nic.network))
    };
    spec.nics.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// What it shares, and whether it may write there.
fn shared(spec: &VmSpec) -> String {
    let right = |writable| if writable { "read-write" } else { "read-only" };
    let one = |at: &SharedMemory| format!("{} ({}, {})", printable(&at.name), bytes(at.bytes), right(at.writable));
    spec.shared.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// After which ends it is started again.
fn restart_text(spec: &VmSpec) -> String {
    match spec.restart_limit {
        0 => spec.restart.to_string(),
        limit => format!("{}, at most {limit} in a row", spec.restart),
    }
}

fn cap(share: &CpuShare) -> String {
    share.cap.map_or_else(String::new, |cap| format!("{:.1} %", f64::from(cap) / 10.0))
}

fn affinity(share: &CpuShare) -> String {
    if share.affinity.is_empty() {
        return "all".to_owned();
    }
    share.affinity.iter().map(u8::to_string).collect::<Vec<_>>().join(",")
}

fn reservation(share: &CpuShare) -> String {
    share
        .reservation
        .map_or_else(String::new, |Reservation { budget_us, period_us }| format!("{budget_us} of each {period_us} µs"))
}

fn yes_or_no(flag: bool) -> String {
    if flag { "yes" } else { "no" }.to_owned()
}
