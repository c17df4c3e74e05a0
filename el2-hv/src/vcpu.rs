//! A vCPU: what others may tell it at any time, and what only the CPU that has loaded it touches.

mod exits;
mod power;

use core::sync::atomic::{AtomicU8, Ordering};

use hv_abi::guest_map::PPI_PHYSICAL_TIMER;
use hv_arch::guest::{self, GuestRegisters, VcpuContext, VmRegisters};
use hv_arch::lock::{Mutex, MutexGuard};
use hv_arch::vgic::{self, InterfaceState};
use hv_arch::{debug, serror};
use hv_core::addr::{CpuId, IntId, VcpuId, VcpuIdx, VmId};
use hv_core::counter::earlier;
use hv_core::debug::DebugState;
use hv_core::serror::SError;
use hv_core::timer::PhysicalTimer;
use hv_core::vgic::{Kicks, Level, ListRegisters, PhysicalTimer as PhysicalTimerLine, Refill, SgiRegister};

use crate::cpu::Local;
use crate::vm::{self, Vm};
use crate::{SCHEDULER, VCPUS, VMS, interrupts};
pub use exits::{Exits, Reason};

/// Its GIC state was changed: fold and refill its list registers.
pub const GIC: u8 = 1;
/// It is to stop for good.
pub const STOP: u8 = 1 << 1;
/// It is to leave its CPU until its VM goes on.
pub const PARK: u8 = 1 << 2;
/// It is powered down, and goes on at its entry when an interrupt is pending for it. Only its own CPU changes this.
pub const ASLEEP: u8 = 1 << 3;
/// Its VM has something to send, and it is its turn: the board's network card has room, or others had theirs.
pub const SEND: u8 = 1 << 4;

/// No CPU, or no VM; others count from 1.
const NONE: u8 = 0;

/// A slot for a vCPU.
pub struct Vcpu {
    /// What only the CPU that has it loaded touches: that CPU holds the lock.
    core: Mutex<VcpuCore>,
    /// The CPU that runs it now.
    on: AtomicU8,
    /// What it has to look at before it goes on.
    attention: AtomicU8,
    /// Its VM's slot.
    vm: AtomicU8,
    /// Its number in its VM.
    index: AtomicU8,
    /// Why it came to EL2.
    pub exits: Exits,
}

/// Registers and private devices of a vCPU.
pub struct VcpuCore {
    /// General registers.
    pub registers: GuestRegisters,
    /// The other registers.
    pub context: VcpuContext,
    /// Its list registers.
    pub list_registers: ListRegisters,
    /// What list register 0 gets when the virtual timer fires; 0 while the guest does not take it.
    pub timer_template: u64,
    /// The emulated physical timer.
    pub physical_timer: PhysicalTimer,
    /// A deadline of it may be watched.
    physical_timer_used: bool,
    /// Its debug registers.
    pub debug: DebugState,
    /// Where it goes on, and its x0 there, when its power-down is over.
    wakes_at: (u64, u64),
    interface: InterfaceState,
    /// Maintenance controls in ICH_HCR_EL2.
    controls: u64,
}

impl Vcpu {
    /// A free slot.
    pub const fn new() -> Self {
        Self {
            core: Mutex::new(VcpuCore {
                registers: GuestRegisters::ZERO,
                context: VcpuContext::ZERO,
                list_registers: ListRegisters::NONE,
                timer_template: 0,
                physical_timer: PhysicalTimer::RESET,
                physical_timer_used: false,
                debug: DebugState::RESET,
                wakes_at: (0, 0),
                interface: InterfaceState::RESET,
                controls: 0,
            }),
            on: AtomicU8::new(NONE),
            attention: AtomicU8::new(0),
            vm: AtomicU8::new(NONE),
            index: AtomicU8::new(0),
            exits: Exits::new(),
        }
    }

