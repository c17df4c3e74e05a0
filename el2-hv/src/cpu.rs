//! The run loop: pick a vCPU, run it until it blocks or its slice is over, pick the next.

use hv_arch::counter;
use hv_arch::guest::{self, Trap};
use hv_arch::lock::MutexGuard;
use hv_board::gicv3::Redistributor;
use hv_core::addr::{CpuId, IntId, VcpuId, VmId};
use hv_core::frames::MAX_VMS;
use hv_core::sched::{Block, Kick, Pick, SLICE_NS};
use hv_core::timer::{TimerKey, TimerQueue};

use crate::machine::{Machine, machine};
use crate::vcpu::{self, Loaded};
use crate::vm::Phase;
use crate::{SCHEDULER, TIMERS, VCPUS, VMS, exits, interrupts, vm};

/// SGI: look at the running vCPU's attention.
pub const SGI_ATTENTION: IntId = IntId(0);
/// SGI: look at the scheduler.
pub const SGI_SCHEDULE: IntId = IntId(1);

/// SGI to oneself: work that was put off, because locks were held where it came up.
pub const SGI_SELF: IntId = IntId(2);

/// Deadlines of one CPU: two for each vCPU, one for each VM, and one for the service partition's life.
pub type Timers = TimerQueue<{ 2 * hv_core::sched::MAX_VCPUS_TOTAL + MAX_VMS + 1 }>;

/// What a CPU has for itself.
pub struct Local {
    /// Which it is.
    pub id: CpuId,
    /// The machine.
    pub machine: &'static Machine,
    /// Its redistributor.
    pub redistributor: Redistributor,
    timers: MutexGuard<'static, Timers>,
    /// When the running vCPU's slice is over.
    slice_end: Option<u64>,
    /// What the hardware timer is set to.
    programmed: Option<u64>,
    /// Somebody asked this CPU to look at the scheduler.
    pub reschedule: bool,
}

/// What a CPU that runs no guest does meanwhile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Work {
    /// It waits.
    None,
    /// It takes a VM down.
    Reaping,
}

/// What a vCPU's exit comes to.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// It goes on.
    Resume,
    /// It waits for an interrupt.
    Block,
    /// Its slice is over, or it gives the rest away.
    Yield,
    /// It is off, or its VM has ended.
    Off,
}

impl Local {
    /// For the CPU that calls.
    pub fn new(id: CpuId, redistributor: Redistributor) -> Self {
        let timers = TIMERS[id.index()].lock();
        Self { id, machine: machine(), redistributor, timers, slice_end: None, programmed: None, reschedule: false }
    }

    /// Wakes a vCPU that is not loaded when its timer is due.
    pub fn watch(&mut self, vcpu: VcpuId, deadline: Option<u64>) {
        self.set(TimerKey::Virtual(vcpu), deadline);
    }

    /// Looks after the emulated physical timer of the loaded vCPU.
    pub fn watch_physical(&mut self, vcpu: VcpuId, deadline: Option<u64>) {
        self.set(TimerKey::Physical(vcpu), deadline);
    }

    /// Looks after what a VM's emulated devices do by time. A deadline that an earlier call has left at another
    /// CPU comes for nothing.
    pub fn watch_devices(&mut self, vm: VmId, deadline: Option<u64>) {
        self.set(TimerKey::Devices(vm), deadline);
    }

    /// Looks after the service partition's life.
    pub fn watch_sos(&mut self, deadline: Option<u64>) {
        self.set(TimerKey::ServicePartition, deadline);
    }

    fn set(&mut self, key: TimerKey, deadline: Option<u64>) {
        match deadline {
            // The queue has a place for each key that exists.
            Some(at) => drop(self.timers.insert(key, at)),
            None if self.timers.is_empty() => return,
            None => drop(self.timers.remove(key)),
        }
        self.program();
    }

    fn arm_slice(&mut self) {
        self.slice_end = Some(counter::now_relaxed() + self.machine.ticks(SLICE_NS));
        self.program();
    }

    fn disarm_slice(&mut self) {
        if self.slice_end.take().is_some() {
            self.program();
        }
    }

    /// Whether no slice is armed, or its end has come.
    pub const fn slice_is_over(&self) -> bool {
        self.slice_end.is_none()
    }

