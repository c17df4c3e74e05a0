//! A board that follows the scheduler's advice, event by event, on a clock of 1 GHz.

use super::super::*;
use std::cell::RefCell;

pub const MS: u64 = 1_000_000;
pub const HZ: u64 = 1_000_000_000;
/// From a kick to the moment at which the other CPU looks.
const KICK: u64 = 300;
/// Saving one vCPU's registers and loading another's.
const SWITCH: u64 = 800;

#[derive(Debug)]
pub struct Lock(RefCell<Queue>);

impl QueueLock for Lock {
    const NEW: Self = Self(RefCell::new(Queue::new()));

    fn with<R>(&self, work: impl FnOnce(&mut Queue) -> R) -> R {
        // A lock that is held while another is taken would panic here.
        work(&mut self.0.borrow_mut())
    }
}

/// What a vCPU does with the CPU.
#[derive(Clone, Copy, Debug)]
pub enum Load {
    Busy,
    /// Runs so long, then sleeps so long.
    Cycle {
        run: u64,
        sleep: u64,
    },
}

#[derive(Debug)]
pub struct Guest {
    pub load: Load,
    /// Until it sleeps, of those that do.
    left: u64,
    wakes: Option<u64>,
    woken: Option<u64>,
    pub ran: u64,
    pub ran_on: [u64; MAX_CPUS],
    /// The longest from a wake-up to its first instruction.
    pub latency: u64,
    /// The longest that it could have run and did not.
    pub gap: u64,
    queued: u64,
}

impl Guest {
    fn new(load: Load, left: u64, now: u64) -> Self {
        let (wakes, woken) = (None, None);
        Self { load, left, wakes, woken, ran: 0, ran_on: [0; MAX_CPUS], latency: 0, gap: 0, queued: now }
    }
}

#[derive(Debug, Default)]
struct Core {
    running: Option<VcpuId>,
    resident: Option<VcpuId>,
    /// It runs nothing yet: registers are being loaded.
    begins: u64,
    until: Option<u64>,
    kicked: Option<u64>,
    /// It does not look before then, whatever it is told.
    stalled: u64,
}

pub struct Board {
    pub scheduler: Box<Scheduler<Lock>>,
    pub now: u64,
    pub guests: Vec<Guest>,
    cores: Vec<Core>,
    pub reviews: u64,
}

impl Board {
    pub fn new(cpus: usize) -> Self {
        let mut board = Self {
            scheduler: Box::new(Scheduler::new()),
            now: 1,
            guests: Vec::new(),
            cores: (0..cpus).map(|_| Core::default()).collect(),
            reviews: 0,
        };
        (0..cpus).for_each(|cpu| board.scheduler.bring_up(CpuId(cpu as u8), HZ));
        (0..cpus).for_each(|cpu| board.pick(cpu));
        board
    }

    /// A vCPU with that load, awake.
    pub fn add(&mut self, load: Load, params: Params) -> VcpuId {
        let vcpu = VcpuId(self.guests.len() as u16);
        let left = if let Load::Cycle { run, .. } = load { run } else { u64::MAX };
        self.guests.push(Guest::new(load, left, self.now));
        let kick = self.scheduler.set(vcpu, &params, self.now).expect("parameters");
        self.note(kick);
        self.scheduler.add(vcpu);
        let kick = self.scheduler.wake(vcpu, self.now);
        self.note(kick);
        self.guests[vcpu.index()].woken = Some(self.now);
        vcpu
    }

    pub fn set(&mut self, vcpu: VcpuId, params: Params) {
        self.try_set(vcpu, params).expect("parameters");
    }

    pub fn try_set(&mut self, vcpu: VcpuId, params: Params) -> Result<(), Refused> {
        let kick = self.scheduler.set(vcpu, &params, self.now)?;
        self.note(kick);
        Ok(())
    }

    pub fn lend(&mut self, cpu: CpuId, lent: bool) {
        let kick = self.scheduler.lend(cpu, lent, self.now);
        self.note(kick);
    }