    /// Takes the slot for vCPU `index` of `vm`; whether it was free.
    pub fn claim(&self, vm: VmId, index: VcpuIdx) -> bool {
        let won = self.vm.compare_exchange(NONE, vm.0 + 1, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if won {
            self.index.store(index.0, Ordering::Relaxed);
            self.attention.store(0, Ordering::Relaxed);
            self.exits.reset();
        }
        won
    }

    /// Gives the slot back.
    pub fn free(&self) {
        self.vm.store(NONE, Ordering::Relaxed);
    }

    /// Its VM.
    pub fn vm(&self) -> VmId {
        VmId(self.vm.load(Ordering::Relaxed).saturating_sub(1))
    }

    /// Sets where it begins. It waits for a CPU that still holds an earlier life of it.
    pub fn prepare(&self, entry: u64, x0: u64, list_registers: u8) {
        let mut core = self.core.lock();
        let index = self.index.load(Ordering::Relaxed);
        // MPIDR_EL1: RES1 bit 31, affinity = its number (Arm ARM D24.2.123).
        core.context.reset(1 << 31 | u64::from(index));
        core.begin_at(entry, x0);
        core.physical_timer = PhysicalTimer::RESET;
        core.debug = DebugState::RESET;
        core.timer_template = 0;
        core.list_registers = ListRegisters::new(list_registers).unwrap_or(ListRegisters::NONE);
        self.attention.store(0, Ordering::Relaxed);
    }

    /// Tells it to look at something, and wakes it or stops it for that.
    pub fn notify(&self, id: VcpuId, what: u8) {
        self.attention.fetch_or(what, Ordering::SeqCst);
        // Sequentially consistent against `begin`: either it sees the bit, or we see where it runs.
        match self.on.load(Ordering::SeqCst) {
            NONE => crate::cpu::wake(id),
            cpu if CpuId(cpu - 1) == hv_arch::cpu::current() => {}
            cpu => crate::cpu::interrupt(CpuId(cpu - 1)),
        }
    }

    /// It runs on this CPU, and is to look at something when the interrupts that wait here were taken. One is sent where none
    /// waits: it would be sooner than those.
    pub fn goes_on(&self, what: u8) {
        self.attention.fetch_or(what, Ordering::SeqCst);
        if !interrupts::look() {
            crate::cpu::interrupt(hv_arch::cpu::current());
        }
    }

    /// It runs on `cpu` from now on; what it has to look at is seen from here.
    #[inline]
    pub fn begin(&self, cpu: CpuId) {
        self.on.store(cpu.0 + 1, Ordering::SeqCst);
    }

    /// Whose it is, if `cpu` runs it.
    pub fn running_on(&self, cpu: CpuId) -> Option<(VmId, VcpuIdx)> {
        let here = self.on.load(Ordering::Relaxed) == cpu.0 + 1;
        here.then(|| (self.vm(), VcpuIdx(self.index.load(Ordering::Relaxed))))
    }

    /// It runs nowhere.
    #[inline]
    pub fn pause(&self) {
        self.on.store(NONE, Ordering::SeqCst);
    }

    /// Whether there is something to look at.
    #[inline]
    pub fn has_attention(&self) -> bool {
        self.attention.load(Ordering::SeqCst) != 0
    }

    /// What there is to look at, once.
    pub fn take_attention(&self) -> u8 {
        self.attention.fetch_and(ASLEEP, Ordering::SeqCst)
    }
}

/// A vCPU whose registers are in this CPU.
pub struct Loaded {
    /// Its slot's number.
    pub id: VcpuId,
    /// Its slot.
    pub vcpu: &'static Vcpu,
    /// Its VM.
    pub vm: &'static Vm,
    /// Its VM's slot.
    pub vm_id: VmId,
    /// Its number in its VM.
    pub index: VcpuIdx,
    /// Its registers.
    pub core: MutexGuard<'static, VcpuCore>,
}

impl Loaded {
    /// Loads this CPU with a vCPU.
    pub fn load(local: &mut Local, id: VcpuId) -> Self {
        let vcpu = &VCPUS[id.index()];
        let vm_id = vcpu.vm();
        let vm = &VMS[vm_id.index()];
        let index = VcpuIdx(vcpu.index.load(Ordering::Relaxed));
        let mut loaded = Self { id, vcpu, vm, vm_id, index, core: vcpu.core.lock() };
        let registers: VmRegisters = vm.registers(vm_id);
        loaded.core.context.load(&registers);
        if loaded.core.debug.is_armed() {
            debug::load(&loaded.core.debug);
        }
        if vm.ran_here_last(local.id, index) {
            hv_arch::tlb::forget_other_vcpu();
        }
        vm.stolen_time.tell(index, SCHEDULER.waited(id));
        loaded.core.interface.load();
        loaded.refill(local);
        loaded.arm_physical_timer(local);
        loaded.core.context.start_timer();
        loaded
    }

