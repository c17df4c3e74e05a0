//! Dormouse: the EL2 image. Boot from top to bottom is in [`boot`], the run loop in [`cpu`], one match
//! for exits in [`exits`]; what they decide by is in `hv-core`, what they do it with in `hv-arch` and `board`.
//!
//! All locks of the image stand here. They are spin locks, taken with interrupts masked, in this
//! order: [`SOS`], [`NOTES`], a VM's control, [`WATCHERS`], its balloon, its mailbox and ports, its entropy device, one of
//! [`disks::DISKS`], a drive, one of [`networks::NETWORKS`], what waits for the partition, the board's network card, a VM's serial
//! line, one of [`SHARED`], its GIC, [`KEPT`], what memory it has given up, [`FRAMES`], the SMMU, [`SCHEDULER`], [`ENTROPY`], [`CONSOLE`], [`LOG`]. No lock is held while a guest runs but its own vCPU's.
#![no_std]
#![no_main]

mod balloon;
mod boot;
mod calls;
mod console;
mod cpu;
mod devices;
mod disks;
mod drives;
mod due;
mod entropy;
mod exits;
mod firmware;
mod guest_ram;
mod history;
mod interrupts;
mod iommu;
mod keeper;
mod kept;
mod log_ring;
mod machine;
mod mailbox;
mod memory;
mod networks;
mod pci;
mod places;
mod ports;
mod query;
mod report;
mod rng;
mod shared;
mod slots;
mod sos;
#[cfg_attr(feature = "stays", path = "stay.rs")]
#[cfg_attr(not(feature = "stays"), path = "no_stay.rs")]
mod stay;
mod stolen;
mod uplink;
mod vcpu;
mod vm;
mod watch;
#[cfg_attr(feature = "checked", path = "checked.rs")]
#[cfg_attr(not(feature = "checked"), path = "unchecked.rs")]
mod witness;

use hv_arch::lock::Mutex;
use hv_core::frames::MAX_VMS;
use hv_core::notes::Notes;
use hv_core::sched::{MAX_CPUS, MAX_VCPUS_TOTAL, Scheduler};
use hv_core::shared::Region;
use hv_core::watch::Watchers;
use spin::Once;

/// What does not change after boot.
static MACHINE: Once<machine::Machine> = Once::new();
/// All of RAM.
static FRAMES: Once<Mutex<memory::Frames>> = Once::new();
/// Which vCPU runs where.
static SCHEDULER: Scheduler<cpu::RunQueue> = Scheduler::new();
/// VMs; slot 0 is the service partition.
static VMS: [vm::Vm; MAX_VMS] = [const { vm::Vm::new() }; MAX_VMS];
/// vCPUs of all VMs.
static VCPUS: [vcpu::Vcpu; MAX_VCPUS_TOTAL] = [const { vcpu::Vcpu::new() }; MAX_VCPUS_TOTAL];
/// The service partition's life and the requests for it.
static SOS: Mutex<sos::SosControl> = Mutex::new(sos::SosControl::new());
/// Global notes.
static NOTES: Mutex<Notes> = Mutex::new(Notes::new());
/// What is left of VMs that have ended.
static KEPT: Mutex<kept::Kept> = Mutex::new(kept::nothing());
/// Random bytes, and how many of them each VM may have.
static ENTROPY: Mutex<entropy::Entropy> = Mutex::new(entropy::Entropy::new());
/// Memory that VMs share.
static SHARED: [Mutex<Region>; shared::REGIONS] = [const { Mutex::new(Region::NONE) }; shared::REGIONS];
/// Who watches whose console.
static WATCHERS: Mutex<Watchers> = Mutex::new(Watchers::NONE);
/// The board's UARTs.
static CONSOLE: Mutex<console::Console> = Mutex::new(console::Console::new());
/// What EL2 said.
static LOG: Mutex<log_ring::LogRing> = Mutex::new(log_ring::LogRing::new());
/// What each CPU waits for; locked by its CPU for ever.
static TIMERS: [Mutex<cpu::Timers>; MAX_CPUS] = [const { Mutex::new(cpu::Timers::new()) }; MAX_CPUS];
