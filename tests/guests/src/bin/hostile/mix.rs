//! Operations of every kind, one after the other and on all vCPUs at once.
//!
//! The number of an operation and the seed decide what it is, whichever vCPU comes to do it: `ops=N` (20000) says how many
//! there are, `first=N` (0) where they begin, and `kinds=NAME,...` (all) leaves some out, to find which one did it. With
//! `abrupt=N` the guest ends at operation N, in the middle of what its other vCPUs do.

mod crossing;
mod maps;
mod power;
mod team;

use crate::code::Attacker;
use crate::{calls, devices, disk, garbage, mailbox, memory, net, registers, rng, storms};
use core::sync::atomic::{AtomicU64, Ordering};
use maps::Map;
use spin::Once;
use test_guests::random::Random;
use test_guests::{Machine, gic, println};

/// What may be done in an operation.
struct Kind {
    name: &'static str,
    /// How often, against the others.
    weight: u64,
    /// The map that it is done under.
    map: Map,
    /// Whether nothing but an interrupt may end it.
    waits: bool,
    act: fn(&mut Attacker<'_>),
}

const fn kind(name: &'static str, weight: u64, map: Map, act: fn(&mut Attacker<'_>)) -> Kind {
    Kind { name, weight, map, waits: false, act }
}

const fn waiting(name: &'static str, weight: u64, map: Map, act: fn(&mut Attacker<'_>)) -> Kind {
    Kind { name, weight, map, waits: true, act }
}

const KINDS: [Kind; 25] = [
    kind("smccc", 60, Map::Any, calls::call),
    kind("power", 40, Map::Any, power::any),
    waiting("suspend", 10, Map::Any, calls::suspend),
    kind("mmio", 200, Map::Normal, devices::access),
    kind("shape", 120, Map::Normal, devices::shape),
    kind("crossing", 100, Map::Normal, crossing::access),
    kind("fetch", 40, Map::Normal, crossing::fetch),
    kind("walk", 30, Map::Normal, crossing::walk),
    kind("queue", 10, Map::Normal, devices::queue),
    kind("disk", 150, Map::Normal, disk::request),
    kind("net", 150, Map::Normal, net::frame),
    kind("rng", 40, Map::Normal, rng::request),
    kind("memory", 60, Map::Any, memory::once),
    kind("sysreg", 80, Map::Off, registers::any),
    kind("debug", 30, Map::Any, registers::debug),
    kind("icc", 40, Map::Any, registers::interface),
    waiting("garbage-el1", 10, Map::Off, garbage::privileged),
    waiting("garbage-el0", 20, Map::Unprivileged, garbage::unprivileged),
    kind("mailbox", 30, Map::Any, mailbox::once),
    kind("setway", 30, Map::Any, storms::set_way_once),
    kind("tlbi", 10, Map::Any, storms::tlbi_once),
    waiting("wait", 20, Map::Any, storms::wait_once),
    kind("sgi", 60, Map::Any, storms::sgi_once),
    kind("timer", 60, Map::Any, storms::timer_once),
    kind("console", 10, Map::Any, storms::console_once),
];

/// Addresses of the network cards of this guest and of its neighbour, as its tests describe them.
pub(crate) const OWN: [u8; 6] = [2, 0, 0, 0, 0, 0x66];
pub(crate) const NEIGHBOUR: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// How many of each kind were done.
static DONE: [AtomicU64; KINDS.len()] = [const { AtomicU64::new(0) }; KINDS.len()];
/// The number of the next operation.
static NEXT: AtomicU64 = AtomicU64::new(0);
static FAULTS: AtomicU64 = AtomicU64::new(0);
static INTERRUPTED: AtomicU64 = AtomicU64::new(0);

/// What all vCPUs work by.
struct Plan {
    machine: Machine,
    seed: u64,
    end: u64,
    /// The operation that ends it all, and how.
    abrupt: Option<(u64, &'static str)>,
    /// Weights of [`KINDS`]; 0 for what was not chosen.
    weights: [u64; KINDS.len()],
}

impl Plan {
    /// Whether vCPU `cpu` does operations of a kind. vCPU 0 waits for nothing, so that somebody can wake those that do.
    fn allows(&self, cpu: usize, kind: usize) -> bool {
        self.weights[kind] > 0 && !(cpu == 0 && self.machine.vcpus > 1 && KINDS[kind].waits)
    }

