//! The run loop: pick a vCPU, run it until it blocks or its slice is over, pick the next.

mod leave;
mod off;

use hv_arch::counter;
use hv_arch::guest::{self, Trap};
use hv_arch::lock::{Mutex, MutexGuard};
use hv_board::gicv3::Redistributor;
use hv_core::addr::{CpuId, IntId, VcpuId, VmId};
use hv_core::counter::earlier;
use hv_core::frames::MAX_VMS;
use hv_core::sched::{Block, Kick, Pick, Queue, QueueLock, Review, Turn};
use hv_core::timer::{TimerKey, TimerQueue};

use leave::{let_go, off, park, save};

use crate::machine::{Machine, machine};
use crate::sos::Load;
use crate::vcpu::{self, Loaded};
use crate::vm::Phase;
use crate::{SCHEDULER, TIMERS, VCPUS, VMS, exits, interrupts, networks, ports, sos, stay, vm};

/// SGI: look at the running vCPU's attention.
pub const SGI_ATTENTION: IntId = IntId(0);
/// SGI: look at the scheduler.
pub const SGI_SCHEDULE: IntId = IntId(1);

/// SGI to oneself: work that was put off, because locks were held where it came up.
pub const SGI_SELF: IntId = IntId(2);
/// SGI: look after what the [keeper](crate::keeper) does.
pub const SGI_KEEP: IntId = IntId(3);

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
    /// When the scheduler is to be asked again: somebody waits, or a bandwidth is counted.
    review_at: Option<u64>,
    /// WFE comes to EL2.
    wfe_traps: bool,
    /// What the hardware timer is set to.
    programmed: Option<u64>,
    /// Somebody asked this CPU to look at the scheduler.
    pub reschedule: bool,
    /// The vCPU whose registers are here may be picked by any CPU.
    released: bool,
    /// The service partition was taken down here: its CPU may be one that is turned off.
    pub took_sos_down: bool,
}

/// What a vCPU's exit comes to.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// It goes on.
    Resume,
    /// It waits for an interrupt.
    Block,
    /// The scheduler is asked whether it goes on.
    Review,
    /// It has nothing urgent to do.
    GiveWay,
    /// It waits for somebody who will notify it, whatever interrupts it has.
    Await,
    /// Its registers are saved, and another runs.
    Leave,
    /// It leaves its CPU until its VM goes on.
    Park,
    /// It is off, or its VM has ended.
    Off,
}

impl Local {
    /// For the CPU that calls.
    pub fn new(id: CpuId, redistributor: Redistributor) -> Self {
        let timers = TIMERS[id.index()].lock();
        Self {
            id,
            machine: machine(),
            redistributor,
            timers,
            review_at: None,
            wfe_traps: false,
            programmed: None,
            reschedule: false,
            released: false,
            took_sos_down: false,
        }
    }

    /// Wakes a vCPU that is not loaded when its timer is due, once [`Local::program`] has been called.
    pub fn watch(&mut self, vcpu: VcpuId, deadline: Option<u64>) {
        self.set(TimerKey::Virtual(vcpu), deadline);
    }

    /// Looks after the emulated physical timer of the loaded vCPU, once [`Local::program`] has been called.
    pub fn watch_physical(&mut self, vcpu: VcpuId, deadline: Option<u64>) {
        self.set(TimerKey::Physical(vcpu), deadline);
    }

    /// Looks after what a VM's emulated devices do by time. A deadline that an earlier call has left at another
    /// CPU comes for nothing.
    /// What was put off is not put off further by a later call.
    pub fn watch_devices(&mut self, vm: VmId, deadline: Option<u64>) {
        let key = TimerKey::Devices(vm);
        let before = if ports::has_more(vm) { self.timers.remove(key) } else { None };
        self.set(key, earlier(before, deadline));
        self.program();
    }

    /// Looks after the service partition's life, and the drives.
    pub fn watch_sos(&mut self, deadline: Option<u64>) {
        self.set(TimerKey::ServicePartition, deadline);
        self.program();
    }

    /// Notes when the scheduler is to be asked again. Until then who waits in WFE gives way, if there is anybody.
    fn review_by(&mut self, until: Option<u64>) {
        self.review_at = until;
        if self.wfe_traps != until.is_some() {
            self.wfe_traps = until.is_some();
            guest::trap_wfe(self.wfe_traps);
        }
    }

    fn set(&mut self, key: TimerKey, deadline: Option<u64>) {
        match deadline {
            // The queue has a place for each key that exists.
            Some(at) => drop(self.timers.insert(key, at)),
            None if self.timers.is_empty() => {}
            None => drop(self.timers.remove(key)),
        }
    }

