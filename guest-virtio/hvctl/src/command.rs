//! What each command asks, and how its answer is shown.

use std::io::IsTerminal;

use hv_abi::handle::Label;
use hv_abi::mailbox::Party;
use hv_abi::message::{
    BoardPower, CpuShare, Crash, DiskSpec, ImageFormat, NicSpec, Origin, Reply, Request, Reservation, SharedMemory,
    VmDetail, VmSpec, VmSummary, decode, encode,
};
use hv_abi::record::{ConsoleQuery, Query, QueryKind};
use serde::Serialize;
use zerocopy::IntoBytes;

use crate::agent;
use crate::cli::{Cli, Command, DebugCommand, HvCommand, SosCommand, VmCommand};
use crate::console;
use crate::counter::{self, Counter};
use crate::counters;
use crate::error::Error;
use crate::history;
use crate::port::{Deadline, Devices, acquire};
use crate::records::{Hv, Log, Memory, Packets, Piece, Sos, Text};
use crate::session::{Repeat, Session};
use crate::text::{Align, bytes, hertz, micros, pairs, printable, printable_lines, span, table};
use crate::top;

/// What a command gives.
#[derive(Debug)]
pub(crate) struct Output {
    /// For standard output.
    pub(crate) text: Vec<u8>,
    /// What is wrong with it, if anything.
    pub(crate) doubt: Option<Error>,
}

/// Runs a command to its end.
pub(crate) fn run(arguments: &Cli, devices: &impl Devices) -> Result<Output, Error> {
    if let Command::Debug(DebugCommand::Counter) = arguments.command {
        let counter = counter::read().ok_or(Error::NoCounter)?;
        return show(arguments, &counter, counter_text);
    }
    if let Command::Top(top) = &arguments.command {
        return top::run(arguments, devices, top);
    }
    if let Command::Console(console) = &arguments.command {
        return console::run(arguments, devices, console);
    }
    if let Command::Agent(agent) = &arguments.command {
        return agent::run(arguments, devices, agent);
    }
    let deadline = Deadline::new(arguments.timeout);
    let mut session = Session::new(acquire(devices, deadline)?, deadline)?;
    match &arguments.command {
        Command::Vm(VmCommand::Logs(vm)) => show_console(arguments, &console(&mut session, &vm.name)?),
        Command::Vm(command) => vm(arguments, &mut session, command),
        Command::Sos(SosCommand::Status) => {
            let status = query(&mut session, QueryKind::SosStatus, 0)?;
            let sos = Sos::read(&status, &query(&mut session, QueryKind::Packets, 0)?)?;
            show(arguments, &sos, sos_text)
        }
        Command::Sos(SosCommand::History) => show(arguments, &history::read(&mut session)?, history::text),
        Command::Hv(HvCommand::Info) => {
            let hv = Hv::read(&query(&mut session, QueryKind::HvInfo, 0)?)?;
            let output = show(arguments, &hv, hv_text)?;
            let doubt = hv.memory.check().err();
            Ok(Output { doubt, ..output })
        }
        Command::Hv(HvCommand::Log) => show(arguments, &log(&mut session)?, log_text),
        Command::Hv(HvCommand::Poweroff) => board(arguments, &mut session, BoardPower::Off, "powered off"),
        Command::Hv(HvCommand::Reboot) => board(arguments, &mut session, BoardPower::Reset, "rebooted"),
        Command::Debug(DebugCommand::Fault { kind, after_calls }) => {
            done(&mut session, &kind.request(*after_calls))?;
            show(arguments, &Done::new(None, "fault"), done_text)
        }
        Command::Debug(DebugCommand::Counter) | Command::Top(_) | Command::Console(_) | Command::Agent(_) => {
            Err(Error::NoCounter)
        }
    }
}

