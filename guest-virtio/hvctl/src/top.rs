//! What vCPUs do with the CPUs, and what goes through disks and network cards: the difference of two readings of EL2's counters.
//!
//! Names of fields and units are what scripts rely on.

use std::io::{Write, stdout};
use std::thread::sleep;

use hv_abi::handle::label_text;
use hv_abi::record::{EXITS, QueryKind, VCPU_STATES, VcpuRecord, VcpusHeader};
use serde::{Serialize, Serializer};
use zerocopy::FromBytes;

use crate::cli::{Cli, Top};
use crate::command::{Output, query, show};
use crate::error::Error;
use crate::port::{Deadline, Devices, acquire};
use crate::session::Session;
use crate::text::{Align, percent, printable, table};
use crate::traffic::{Flow, Traffic};

/// What EL2 says of a vCPU at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Reading {
    vm: String,
    handle: u64,
    up_ns: u64,
    record: VcpuRecord,
}

/// What EL2 says at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Moment {
    vcpus: Vec<Reading>,
    traffic: Traffic,
}

/// What happened between two readings.
#[derive(PartialEq, Serialize, Debug)]
struct Sample {
    /// Time between them.
    interval_ns: u64,
    /// Every VM, the service partition among them where it is on.
    vms: Vec<VmUse>,
}

/// A VM: the sums of its vCPUs.
#[derive(PartialEq, Serialize, Debug)]
struct VmUse {
    name: String,
    #[serde(flatten)]
    used: Use,
    /// What goes through its devices.
    io: Flow,
    vcpus: Vec<VcpuUse>,
}

/// A vCPU.
#[derive(PartialEq, Serialize, Debug)]
struct VcpuUse {
    vcpu: u8,
    /// The CPU that has it, or had it last.
    cpu: u8,
    /// One of [`VCPU_STATES`].
    state: String,
    /// Since its VM was created.
    ran_ns: u64,
    /// The same.
    waited_ns: u64,
    #[serde(flatten)]
    used: Use,
}

/// What was used; 100 per cent are one CPU.
#[derive(Clone, Copy, PartialEq, Serialize, Default, Debug)]
struct Use {
    cpu_percent: f64,
    steal_percent: f64,
    exits_per_s: Rates,
}

/// Exits a second, by reason.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
struct Rates([f64; EXITS.len()]);

impl Serialize for Rates {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(EXITS.into_iter().zip(self.0))
    }
}

/// Samples as often as is wished. Text is printed as it comes, JSON in one piece.
pub(crate) fn run(arguments: &Cli, devices: &impl Devices, top: &Top) -> Result<Output, Error> {
    let read = || -> Result<Moment, Error> {
        let deadline = Deadline::new(arguments.timeout);
        let mut session = Session::new(acquire(devices, deadline)?, deadline)?;
        Ok(Moment { vcpus: readings(&mut session)?, traffic: Traffic::read(&mut session)? })
    };
    let mut before = read()?;
    let mut samples = Vec::new();
    for round in 1..=top.times {
        sleep(top.interval);
        let after = read()?;
        samples.push(Sample::between(&before, &after));
        before = after;
        if !arguments.json && round < top.times {
            let text = samples.iter().map(|sample| text(sample, top)).collect::<String>() + "\n";
            samples.clear();
            stdout().write_all(text.as_bytes()).map_err(Error::Output)?;
        }
    }
    if arguments.json {
        return show(arguments, &samples, |_| String::new());
    }
    Ok(Output { text: samples.iter().flat_map(|sample| text(sample, top).into_bytes()).collect(), doubt: None })
}

/// Every vCPU, in the order of EL2's slots.
fn readings(session: &mut Session) -> Result<Vec<Reading>, Error> {
    let mut all = Vec::new();
    let mut position = 0;
    loop {
        let reply = query(session, QueryKind::Vcpus, position)?;
        let next = take(&reply, &mut all)?;
        if next == u64::MAX {
            return Ok(all);
        }
        // One that goes back would be asked for for ever.
        if next <= position {
            return Err(Error::Reply(WHAT));
        }
        position = next;
    }
}

const WHAT: &str = "list of vCPUs";

/// Takes the vCPUs of one answer; the position of the next.
fn take(reply: &[u8], all: &mut Vec<Reading>) -> Result<u64, Error> {
    let (header, mut rest) = VcpusHeader::read_from_prefix(reply).map_err(|_| Error::Reply(WHAT))?;
    let vm = label_text(&header.label).to_owned();
    while !rest.is_empty() {
        let (record, behind) = VcpuRecord::read_from_prefix(rest).map_err(|_| Error::Reply(WHAT))?;
        all.push(Reading { vm: vm.clone(), handle: header.handle.get(), up_ns: header.up_ns.get(), record });
        rest = behind;
    }
    Ok(header.next.get())
}

