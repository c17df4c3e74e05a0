//! Which vCPU runs where: one queue, round robin, equal slices.
//!
//! ```text
//!            wake                pick                 block
//!  Blocked --------> Queued ------------> Running ------------> Blocked
//!     ^                 ^      requeue       |
//!     | add             +--------------------+
//!    Off <------------------ remove (from any state but Running: the CPU lets go first)
//! ```
//!
//! A vCPU that blocks stays *resident*: its registers remain in the CPU until another vCPU needs
//! it, so that one that sleeps and wakes alone costs no switch. A resident vCPU can be picked only
//! by its CPU; a preempted one is queued only after its registers were saved.
//!
//! Nothing ticks: a slice is armed only while somebody waits in the queue.

use crate::addr::{CpuId, VcpuId};

/// Physical CPUs that EL2 runs on at most.
pub const MAX_CPUS: usize = 8;
/// vCPUs of all VMs together.
pub const MAX_VCPUS_TOTAL: usize = 128;
/// Length of a slice in nanoseconds: with four busy vCPUs on one CPU each runs within 12 ms.
pub const SLICE_NS: u64 = 4_000_000;

/// Where a vCPU is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum RunState {
    Off,
    Blocked,
    /// In the queue, or in the `own` place of the CPU where it is resident.
    Queued,
    Running(CpuId),
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    state: RunState,
    resident: Option<CpuId>,
    /// Woken while it was running: its next block does not sleep.
    woken: bool,
}

#[derive(Clone, Copy, Debug)]
struct Cpu {
    /// Sleeps, waiting for a kick.
    idle: bool,
    /// Runs a vCPU.
    running: bool,
    /// Has a slice armed.
    sliced: bool,
    /// A resident vCPU that was woken.
    own: Option<VcpuId>,
}

/// Whom to kick after a change.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kick {
    /// Nobody.
    None,
    /// This CPU, which looks at the scheduler again.
    Cpu(CpuId),
}

/// What a CPU runs next.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pick {
    /// Nothing: wait for an interrupt.
    Idle,
    /// This vCPU, until it blocks.
    Run(VcpuId),
    /// This vCPU, for one slice, because others wait.
    RunSlice(VcpuId),
}

/// What became of a vCPU that wanted to sleep.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Block {
    /// It sleeps.
    Blocked,
    /// It was woken meanwhile: it goes on.
    Woken,
}

/// The queue and where each vCPU is.
#[derive(Debug)]
pub struct Scheduler {
    entries: [Entry; MAX_VCPUS_TOTAL],
    cpus: [Cpu; MAX_CPUS],
    queue: [VcpuId; MAX_VCPUS_TOTAL],
    head: usize,
    length: usize,
}

impl Scheduler {
    /// No vCPU, all CPUs busy with something else.
    pub const fn new() -> Self {
        Self {
            entries: [Entry { state: RunState::Off, resident: None, woken: false }; MAX_VCPUS_TOTAL],
            cpus: [Cpu { idle: false, running: false, sliced: false, own: None }; MAX_CPUS],
            queue: [VcpuId(0); MAX_VCPUS_TOTAL],
            head: 0,
            length: 0,
        }
    }

    /// A vCPU that is off comes to life, asleep. Nothing happens to one that is not off.
    pub const fn add(&mut self, vcpu: VcpuId) {
        let entry = &mut self.entries[vcpu.index()];
        if matches!(entry.state, RunState::Off) {
            *entry = Entry { state: RunState::Blocked, resident: None, woken: false };
        }
    }

    /// Something arrived for a vCPU.
    pub fn wake(&mut self, vcpu: VcpuId) -> Kick {
        let entry = &mut self.entries[vcpu.index()];
        match (entry.state, entry.resident) {
            (RunState::Off | RunState::Queued, _) => Kick::None,
            (RunState::Running(_), _) => {
                entry.woken = true;
                Kick::None
            }
            (RunState::Blocked, Some(cpu)) => {
                entry.state = RunState::Queued;
                self.cpus[cpu.index()].own = Some(vcpu);
                self.cpus[cpu.index()].idle = false;
                Kick::Cpu(cpu)
            }
            (RunState::Blocked, None) => self.enqueue(vcpu),
        }
    }

    /// Puts a vCPU that is resident nowhere at the end of the queue; somebody must notice.
    fn enqueue(&mut self, vcpu: VcpuId) -> Kick {
        self.entries[vcpu.index()].state = RunState::Queued;
        self.queue[(self.head + self.length) % MAX_VCPUS_TOTAL] = vcpu;
        self.length += 1;
        self.somebody()
    }

    /// An idle CPU, or one that has no slice armed yet.
    fn somebody(&mut self) -> Kick {
        if let Some(cpu) = self.cpus.iter().position(|cpu| cpu.idle) {
            self.cpus[cpu].idle = false;
            return Kick::Cpu(CpuId(cpu as u8));
        }
        match self.cpus.iter().position(|cpu| cpu.running && !cpu.sliced) {
            Some(cpu) => {
                self.cpus[cpu].sliced = true;
                Kick::Cpu(CpuId(cpu as u8))
            }
            None => Kick::None,
        }
    }