    /// Sets the hardware timer to what comes first.
    fn program(&mut self) {
        let first = [self.timers.earliest(), self.slice_end].into_iter().flatten().min();
        if first != self.programmed {
            self.programmed = first;
            counter::set_deadline(first);
        }
    }

    /// EL2's timer has fired. Returns whether the running vCPU's slice is over.
    pub fn timer_fired(&mut self, loaded: Option<&mut Loaded>) -> bool {
        let now = counter::now();
        let mut loaded = loaded;
        while let Some(key) = self.timers.pop_expired(now) {
            match (key, loaded.as_deref_mut()) {
                (TimerKey::ServicePartition, _) => {
                    let next = crate::sos::deadline_passed();
                    self.watch_sos(next);
                }
                (TimerKey::Devices(vm), _) => {
                    let next = crate::devices::deadline_passed(vm);
                    self.watch_devices(vm, next);
                }
                (TimerKey::Physical(vcpu), Some(loaded)) if loaded.id == vcpu => loaded.set_physical_line(true),
                (TimerKey::Virtual(vcpu) | TimerKey::Physical(vcpu), _) => wake(vcpu),
            }
        }
        let over = self.slice_end.is_some_and(|end| end <= now);
        if over {
            self.slice_end = None;
        }
        self.programmed = None;
        counter::set_deadline(None);
        self.program();
        over
    }
}

/// Something arrived for a vCPU that runs nowhere.
pub fn wake(vcpu: VcpuId) {
    let kick = SCHEDULER.lock().wake(vcpu);
    act(kick);
}

/// Kicks whom the scheduler names.
pub fn act(kick: Kick) {
    if let Kick::Cpu(cpu) = kick {
        send(cpu, SGI_SCHEDULE);
    }
}

/// Makes `cpu` leave its guest and look at its vCPU's attention.
pub fn interrupt(cpu: CpuId) {
    send(cpu, SGI_ATTENTION);
}

/// Makes this CPU do what was put off, as soon as it can.
pub fn interrupt_self() {
    send(hv_arch::cpu::current(), SGI_SELF);
}

fn send(cpu: CpuId, sgi: IntId) {
    if let Some(target) = machine().sgi.get(cpu.index()) {
        hv_board::gicv3::cpu::send_sgi(*target, sgi);
    }
}

/// Runs vCPUs for ever.
pub fn run(mut local: Local) -> ! {
    let mut resident: Option<Loaded> = None;
    loop {
        local.disarm_slice();
        let pick = SCHEDULER.lock().pick(local.id);
        match pick {
            Pick::Idle => idle(&mut local, &mut resident),
            Pick::Run(vcpu) => turn(&mut local, &mut resident, vcpu),
            Pick::RunSlice(vcpu) => {
                local.arm_slice();
                turn(&mut local, &mut resident, vcpu);
            }
        }
    }
}

/// Nothing to run: waits until something may be. The vCPU that sleeps here goes on here when its
/// timer wakes it and nobody else waits.
fn idle(local: &mut Local, resident: &mut Option<Loaded>) {
    local.reschedule = false;
    expect_next(local, resident);
    while !local.reschedule {
        hv_arch::cpu::wait_for_interrupt();
        while hv_arch::cpu::interrupt_pending() && !local.reschedule {
            if interrupts::while_idle(local, resident.as_mut(), Work::None) {
                serve_resident(local, resident);
                return;
            }
        }
    }
}

/// Loads the sleeping vCPU whose timer is due first, so that the switch is over before it wakes.
fn expect_next(local: &mut Local, resident: &mut Option<Loaded>) {
    let Some((TimerKey::Virtual(vcpu) | TimerKey::Physical(vcpu), deadline)) = local.timers.first() else {
        return;
    };
    if resident.as_mut().is_some_and(|loaded| loaded.id == vcpu || loaded.wakes_before(deadline)) {
        return;
    }
    if let Some(old) = resident.take() {
        release(local, old);
    }
    if SCHEDULER.lock().adopt(local.id, vcpu) {
        local.watch(vcpu, None);
        *resident = Some(Loaded::load(local, vcpu));
    }
}

