//! Hardware and caller: CPUs with a virtual CPU interface, list registers and a physical timer
//! interrupt, and the steps that EL2 performs around the model. It punishes what IHI0069 forbids.

use super::*;

const PENDING: u64 = 1;
const ACTIVE: u64 = 2;
const IDLE_PRIORITY: u8 = 0xff;

fn state(lr: u64) -> u64 {
    lr >> 62
}

fn with_state(lr: u64, state: u64) -> u64 {
    (lr & !(3 << 62)) | state << 62
}

fn is_hardware(lr: u64) -> bool {
    lr >> 61 & 1 == 1
}

fn priority(lr: u64) -> u8 {
    (lr >> 48) as u8
}

fn intid(lr: u64) -> u32 {
    lr as u32
}

/// The virtual CPU interface of one CPU: `ICV_*` over `ICH_LR<n>_EL2` (IHI0069 ch. 6).
pub(super) struct FakeCpuInterface {
    pub(super) lr: [u64; 16],
    pub(super) hcr: u64,
    pub(super) eoi_count: u8,
    /// Priorities of what is active, lowest first, with the INTID (ICV_AP*R).
    pub(super) running: Vec<(u8, u32)>,
    /// The physical PPI 27: the timer's level, and its active state.
    pub(super) timer_line: bool,
    pub(super) timer_active: bool,
}

impl FakeCpuInterface {
    fn new() -> Self {
        let idle = [0; 16];
        Self { lr: idle, hcr: 0, eoi_count: 0, running: Vec::new(), timer_line: false, timer_active: false }
    }

    pub(super) fn running_priority(&self) -> u8 {
        self.running.last().map_or(IDLE_PRIORITY, |top| top.0)
    }

    /// The list register that ICV_HPPIR would name, if it may preempt.
    pub(super) fn highest_pending(&self) -> Option<usize> {
        let pending = (0..16).filter(|&n| state(self.lr[n]) == PENDING);
        let best = pending.min_by_key(|&n| (priority(self.lr[n]), intid(self.lr[n])))?;
        (priority(self.lr[best]) < self.running_priority()).then_some(best)
    }

    /// Whether anything is pending, whatever is running.
    pub(super) fn any_pending(&self) -> bool {
        self.lr.iter().any(|lr| state(*lr) == PENDING)
    }

    /// The priority of what is signalled to the CPU.
    pub(super) fn signalled_priority(&self) -> Option<u8> {
        self.highest_pending().map(|n| priority(self.lr[n]))
    }

    /// A read of ICV_IAR.
    pub(super) fn acknowledge(&mut self) -> Option<u32> {
        let n = self.highest_pending()?;
        self.lr[n] = with_state(self.lr[n], ACTIVE);
        self.running.push((priority(self.lr[n]), intid(self.lr[n])));
        Some(intid(self.lr[n]))
    }

    /// A write of ICV_EOIR with EOImode 1: priority drop only.
    pub(super) fn drop_priority(&mut self) -> u32 {
        self.running.pop().expect("something runs").1
    }

    /// A write of ICV_DIR, or the second half of ICV_EOIR with EOImode 0.
    pub(super) fn deactivate(&mut self, id: u32) {
        let found = (0..16).find(|&n| intid(self.lr[n]) == id && state(self.lr[n]) & ACTIVE != 0);
        let Some(n) = found else {
            self.eoi_count += 1;
            return;
        };
        self.lr[n] = with_state(self.lr[n], state(self.lr[n]) & !ACTIVE);
        if is_hardware(self.lr[n]) {
            assert_eq!(self.lr[n] >> 32 & 0x1fff, 27, "only the timer is a hardware interrupt");
            assert!(self.timer_active, "the physical interrupt was not active");
            self.timer_active = false;
        }
    }

    fn valid(&self) -> usize {
        self.lr.iter().filter(|lr| state(**lr) != 0).count()
    }