    /// Stores this CPU's registers and lets the vCPU go. Its timers are kept an eye on.
    pub fn unload(mut self, local: &mut Local) {
        let kicks = self.leave_gic(local);
        vm::notify_all(self.vm, kicks);
        self.core.interface.save();
        let error = self.leave_registers();
        local.watch(self.id, self.next_deadline());
        self.let_go(error);
    }

    /// Takes nothing with it: the vCPU never runs again in this life.
    pub fn discard(mut self, local: &mut Local) {
        let given = self.leave_gic(local);
        let error = self.leave_registers();
        local.watch(self.id, None);
        local.watch_physical(self.id, None);
        self.set_physical_line(false);
        let kicks = self.vm.gic.lock().power_off(self.index);
        vm::notify_all(self.vm, given.union(kicks));
        self.let_go(error);
    }

    /// Stores its registers, and leaves nothing of it in this CPU that acts on the next vCPU: an SError that was on its
    /// way has come by now.
    fn leave_registers(&mut self) -> Option<SError> {
        self.core.context.save();
        if self.core.debug.is_armed() {
            debug::clear();
        }
        let error = serror::synchronize()?;
        if error.harms() {
            self.core.context.pend_serror();
        }
        Some(error)
    }

    /// Other CPUs may have it. What there is to say is said after that: who starts a vCPU holds its VM's control and waits
    /// for this.
    fn let_go(self, error: Option<SError>) {
        let Self { vm, index, core, .. } = self;
        drop(core);
        if let Some(error) = error {
            crate::exits::say_serror(vm, index, &error);
        }
    }

    /// Takes its interrupts back from this CPU. The result names vCPUs that got one of them.
    fn leave_gic(&mut self, local: &Local) -> Kicks {
        let used = self.read_list_registers();
        let unloaded = self.vm.gic.lock().unload(self.index, &mut self.core.list_registers);
        vgic::write_list_registers(&self.core.list_registers.lr, used);
        vgic::set_controls(0);
        self.core.controls = 0;
        local.set_timer_line(unloaded.timer);
        unloaded.kicks
    }

    /// Whether one of its timers is due before `deadline`.
    pub fn wakes_before(&mut self, deadline: u64) -> bool {
        self.core.context.read_timer();
        self.next_deadline().is_some_and(|own| own <= deadline)
    }

    /// When one of its timers is due, on the physical counter.
    fn next_deadline(&self) -> Option<u64> {
        let context = &self.core.context;
        // CNTV_CTL: ENABLE set, IMASK clear.
        let virtual_timer = (context.timer_control & 3 == 1)
            .then(|| context.timer_compare.checked_add(self.vm.counter_offset()))
            .flatten();
        earlier(virtual_timer, self.core.physical_timer.deadline())
    }

    /// Reads the list registers that are in use; returns which.
    #[inline]
    fn read_list_registers(&mut self) -> u16 {
        let lrs = &mut self.core.list_registers;
        let used = lrs.used;
        vgic::read_list_registers(&mut lrs.lr, used);
        if self.core.controls != 0 {
            self.core.list_registers.unmatched_eois = vgic::unmatched_eois();
        }
        used
    }

    /// Brings list registers and model together.
    pub fn sync_gic(&mut self, local: &Local) {
        let timer_fell = self.timer_fell();
        let used = self.read_list_registers();
        let mut gic = self.vm.gic.lock();
        let kicks = gic.fold(self.index, &mut self.core.list_registers);
        if timer_fell {
            gic.timer_fell(self.index);
        }
        let refill = gic.refill(self.index, &mut self.core.list_registers);
        drop(gic);
        self.write_back(local, refill, used);
        if !kicks.is_empty() {
            vm::notify_all(self.vm, kicks.without(self.index));
        }
    }

    /// Sends an SGI of the guest. One to itself goes into a list register at once.
    pub fn send_sgi(&mut self, local: &mut Local, register: SgiRegister, value: u64) {
        let mut gic = self.vm.gic.lock();
        let kicks = gic.send_sgi(self.index, register, value);
        if !kicks.contains(self.index) {
            drop(gic);
            return vm::notify_all(self.vm, kicks);
        }
        let used = self.read_list_registers();
        let folded = gic.fold(self.index, &mut self.core.list_registers);
        let refill = gic.refill(self.index, &mut self.core.list_registers);
        drop(gic);
        self.write_back(local, refill, used);
        let others = kicks.union(folded).without(self.index);
        if !others.is_empty() {
            vm::notify_all(self.vm, others);
        }
    }

