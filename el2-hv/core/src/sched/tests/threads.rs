//! The same code under real concurrency: threads are CPUs, and no wake-up may be lost.

use super::super::*;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Mutex, OnceLock};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

const CPUS: usize = 4;
const VCPUS: usize = 6;
const BURSTS: u64 = 100;
const HZ: u64 = 1_000_000_000;

struct Lock(Mutex<Queue>);

impl QueueLock for Lock {
    const NEW: Self = Self(Mutex::new(Queue::new()));

    fn with<R>(&self, work: impl FnOnce(&mut Queue) -> R) -> R {
        let result = work(&mut self.0.lock().expect("queue"));
        // What happens between two locks happens here.
        thread::yield_now();
        result
    }
}

#[derive(Default)]
struct Vcpu {
    /// Wake-ups so far, and how many of them it had seen when it last looked.
    wanted: AtomicU64,
    seen: AtomicU64,
    /// The CPU that runs it or has its registers, from 1.
    held: AtomicU64,
}

struct Machine {
    scheduler: Scheduler<Lock>,
    vcpus: [Vcpu; VCPUS],
    kicked: [AtomicBool; CPUS],
    over: AtomicBool,
    begin: Instant,
    threads: [OnceLock<Thread>; CPUS],
}

impl Machine {
    fn now(&self) -> u64 {
        self.begin.elapsed().as_nanos() as u64
    }

    fn act(&self, kick: Kick) {
        for cpu in kick.cpus().iter() {
            self.kicked[cpu.index()].store(true, Ordering::SeqCst);
            if let Some(thread) = self.threads[cpu.index()].get() {
                thread.unpark();
            }
        }
    }

    fn wake(&self, vcpu: usize) {
        self.vcpus[vcpu].wanted.fetch_add(1, Ordering::SeqCst);
        self.act(self.scheduler.wake(VcpuId(vcpu as u16), self.now()));
    }

    fn take(&self, cpu: usize, vcpu: VcpuId) {
        // As for its registers, which another CPU may be about to save.
        let held = &self.vcpus[vcpu.index()].held;
        while held.compare_exchange(0, cpu as u64 + 1, Ordering::SeqCst, Ordering::SeqCst).is_err() {
            thread::yield_now();
        }
    }

    fn save(&self, cpu: usize, vcpu: VcpuId) {
        let before = self.vcpus[vcpu.index()].held.swap(0, Ordering::SeqCst);
        assert_eq!(before, cpu as u64 + 1, "{vcpu:?} was elsewhere");
    }

    fn release(&self, cpu: usize, vcpu: VcpuId) {
        self.act(self.scheduler.release(CpuId(cpu as u8), vcpu, self.now()));
    }

    fn cpu(&self, cpu: usize, mut random: u64) {
        let mut resident: Option<VcpuId> = None;
        let mut released = false;
        let id = CpuId(cpu as u8);
        let _ = self.threads[cpu].set(thread::current());
        while !self.over.load(Ordering::SeqCst) {
            self.kicked[cpu].store(false, Ordering::SeqCst);
            let turn = self.scheduler.pick(id, self.now());
            self.act(turn.kick);
            match turn.pick {
                Pick::Idle => {
                    if std::mem::take(&mut released)
                        && let Some(old) = resident.take()
                    {
                        self.save(cpu, old);
                    }
                    while !self.kicked[cpu].load(Ordering::SeqCst) && !self.over.load(Ordering::SeqCst) {
                        thread::park_timeout(Duration::from_millis(10));
                    }
                }
                Pick::Evict(vcpu) => {
                    assert_eq!(resident.take(), Some(vcpu));
                    self.release(cpu, vcpu);
                    self.save(cpu, vcpu);
                }
                Pick::Run(vcpu) => {
                    if resident != Some(vcpu) {
                        if let Some(old) = resident.take() {
                            self.save(cpu, old);
                        }
                        self.take(cpu, vcpu);
                        resident = Some(vcpu);
                    }
                    (random, released) = self.turn(cpu, vcpu, random);
                }
            }
        }
    }

    /// Looks at what it was woken for, then sleeps; or is let go as if it were preempted.
    fn turn(&self, cpu: usize, vcpu: VcpuId, mut random: u64) -> (u64, bool) {
        let own = &self.vcpus[vcpu.index()];
        loop {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            own.seen.store(own.wanted.load(Ordering::SeqCst), Ordering::SeqCst);
            if random >> 62 == 0 {
                self.release(cpu, vcpu);
                return (random, true);
            }
            if self.scheduler.block(CpuId(cpu as u8), vcpu, self.now()) == Block::Blocked {
                return (random, false);
            }
        }
    }
}

#[test]
fn no_wake_up_is_lost_between_cpus_that_sleep_steal_and_preempt() {
    bursts(|_, _| {});
}

#[test]
fn no_wake_up_is_lost_while_weights_and_cpus_of_vcpus_change() {
    bursts(|machine, mut random| {
        while !machine.over.load(Ordering::SeqCst) {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let class = if random >> 60 == 0 { Class::Pinned } else { Class::Fair { cap: None } };
            let weight = Weight::new(1 + (random >> 32) as u16 % WEIGHT_MAX).expect("weight");
            let params = Params { weight, affinity: CpuMask((random >> 56) as u8 & 0xf), class };
            let vcpu = VcpuId((random >> 24) as u16 % VCPUS as u16);
            if let Ok(kick) = machine.scheduler.set(vcpu, &params, machine.now()) {
                machine.act(kick);
            }
        }
    });
}

/// Bursts of wake-ups beside `changes`.
fn bursts(changes: impl Fn(&Machine, u64) + Sync) {
    let (machine, changes) = (machine(), &changes);
    let machine = &*machine;
    thread::scope(|scope| {
        (0..CPUS).for_each(|cpu| drop(scope.spawn(move || machine.cpu(cpu, cpu as u64))));
        scope.spawn(move || changes(machine, 3));
        let mut random = 7u64;
        let seen = |vcpu: &Vcpu| vcpu.seen.load(Ordering::SeqCst) == vcpu.wanted.load(Ordering::SeqCst);
        let mut lost = None;
        for burst in 0..BURSTS {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (0..random >> 61).for_each(|bit| machine.wake((random >> (8 * bit)) as usize % VCPUS));
            // All come to rest, so that the next wake-up does not hide one that was lost.
            let patience = Instant::now() + Duration::from_secs(20);
            while !machine.vcpus.iter().all(seen) && Instant::now() < patience {
                thread::yield_now();
            }
            if !machine.vcpus.iter().all(seen) {
                lost = Some(burst);
                break;
            }
        }
        machine.over.store(true, Ordering::SeqCst);
        assert_eq!(lost, None, "a wake-up was lost");
    });
}

fn machine() -> Box<Machine> {
    let machine = Box::new(Machine {
        scheduler: Scheduler::new(),
        vcpus: std::array::from_fn(|_| Vcpu::default()),
        kicked: std::array::from_fn(|_| AtomicBool::new(false)),
        over: AtomicBool::new(false),
        begin: Instant::now(),
        threads: std::array::from_fn(|_| OnceLock::new()),
    });
    (0..CPUS).for_each(|cpu| machine.scheduler.bring_up(CpuId(cpu as u8), HZ));
    for vcpu in 0..VCPUS {
        let vcpu = VcpuId(vcpu as u16);
        let _ = machine.scheduler.set(vcpu, &Params::default(), 1).expect("default");
        machine.scheduler.add(vcpu);
    }
    machine
}