/// A vCPU's turn, from being picked to being let go.
fn turn(local: &mut Local, resident: &mut Option<Loaded>, id: VcpuId) {
    let vm_id = VCPUS[id.index()].vm();
    match VMS[vm_id.index()].phase() {
        Phase::Dying => return vm::reap(local, resident, id),
        Phase::Loading if !crate::sos::load() => {
            SCHEDULER.lock().remove(id);
            return crate::sos::load_failed();
        }
        _ => {}
    }
    if resident.as_ref().is_none_or(|loaded| loaded.id != id) {
        if let Some(old) = resident.take() {
            release(local, old);
        }
        *resident = Some(Loaded::load(local, id));
    }
    serve_resident(local, resident);
}

/// Runs the vCPU whose registers are here, and does what its exit from that comes to.
fn serve_resident(local: &mut Local, resident: &mut Option<Loaded>) {
    let Some(loaded) = resident.as_mut() else {
        return;
    };
    match serve(local, loaded) {
        Next::Block | Next::Resume => {}
        Next::Yield => {
            if let Some(loaded) = resident.take() {
                release(local, loaded);
            }
        }
        Next::Off => {
            if let Some(loaded) = resident.take() {
                off(local, loaded);
            }
        }
    }
}

/// Stores a vCPU's registers; it may run anywhere afterwards.
fn release(local: &mut Local, loaded: Loaded) {
    let id = loaded.id;
    loaded.unload(local);
    let kick = SCHEDULER.lock().release(id);
    act(kick);
}

/// A vCPU is off.
fn off(local: &mut Local, loaded: Loaded) {
    let (id, vm_id) = (loaded.id, loaded.vm_id);
    SCHEDULER.lock().remove(id);
    loaded.discard(local);
    vm::vcpu_is_off(vm_id);
}

/// Runs the loaded vCPU until it is to be let go.
#[inline(never)]
fn serve(local: &mut Local, loaded: &mut Loaded) -> Next {
    loaded.vcpu.begin(local.id);
    let next = loop {
        if loaded.vcpu.has_attention()
            && let Next::Off = attend(local, loaded)
        {
            break Next::Off;
        }
        let next = match guest::enter(&mut loaded.core.registers) {
            Trap::Sync => exits::handle(local, loaded),
            Trap::Interrupt => interrupts::while_running(local, loaded),
            Trap::SError => exits::serror(loaded),
        };
        match next {
            Next::Resume => {}
            Next::Block => {
                if !loaded.has_pending() && !loaded.vcpu.has_attention() {
                    loaded.vcpu.pause();
                    let block = SCHEDULER.lock().block(loaded.id);
                    // What arrived since the look above has sent an interrupt here, not a wake.
                    if block == Block::Blocked && !loaded.vcpu.has_attention() {
                        return Next::Block;
                    }
                    if block == Block::Blocked {
                        wake(loaded.id);
                        return Next::Block;
                    }
                    loaded.vcpu.begin(local.id);
                }
            }
            Next::Yield => {
                if SCHEDULER.lock().slice_over(local.id) == Block::Blocked {
                    break Next::Yield;
                }
            }
            Next::Off => break Next::Off,
        }
    };
    loaded.vcpu.pause();
    next
}

/// Does what others asked the loaded vCPU to look at.
fn attend(local: &mut Local, loaded: &mut Loaded) -> Next {
    let attention = loaded.vcpu.take_attention();
    if attention & vcpu::STOP != 0 {
        return Next::Off;
    }
    if attention & vcpu::GIC != 0 {
        loaded.sync_gic(local);
    }
    Next::Resume
}

impl Local {
    /// Wakes the vCPU that sleeps with its registers in this CPU. Whether it goes on at once: where the CPU has
    /// nothing else to do.
    #[inline]
    pub fn wake_here(&mut self, vcpu: VcpuId, work: Work) -> bool {
        let mut scheduler = SCHEDULER.lock();
        if work == Work::None && scheduler.resume(self.id, vcpu) {
            return true;
        }
        let kick = scheduler.wake(vcpu);
        drop(scheduler);
        if kick == Kick::Cpu(self.id) {
            self.reschedule = true;
        } else {
            act(kick);
        }
        false
    }

    /// The reaper's slice is over, or somebody asked for the CPU.
    pub fn take_turn_over(&mut self, over: bool) -> bool {
        over | core::mem::take(&mut self.reschedule)
    }

    /// Somebody waits for this CPU: gives the running vCPU a slice, if it has none yet.
    pub fn share(&mut self) {
        if SCHEDULER.lock().share(self.id) && self.slice_end.is_none() {
            self.arm_slice();
        }
    }
}