    /// Sets the hardware timer to what comes first.
    pub fn program(&mut self) {
        let first = earlier(self.timers.earliest(), self.review_at);
        if first != self.programmed {
            self.programmed = first;
            counter::set_deadline(first);
        }
    }

    /// EL2's timer has fired. Returns whether the scheduler is to be asked again.
    pub fn timer_fired(&mut self, loaded: Option<&mut Loaded>) -> bool {
        let now = counter::now();
        // It is off first: what is done here makes way for interrupts that wait, and its own would be one of them.
        self.programmed = None;
        counter::set_deadline(None);
        let mut loaded = loaded;
        while let Some(key) = self.timers.pop_expired(now) {
            match (key, loaded.as_deref_mut()) {
                (TimerKey::ServicePartition, _) => crate::keeper::called(self),
                (TimerKey::Devices(vm), _) => {
                    let next = crate::devices::deadline_passed(vm);
                    self.watch_devices(vm, next);
                }
                (TimerKey::Physical(vcpu), Some(loaded)) if loaded.id == vcpu => loaded.physical_timer_fired(self),
                (TimerKey::Virtual(vcpu) | TimerKey::Physical(vcpu), _) => wake(vcpu),
            }
        }
        let due = self.review_at.is_some_and(|at| at <= now);
        if due {
            self.review_at = None;
        }
        self.program();
        due
    }
}

/// Something arrived for a vCPU that runs nowhere.
pub fn wake(vcpu: VcpuId) {
    act(SCHEDULER.wake(vcpu, counter::now_relaxed()));
}