/// An answer as JSON, or by `text`.
pub(crate) fn show<T: Serialize + ?Sized>(
    arguments: &Cli,
    answer: &T,
    text: fn(&T) -> String,
) -> Result<Output, Error> {
    let text = if arguments.json {
        let json = serde_json::to_string(answer).map_err(|error| Error::Output(error.into()))?;
        json + "\n"
    } else {
        text(answer)
    };
    Ok(Output { text: text.into_bytes(), doubt: None })
}

/// Ends the board. Where it does, nobody is there any more for the answer.
fn board(arguments: &Cli, session: &mut Session, power: BoardPower, what: &'static str) -> Result<Output, Error> {
    done(session, &Request::Board(power))?;
    show(arguments, &Done::new(None, what), done_text)
}

/// A VM's console: its bytes as they are, but on a terminal, which would obey them.
fn show_console(arguments: &Cli, text: &Text) -> Result<Output, Error> {
    if arguments.json {
        return show(arguments, &text.lossy(), log_text);
    }
    if std::io::stdout().is_terminal() {
        let log = Log { text: text.lossy().text.replace("\r\n", "\n"), ..text.lossy() };
        return show(arguments, &log, log_text);
    }
    Ok(Output { text: text.bytes.clone(), doubt: None })
}

/// A command about VMs.
fn vm(arguments: &Cli, session: &mut Session, command: &VmCommand) -> Result<Output, Error> {
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

/// Asks the service partition.
pub(crate) fn ask(session: &mut Session, request: &Request) -> Result<Reply, Error> {
    let repeat = if request.is_repeat_safe() { Repeat::Safe } else { Repeat::Unsafe };
    match decode(&session.ask(Party::Sos, &encode(request), repeat)?)? {
        Reply::Error(failure) => Err(Error::Refused(failure)),
        reply => Ok(reply),
    }
}

/// Asks the service partition to do something that has no other answer than that it is done.
pub(crate) fn done(session: &mut Session, request: &Request) -> Result<(), Error> {
    match ask(session, request)? {
        Reply::Done => Ok(()),
        _ => Err(Error::Reply("confirmation")),
    }
}

/// Asks EL2.
pub(crate) fn query(session: &mut Session, kind: QueryKind, argument: u64) -> Result<Vec<u8>, Error> {
    let query = Query { kind: (kind as u32).into(), reserved: 0.into(), argument: argument.into() };
    session.ask(Party::Hv, query.as_bytes(), Repeat::Safe)
}

/// EL2's log.
fn log(session: &mut Session) -> Result<Log, Error> {
    let text = pieces(|position| query(session, QueryKind::Log, position))?;
    Ok(text.lossy())
}

/// What a VM has said.
fn console(session: &mut Session, name: &str) -> Result<Text, Error> {
    let label = Label::new(name).ok_or(Error::Reply("name"))?;
    pieces(|position| {
        let query = Query { kind: (QueryKind::Console as u32).into(), reserved: 0.into(), argument: position.into() };
        let query = ConsoleQuery { query, label: *label.bytes() };
        session.ask(Party::Hv, query.as_bytes(), Repeat::Safe)
    })
}

/// A text that EL2 gives in pieces, from its oldest byte to where it ended when it was first asked for: one that grows
/// while it is read still ends.
fn pieces(mut ask: impl FnMut(u64) -> Result<Vec<u8>, Error>) -> Result<Text, Error> {
    let mut next = 0;
    let mut bytes = Vec::new();
    let mut whole: Option<(u64, u64)> = None;
    loop {
        let reply = ask(next)?;
        let piece = Piece::read(&reply, next)?;
        let (position, end) = *whole.get_or_insert((piece.position, piece.end));
        if piece.position > next && !bytes.is_empty() {
            let lost = piece.position - next;
            bytes.extend_from_slice(format!("\n[{lost} bytes were overwritten]\n").as_bytes());
        }
        bytes.extend_from_slice(piece.text);
        next = piece.position + piece.text.len() as u64;
        if next >= end {
            return Ok(Text { position, end: next, bytes });
        }
    }
}

/// What was done.
#[derive(Serialize, Debug)]
struct Done<'n> {
    /// To which VM.
    name: Option<&'n str>,
    /// A participle.
    done: &'static str,
}

