//! What the resources are made of.

use alloc::format;
use alloc::string::String;
use core::fmt::{self, Write as _};

use hv_abi::message::{Reply, Request, VmSummary};
use hv_abi::record::{HvInfo, SosStatus};

use super::http::{Content, Refusal, Resource};
use crate::hypervisor::Hypervisor;
use crate::manager::Manager;

/// Makes what was asked for at `now`.
///
/// # Errors
/// [`Refusal::Internal`], the reason in the log: who asks by the network has no grants.
pub(crate) fn make<H: Hypervisor>(
    manager: &mut Manager<'_>,
    hypervisor: &mut H,
    resource: Resource,
    now: u64,
) -> Result<Content, Refusal> {
    let vms = match manager.answer(hypervisor, Request::VmList, now) {
        Reply::VmList(vms) => vms,
        Reply::Error(failure) => {
            log::error!("web: {}", failure.message);
            return Err(Refusal::Internal);
        }
        _ => return Err(Refusal::Internal),
    };
    match resource {
        Resource::Page => {
            let states = (hypervisor.hv_info().ok(), hypervisor.sos_status().ok());
            Ok(Content { media_type: "text/html; charset=utf-8", body: page(&vms, states) })
        }
        Resource::VmList => {
            let json = serde_json::to_string(&vms).map_err(|_| Refusal::Internal)?;
            Ok(Content { media_type: "application/json", body: json + "\n" })
        }
    }
}

/// The page for people: VMs, and EL2 where it tells.
fn page(vms: &[VmSummary], (info, status): (Option<HvInfo>, Option<SosStatus>)) -> String {
    let mut out = String::from(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>Dormouse</title></head>\n<body>\n\
         <h1>Dormouse</h1>\n<h2>VMs</h2>\n<table>\n\
         <tr><th>Name</th><th>State</th><th>vCPUs</th><th>Memory</th><th>Up</th></tr>\n",
    );
    for vm in vms {
        let up = vm.uptime_ns.map_or_else(|| "-".into(), span);
        let cells = [&Escaped(&vm.name) as &dyn fmt::Display, &vm.state, &vm.vcpus, &bytes(vm.memory), &up];
        row(&mut out, &cells);
    }
    out.push_str("</table>\n<h2>Hypervisor</h2>\n<table>\n");
    if let Some(info) = info {
        row(&mut out, &[&"CPUs", &info.cpus]);
        row(&mut out, &[&"Memory", &bytes(info.ram.get())]);
        row(&mut out, &[&"of it guests'", &bytes(info.guests.get())]);
        row(&mut out, &[&"of it free", &bytes(info.free.get())]);
    }
    if let Some(status) = status {
        row(&mut out, &[&"Up", &span(status.up_ns.get())]);
        row(&mut out, &[&"Lives of the service partition", &status.lives]);
        row(&mut out, &[&"of them failed", &status.failures]);
        row(&mut out, &[&"Service partition on", &span(status.on_ns.get())]);
    }
    out.push_str("</table>\n</body>\n</html>\n");
    out
}

fn row(out: &mut String, cells: &[&dyn fmt::Display]) {
    // Writing to a String cannot fail.
    out.push_str("<tr>");
    for cell in cells {
        let _ = write!(out, "<td>{cell}</td>");
    }
    out.push_str("</tr>\n");
}

/// Text in a page.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|letter| match letter {
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '&' => f.write_str("&amp;"),
            '"' => f.write_str("&quot;"),
            other => f.write_char(other),
        })
    }
}

/// Bytes in whole MiB or KiB, whichever does not round.
fn bytes(bytes: u64) -> String {
    if bytes.is_multiple_of(1 << 20) { format!("{} MiB", bytes >> 20) } else { format!("{} KiB", bytes >> 10) }
}

/// A span of nanoseconds as hours, minutes and seconds.
fn span(ns: u64) -> String {
    let seconds = ns / 1_000_000_000;
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}