    /// A busy vCPU that sits on `cpu`, awake.
    pub fn sit(&mut self, cpu: CpuId, params: Params) -> VcpuId {
        let vcpu = VcpuId(self.guests.len() as u16);
        self.guests.push(Guest::new(Load::Busy, u64::MAX, self.now));
        let kick = self.scheduler.seat(vcpu, cpu, &params, self.now);
        self.note(kick);
        self.scheduler.add(vcpu);
        let kick = self.scheduler.wake(vcpu, self.now);
        self.note(kick);
        vcpu
    }

    /// A vCPU is gone.
    pub fn remove(&mut self, vcpu: VcpuId) {
        self.scheduler.remove(vcpu, self.now);
        let had = |core: &Core| core.running == Some(vcpu);
        for cpu in 0..self.cores.len() {
            if self.cores[cpu].resident == Some(vcpu) {
                self.cores[cpu].resident = None;
            }
            if had(&self.cores[cpu]) {
                self.cores[cpu].running = None;
                self.pick(cpu);
            }
        }
    }

    /// A CPU that was taken down comes back.
    pub fn turn_on(&mut self, cpu: CpuId) {
        self.scheduler.bring_up(cpu, HZ);
        self.cores[cpu.index()] = Core::default();
        self.pick(cpu.index());
    }

    /// What was noted so far does not count.
    pub fn forget(&mut self) {
        for guest in &mut self.guests {
            (guest.latency, guest.gap, guest.ran) = (0, 0, 0);
        }
    }

    /// `cpu` takes its interrupts so much later, as one does whose host runs something else.
    pub fn stall(&mut self, cpu: usize, time: u64) {
        self.cores[cpu].stalled = self.now + time;
    }

    /// Those CPUs are kicked.
    pub fn kick(&mut self, kick: Kick) {
        self.note(kick);
    }

    fn note(&mut self, kick: Kick) {
        for cpu in kick.cpus().iter() {
            let core = &mut self.cores[cpu.index()];
            core.kicked = core.kicked.or(Some(self.now + KICK));
        }
    }

    fn pick(&mut self, cpu: usize) {
        loop {
            assert_eq!(self.cores[cpu].running, None);
            let Turn { pick, until, kick } = self.scheduler.pick(CpuId(cpu as u8), self.now);
            self.note(kick);
            match pick {
                Pick::Idle => {
                    self.cores[cpu].until = until;
                    return;
                }
                Pick::Evict(vcpu) => {
                    assert_eq!(self.cores[cpu].resident.take(), Some(vcpu));
                    let kick = self.scheduler.release(CpuId(cpu as u8), vcpu, self.now);
                    self.note(kick);
                }
                Pick::Run(vcpu) => return self.run(cpu, vcpu, until),
            }
        }
    }

    fn run(&mut self, cpu: usize, vcpu: VcpuId, until: Option<u64>) {
        for (other, core) in self.cores.iter().enumerate() {
            assert!(core.running != Some(vcpu), "{vcpu:?} runs twice");
            assert!(core.resident != Some(vcpu) || other == cpu, "{vcpu:?} is resident elsewhere");
        }
        let before = self.cores[cpu].resident.replace(vcpu).filter(|before| *before != vcpu);
        let switched = self.cores[cpu].resident != before;
        let core = &mut self.cores[cpu];
        core.running = Some(vcpu);
        core.until = until;
        core.begins = self.now + if switched { SWITCH } else { 0 };
        let guest = &mut self.guests[vcpu.index()];
        guest.gap = guest.gap.max(core.begins - guest.queued);
        if let Some(woken) = guest.woken.take() {
            guest.latency = guest.latency.max(core.begins - woken);
        }
    }

    /// When the vCPU on `core` goes to sleep.
    fn sleeps(&self, core: &Core) -> Option<u64> {
        let guest = &self.guests[core.running?.index()];
        matches!(guest.load, Load::Cycle { .. }).then(|| core.begins.max(self.now) + guest.left)
    }