    /// ICH_MISR_EL2 is not 0.
    pub(super) fn maintenance(&self) -> bool {
        let end_of_interrupt = |lr: &&u64| state(**lr) == 0 && !is_hardware(**lr) && **lr >> 41 & 1 == 1;
        self.lr.iter().find(end_of_interrupt).is_some()
            || (self.hcr >> 1 & 1 == 1 && self.valid() <= 1)
            || (self.hcr >> 2 & 1 == 1 && self.eoi_count != 0)
            || (self.hcr >> 3 & 1 == 1 && !self.any_pending())
    }

    /// What a CPU may not be given.
    fn check(&self) {
        for (n, lr) in self.lr.iter().enumerate().filter(|(_, lr)| state(**lr) != 0) {
            let same = self.lr.iter().filter(|other| state(**other) != 0 && intid(**other) == intid(*lr));
            assert_eq!(same.count(), 1, "INTID {} is in two list registers", intid(*lr));
            assert_eq!(intid(*lr) == 27, n == 0, "list register 0 is the timer's alone");
            assert_eq!(priority(*lr) & 7, 0, "unimplemented priority bits");
            if is_hardware(*lr) {
                assert_ne!(state(*lr), 3, "a hardware interrupt cannot be pending and active");
                assert!(self.timer_active, "the physical interrupt must be active");
            }
        }
    }
}

/// A vCPU and the CPU that it has for itself while it is loaded.
pub(super) struct Cpu {
    pub(super) interface: FakeCpuInterface,
    pub(super) lrs: ListRegisters,
    pub(super) template: u64,
    pub(super) loaded: bool,
}

/// A VM with its GIC.
pub(super) struct Machine {
    pub(super) gic: Vgic,
    pub(super) cpus: Vec<Cpu>,
    /// Kicks that have not been served.
    pub(super) kicked: u8,
}

impl Machine {
    /// As after reset, all vCPUs loaded.
    pub(super) fn new(vcpus: u8, list_registers: u8) -> Self {
        let mut gic = Vgic::new();
        gic.reset(vcpus);
        let cpu = |_| Cpu {
            interface: FakeCpuInterface::new(),
            lrs: ListRegisters::new(list_registers).expect("a number that exists"),
            template: 0,
            loaded: true,
        };
        Self { gic, cpus: (0..vcpus).map(cpu).collect(), kicked: 0 }
    }

    /// With both groups on and every interrupt enabled, in Group 1 and at priority 0x80.
    pub(super) fn configured(vcpus: u8, list_registers: u8) -> Self {
        let mut machine = Self::new(vcpus, list_registers);
        machine.write(gicd(0), 3);
        for word in 1..9 {
            machine.write(gicd(0x80 + 4 * word), 0xffff_ffff);
            machine.write(gicd(ISENABLER + 4 * word), 0xffff_ffff);
        }
        for priorities in 8..72 {
            machine.write(gicd(0x400 + 4 * priorities), 0x8080_8080);
        }
        for vcpu in 0..vcpus {
            machine.write(gicr(vcpu, 0x14), 0);
            machine.write(gicr(vcpu, SGI_BASE + 0x80), 0xffff_ffff);
            machine.write(gicr(vcpu, SGI_BASE + ISENABLER), 0xffff_ffff);
            for priorities in 0..8 {
                machine.write(gicr(vcpu, SGI_BASE + 0x400 + 4 * priorities), 0x8080_8080);
            }
        }
        machine
    }

    /// Notes kicks; they are served by `settle`.
    pub(super) fn kick(&mut self, kicks: Kicks) {
        self.kicked |= kicks.bits();
    }

    /// A guest's write of a word, everything that follows included.
    pub(super) fn write(&mut self, register: GicRegister, value: u32) {
        let kicks = self.gic.write(register, AccessSize::Word, u64::from(value));
        self.kick(kicks);
        self.settle();
    }

    /// A guest's read of a word, with everybody folded who has something to say.
    pub(super) fn read(&mut self, register: GicRegister) -> u32 {
        if Vgic::read_needs_fold(register) {
            let residents = self.gic.residents(register, AccessSize::Word);
            self.kick(residents);
            self.settle_with(Self::fold_only);
        }
        let value = self.gic.read(register, AccessSize::Word) as u32;
        for v in 0..self.cpus.len() {
            self.sync(v);
        }
        self.settle();
        value
    }

