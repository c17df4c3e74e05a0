//! VMs: slots, their life from creation to the return of the last frame, and power calls of guests.
//!
//! ```text
//! Free -> Building -> Running -> Stopping -> Stopped -> Dying -> Free
//!            +---------------------------------------------^
//! ```
//! The service partition's slot goes Free -> Loading -> Running -> Stopping -> Dying -> Free.

use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

use hv_abi::VmHandle;
use hv_abi::call::Grants;
use hv_abi::guest_map::MAX_VCPUS;
use hv_abi::handle::Label;
use hv_abi::record::EndReason;
use hv_arch::guest::VmRegisters;
use hv_arch::ram::NoNewTables;
use hv_arch::{counter, ram, tlb};
use hv_core::addr::{CpuId, FRAME_SIZE, Ipa, Pa, PaRange, VcpuId, VcpuIdx, VmId, Vmid};
use hv_core::frames::Owner;
use hv_core::psci::{Outcome, PowerCall, VcpuPower, VmPower};
use hv_core::sched::{Block, MAX_CPUS};
use hv_core::stage2::{Piece, Stage2};
use hv_core::vgic::{Kicks, Vgic};
use spin::{Mutex, MutexGuard, Once};

use crate::cpu::Local;
use crate::devices::Serial;
use crate::machine::machine;
use crate::mailbox::Mailbox;
use crate::memory::{bytes_of, frames};
use crate::ports::Ports;
use crate::vcpu::Loaded;
use crate::{SCHEDULER, VCPUS, VMS, console, cpu, sos, vcpu};

/// The service partition's slot.
pub const SOS_VM: VmId = VmId(0);

/// Complaints about one VM that are logged before the rest is only counted.
const COMPLAINTS_MAX: u32 = 8;

/// Where a VM is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Phase {
    /// The slot is free.
    Free,
    /// It gets memory, images, devices.
    Building,
    /// The service partition, before EL2 has mapped it.
    Loading,
    /// Its vCPUs run.
    Running,
    /// Its vCPUs are being stopped.
    Stopping,
    /// None of its vCPUs will run again.
    Stopped,
    /// Its memory is being scrubbed and returned.
    Dying,
}

impl Phase {
    const ALL: [Self; 7] =
        [Self::Free, Self::Building, Self::Loading, Self::Running, Self::Stopping, Self::Stopped, Self::Dying];
}

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
    ports: Once<Mutex<Ports>>,
    /// Serial line and clock.
    pub serial: Mutex<Serial>,
    /// Virtual GIC.
    pub gic: Mutex<Vgic>,
    vcpus: [AtomicU16; MAX_VCPUS],
    vcpu_count: AtomicU8,
    /// vCPUs that the scheduler knows.
    live: AtomicU8,
    /// The vCPU that ran last on each CPU, or none.
    last_here: [AtomicU8; MAX_CPUS],
    root: AtomicU64,
    counter_offset: AtomicU64,
    grants: AtomicU64,
    complaints: AtomicU32,
    port_count: AtomicU8,
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
    power: VmPower,
    /// What is being scrubbed of it.
    reaping: Option<PaRange>,
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
            power: VmPower::NONE,
            reaping: None,
        }
    }
}

impl Control {
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
            ports: Once::new(),
            serial: Mutex::new(Serial::new()),
            gic: Mutex::new(Vgic::UNUSED),
            vcpus: [const { AtomicU16::new(0) }; MAX_VCPUS],
            vcpu_count: AtomicU8::new(0),
            live: AtomicU8::new(0),
            last_here: [const { AtomicU8::new(NO_VCPU) }; MAX_CPUS],
            root: AtomicU64::new(0),
            counter_offset: AtomicU64::new(0),
            grants: AtomicU64::new(0),
            complaints: AtomicU32::new(0),
            port_count: AtomicU8::new(0),
        }
    }

    /// Where it is in its life.
    #[inline]
    pub fn phase(&self) -> Phase {
        Phase::ALL.get(usize::from(self.phase.load(Ordering::SeqCst))).copied().unwrap_or(Phase::Free)
    }

    fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::SeqCst);
    }

    /// Whether it has a line that the console can show.
    pub fn has_console(&self) -> bool {
        matches!(self.phase(), Phase::Running | Phase::Stopping | Phase::Stopped)
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
        VmRegisters { vttbr: self.vttbr(id), counter_offset: self.counter_offset() }
    }

    fn vttbr(&self, id: VmId) -> u64 {
        // VMID 0 is EL2's own use of no VM; each slot has one of its own, which is invalidated before a new life.
        tlb::vttbr(Pa(self.root.load(Ordering::Relaxed)), Vmid(u16::from(id.0) + 1))
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
        self.ports.call_once(|| Mutex::new(Ports::new())).lock()
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

    /// Its tables, to read them: they do not change while it runs.
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

/// The guest slot that a handle names, if it is that life of it.
pub fn by_handle(handle: VmHandle) -> Option<(VmId, &'static Vm)> {
    let index = handle.index().filter(|index| *index != SOS_VM.0)?;
    let vm = VMS.get(usize::from(index))?;
    (vm.phase() != Phase::Free && vm.handle(VmId(index)) == handle).then_some((VmId(index), vm))
}

/// Why a VM could not be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CreateError {
    /// A VM has the label.
    LabelTaken,
    /// No slot, vCPU or frame is free.
    NoRoom,
}