/// Kicks whom the scheduler names.
#[inline]
pub fn act(kick: Kick) {
    if !kick.is_empty() {
        kick.cpus().iter().for_each(|cpu| send(cpu, SGI_SCHEDULE));
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

/// Sends an interrupt to a CPU.
pub fn send(cpu: CpuId, sgi: IntId) {
    if let Some(target) = machine().sgi.get(cpu.index()) {
        hv_board::gicv3::cpu::send_sgi(*target, sgi);
    }
}

/// A CPU's queue of vCPUs behind its lock.
pub struct RunQueue(Mutex<Queue>);

impl QueueLock for RunQueue {
    const NEW: Self = Self(Mutex::new(Queue::new()));

    #[inline]
    fn with<R>(&self, work: impl FnOnce(&mut Queue) -> R) -> R {
        work(&mut self.0.lock())
    }
}

/// Runs vCPUs for ever.
pub fn run(mut local: Local) -> ! {
    let mut resident: Option<Loaded> = None;
    loop {
        stay::show(local.id);
        let Turn { pick, until, kick } = SCHEDULER.pick(local.id, counter::now_relaxed());
        act(kick);
        local.review_by(until);
        let released = core::mem::take(&mut local.released);
        match pick {
            Pick::Run(vcpu) => turn(&mut local, &mut resident, vcpu),
            Pick::Idle => {
                if released {
                    save(&mut local, &mut resident);
                }
                if core::mem::take(&mut local.took_sos_down) && crate::sos::turns_off(local.id) {
                    off::turn_off(local);
                }
                idle(&mut local, &mut resident);
            }
            Pick::Evict(_) => let_go(&mut local, &mut resident),
        }
    }
}

/// Nothing to run: waits until something may be. The vCPU that sleeps here goes on here when its
/// timer wakes it and nobody else waits.
fn idle(local: &mut Local, resident: &mut Option<Loaded>) {
    local.reschedule = false;
    expect_next(local, resident);
    local.program();
    while !local.reschedule {
        stay::left(local.id);
        hv_arch::cpu::wait_for_interrupt();
        while interrupts::look() && !local.reschedule {
            if interrupts::while_idle(local, resident.as_mut()) {
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
    let_go(local, resident);
    if !SCHEDULER.adopt(local.id, vcpu) {
        return;
    }
    local.watch(vcpu, None);
    // The timer may be an old one of a slot that is taken down or built: its tables are about to be another's.
    if matches!(VMS[VCPUS[vcpu.index()].vm().index()].phase(), Phase::Dying | Phase::Loading) {
        return act(SCHEDULER.release(local.id, vcpu, counter::now_relaxed()));
    }
    *resident = Some(Loaded::load(local, vcpu));
}

/// A vCPU's turn, from being picked to being let go.
fn turn(local: &mut Local, resident: &mut Option<Loaded>, id: VcpuId) {
    // Before anything that takes long: another CPU may wait for them.
    if resident.as_ref().is_some_and(|loaded| loaded.id != id) {
        save(local, resident);
    }
    let vm_id = VCPUS[id.index()].vm();
    let phase = VMS[vm_id.index()].phase();
    if matches!(phase, Phase::Dying | Phase::Loading) && resident.as_ref().is_some_and(|loaded| loaded.id == id) {
        // An old timer of its slot had it loaded before it was woken: nothing may hold what is built or taken down.
        return let_go(local, resident);
    }
    match phase {
        Phase::Dying => {
            local.program();
            return vm::reap(local, id);
        }
        Phase::Loading => {
            local.program();
            match sos::load(local) {
                Load::Done => {}
                Load::Later => return act(SCHEDULER.release(local.id, id, counter::now_relaxed())),
                Load::Failed => {
                    SCHEDULER.remove(id, counter::now_relaxed());
                    return sos::load_failed();
                }
            }
        }
        _ => {}
    }
    if resident.is_none() {
        *resident = Some(Loaded::load(local, id));
    }
    local.program();
    serve_resident(local, resident);
}

/// Runs the vCPU whose registers are here, and does what its exit from that comes to.
fn serve_resident(local: &mut Local, resident: &mut Option<Loaded>) {
    let Some(loaded) = resident.as_mut() else {
        return;
    };
    match serve(local, loaded) {
        Next::Leave => {
            act(SCHEDULER.release(local.id, loaded.id, counter::now_relaxed()));
            local.released = true;
        }
        Next::Off => {
            if let Some(loaded) = resident.take() {
                off(local, loaded);
            }
        }
        Next::Park => {
            if let Some(loaded) = resident.take() {
                park(local, loaded);
            }
        }
        _ => {}
    }
}

/// Runs the loaded vCPU until it is to be let go.
#[inline(never)]
fn serve(local: &mut Local, loaded: &mut Loaded) -> Next {
    loaded.vcpu.begin(local.id);
    let next = loop {
        let next = if loaded.vcpu.has_attention()
            && let stays_out @ (Next::Off | Next::Park | Next::Block) = attend(local, loaded)
        {
            stays_out
        } else {
            stay::left(local.id);
            let trap = guest::enter(&mut loaded.core.registers);
            stay::entered(local.id, &trap, loaded);
            match trap {
                Trap::Sync => exits::handle(local, loaded),
                Trap::Interrupt => interrupts::while_running(local, loaded),
                Trap::SError => exits::serror(loaded),
            }
        };
        match next {
            Next::Resume => {}
            Next::Block | Next::Await => {
                let interrupted = next == Next::Block && loaded.has_pending();
                if !interrupted && !loaded.vcpu.is_called() {
                    loaded.vcpu.pause();
                    let block = SCHEDULER.block(local.id, loaded.id, counter::now_relaxed());
                    // What arrived since the look above has sent an interrupt here, not a wake.
                    if block == Block::Blocked && !loaded.vcpu.is_called() {
                        return Next::Block;
                    }
                    if block == Block::Blocked {
                        wake(loaded.id);
                        return Next::Block;
                    }
                    loaded.vcpu.begin(local.id);
                }
            }
            Next::Review => {
                if local.review() {
                    break Next::Leave;
                }
            }
            Next::GiveWay => {
                if SCHEDULER.give_way(local.id) == Review::Leaves {
                    break Next::Leave;
                }
            }
            leaves @ (Next::Leave | Next::Park | Next::Off) => break leaves,
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
    // In its own time: it was its VM that filled the card.
    if attention & vcpu::SEND != 0 && networks::send_waiting(loaded.vm) {
        loaded.vcpu.goes_on(vcpu::SEND);
    }
    // It may have been resumed before it looked.
    if attention & vcpu::PARK != 0 && loaded.vm.phase() == Phase::Pausing {
        return Next::Park;
    }
    // What wakes a sleeper is pending still: a list register keeps the timer's interrupt where the timer has taken it back.
    if attention & (vcpu::GIC | vcpu::ASLEEP) != 0 {
        loaded.sync_gic(local);
    }
    if attention & vcpu::ASLEEP != 0 && loaded.sleeps_on() {
        return Next::Block;
    }
    Next::Resume
}

impl Local {
    /// Wakes the vCPU that sleeps with its registers in this CPU. Whether it goes on at once: where the CPU has
    /// nothing else to do.
    #[inline]
    pub fn wake_here(&mut self, vcpu: VcpuId) -> bool {
        let now = counter::now_relaxed();
        if SCHEDULER.resume(self.id, vcpu, now) {
            return true;
        }
        let kick = SCHEDULER.wake(vcpu, now);
        self.reschedule |= kick.cpus().contains(self.id);
        act(kick.but(self.id));
        false
    }

    /// Asks the scheduler whether what this CPU runs is to make room for another.
    pub fn review(&mut self) -> bool {
        let (review, kick) = SCHEDULER.review(self.id, counter::now_relaxed());
        act(kick);
        match review {
            Review::Stays(until) => {
                self.review_by(until);
                self.program();
                false
            }
            Review::Leaves => true,
        }
    }
}
