//! Commands about VMs, and the requests that they mean.

use clap::{Args, Subcommand, ValueEnum};
use hv_abi::guest_map::MAX_VCPUS;
use hv_abi::message::{Request, VmCreate};

use super::plug::{Attach, Detach};
use super::set::{Memory, Set};
use super::value::{name, size};

/// Commands about VMs.
#[derive(Subcommand, Debug)]
pub(crate) enum VmCommand {
    /// List all VMs
    List,
    /// Show one VM in full
    Show(Name),
    /// Define a VM: the spec of a guest of the system description, with changes
    Create(Create),
    /// Change what each vCPU of a VM gets of the CPUs, or one of its disks or network cards while it runs
    Set(Set),
    /// Ask a VM that runs for memory, or give it back what it was asked for: `vm show` has how far it is
    Memory(Memory),
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

impl VmCommand {
    /// The request to the service partition; what the hypervisor is asked for is none.
    pub(crate) fn request(&self) -> Option<Request> {
        Some(match self {
            Self::Logs(_) => return None,
            Self::List => Request::VmList,
            Self::Show(Name { name }) => Request::VmShow { name: name.clone() },
            Self::Create(create) => Request::VmCreate(create.request()),
            Self::Set(set) => set.request(),
            Self::Memory(memory) => memory.request(),
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