    fn dequeue(&mut self) -> Option<VcpuId> {
        self.length = self.length.checked_sub(1)?;
        let vcpu = self.queue[self.head];
        self.head = (self.head + 1) % MAX_VCPUS_TOTAL;
        Some(vcpu)
    }

    /// What `cpu` runs next. It runs nothing now: what it ran has blocked, was requeued or removed.
    pub fn pick(&mut self, cpu: CpuId) -> Pick {
        let own = self.cpus[cpu.index()].own.take();
        let Some(vcpu) = own.or_else(|| self.dequeue()) else {
            self.cpus[cpu.index()] = Cpu { idle: true, running: false, sliced: false, own: None };
            return Pick::Idle;
        };
        self.entries[vcpu.index()] = Entry { state: RunState::Running(cpu), resident: Some(cpu), woken: false };
        self.cpus[cpu.index()] = Cpu { idle: false, running: true, sliced: self.length > 0, own: None };
        if self.length > 0 { Pick::RunSlice(vcpu) } else { Pick::Run(vcpu) }
    }

    /// Wakes the vCPU that sleeps with its registers in `cpu`, which is idle; whether it may go on there
    /// at once. It is the same as a wake and a pick while nobody else waits.
    #[inline]
    pub fn resume(&mut self, cpu: CpuId, vcpu: VcpuId) -> bool {
        let entry = &mut self.entries[vcpu.index()];
        let asleep_here = entry.state == RunState::Blocked && entry.resident == Some(cpu);
        if !asleep_here || self.length > 0 {
            return false;
        }
        entry.state = RunState::Running(cpu);
        entry.woken = false;
        self.cpus[cpu.index()].idle = false;
        self.cpus[cpu.index()].running = true;
        true
    }

    /// `cpu`, where nobody is resident, takes a sleeping vCPU's registers in before it wakes. Whether it may: no
    /// other CPU has them.
    pub fn adopt(&mut self, cpu: CpuId, vcpu: VcpuId) -> bool {
        let Some(entry) = self.entries.get_mut(vcpu.index()) else {
            return false;
        };
        let homeless = entry.state == RunState::Blocked && entry.resident.is_none();
        if homeless {
            entry.resident = Some(cpu);
        }
        homeless
    }

    /// `cpu` was kicked while it runs a vCPU: whether that one gets a slice now, because somebody waits.
    pub const fn share(&mut self, cpu: CpuId) -> bool {
        let contended = self.length > 0;
        self.cpus[cpu.index()].sliced = contended;
        contended
    }

    /// The slice of the vCPU that `cpu` runs is over. It goes on where nobody waits.
    pub fn slice_over(&mut self, cpu: CpuId) -> Block {
        self.cpus[cpu.index()].sliced = false;
        if self.length > 0 { Block::Blocked } else { Block::Woken }
    }

    /// A running vCPU wants to sleep. It stays resident.
    pub fn block(&mut self, vcpu: VcpuId) -> Block {
        let entry = &mut self.entries[vcpu.index()];
        if entry.woken {
            entry.woken = false;
            return Block::Woken;
        }
        if let RunState::Running(cpu) = entry.state {
            self.cpus[cpu.index()].running = false;
        }
        entry.state = RunState::Blocked;
        Block::Blocked
    }

    /// The registers of a vCPU that was running on, or resident at, a CPU have been saved. One that
    /// was still running or was woken meanwhile goes to the end of the queue.
    pub fn release(&mut self, vcpu: VcpuId) -> Kick {
        let entry = &mut self.entries[vcpu.index()];
        let home = entry.resident.take();
        match entry.state {
            RunState::Running(cpu) => {
                self.cpus[cpu.index()].running = false;
                self.enqueue(vcpu)
            }
            RunState::Queued => {
                if let Some(cpu) = home {
                    self.cpus[cpu.index()].own = None;
                }
                self.enqueue(vcpu)
            }
            RunState::Off | RunState::Blocked => Kick::None,
        }
    }

    /// A vCPU is gone. The CPU where it was running or resident has let go of it.
    pub fn remove(&mut self, vcpu: VcpuId) {
        let entry = self.entries[vcpu.index()];
        if entry.state == RunState::Queued {
            if let Some(cpu) = entry.resident {
                self.cpus[cpu.index()].own = None;
            } else {
                self.unqueue(vcpu);
            }
        }
        if let RunState::Running(cpu) = entry.state {
            self.cpus[cpu.index()].running = false;
        }
        self.entries[vcpu.index()] = Entry { state: RunState::Off, resident: None, woken: false };
    }

    /// Takes `vcpu` out of the queue, keeping the others' order.
    fn unqueue(&mut self, vcpu: VcpuId) {
        let mut kept = 0;
        for i in 0..self.length {
            let other = self.queue[(self.head + i) % MAX_VCPUS_TOTAL];
            if other != vcpu {
                self.queue[(self.head + kept) % MAX_VCPUS_TOTAL] = other;
                kept += 1;
            }
        }
        self.length = kept;
    }

    /// The CPU whose registers hold `vcpu`.
    pub const fn resident(&self, vcpu: VcpuId) -> Option<CpuId> {
        self.entries[vcpu.index()].resident
    }
}

impl Default for Scheduler {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