    /// Serves kicks, maintenance and physical interrupts until nothing is left to do.
    pub(super) fn settle(&mut self) {
        self.settle_with(Self::sync);
    }

    fn settle_with(&mut self, serve: fn(&mut Self, usize)) {
        for _ in 0..1000 {
            let mut quiet = true;
            for v in 0..self.cpus.len() {
                quiet &= !self.physical_timer(v);
                if self.kicked >> v & 1 == 1 || self.cpus[v].interface.maintenance() {
                    serve(self, v);
                    quiet = false;
                }
            }
            if quiet {
                return;
            }
        }
        panic!("maintenance interrupts without end");
    }

    /// EL2's handler of the physical PPI 27; whether there was one.
    pub(super) fn physical_timer(&mut self, v: usize) -> bool {
        let cpu = &mut self.cpus[v];
        if !cpu.loaded || !cpu.interface.timer_line || cpu.interface.timer_active {
            return false;
        }
        cpu.interface.timer_active = true;
        if cpu.template == 0 {
            let kicks = self.gic.timer_asserted(VcpuIdx(v as u8), &mut cpu.lrs);
            self.kick(kicks);
            return true;
        }
        assert_eq!(state(cpu.interface.lr[0]), 0, "the timer's list register is in use");
        cpu.lrs.set_timer(cpu.template);
        cpu.interface.lr[0] = cpu.template;
        cpu.interface.check();
        true
    }

    /// Reads the used list registers, as EL2 does when a vCPU has left the guest.
    fn save(&mut self, v: usize) -> u16 {
        let cpu = &mut self.cpus[v];
        if cpu.loaded {
            for n in (0..16).filter(|n| cpu.lrs.used >> n & 1 == 1) {
                cpu.lrs.lr[n] = cpu.interface.lr[n];
            }
            cpu.lrs.unmatched_eois = core::mem::take(&mut cpu.interface.eoi_count);
        }
        cpu.lrs.used
    }

    /// Writes those that are used now or were before.
    fn restore(&mut self, v: usize, before: u16) {
        let cpu = &mut self.cpus[v];
        for n in (0..16).filter(|n| (before | cpu.lrs.used) >> n & 1 == 1) {
            cpu.interface.lr[n] = cpu.lrs.lr[n];
        }
        if cpu.loaded {
            cpu.interface.check();
        }
    }

    fn apply(&mut self, v: usize, timer: PhysicalTimer) {
        match timer {
            PhysicalTimer::Unchanged => {}
            PhysicalTimer::Activate => {
                assert!(!self.cpus[v].interface.timer_active, "active already");
                self.cpus[v].interface.timer_active = true;
            }
            PhysicalTimer::Deactivate => {
                assert!(self.cpus[v].interface.timer_active, "not active");
                self.cpus[v].interface.timer_active = false;
            }
        }
    }

    /// Fold, refill, write back.
    pub(super) fn sync(&mut self, v: usize) {
        let vcpu = VcpuIdx(v as u8);
        self.kicked &= !(1 << v);
        let before = self.save(v);
        let kicks = self.gic.fold(vcpu, &mut self.cpus[v].lrs);
        assert!(!kicks.contains(vcpu), "fold names others");
        if before & 1 == 1 && !self.cpus[v].interface.timer_line {
            self.gic.timer_fell(vcpu);
        }
        self.kick(kicks);
        if self.cpus[v].loaded {
            let refill = self.gic.refill(vcpu, &mut self.cpus[v].lrs);
            self.apply(v, refill.timer);
            self.cpus[v].interface.hcr = refill.hcr;
            self.cpus[v].template = refill.timer_template;
        }
        self.restore(v, before);
    }

