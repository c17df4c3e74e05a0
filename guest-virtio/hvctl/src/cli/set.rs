//! `hvctl vm set` and `hvctl vm memory`: changes of a VM that runs.

use clap::{ArgGroup, Args, ValueEnum};
use hv_abi::message::{DeviceChanges, DeviceSet, DiskSet, MemorySet, NicSet, Request, Reservation, VmSet};

use super::value::{Cpus, cap, cpus, limit, name, reservation, size};

/// A change of what a VM's vCPUs get, or of one of its devices.
#[derive(Args, Debug)]
#[command(
    group = ArgGroup::new("change").required(true).multiple(true),
    group = ArgGroup::new("cpu").multiple(true).conflicts_with_all(["of_disk", "of_nic"]),
    group = ArgGroup::new("of_disk").multiple(true).requires("disk").conflicts_with("of_nic"),
    group = ArgGroup::new("of_nic").multiple(true).requires("nic"),
)]
pub(crate) struct Set {
    /// Name of the VM
    #[arg(value_name = "NAME", value_parser = name)]
    name: String,
    /// Share among those that compete: 1 to 10000, 100 where nothing was said
    #[arg(long, value_name = "N", groups = ["change", "cpu"])]
    weight: Option<u16>,
    /// The most that it gets, in thousandths of a CPU: 10 to 1000, or none
    #[arg(long, value_name = "PERMILLE|none", groups = ["change", "cpu"], value_parser = cap)]
    cap: Option<u16>,
    /// CPUs that it may run on, like 0,2-3, or all
    #[arg(long, value_name = "LIST", groups = ["change", "cpu"], value_parser = cpus)]
    affinity: Option<Cpus>,
    /// What it gets in each period before all others, and no more, like 2000/10000, or none
    #[arg(long, value_name = "BUDGET_US/PERIOD_US|none", groups = ["change", "cpu"], value_parser = reservation)]
    reserve: Option<Reservation>,
    /// Give it a CPU for itself
    #[arg(long, groups = ["change", "cpu"], conflicts_with = "no_pin")]
    pin: bool,
    /// Let it share CPUs again
    #[arg(long, groups = ["change", "cpu"])]
    no_pin: bool,
    /// Change this disk, by its name or number; until the VM ends
    #[arg(long, value_name = "DISK", requires = "of_disk", conflicts_with_all = ["nic", "cpu"])]
    disk: Option<String>,
    /// The most requests that the disk does in a second, or none
    #[arg(long, value_name = "N|none", groups = ["change", "of_disk"], value_parser = limit)]
    max_iops: Option<u32>,
    /// The most thousands of bytes that the disk does in a second, or none
    #[arg(long, value_name = "N|none", groups = ["change", "of_disk"], value_parser = limit)]
    max_kbytes_per_s: Option<u32>,
    /// Let the disk grow to so many sectors of 512 bytes, 0: up to its drive's end; until the board is powered off
    #[arg(long, value_name = "N", groups = ["change", "of_disk"])]
    sectors: Option<u64>,
    /// Change this network card, by its name or number; until the VM ends
    #[arg(long, value_name = "CARD", requires = "of_nic", conflicts_with = "cpu")]
    nic: Option<String>,
    /// The most thousands of bits that the card sends in a second, or none
    #[arg(long, value_name = "N|none", groups = ["change", "of_nic"], value_parser = limit)]
    max_kbit_per_s: Option<u32>,
    /// The most packets that the card sends in a second, or none
    #[arg(long, value_name = "N|none", groups = ["change", "of_nic"], value_parser = limit)]
    max_packets_per_s: Option<u32>,
    /// Whether the card's link is there
    #[arg(long, value_name = "STATE", groups = ["change", "of_nic"])]
    link: Option<Link>,
}

/// A link.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
enum Link {
    /// It is there.
    Up,
    /// Nothing goes by the card.
    Down,
}

/// How much memory a VM is to have.
#[derive(Args, Debug)]
pub(crate) struct Memory {
    /// Name of the VM: its description has a memory-guarantee
    #[arg(value_name = "NAME", value_parser = name)]
    name: String,
    /// RAM that it is to have, with K, M or G behind the number (of 1024): from its guarantee to what it was built with
    #[arg(value_name = "SIZE", value_parser = size)]
    bytes: u64,
    /// By when. Where it is not there then, what follows is its description's memory-missed; without a time it has all time
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    within: Option<u32>,
}

impl Set {
    /// The name of the VM.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The request: of one kind, by the rules for the options.
    pub(super) fn request(&self) -> Request {
        let device = |change| Request::VmDevice(DeviceSet { vm: self.name.clone(), change });
        match (&self.disk, &self.nic) {
            (Some(disk), _) => device(DeviceChanges::Disk(DiskSet {
                disk: disk.clone(),
                iops: self.max_iops,
                kbytes_per_s: self.max_kbytes_per_s,
                sectors: self.sectors,
            })),
            (None, Some(nic)) => device(DeviceChanges::Nic(NicSet {
                nic: nic.clone(),
                kbit_per_s: self.max_kbit_per_s,
                packets_per_s: self.max_packets_per_s,
                link_up: self.link.map(|link| link == Link::Up),
            })),
            (None, None) => Request::VmSet(self.share()),
        }
    }

    /// What its vCPUs are to get.
    fn share(&self) -> VmSet {
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

impl Memory {
    /// The name of the VM.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn request(&self) -> Request {
        let set = MemorySet { bytes: self.bytes, within_s: self.within };
        Request::VmDevice(DeviceSet { vm: self.name.clone(), change: DeviceChanges::Memory(set) })
    }
}
