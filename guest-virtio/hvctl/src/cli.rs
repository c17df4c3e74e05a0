//! The command line, and the requests that it means. Nothing is asked of anybody here.

mod plug;

use std::path::PathBuf;
use std::time::Duration;

pub(crate) use plug::{Agent, Attach, Detach};

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use hv_abi::guest_map::MAX_VCPUS;
use hv_abi::handle::Label;
use hv_abi::message::{Fault, FaultKind, Request, Reservation, VmCreate, VmSet};

/// Longest time-out.
const TIMEOUT_MAX: f64 = 86_400.0;

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

/// Commands about VMs.
#[derive(Subcommand, Debug)]
pub(crate) enum VmCommand {
    /// List all VMs
    List,
    /// Show one VM in full
    Show(Name),
    /// Define a VM: the spec of a guest of the system description, with changes
    Create(Create),
    /// Change what each vCPU of a VM gets of the CPUs
    Set(Set),
    /// Build a defined VM and start it
    Start(Name),
    /// Stop a VM at once and return its memory; it stays defined
    Stop(Name),
    /// Stop a VM where it runs, and forget it where `create` defined it
    Destroy(Name),
    /// Stop a VM that runs, and start it anew: its memory is scrubbed, its images are loaded again
    Reboot(Name),
    /// Let a VM stand still, in its own time as well; one that pauses itself needs another to resume it
    Pause(Name),
    /// Let a paused VM go on
    Resume(Name),
    /// Print the last 64 KiB of a VM's console, of its present life or its last one: answered by the hypervisor itself
    Logs(Name),
    /// Give a VM that runs a disk; with `hvctl agent` there, its Linux takes it up
    Attach(Attach),
    /// Take a disk from a VM that runs, when its guest lets go of it
    Detach(Detach),
}

/// A VM.
#[derive(Args, Debug)]
pub(crate) struct Name {
    /// Name of the VM
    #[arg(value_name = "NAME", value_parser = name)]
    pub(crate) name: String,
}

/// A new VM.
#[derive(Args, Debug)]
pub(crate) struct Create {
    /// Name of the new VM: at most 31 of a-z, 0-9 and -
    #[arg(value_name = "NAME", value_parser = name)]
    name: String,
    /// Guest of the system description whose spec is copied
    #[arg(long, value_name = "GUEST", value_parser = name)]
    from: String,
    /// RAM, with K, M or G behind the number (of 1024)
    #[arg(long, value_name = "SIZE", value_parser = size)]
    memory: Option<u64>,
    /// Number of vCPUs
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=MAX_VCPUS as i64))]
    vcpus: Option<u8>,
    /// Kernel command line
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    bootargs: Option<String>,
    /// Member of the boot archive to start
    #[arg(long, value_name = "MEMBER")]
    image: Option<String>,
    /// What the VM may ask, in the place of the copied grants; may be given several times
    #[arg(long = "grant", value_name = "GRANT", value_delimiter = ',')]
    grants: Vec<Grant>,
}

/// A change of what a VM's vCPUs get.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("change").required(true).multiple(true))]
pub(crate) struct Set {
    /// Name of the VM
    #[arg(value_name = "NAME", value_parser = name)]
    name: String,
    /// Share among those that compete: 1 to 10000, 100 where nothing was said
    #[arg(long, value_name = "N", group = "change")]
    weight: Option<u16>,
    /// The most that it gets, in thousandths of a CPU: 10 to 1000, or none
    #[arg(long, value_name = "PERMILLE|none", group = "change", value_parser = cap)]
    cap: Option<u16>,
    /// CPUs that it may run on, like 0,2-3, or all
    #[arg(long, value_name = "LIST", group = "change", value_parser = cpus)]
    affinity: Option<Cpus>,
    /// What it gets in each period before all others, and no more, like 2000/10000, or none
    #[arg(long, value_name = "BUDGET_US/PERIOD_US|none", group = "change", value_parser = reservation)]
    reserve: Option<Reservation>,
    /// Give it a CPU for itself
    #[arg(long, group = "change", conflicts_with = "no_pin")]
    pin: bool,
    /// Let it share CPUs again
    #[arg(long, group = "change")]
    no_pin: bool,
}

/// Numbers of CPUs; none is every one.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Cpus(Vec<u8>);

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