    /// Puts what is deliverable into the list registers of a vCPU that is being loaded.
    fn refill(&mut self, local: &mut Local) {
        let refill = self.vm.gic.lock().refill(self.index, &mut self.core.list_registers);
        vgic::set_controls(refill.hcr);
        self.core.controls = refill.hcr;
        self.write_back(local, refill, 0);
    }

    /// Writes the list registers that are in use now or were `before`, and what goes with them.
    #[inline]
    fn write_back(&mut self, local: &Local, refill: Refill, before: u16) {
        self.core.timer_template = refill.timer_template;
        let lrs = &self.core.list_registers;
        vgic::write_list_registers(&lrs.lr, lrs.used | before);
        // EOIcount counts only while a control is set, and is cleared by the write.
        if refill.hcr | self.core.controls != 0 {
            self.core.controls = refill.hcr;
            vgic::set_controls(refill.hcr);
        }
        local.set_timer_line(refill.timer);
    }

    /// The guest may have changed its virtual timer's interrupt.
    pub fn refresh_timer_template(&mut self) {
        self.core.timer_template = self.vm.gic.lock().timer_template(self.index);
    }

    /// Whether an interrupt waits for it in a list register.
    #[inline]
    pub fn has_pending(&self) -> bool {
        self.core.list_registers.used != 0 && vgic::any_pending(self.core.list_registers.used)
    }

    /// Whether list register 0 was given the virtual timer's interrupt, and the timer does not ask for it any more:
    /// hardware takes the pending state of a level back with the line, a list register keeps it.
    fn timer_fell(&self) -> bool {
        self.core.list_registers.holds_timer() && !guest::virtual_timer_line()
    }

    /// The virtual timer's physical interrupt has come, and stays active until the guest ends it.
    #[inline]
    pub fn timer_fired(&mut self) {
        let template = self.core.timer_template;
        if template != 0 {
            vgic::write_timer_register(template);
            self.core.list_registers.set_timer(template);
        } else {
            vgic::write_timer_register(0);
            let kicks = self.vm.gic.lock().timer_asserted(self.index, &mut self.core.list_registers);
            vm::notify_all(self.vm, kicks);
        }
    }

    /// Sets the emulated physical timer's interrupt, and arms what it waits for.
    pub fn arm_physical_timer(&mut self, local: &mut Local) {
        let Some(deadline) = self.core.physical_timer.deadline() else {
            if core::mem::take(&mut self.core.physical_timer_used) {
                local.watch_physical(self.id, None);
            }
            return;
        };
        self.core.physical_timer_used = true;
        let now = hv_arch::counter::now();
        let due = self.core.physical_timer.line(now) == Level::High;
        local.watch_physical(self.id, (!due).then_some(deadline));
        self.set_physical_line(due);
    }

    /// The line of the physical timer's PPI.
    pub fn set_physical_line(&mut self, high: bool) {
        let level = if high { Level::High } else { Level::Low };
        let kicks = self.vm.gic.lock().set_line(IntId(PPI_PHYSICAL_TIMER), self.index, level);
        vm::notify_all(self.vm, kicks);
    }

    /// The emulated physical timer is due, on the CPU that has the list registers.
    pub fn physical_timer_fired(&mut self, local: &Local) {
        let kicks = self.vm.gic.lock().set_line(IntId(PPI_PHYSICAL_TIMER), self.index, Level::High);
        if kicks.contains(self.index) {
            self.sync_gic(local);
        }
    }
}

impl Local {
    /// Makes the physical virtual-timer interrupt of this CPU active or inactive, as the model asks.
    #[inline]
    pub fn set_timer_line(&self, wanted: PhysicalTimerLine) {
        const PPI: IntId = IntId(hv_abi::guest_map::PPI_VIRTUAL_TIMER);
        match wanted {
            PhysicalTimerLine::Unchanged => {}
            PhysicalTimerLine::Activate => {
                self.redistributor.activate(PPI);
                // The read waits until the write has taken effect: the timer may fire with the next instruction.
                let _ = self.redistributor.is_active(PPI);
            }
            PhysicalTimerLine::Deactivate => self.redistributor.deactivate(PPI),
        }
    }
}