impl Sample {
    fn between(Moment { vcpus: before, traffic: first }: &Moment, after: &Moment) -> Self {
        let Moment { vcpus: after, traffic } = after;
        let begin = before.first().map_or(0, |reading| reading.up_ns);
        let end = after.first().map_or(begin, |reading| reading.up_ns);
        let mut vms: Vec<VmUse> = Vec::new();
        let mut last = None;
        for now in after {
            let earlier = before.iter().find(|then| then.handle == now.handle && then.record.vcpu == now.record.vcpu);
            let vcpu = VcpuUse::between(earlier, now, begin);
            match vms.last_mut().filter(|_| last == Some(now.handle)) {
                Some(vm) => vm.add(vcpu),
                None => {
                    let mut vm = VmUse {
                        name: now.vm.clone(),
                        used: Use::default(),
                        io: Flow::between(first, traffic, now.handle),
                        vcpus: Vec::new(),
                    };
                    vm.add(vcpu);
                    vms.push(vm);
                }
            }
            last = Some(now.handle);
        }
        Self { interval_ns: end.saturating_sub(begin), vms }
    }
}

impl VmUse {
    fn add(&mut self, vcpu: VcpuUse) {
        let sum = |a: f64, b: f64| rounded(a + b);
        let (own, more) = (self.used, vcpu.used);
        self.used = Use {
            cpu_percent: sum(own.cpu_percent, more.cpu_percent),
            steal_percent: sum(own.steal_percent, more.steal_percent),
            exits_per_s: Rates(std::array::from_fn(|at| sum(own.exits_per_s.0[at], more.exits_per_s.0[at]))),
        };
        self.vcpus.push(vcpu);
    }
}

impl VcpuUse {
    /// One that was not there before began with nothing.
    fn between(before: Option<&Reading>, after: &Reading, begin: u64) -> Self {
        let span = after.up_ns.saturating_sub(before.map_or(begin, |before| before.up_ns));
        let record = &after.record;
        let more =
            |of: fn(&VcpuRecord) -> u64| of(record).saturating_sub(before.map_or(0, |before| of(&before.record)));
        let rate = |at: usize| {
            let earlier = before.map_or(0, |before| before.record.exits[at].get());
            percent(record.exits[at].get().saturating_sub(earlier), span) * 1e7
        };
        let state = VCPU_STATES.get(usize::from(record.state));
        Self {
            vcpu: record.vcpu,
            cpu: record.cpu,
            state: state.map_or_else(|| format!("unknown ({})", record.state), |&state| state.to_owned()),
            ran_ns: record.ran_ns.get(),
            waited_ns: record.waited_ns.get(),
            used: Use {
                cpu_percent: rounded(percent(more(|record| record.ran_ns.get()), span)),
                steal_percent: rounded(percent(more(|record| record.waited_ns.get()), span)),
                exits_per_s: Rates(std::array::from_fn(|at| rounded(rate(at)))),
            },
        }
    }
}

/// Three digits behind the point are more than is known.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

fn text(sample: &Sample, top: &Top) -> String {
    let names = EXITS.map(str::to_uppercase);
    let right = |name| (name, Align::Right);
    let of_vcpu = [right("VCPU"), ("STATE", Align::Left), right("ON")];
    let mut heads = vec![("VM", Align::Left)];
    heads.extend(of_vcpu.into_iter().filter(|_| top.vcpus));
    heads.extend([right("CPU %"), right("STEAL %")]);
    heads.extend(names.iter().map(|name| right(name)));
    heads.extend(Flow::HEADS.into_iter().filter(|_| !top.vcpus).map(right));
    let rows = sample.vms.iter().flat_map(|vm| if top.vcpus { vcpu_rows(vm) } else { vec![vm_row(vm)] });
    table(&heads, &rows.collect::<Vec<_>>())
}

fn vm_row(vm: &VmUse) -> Vec<String> {
    row([&vm.name], &vm.used).into_iter().chain(vm.io.cells()).collect()
}

fn vcpu_rows(vm: &VmUse) -> Vec<Vec<String>> {
    let rows = vm.vcpus.iter().map(|vcpu| {
        let (number, cpu) = (vcpu.vcpu.to_string(), vcpu.cpu.to_string());
        row([&vm.name, &number, &vcpu.state, &cpu], &vcpu.used)
    });
    rows.collect()
}

fn row<const N: usize>(who: [&str; N], used: &Use) -> Vec<String> {
    let shares = [used.cpu_percent, used.steal_percent].map(|share| format!("{share:.1}"));
    let rates = used.exits_per_s.0.map(|rate| format!("{rate:.0}"));
    who.map(printable).into_iter().chain(shares).chain(rates).collect()
}

#[cfg(test)]
mod tests;
