//! VMs: slots, their life from creation to the return of the last frame, and power calls of guests.

mod build;
mod life;
mod reap;

use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

use hv_abi::VmHandle;
use hv_abi::call::{Grants, Scheduling};
use hv_abi::guest_map::MAX_VCPUS;
use hv_abi::handle::Label;
use hv_abi::record::EndReason;
use hv_arch::guest::VmRegisters;
use hv_arch::lock::{Mutex, MutexGuard};
use hv_arch::tlb;
use hv_core::addr::{CpuId, Pa, VcpuId, VcpuIdx, VmId, Vmid};
use hv_core::life::VmLife;
use hv_core::psci::{VcpuPower, VmPower};
use hv_core::reclaim::Reclaim;
use hv_core::sched::MAX_CPUS;
use hv_core::stage2::Stage2;
use hv_core::vgic::{Kicks, Vgic};

use crate::balloon::GuestBalloon;
use crate::devices::Serial;
use crate::mailbox::Mailbox;
use crate::ports::Ports;
use crate::rng::Rng;
use crate::shared::Slots;
use crate::stolen::StolenTime;
use crate::{VCPUS, VMS, disks, networks, vcpu};

pub use build::{CreateError, begin_loading, create, loaded, reset_devices, set_up, start};
pub use hv_core::life::{Event, Phase};
pub use life::{crashed, destroy_half_built, end, pause, power, resume, tell_manager, vcpu_leaves, vcpu_left};
pub use reap::{begin_dying, destroy, reap};

/// The service partition's slot.
pub const SOS_VM: VmId = VmId(0);

/// Complaints about one VM that are logged before the rest is only counted.
const COMPLAINTS_MAX: u32 = 8;

/// A VM's memory was lost to a drive.
static ANY_LOST: AtomicBool = AtomicBool::new(false);

/// A VM's slot.
pub struct Vm {
    phase: AtomicU8,
    /// Lives that have ended.
    generation: AtomicU32,
    /// Set-up and power.
    pub control: Mutex<Control>,
    /// Mailbox page and rings.
    pub mailbox: Mutex<Mailbox>,
    /// Management ports.
    ports: Mutex<Ports>,
    /// Serial line, clock and watchdog.
    pub serial: Mutex<Serial>,
    /// Virtual GIC.
    pub gic: Mutex<Vgic>,
    vcpus: [AtomicU16; MAX_VCPUS],
    vcpu_count: AtomicU8,
    /// The vCPU that ran last on each CPU, or none.
    last_here: [AtomicU8; MAX_CPUS],
    root: AtomicU64,
    counter_offset: AtomicU64,
    grants: AtomicU64,
    complaints: AtomicU32,
    port_count: AtomicU8,
    has_watchdog: AtomicBool,
    /// A drive that cannot be stopped may use its memory.
    lost: AtomicBool,
    /// What its vCPUs are told of the time that they waited.
    pub stolen_time: StolenTime,
    /// Memory that it shares.
    pub shared: Slots,
    /// Its disks.
    pub disks: disks::Slots,
    /// Its network cards.
    pub nics: networks::Cards,
    /// Its entropy device.
    pub rng: Rng,
    /// Its balloon, and what memory it has given up.
    pub balloon: GuestBalloon,
}

/// What is set up before a VM starts, and what its power calls change.
pub struct Control {
    /// Its name.
    pub label: Option<Label>,
    /// Its memory's tables.
    pub stage2: Option<Stage2>,
    /// Bytes of RAM.
    pub memory: u64,
    /// Entry and x0 of the boot vCPU.
    pub entry: Option<(u64, u64)>,
    /// Why it ended.
    pub end: EndReason,
    /// Counter at its start.
    pub started: u64,
    /// Counter at its end.
    pub ended: u64,
    /// What its first vCPU was given of the CPUs, as registers of `vm_sched`; all zero is the default.
    scheduling: [u64; 3],
    /// Counter when its time stopped, where it is paused.
    pub paused: u64,
    life: VmLife,
    power: VmPower,
    /// Its memory on the way back.
    reclaim: Reclaim,
}

impl Control {
    const fn new() -> Self {
        Self {
            label: None,
            stage2: None,
            memory: 0,
            entry: None,
            end: EndReason::None,
            started: 0,
            ended: 0,
            scheduling: [0; 3],
            paused: 0,
            life: VmLife::FREE,
            power: VmPower::NONE,
            reclaim: Reclaim::NONE,
        }
    }
}