    /// Whether vCPU `cpu` has anything to do.
    fn employs(&self, cpu: usize) -> bool {
        (0..KINDS.len()).any(|kind| self.allows(cpu, kind))
    }
}

static PLAN: Once<Plan> = Once::new();

/// Lines about how far it has come.
const REPORTS: u64 = 20;

/// All of it: on vCPU 0, which looks after the others.
pub(crate) fn run(attacker: &mut Attacker<'_>) {
    let machine = attacker.machine;
    let plan = PLAN.call_once(|| plan(machine));
    let (first, count) = (NEXT.load(Ordering::Relaxed), plan.end - NEXT.load(Ordering::Relaxed));
    maps::build(machine);
    let mut worker = Worker::new(plan, 0);
    let mut team = team::Team::start(machine.vcpus);
    let reports = REPORTS.min(count);
    for report in 1..=reports {
        let until = first + count * report / reports;
        while worker.step(until) {
            team.look_after();
        }
        team.pause();
        maps::leave();
        attacker.restore();
        println!("\r\nHOSTILE mix {} of {count}", until - first);
        maps::switch_to(worker.map);
        team.go_on();
    }
    team.finish();
    count_up(&worker.attacker);
    maps::leave();
    attacker.restore();
    for (kind, done) in KINDS.iter().zip(&DONE) {
        println!("HOSTILE kind {} {}", kind.name, done.load(Ordering::Relaxed));
    }
    team.report();
    attacker.attempts = DONE.iter().map(|done| done.load(Ordering::Relaxed)).sum();
    attacker.faults = FAULTS.load(Ordering::Relaxed);
    attacker.interrupted = INTERRUPTED.load(Ordering::Relaxed);
}

fn plan(machine: &Machine) -> Plan {
    let first = machine.number("first", 0);
    NEXT.store(first, Ordering::Relaxed);
    Plan {
        machine: machine.clone(),
        seed: machine.number("seed", 1),
        end: first + machine.number("ops", 20_000),
        abrupt: machine.option("abrupt").map(|_| (machine.number("abrupt", 0), machine.option("end").unwrap_or("off"))),
        weights: KINDS.each_ref().map(|kind| if machine.chooses("kinds", kind.name) { kind.weight } else { 0 }),
    }
}

/// The other vCPUs' part, each time that one is turned on.
fn help(cpu: usize) {
    team::enter(cpu);
    let plan = PLAN.get().expect("vCPU 0 has made the plan");
    let mut worker = Worker::new(plan, cpu);
    while worker.step(plan.end) {
        team::tick(cpu);
    }
    leave(&worker.attacker);
}

/// A vCPU that is about to go off has done its part.
fn leave(attacker: &Attacker<'_>) {
    count_up(attacker);
    team::leave(attacker.cpu);
}

fn count_up(attacker: &Attacker<'_>) {
    FAULTS.fetch_add(attacker.faults, Ordering::Relaxed);
    INTERRUPTED.fetch_add(attacker.interrupted, Ordering::Relaxed);
}

/// A vCPU at work.
struct Worker {
    plan: &'static Plan,
    attacker: Attacker<'static>,
    map: Map,
}

impl Worker {
    fn new(plan: &'static Plan, cpu: usize) -> Self {
        gic::init_cpu();
        maps::enter();
        Self { plan, attacker: Attacker::on(&plan.machine, cpu, Random::new(0)), map: Map::Normal }
    }

    /// Does the next operation, if there is one before `end`.
    fn step(&mut self, end: u64) -> bool {
        if !self.plan.employs(self.attacker.cpu) {
            return NEXT.load(Ordering::Relaxed) < end;
        }
        let next = NEXT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| (next < end).then_some(next + 1));
        let Ok(number) = next else { return false };
        if let Some((last, end)) = self.plan.abrupt
            && number == last
        {
            crate::finish(end);
        }
        self.attacker.random = Random::new(scrambled(self.plan.seed, number));
        let index = self.draw();
        let kind = &KINDS[index];
        if kind.map != Map::Any && kind.map != self.map {
            maps::switch_to(kind.map);
            self.map = kind.map;
        }
        if kind.waits {
            storms::drain_disarmed();
            gic::revive(self.attacker.cpu);
            gic::revive_interface();
        }
        DONE[index].fetch_add(1, Ordering::Relaxed);
        team::begin(self.attacker.cpu, number, index);
        (kind.act)(&mut self.attacker);
        true
    }

    /// Which kind the operation is.
    fn draw(&mut self) -> usize {
        let weights = &self.plan.weights;
        loop {
            let mut place = self.attacker.random.below(weights.iter().sum());
            let index = weights.iter().position(|weight| {
                let here = place < *weight;
                place = place.saturating_sub(*weight);
                here
            });
            let index = index.expect("a place below the sum of all weights");
            if self.plan.allows(self.attacker.cpu, index) {
                return index;
            }
        }
    }
}

/// A seed for an operation that has nothing to do with those of its neighbours (the finalizer of SplitMix64).
fn scrambled(seed: u64, number: u64) -> u64 {
    let mut bits = (seed << 40).wrapping_add(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}