/// Makes a guest with tables and vCPUs and no memory.
pub fn create(label: Label, vcpus: u8) -> Result<VmHandle, CreateError> {
    let guests = 1..VMS.len();
    if guests.clone().any(|id| VMS[id].phase() != Phase::Free && VMS[id].label() == Some(label)) {
        return Err(CreateError::LabelTaken);
    }
    let id = guests.clone().find(|&id| VMS[id].phase() == Phase::Free).ok_or(CreateError::NoRoom)?;
    let id = VmId(id as u8);
    let root = frames().allocate(hv_core::stage2::ROOT_SIZE, Owner::Tables).map_err(|_| CreateError::NoRoom)?;
    if !set_up(id, label, vcpus, root) {
        frames().free(PaRange { start: root, size: hv_core::stage2::ROOT_SIZE }, Owner::Tables);
        return Err(CreateError::NoRoom);
    }
    let vm = &VMS[id.index()];
    vm.enter(Phase::Building);
    Ok(vm.handle(id))
}

/// Fills a slot; whether there were vCPUs for it.
pub fn set_up(id: VmId, label: Label, vcpus: u8, root: Pa) -> bool {
    let vm = &VMS[id.index()];
    if !claim_vcpus(id, vm, vcpus) {
        return false;
    }
    let mut control = vm.control.lock();
    *control = Control::new();
    control.label = Some(label);
    control.stage2 = Some(Stage2::new(root));
    control.power = VmPower::new(usize::from(vcpus)).unwrap_or(VmPower::NONE);
    drop(control);
    vm.root.store(root.0, Ordering::Relaxed);
    vm.gic.lock().reset(vcpus);
    vm.serial.lock().reset();
    vm.complaints.store(0, Ordering::Relaxed);
    vm.last_here.iter().for_each(|last| last.store(NO_VCPU, Ordering::Relaxed));
    true
}

fn claim_vcpus(id: VmId, vm: &Vm, count: u8) -> bool {
    let mut claimed = 0;
    for (slot, vcpu) in VCPUS.iter().enumerate() {
        if claimed == count {
            break;
        }
        if vcpu.claim(id, VcpuIdx(claimed)) {
            vm.vcpus[usize::from(claimed)].store(slot as u16, Ordering::Relaxed);
            claimed += 1;
        }
    }
    vm.vcpu_count.store(claimed, Ordering::Relaxed);
    if claimed < count {
        free_vcpus(vm);
    }
    claimed == count
}

fn free_vcpus(vm: &Vm) {
    for index in 0..vm.vcpu_count() {
        VCPUS[vm.vcpu(VcpuIdx(index)).index()].free();
    }
    vm.vcpu_count.store(0, Ordering::Relaxed);
}

/// Starts a VM that is built; whether it has an entry.
pub fn start(id: VmId) -> bool {
    let vm = &VMS[id.index()];
    let mut control = vm.control.lock();
    let (Some((entry, x0)), Some(label)) = (control.entry, control.label) else {
        return false;
    };
    control.started = counter::now();
    control.power.boot();
    // The virtual counter begins at 0 with the VM (Arm ARM D11.2.2).
    vm.counter_offset.store(control.started, Ordering::Relaxed);
    drop(control);
    let boot = vm.vcpu(VcpuIdx(0));
    VCPUS[boot.index()].prepare(entry, x0, machine().list_registers);
    vm.live.store(1, Ordering::SeqCst);
    vm.enter(Phase::Running);
    if id != SOS_VM {
        hv_arch::cache::invalidate_instructions();
        log::info!("vm {label}: started");
        console::started(id, label);
        crate::machine::note_first_guest();
        hv_arch::boot::mark_started();
    }
    SCHEDULER.lock().add(boot);
    cpu::wake(boot);
    true
}