impl<'n> Done<'n> {
    const fn new(name: Option<&'n str>, done: &'static str) -> Self {
        Self { name, done }
    }
}

fn done_text(done: &Done<'_>) -> String {
    match done.name {
        Some(name) => format!("{name}: {}\n", done.done),
        None => format!("{}\n", done.done),
    }
}

fn counter_text(counter: &Counter) -> String {
    format!("{} {}\n", counter.cntvct, counter.cntfrq)
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
        ("network cards", or_dash(&nics(spec))),
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

/// Network cards, each with its network and address.
fn nics(spec: &VmSpec) -> String {
    let one = |nic: &NicSpec| {
        let mac = nic.address(&spec.name).map(|byte| format!("{byte:02x}")).join(":");
        let kbit = (nic.kbit_per_s > 0).then(|| format!(", at most {} kbit/s", nic.kbit_per_s));
        let packets = (nic.packets_per_s > 0).then(|| format!(", at most {} packets/s", nic.packets_per_s));
        let limits = [kbit, packets].into_iter().flatten().collect::<String>();
        let flags = [(nic.isolated, ", isolated"), (nic.any_source, ", any source")];
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

fn sos_text(sos: &Sos) -> String {
    let woken_by = sos.woken_by.as_deref().unwrap_or("-");
    pairs([
        ("state", sos.state.clone()),
        ("times woken", sos.lives.to_string()),
        ("woken last by", printable(woken_by)),
        ("wake to answer", micros(sos.wake_to_answer_ns)),
        ("on", format!("{:.3} % of {}", sos.on_percent, span(sos.up_ns))),
        ("frames owned", sos.frames.to_string()),
        ("requests open", sos.requests.to_string()),
        ("failures", sos.failures.to_string()),
        ("packets while off", packets(&sos.packets)),
    ])
}

/// What became of packets while it was off.
fn packets(packets: &Packets) -> String {
    let Packets { matched, answered, woken, dropped, limited } = packets;
    format!("{matched} matched, {answered} answered, {woken} woke it, {dropped} dropped, {limited} above its limits")
}

fn hv_text(hv: &Hv) -> String {
    let first_guest = match (hv.first_guest_count, hv.counter_hz) {
        (0, _) => "not started".to_owned(),
        (count, 0) => format!("at count {count}"),
        (count, hz) => {
            let ns = u128::from(count) * 1_000_000_000 / u128::from(hz);
            format!("at count {count} ({})", micros(u64::try_from(ns).unwrap_or(u64::MAX)))
        }
    };
    let cpus = match hv.cpus_off {
        0 => hv.cpus.to_string(),
        off => format!("{} ({off} off)", hv.cpus),
    };
    let facts = pairs([
        ("CPUs", cpus),
        ("counter", hertz(hv.counter_hz)),
        ("up", span(hv.up_ns)),
        ("first guest", first_guest),
        ("image CRC-32", hv.image_crc.clone()),
    ]);
    format!("{facts}\n{}", memory_text(&hv.memory))
}

fn memory_text(memory: &Memory) -> String {
    let heads = [("MEMORY", Align::Left), ("SIZE", Align::Right), ("BYTES", Align::Right)];
    let row = |name: &str, size: u64| [name.to_owned(), bytes(size), size.to_string()];
    let mut rows: Vec<_> = memory.rows().into_iter().map(|(name, size)| row(name, size)).collect();
    rows.push(row("  of which held for the service partition", memory.held));
    rows.push(row("total", memory.total));
    table(&heads, &rows)
}

fn log_text(log: &Log) -> String {
    let mut text = match log.position {
        0 => String::new(),
        lost => format!("[{lost} bytes were overwritten]\n"),
    };
    text.push_str(&printable_lines(&log.text));
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests;