impl Control {
    /// Its first vCPU is given what these registers say.
    pub const fn schedule(&mut self, registers: [u64; 3]) {
        self.scheduling = registers;
    }

    /// What its first vCPU was given of the CPUs.
    pub fn scheduling(&self) -> [u64; 3] {
        if self.scheduling == [0; 3] { Scheduling::DEFAULT.to_registers() } else { self.scheduling }
    }

    /// Whether a vCPU is on, by PSCI.
    pub fn is_on(&self, vcpu: VcpuIdx) -> bool {
        self.power.state(vcpu) == VcpuPower::On
    }
}

/// No vCPU; others count from 1.
const NO_VCPU: u8 = 0;

impl Vm {
    /// A free slot.
    pub const fn new() -> Self {
        Self {
            phase: AtomicU8::new(Phase::Free as u8),
            generation: AtomicU32::new(0),
            control: Mutex::new(Control::new()),
            mailbox: Mutex::new(Mailbox::new()),
            ports: Mutex::new(Ports::new()),
            serial: Mutex::new(Serial::new()),
            gic: Mutex::new(Vgic::UNUSED),
            vcpus: [const { AtomicU16::new(0) }; MAX_VCPUS],
            vcpu_count: AtomicU8::new(0),
            last_here: [const { AtomicU8::new(NO_VCPU) }; MAX_CPUS],
            root: AtomicU64::new(0),
            counter_offset: AtomicU64::new(0),
            grants: AtomicU64::new(0),
            complaints: AtomicU32::new(0),
            port_count: AtomicU8::new(0),
            has_watchdog: AtomicBool::new(false),
            lost: AtomicBool::new(false),
            stolen_time: StolenTime::new(),
            shared: Slots::new(),
            disks: disks::Slots::new(),
            nics: networks::Cards::new(),
            rng: Rng::new(),
            balloon: GuestBalloon::new(),
        }
    }

    /// Where it is in its life.
    #[inline]
    pub fn phase(&self) -> Phase {
        Phase::ALL.get(usize::from(self.phase.load(Ordering::SeqCst))).copied().unwrap_or(Phase::Free)
    }

    /// Whether its slot is free.
    #[inline]
    pub fn is_free(&self) -> bool {
        self.phase.load(Ordering::SeqCst) == Phase::Free as u8
    }

    /// Whether it has a line that the console can show.
    pub fn has_console(&self) -> bool {
        self.phase().is_alive() || matches!(self.phase(), Phase::Stopping | Phase::Stopped)
    }

    /// Its handle.
    pub fn handle(&self, id: VmId) -> VmHandle {
        VmHandle::new(id.0, self.generation.load(Ordering::Relaxed) + 1)
    }

    /// Whether `handle` names a life of the slot that has ended.
    pub fn is_earlier_life(&self, handle: VmHandle) -> bool {
        handle.generation() != 0 && handle.generation() <= self.generation.load(Ordering::Relaxed)
    }

    /// Its name, if it has one yet.
    #[inline(never)]
    pub fn label(&self) -> Option<Label> {
        self.control.lock().label
    }

    /// Its name for messages.
    pub fn name(&self) -> Name {
        Name(self.label())
    }

    /// Number of its vCPUs.
    #[inline]
    pub fn vcpu_count(&self) -> u8 {
        self.vcpu_count.load(Ordering::Relaxed)
    }

    /// Slot of one of its vCPUs.
    #[inline]
    pub fn vcpu(&self, index: VcpuIdx) -> VcpuId {
        VcpuId(self.vcpus[index.index() & (MAX_VCPUS - 1)].load(Ordering::Relaxed))
    }

    /// CNTVOFF_EL2.
    #[inline]
    pub fn counter_offset(&self) -> u64 {
        self.counter_offset.load(Ordering::Relaxed)
    }

    /// What a CPU needs to run it.
    pub fn registers(&self, id: VmId) -> VmRegisters {
        let root = Pa(self.root.load(Ordering::Relaxed));
        VmRegisters { vttbr: tlb::vttbr(root, vmid(id)), counter_offset: self.counter_offset() }
    }

    /// Notes that `index` runs on `cpu`; whether another vCPU of the VM ran there before.
    pub fn ran_here_last(&self, cpu: CpuId, index: VcpuIdx) -> bool {
        let before = self.last_here[cpu.index()].swap(index.0 + 1, Ordering::Relaxed);
        before != NO_VCPU && before != index.0 + 1
    }