/// A guest's power call.
pub fn power(id: VmId, caller: VcpuIdx, call: PowerCall) -> Outcome {
    let vm = &VMS[id.index()];
    let mut control = vm.control.lock();
    let tables = vm.tables();
    let running = vm.phase() == Phase::Running;
    if !running {
        return Outcome::PowerOff;
    }
    let outcome = control.power.apply(caller, call, |entry: Ipa| tables.translate(entry, &NoNewTables).is_some());
    match outcome {
        Outcome::PowerOn { vcpu, entry, context } => {
            let target = vm.vcpu(vcpu);
            VCPUS[target.index()].prepare(entry.0, context, machine().list_registers);
            let _ = control.power.started(vcpu);
            vm.live.fetch_add(1, Ordering::SeqCst);
            drop(control);
            SCHEDULER.lock().add(target);
            cpu::wake(target);
        }
        Outcome::SystemOff => {
            drop(control);
            end(id, EndReason::PoweredOff);
        }
        Outcome::SystemReset => {
            drop(control);
            end(id, EndReason::Reset);
        }
        _ => {}
    }
    outcome
}

/// A vCPU of the VM cannot go on.
pub fn crashed(id: VmId) {
    end(id, EndReason::Crashed);
}

/// Stops all vCPUs of a running VM for good.
pub fn end(id: VmId, reason: EndReason) {
    let vm = &VMS[id.index()];
    let mut control = vm.control.lock();
    if vm.phase() != Phase::Running {
        return;
    }
    control.end = reason;
    control.ended = counter::now();
    vm.enter(Phase::Stopping);
    drop(control);
    for index in 0..vm.vcpu_count() {
        let vcpu = vm.vcpu(VcpuIdx(index));
        VCPUS[vcpu.index()].notify(vcpu, vcpu::STOP);
    }
}

/// A vCPU has left its CPU for good. The last one ends the VM's run.
pub fn vcpu_is_off(id: VmId) {
    let vm = &VMS[id.index()];
    if vm.live.fetch_sub(1, Ordering::SeqCst) != 1 || vm.phase() != Phase::Stopping {
        return;
    }
    vm.enter(Phase::Stopped);
    let (end, label) = {
        let control = vm.control.lock();
        (control.end, control.label)
    };
    if id == SOS_VM {
        return sos::stopped();
    }
    if let Some(label) = label {
        log::info!("vm {label}: {end}");
    }
    console::gone(id);
    sos::vm_ended(id, end);
}

/// Begins to scrub and return a VM that does not run; whether it may.
pub fn destroy(id: VmId) -> bool {
    let vm = &VMS[id.index()];
    if !matches!(vm.phase(), Phase::Building | Phase::Stopped) {
        return false;
    }
    // Nobody reaches its memory through EL2 from here on.
    vm.mailbox.lock().detach();
    vm.ports().reset(0);
    vm.port_count.store(0, Ordering::Relaxed);
    vm.set_grants(Grants::NONE);
    tlb::invalidate_vmid(vm.vttbr(id));
    vm.enter(Phase::Dying);
    // Its first vCPU's place in the queue pays for the work.
    let reaper = vm.vcpu(VcpuIdx(0));
    SCHEDULER.lock().add(reaper);
    cpu::wake(reaper);
    true
}

/// Bytes that are scrubbed between two looks for interrupts.
const SCRUB_STEP: u64 = 4 * FRAME_SIZE;

/// A turn of a dying VM: scrubs and returns memory until all is back, an interrupt waits, or its slice is over.
pub fn reap(local: &mut Local, resident: &mut Option<Loaded>, reaper: VcpuId) {
    let id = VCPUS[reaper.index()].vm();
    loop {
        while hv_arch::cpu::interrupt_pending() {
            if crate::interrupts::while_reaping(local, resident.as_mut()) {
                return give_way(local, reaper);
            }
        }
        let done = if id == SOS_VM { sos::scrub_step() } else { reap_step(id) };
        if done {
            SCHEDULER.lock().remove(reaper);
            finish(id);
            return;
        }
    }
}

/// Its slice is over: to the end of the queue, if somebody waits there.
fn give_way(local: &Local, reaper: VcpuId) {
    let mut scheduler = SCHEDULER.lock();
    // Nothing of it is in the CPU: it may go on anywhere.
    let _ = scheduler.slice_over(local.id) == Block::Blocked;
    let kick = scheduler.release(reaper);
    drop(scheduler);
    cpu::act(kick);
}