/// What a VM may ask.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
enum Grant {
    /// Manage VMs.
    Manage,
    /// Status of the hypervisor and the service partition.
    Info,
    /// The hypervisor's log.
    Log,
    /// What VMs have said on their consoles.
    Consoles,
    /// Nothing.
    None,
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

impl VmCommand {
    /// The request to the service partition; what the hypervisor is asked for is none.
    pub(crate) fn request(&self) -> Option<Request> {
        Some(match self {
            Self::Logs(_) => return None,
            Self::List => Request::VmList,
            Self::Show(Name { name }) => Request::VmShow { name: name.clone() },
            Self::Create(create) => Request::VmCreate(create.request()),
            Self::Set(set) => Request::VmSet(set.request()),
            Self::Start(Name { name }) => Request::VmStart { name: name.clone() },
            Self::Stop(Name { name }) => Request::VmStop { name: name.clone() },
            Self::Destroy(Name { name }) => Request::VmDestroy { name: name.clone() },
            Self::Reboot(Name { name }) => Request::VmReboot { name: name.clone() },
            Self::Pause(Name { name }) => Request::VmPause { name: name.clone() },
            Self::Resume(Name { name }) => Request::VmResume { name: name.clone() },
            Self::Attach(attach) => attach.request(),
            Self::Detach(detach) => detach.request(),
        })
    }
}

impl Create {
    /// The name of the new VM.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn request(&self) -> VmCreate {
        let names = self.grants.iter().filter_map(|grant| grant.name());
        VmCreate {
            name: self.name.clone(),
            from: self.from.clone(),
            memory: self.memory,
            vcpus: self.vcpus,
            bootargs: self.bootargs.clone(),
            image: self.image.clone(),
            grants: (!self.grants.is_empty()).then(|| names.map(str::to_owned).collect()),
        }
    }
}

impl Set {
    /// The name of the VM.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn request(&self) -> VmSet {
        VmSet {
            name: self.name.clone(),
            weight: self.weight,
            cap: self.cap,
            affinity: self.affinity.clone().map(|Cpus(cpus)| cpus),
            reservation: self.reserve,
            pinned: (self.pin || self.no_pin).then_some(self.pin),
        }
    }
}

impl Grant {
    /// Its name in a spec; `none` has none.
    const fn name(self) -> Option<&'static str> {
        match self {
            Self::Manage => Some("manage"),
            Self::Info => Some("info"),
            Self::Log => Some("log"),
            Self::Consoles => Some("consoles"),
            Self::None => None,
        }
    }
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

/// The name of a VM.
fn name(text: &str) -> Result<String, String> {
    match Label::new(text) {
        Some(label) => Ok(label.as_str().to_owned()),
        None => Err("a name has at most 31 of a-z, 0-9 and -".to_owned()),
    }
}

/// Bytes, from a number and K, M or G.
fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let shift = match &text[digits.len()..] {
        "" => Some(0),
        "K" | "k" | "KiB" => Some(10),
        "M" | "m" | "MiB" => Some(20),
        "G" | "g" | "GiB" => Some(30),
        _ => None,
    };
    let number = digits.parse::<u64>().ok().filter(|&number| number > 0);
    shift
        .zip(number)
        .and_then(|(shift, number)| number.checked_mul(1 << shift))
        .ok_or_else(|| "a size is a number with K, M or G behind it, like 64M".to_owned())
}

/// A cap; 0 is none.
fn cap(text: &str) -> Result<u16, String> {
    match text.parse() {
        _ if text == "none" => Ok(0),
        Ok(cap) if cap > 0 => Ok(cap),
        _ => Err("a cap is a number of thousandths of a CPU, or none".to_owned()),
    }
}

/// CPUs, from numbers and ranges.
fn cpus(text: &str) -> Result<Cpus, String> {
    if text == "all" {
        return Ok(Cpus(Vec::new()));
    }
    let wrong = |_| "CPUs are a list like 0,2-3, or all".to_owned();
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u8, u8) = (first.parse().map_err(wrong)?, last.parse().map_err(wrong)?);
        if first > last {
            return Err(format!("{part}: a range goes from the lower to the higher"));
        }
        cpus.extend(first..=last);
    }
    Ok(Cpus(cpus))
}

/// A reservation; a budget of 0 is none.
fn reservation(text: &str) -> Result<Reservation, String> {
    if text == "none" {
        return Ok(Reservation { budget_us: 0, period_us: 0 });
    }
    let numbers = text.split_once('/').and_then(|(budget, period)| Some((budget.parse().ok()?, period.parse().ok()?)));
    match numbers {
        Some((budget_us, period_us)) if budget_us > 0 => Ok(Reservation { budget_us, period_us }),
        _ => Err("a reservation is BUDGET/PERIOD in microseconds, like 2000/10000, or none".to_owned()),
    }
}

/// A time-out, from seconds.
fn timeout(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= TIMEOUT_MAX => Ok(Duration::from_secs_f64(seconds)),
        _ => Err(format!("a time-out is a number of seconds up to {TIMEOUT_MAX}")),
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