    /// Runs for `time`.
    pub fn go(&mut self, time: u64) {
        let end = self.now + time;
        loop {
            let cores = self.cores.iter().flat_map(|core| {
                let due = [core.until, core.kicked, self.sleeps(core)];
                due.map(|at| at.map(|at| at.max(core.stalled)))
            });
            let wakes = self.guests.iter().map(|guest| guest.wakes);
            let next = cores.chain(wakes).flatten().min().unwrap_or(end).max(self.now).min(end);
            self.pass(next);
            if next == end {
                return;
            }
            (0..self.guests.len()).for_each(|vcpu| self.wake(vcpu));
            (0..self.cores.len()).for_each(|cpu| self.step(cpu));
        }
    }

    fn pass(&mut self, next: u64) {
        for (cpu, core) in self.cores.iter().enumerate() {
            if let Some(vcpu) = core.running {
                let ran = next.saturating_sub(core.begins.max(self.now));
                let guest = &mut self.guests[vcpu.index()];
                guest.ran += ran;
                guest.ran_on[cpu] += ran;
                guest.left = guest.left.saturating_sub(ran);
            }
        }
        self.now = next;
    }

    fn wake(&mut self, vcpu: usize) {
        if self.guests[vcpu].wakes.is_some_and(|at| at <= self.now) {
            let guest = &mut self.guests[vcpu];
            guest.wakes = None;
            guest.woken = Some(self.now);
            guest.queued = self.now;
            let kick = self.scheduler.wake(VcpuId(vcpu as u16), self.now);
            self.note(kick);
        }
    }

    fn step(&mut self, cpu: usize) {
        let core = &mut self.cores[cpu];
        if core.stalled > self.now {
            return;
        }
        let due = |at: Option<u64>| at.is_some_and(|at| at <= self.now);
        let kicked = due(core.kicked);
        if kicked {
            core.kicked = None;
        }
        let timer = due(core.until);
        if timer {
            core.until = None;
        }
        let Some(vcpu) = core.running else {
            if kicked || timer {
                self.pick(cpu);
            }
            return;
        };
        let asleep = matches!(self.guests[vcpu.index()].load, Load::Cycle { .. })
            && self.guests[vcpu.index()].left == 0
            && self.now >= self.cores[cpu].begins;
        if asleep {
            self.sleep(cpu, vcpu);
        } else if kicked || timer {
            self.review(cpu, vcpu);
        }
    }

    fn sleep(&mut self, cpu: usize, vcpu: VcpuId) {
        let Load::Cycle { run, sleep } = self.guests[vcpu.index()].load else { return };
        let guest = &mut self.guests[vcpu.index()];
        guest.left = run;
        guest.wakes = Some(self.now + sleep);
        assert_eq!(self.scheduler.block(CpuId(cpu as u8), vcpu, self.now), Block::Blocked);
        self.cores[cpu].running = None;
        self.pick(cpu);
    }

    fn review(&mut self, cpu: usize, vcpu: VcpuId) {
        self.reviews += 1;
        let (review, kick) = self.scheduler.review(CpuId(cpu as u8), self.now);
        self.note(kick);
        match review {
            Review::Stays(until) => self.cores[cpu].until = until,
            Review::Leaves => {
                self.cores[cpu].running = None;
                self.cores[cpu].resident = None;
                self.guests[vcpu.index()].queued = self.now;
                let kick = self.scheduler.release(CpuId(cpu as u8), vcpu, self.now);
                self.note(kick);
                self.pick(cpu);
            }
        }
    }

    /// CPUs that run nothing, registers being loaded included.
    pub fn idle(&self) -> usize {
        self.cores.iter().filter(|core| core.running.is_none()).count()
    }

    /// vCPUs that could run and do not.
    pub fn waiting(&self) -> usize {
        let runs = |vcpu: usize| self.cores.iter().any(|core| core.running.is_some_and(|id| id.index() == vcpu));
        (0..self.guests.len()).filter(|&vcpu| self.guests[vcpu].wakes.is_none() && !runs(vcpu)).count()
    }

    pub fn is_kicked(&self) -> bool {
        self.cores.iter().any(|core| core.kicked.is_some())
    }

    /// Time that each has run since the call before.
    pub fn take_ran(&mut self) -> Vec<u64> {
        self.guests.iter_mut().map(|guest| std::mem::take(&mut guest.ran)).collect()
    }
}