/// Scrubs one step, or takes the next piece out of the tables. Returns whether all is back.
fn reap_step(id: VmId) -> bool {
    let vm = &VMS[id.index()];
    let mut control = vm.control.lock();
    let control = &mut *control;
    if let Some(left) = control.reaping {
        let step = PaRange { start: left.start, size: left.size.min(SCRUB_STEP) };
        ram::zero(step);
        return_frames(step, id);
        let rest = left.size - step.size;
        control.reaping = (rest > 0).then_some(PaRange { start: step.end(), size: rest });
        return false;
    }
    let Some(stage2) = &mut control.stage2 else {
        return true;
    };
    match stage2.take_piece(&mut NoNewTables) {
        Some(Piece::Block(range)) => {
            let owner = frames().table().owner(range.start);
            let its_own = owner == Some(Owner::Vm(id)) || owner == Some(Owner::Mailboxes);
            assert!(its_own, "vm {id}: maps {} of {owner:?}", range.start);
            control.reaping = Some(range);
        }
        Some(Piece::Table(table)) => {
            frames().free(PaRange { start: table, size: FRAME_SIZE }, Owner::Tables);
        }
        None => {
            let root = PaRange { start: stage2.root(), size: hv_core::stage2::ROOT_SIZE };
            frames().free(root, Owner::Tables);
            control.stage2 = None;
            return true;
        }
    }
    false
}

/// Gives scrubbed frames back, by blocks that are aligned to their size.
fn return_frames(range: PaRange, id: VmId) {
    let mut frames = frames();
    let owner = frames.table().owner(range.start).unwrap_or(Owner::Vm(id));
    let mut at = range.start;
    while at.0 < range.end().0 {
        let left = range.end().0 - at.0;
        let aligned = 1 << at.0.trailing_zeros().min(left.ilog2());
        frames.free(PaRange { start: at, size: aligned }, owner);
        at.0 += aligned;
    }
}

/// Everything is back: the slot is free, its next life has another handle.
fn finish(id: VmId) {
    let vm = &VMS[id.index()];
    // The VMID is used again by the slot's next life.
    tlb::invalidate_vmid(vm.vttbr(id));
    let handle = vm.handle(id);
    let label = vm.control.lock().label.take();
    if id != SOS_VM {
        let leaked = bytes_of(Owner::Vm(id));
        assert!(leaked == 0, "vm {id}: {leaked} bytes were not returned");
        sos::forget_vm(id, handle);
    }
    free_vcpus(vm);
    vm.generation.fetch_add(1, Ordering::Relaxed);
    vm.enter(Phase::Free);
    if id == SOS_VM {
        return sos::scrubbed();
    }
    if let Some(label) = label {
        log::info!("vm {label}: memory returned");
    }
    sos::vm_gone();
}

/// Destroys what a life of the service partition has left half built.
pub fn destroy_half_built() {
    for id in (1..VMS.len()).map(|id| VmId(id as u8)) {
        let vm = &VMS[id.index()];
        if vm.phase() == Phase::Building {
            log::warn!("vm {}: was not started, destroyed", vm.name());
            destroy(id);
        }
    }
}

/// Whether a guest exists in any form.
pub fn any_guest() -> bool {
    VMS[1..].iter().any(|vm| vm.phase() != Phase::Free)
}

/// The service partition is built by EL2: from now on its vCPU is picked.
pub fn begin_loading() {
    let vm = &VMS[SOS_VM.index()];
    vm.enter(Phase::Loading);
    let boot = vm.vcpu(VcpuIdx(0));
    SCHEDULER.lock().add(boot);
    cpu::wake(boot);
}

/// The service partition has stopped, or could not be loaded: take its memory down.
pub fn begin_dying(id: VmId) {
    let vm = &VMS[id.index()];
    vm.mailbox.lock().detach();
    vm.enter(Phase::Dying);
    let reaper = vm.vcpu(VcpuIdx(0));
    SCHEDULER.lock().add(reaper);
    cpu::wake(reaper);
}

/// The service partition's vCPU, which was picked to load it, runs from now on.
pub fn loaded(entry: u64, x0: u64) {
    let vm = &VMS[SOS_VM.index()];
    let mut control = vm.control.lock();
    control.started = counter::now();
    control.power.boot();
    drop(control);
    vm.counter_offset.store(0, Ordering::Relaxed);
    VCPUS[vm.vcpu(VcpuIdx(0)).index()].prepare(entry, x0, machine().list_registers);
    vm.live.store(1, Ordering::SeqCst);
    vm.enter(Phase::Running);
}
