//! Asks the hypervisor and the service partition over the mailbox's ring, and prints the answers.
//!
//! Bootargs: `ask=ITEM,ITEM,...`, done in order, `:` between an item's fields; `repeat=N` (1).
//! Each item prints its rows and then `CLIENT <item>: ok` or `CLIENT <item>: <reason>`.
//!
//! | item | |
//! | --- | --- |
//! | `vm-list` `vm-show:VM` `vm-create:VM:FROM` `vm-start:VM` `vm-stop:VM` `vm-destroy:VM` | as in `hvctl` |
//! | `vm-set:VM:weight:N` `vm-set:VM:cap:N` `vm-set:VM:affinity:N+N` `vm-set:VM:reserve:N/N` `vm-set:VM:pin:N` | as in `hvctl`; 0 and `all` are none |
//! | `fault:crash:N` `fault:spin:N` | makes the service partition fail after N privileged calls |
//! | `fault-queued:crash` `fault-queued:spin` | fails it with a `vm-list` behind the fault in the ring |
//! | `burst:N` | N `vm-list` at once |
//! | `sos-status` `hv-info` `log` `vcpus` | answered by EL2 |
//! | `sleep:MS` `await-off` | waits for a time, or until the partition is off |
//! | `stay` | sleeps for ever; without it the guest powers itself off at the end |
#![no_std]
#![no_main]

extern crate alloc;

mod print;
mod session;

use alloc::string::String;
use alloc::vec::Vec;
use hv_abi::guest_map::{MAILBOX_SPI, PPI_VIRTUAL_TIMER};
use hv_abi::message::{Fault, FaultKind, Request, Reservation, VmCreate, VmSet};
use hv_abi::record::QueryKind;
use session::Session;
use test_guests::{Machine, gic, guest, println, ring};

guest!(main);

type Answer = Result<(), String>;

fn main(machine: &Machine) {
    gic::init_distributor();
    gic::init_cpu();
    gic::enable_ppi(PPI_VIRTUAL_TIMER);
    gic::enable_spi(MAILBOX_SPI);
    println!("CLIENT mailbox {} doorbell {}", machine.mailbox, ring::doorbell() as i64);
    if !machine.mailbox {
        return;
    }
    let mut session = Session::open();
    for _ in 0..machine.number("repeat", 1) {
        for item in machine.option("ask").unwrap_or("vm-list").split(',') {
            match perform(&mut session, item) {
                Ok(()) => println!("CLIENT {item}: ok"),
                Err(reason) => println!("CLIENT {item}: {reason}"),
            }
        }
    }
    println!("CLIENT done");
}

fn perform(session: &mut Session, item: &str) -> Answer {
    let fields: Vec<&str> = item.split(':').collect();
    match fields[..] {
        ["sos-status"] => session.query(QueryKind::SosStatus),
        ["hv-info"] => session.query(QueryKind::HvInfo),
        ["log"] => session.query(QueryKind::Log),
        ["vcpus"] => session.vcpus(),
        ["await-off"] => session.await_off(),
        ["burst", count] => session.burst(number(count)?),
        ["fault-queued", kind] => session.fault_with_request_behind(fault_kind(kind)?),
        ["sleep", ms] => {
            session::sleep(number(ms)? * 1_000_000);
            Ok(())
        }
        ["stay"] => loop {
            session::sleep(1_000_000_000);
        },
        _ => session.request(&request(&fields)?),
    }
}

fn request(fields: &[&str]) -> Result<Request, String> {
    let owned = |text: &&str| String::from(*text);
    Ok(match fields {
        ["vm-list"] => Request::VmList,
        ["vm-show", name] => Request::VmShow { name: owned(name) },
        ["vm-start", name] => Request::VmStart { name: owned(name) },
        ["vm-stop", name] => Request::VmStop { name: owned(name) },
        ["vm-destroy", name] => Request::VmDestroy { name: owned(name) },
        ["vm-create", name, from] => Request::VmCreate(VmCreate {
            name: owned(name),
            from: owned(from),
            memory: None,
            vcpus: None,
            bootargs: None,
            image: None,
            grants: None,
        }),
        ["vm-set", name, what, value] => Request::VmSet(change(name, what, value)?),
        ["fault", kind, calls] => Request::Fault(Fault { kind: fault_kind(kind)?, after_calls: number(calls)? as u32 }),
        _ => return Err("no such item".into()),
    })
}

fn change(name: &str, what: &str, value: &str) -> Result<VmSet, String> {
    let mut set = VmSet { name: name.into(), ..VmSet::default() };
    match what {
        "weight" => set.weight = Some(number(value)? as u16),
        "cap" => set.cap = Some(number(value)? as u16),
        "affinity" if value == "all" => set.affinity = Some(Vec::new()),
        "affinity" => {
            let cpus: Result<_, String> = value.split('+').map(|cpu| number(cpu).map(|cpu| cpu as u8)).collect();
            set.affinity = Some(cpus?);
        }
        "reserve" => {
            let (budget, period) = value.split_once('/').unwrap_or((value, "0"));
            let (budget_us, period_us) = (number(budget)? as u32, number(period)? as u32);
            set.reservation = Some(Reservation { budget_us, period_us });
        }
        "pin" => set.pinned = Some(number(value)? != 0),
        _ => return Err("no such change".into()),
    }
    Ok(set)
}

fn fault_kind(name: &str) -> Result<FaultKind, String> {
    match name {
        "crash" => Ok(FaultKind::Crash),
        "spin" => Ok(FaultKind::Spin),
        _ => Err("no such fault".into()),
    }
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "no number".into())
}