    /// What it may ask.
    pub fn grants(&self) -> Grants {
        Grants(self.grants.load(Ordering::Relaxed))
    }

    /// Sets what it may ask.
    pub fn set_grants(&self, grants: Grants) {
        self.grants.store(grants.0, Ordering::Relaxed);
    }

    /// Number of its management ports.
    pub fn port_count(&self) -> u8 {
        self.port_count.load(Ordering::Relaxed)
    }

    /// Its management ports, locked.
    pub fn ports(&self) -> MutexGuard<'_, Ports> {
        self.ports.lock()
    }

    /// Whether it has management ports.
    #[inline]
    pub fn has_ports(&self) -> bool {
        self.port_count() != 0
    }

    /// Gives it management ports.
    pub fn set_ports(&self, count: u8) {
        self.ports().reset(count);
        self.port_count.store(count, Ordering::Relaxed);
    }

    /// Whether it has a watchdog.
    pub fn has_watchdog(&self) -> bool {
        self.has_watchdog.load(Ordering::Relaxed)
    }

    /// Gives it a watchdog.
    pub fn add_watchdog(&self) {
        self.has_watchdog.store(true, Ordering::Relaxed);
    }

    /// Its memory is lost to a drive that cannot be stopped: nobody may have it after the VM.
    pub fn lose_memory(&self) {
        self.lost.store(true, Ordering::Relaxed);
        ANY_LOST.store(true, Ordering::Relaxed);
    }

    /// Its tables, to read them. While it runs nothing changes in them but by [`crate::balloon`].
    pub fn tables(&self) -> Stage2 {
        Stage2::new(Pa(self.root.load(Ordering::Relaxed)))
    }

    /// Whether it stopped without having been asked to.
    pub fn ended_by_itself(&self) -> bool {
        !matches!(self.control.lock().end, EndReason::None | EndReason::Stopped)
    }

    /// Whether one more complaint about it goes to the log.
    pub fn may_complain(&self) -> bool {
        let count = self.complaints.fetch_add(1, Ordering::Relaxed);
        if count == COMPLAINTS_MAX {
            log::warn!("vm {}: more of these are not logged", self.name());
        }
        count < COMPLAINTS_MAX
    }
}

/// VMID 0 is EL2's own use of no VM; each slot has one of its own, which is invalidated before a new life.
const fn vmid(id: VmId) -> Vmid {
    Vmid(id.0 as u16 + 1)
}

/// Makes every CPU forget a VM's translations.
pub fn forget_translations(id: VmId) {
    tlb::invalidate_vmid(vmid(id));
}

/// A VM's name in a message.
pub struct Name(Option<Label>);

impl core::fmt::Display for Name {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match &self.0 {
            Some(label) => f.write_str(label.as_str()),
            None => f.write_str("?"),
        }
    }
}

/// Tells vCPUs of a VM that their GIC state was changed.
#[inline]
pub fn notify_all(vm: &Vm, kicks: Kicks) {
    for index in kicks.iter() {
        let id = vm.vcpu(index);
        VCPUS[id.index()].notify(id, vcpu::GIC);
    }
}

/// Has a vCPU of a VM look at something, the first one that is on.
pub fn call_one(vm: &Vm, what: u8) {
    let first = {
        let control = vm.control.lock();
        (0..vm.vcpu_count()).map(VcpuIdx).find(|index| control.is_on(*index))
    };
    if let Some(id) = first.map(|index| vm.vcpu(index)) {
        VCPUS[id.index()].notify(id, what);
    }
}

/// The guest slot that a handle names, if it is that life of it.
pub fn by_handle(handle: VmHandle) -> Option<(VmId, &'static Vm)> {
    let index = handle.index().filter(|index| *index != SOS_VM.0)?;
    let vm = VMS.get(usize::from(index))?;
    (!vm.is_free() && vm.handle(VmId(index)) == handle).then_some((VmId(index), vm))
}

/// Whether memory of any VM was ever lost to a drive.
pub fn has_lost_memory() -> bool {
    ANY_LOST.load(Ordering::Relaxed)
}

/// Whether a guest exists in any form.
pub fn any_guest() -> bool {
    VMS[1..].iter().any(|vm| !vm.is_free())
}