    /// Fold alone, to read afterwards.
    fn fold_only(&mut self, v: usize) {
        self.kicked &= !(1 << v);
        let before = self.save(v);
        let kicks = self.gic.fold(VcpuIdx(v as u8), &mut self.cpus[v].lrs);
        self.kick(kicks);
        self.cpus[v].interface.hcr = 0;
        for n in (0..16).filter(|n| before >> n & 1 == 1) {
            self.cpus[v].interface.lr[n] = 0;
        }
    }

    /// Takes a vCPU from its CPU.
    pub(super) fn unload(&mut self, v: usize) {
        let before = self.save(v);
        let unloaded = self.gic.unload(VcpuIdx(v as u8), &mut self.cpus[v].lrs);
        self.kick(unloaded.kicks);
        self.apply(v, unloaded.timer);
        assert!(!self.cpus[v].interface.timer_active, "the next vCPU finds PPI 27 inactive");
        self.cpus[v].loaded = false;
        self.cpus[v].interface.hcr = 0;
        self.restore(v, before);
        assert_eq!(self.cpus[v].lrs.used, 0);
        self.settle();
    }

    /// Whether the guest has acknowledged the timer's interrupt and not ended it, of a vCPU that was unloaded.
    pub(super) fn timer_in_flight(&self, v: usize) -> bool {
        self.gic.private[v].active & 1 << 27 != 0
    }

    /// Gives it its CPU again.
    pub(super) fn load(&mut self, v: usize) {
        self.cpus[v].loaded = true;
        let in_flight = self.timer_in_flight(v);
        self.sync(v);
        assert!(!in_flight || self.cpus[v].interface.timer_active);
        self.settle();
    }

    /// The guest takes an interrupt.
    pub(super) fn acknowledge(&mut self, v: usize) -> Option<u32> {
        let id = self.cpus[v].interface.acknowledge();
        self.settle();
        id
    }

    /// The guest ends the interrupt that runs, with EOImode 0.
    pub(super) fn end(&mut self, v: usize) {
        let id = self.cpus[v].interface.drop_priority();
        self.cpus[v].interface.deactivate(id);
        self.settle();
    }

    /// The guest writes ICC_DIR, which EL2 traps if it said so.
    pub(super) fn deactivate(&mut self, v: usize, id: u32) {
        if self.cpus[v].interface.hcr >> 14 & 1 == 1 {
            self.fold_only(v);
            let kicks = self.gic.deactivate(VcpuIdx(v as u8), IntId(id));
            self.kick(kicks);
            self.sync(v);
        } else {
            self.cpus[v].interface.deactivate(id);
        }
        self.settle();
    }

    pub(super) fn pulse(&mut self, id: u32) {
        let kicks = self.gic.pulse(IntId(id));
        self.kick(kicks);
        self.settle();
    }

    pub(super) fn set_line(&mut self, id: u32, v: usize, level: Level) {
        let kicks = self.gic.set_line(IntId(id), VcpuIdx(v as u8), level);
        self.kick(kicks);
        self.settle();
    }

    pub(super) fn send_sgi(&mut self, v: usize, register: SgiRegister, value: u64) {
        let kicks = self.gic.send_sgi(VcpuIdx(v as u8), register, value);
        self.kick(kicks);
        self.settle();
    }

    /// Sets the timer's level at a CPU.
    pub(super) fn set_timer(&mut self, v: usize, asserted: bool) {
        self.cpus[v].interface.timer_line = asserted;
        self.settle();
    }

    /// What would wake the vCPU from WFI.
    pub(super) fn would_wake(&self, v: usize) -> bool {
        self.gic.has_deliverable(VcpuIdx(v as u8)) || self.cpus[v].interface.any_pending()
    }

    /// Sets an SPI's priority.
    pub(super) fn set_priority(&mut self, spi: u32, priority: u8) {
        let kicks = self.gic.write(gicd(0x400 + spi), AccessSize::Byte, u64::from(priority));
        self.kick(kicks);
        self.settle();
    }

    /// Makes an SPI edge-triggered.
    pub(super) fn set_edge(&mut self, spi: u32) {
        let register = gicd(0xc00 + spi / 16 * 4);
        let value = self.read(register);
        self.write(register, value | 2 << (spi % 16 * 2));
    }
}
