//! The command line, and the requests that it means. Nothing is asked of anybody here.

mod plug;
mod set;
mod value;
mod vm;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use hv_abi::message::{Fault, FaultKind, Request};
pub(crate) use plug::Agent;

use value::{name, timeout};
pub(crate) use vm::VmCommand;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  the request was refused, or failed
  2  the command line cannot be understood
  3  no management port: modules not loaded, no grant, or no right to open it
  4  no answer in time
  5  all management ports were in use all the time";

/// Manages virtual machines and shows what the Dormouse hypervisor does.
#[derive(Parser, Debug)]
#[command(name = "hvctl", version, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// Print one JSON document; bytes and nanoseconds as numbers
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Longest time to wait for a port and for the answer
    #[arg(long, global = true, value_name = "SECONDS", default_value = "30", value_parser = timeout)]
    pub(crate) timeout: Duration,
    /// Directory that has `sys` and `dev`
    #[arg(long, global = true, hide = true, value_name = "DIR", default_value = "/")]
    pub(crate) root: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Virtual machines: answered by the service partition, which is woken for it
    #[command(subcommand)]
    Vm(VmCommand),
    /// The service partition: answered by the hypervisor, wakes nobody
    #[command(subcommand)]
    Sos(SosCommand),
    /// The hypervisor: what is shown is answered by itself and wakes nobody
    #[command(subcommand)]
    Hv(HvCommand),
    /// Show a VM's console from its last 64 KiB on, and type there: the service partition is asked once
    Console(Console),
    /// What VMs do with the CPUs: answered by the hypervisor, wakes nobody
    Top(Top),
    /// Stay, and have Linux take up disks that are attached to this VM and let go of those that are to be detached
    Agent(Agent),
    /// For tests.
    #[command(subcommand, hide = true)]
    Debug(DebugCommand),
}

/// How often and how long to look.
#[derive(Args, Debug)]
pub(crate) struct Top {
    /// Time from one look to the next
    #[arg(short, long, value_name = "SECONDS", default_value = "1", value_parser = timeout)]
    pub(crate) interval: Duration,
    /// How often to print
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) times: u32,
    /// A line for each vCPU
    #[arg(long)]
    pub(crate) vcpus: bool,
}

/// Whose console, and how long.
#[derive(Args, Debug)]
pub(crate) struct Console {
    /// Name of the VM
    #[arg(value_name = "NAME", value_parser = name)]
    pub(crate) name: String,
    /// Show it only: nothing is typed
    #[arg(long)]
    pub(crate) no_input: bool,
    /// Leave when this text has come; it is an error if it has not within the time-out, or the VM ends before
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) until: Option<String>,
}

/// Commands about the service partition.
#[derive(Subcommand, Debug)]
pub(crate) enum SosCommand {
    /// Show its state and its account
    Status,
    /// Show its last lives, who woke them, and the CPU time that each asker has had of it
    History,
}

/// Commands about the hypervisor.
#[derive(Subcommand, Debug)]
pub(crate) enum HvCommand {
    /// Show CPUs, and where all of RAM is
    Info,
    /// Print the hypervisor's log
    Log,
    /// Stop all VMs, the one that was started last first, and power the board off
    Poweroff,
    /// Stop all VMs, the one that was started last first, and reset the board
    Reboot,
}

/// Commands for tests.
#[derive(Subcommand, Debug)]
pub(crate) enum DebugCommand {
    /// Make the service partition fail; refused by builds without fault injection
    Fault {
        /// How
        kind: Failing,
        /// After how many further privileged calls; 0 is at once
        #[arg(long, value_name = "N", default_value_t = 0)]
        after_calls: u32,
    },
    /// Print the counter and its frequency
    Counter,
}

/// Ways to fail.
#[derive(Clone, Copy, ValueEnum, Debug)]
pub(crate) enum Failing {
    /// An access to nothing.
    Crash,
    /// A loop without end.
    Spin,
}

impl Failing {
    /// The request.
    pub(crate) const fn request(self, after_calls: u32) -> Request {
        let kind = match self {
            Self::Crash => FaultKind::Crash,
            Self::Spin => FaultKind::Spin,
        };
        Request::Fault(Fault { kind, after_calls })
    }
}

/// The parser's message about a wrong command line as one line.
pub(crate) fn one_line(message: &str) -> String {
    let first = message.split("\n\n").next().unwrap_or_default();
    let words: Vec<&str> = first.split_whitespace().collect();
    let text = words.join(" ");
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    format!("{text}; see `hvctl --help`")
}

#[cfg(test)]
mod tests;
