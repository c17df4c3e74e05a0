//! A board of CPUs that follows the scheduler's advice, and what must hold on it.

use super::*;
use std::collections::VecDeque;

/// CPUs with what they run and what is resident there; kicks are delivered in order.
struct Board {
    scheduler: Scheduler,
    running: Vec<Option<VcpuId>>,
    resident: Vec<Option<VcpuId>>,
    kicked: VecDeque<usize>,
    ran: Vec<u64>,
}

impl Board {
    fn new(cpus: usize, vcpus: usize) -> Self {
        let mut board = Self {
            scheduler: Scheduler::new(),
            running: vec![None; cpus],
            resident: vec![None; cpus],
            kicked: VecDeque::new(),
            ran: vec![0; vcpus],
        };
        (0..cpus).for_each(|cpu| board.pick(cpu));
        (0..vcpus).for_each(|vcpu| board.scheduler.add(VcpuId(vcpu as u16)));
        board
    }

    fn note(&mut self, kick: Kick) {
        if let Kick::Cpu(cpu) = kick {
            self.kicked.push_back(cpu.index());
        }
    }

    fn wake(&mut self, vcpu: usize) {
        let kick = self.scheduler.wake(VcpuId(vcpu as u16));
        self.note(kick);
    }

    /// What the image does when a CPU has nothing to run.
    fn pick(&mut self, cpu: usize) {
        assert_eq!(self.running[cpu], None);
        match self.scheduler.pick(CpuId(cpu as u8)) {
            Pick::Idle => {}
            Pick::Run(vcpu) | Pick::RunSlice(vcpu) => {
                assert!(!self.running.contains(&Some(vcpu)), "{vcpu:?} runs twice");
                for (other, resident) in self.resident.iter().enumerate() {
                    assert!(*resident != Some(vcpu) || other == cpu, "{vcpu:?} is resident elsewhere");
                }
                self.running[cpu] = Some(vcpu);
                self.ran[vcpu.index()] += 1;
                if let Some(old) = self.resident[cpu].replace(vcpu).filter(|&old| old != vcpu) {
                    let kick = self.scheduler.release(old);
                    self.note(kick);
                }
            }
        }
    }

    fn block(&mut self, cpu: usize) {
        if let Some(vcpu) = self.running[cpu]
            && self.scheduler.block(vcpu) == Block::Blocked
        {
            self.running[cpu] = None;
            self.pick(cpu);
        }
    }

    /// What the image does when it expects that an idle CPU needs `vcpu` next.
    fn adopt(&mut self, cpu: usize, vcpu: usize) -> bool {
        assert_eq!(self.running[cpu], None);
        if let Some(old) = self.resident[cpu].take() {
            let kick = self.scheduler.release(old);
            self.note(kick);
        }
        let vcpu = VcpuId(vcpu as u16);
        let adopted = self.scheduler.adopt(CpuId(cpu as u8), vcpu);
        if adopted {
            assert!(
                !self.resident.contains(&Some(vcpu)) && !self.running.contains(&Some(vcpu)),
                "{vcpu:?} is elsewhere"
            );
            self.resident[cpu] = Some(vcpu);
        }
        adopted
    }

    fn slice_over(&mut self, cpu: usize) {
        if let Some(vcpu) = self.running[cpu]
            && self.scheduler.slice_over(CpuId(cpu as u8)) == Block::Blocked
        {
            self.running[cpu] = None;
            self.resident[cpu] = None;
            let kick = self.scheduler.release(vcpu);
            self.note(kick);
            self.pick(cpu);
        }
    }

    fn deliver(&mut self) {
        while let Some(cpu) = self.kicked.pop_front() {
            if self.running[cpu].is_none() {
                self.pick(cpu);
            }
        }
    }
}

#[test]
fn four_busy_vcpus_on_one_cpu_take_turns_in_order() {
    let mut board = Board::new(1, 4);
    (0..4).for_each(|vcpu| board.wake(vcpu));
    board.deliver();
    let mut order = Vec::new();
    for _ in 0..12 {
        order.push(board.running[0].unwrap().0);
        board.slice_over(0);
        board.deliver();
    }
    assert_eq!(order, [0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3]);
}

#[test]
fn three_busy_vcpus_on_two_cpus_all_migrate_and_run_equally() {
    let mut board = Board::new(2, 3);
    (0..3).for_each(|vcpu| board.wake(vcpu));
    board.deliver();
    let mut seen = vec![[false; 2]; 3];
    for turn in 0..600 {
        board.slice_over(turn % 2);
        board.deliver();
        for cpu in 0..2 {
            seen[board.running[cpu].unwrap().index()][cpu] = true;
        }
    }
    assert!(seen.iter().all(|cpus| cpus == &[true, true]), "nobody is pinned: {seen:?}");
    let (least, most) = (board.ran.iter().min().unwrap(), board.ran.iter().max().unwrap());
    assert!(most - least <= 2, "{:?}", board.ran);
}

#[test]
fn a_vcpu_that_sleeps_alone_stays_resident_and_gives_the_cpu_away_when_another_comes() {
    let mut board = Board::new(1, 2);
    board.wake(0);
    board.deliver();
    board.block(0);
    assert_eq!(board.scheduler.resident(VcpuId(0)), Some(CpuId(0)));
    board.wake(1);
    board.deliver();
    assert_eq!(board.running[0], Some(VcpuId(1)));
    assert_eq!(board.scheduler.resident(VcpuId(0)), None);
}

#[test]
fn a_wake_between_the_last_look_and_the_block_is_not_lost() {
    let mut board = Board::new(1, 1);
    board.wake(0);
    board.deliver();
    board.wake(0);
    board.block(0);
    assert_eq!(board.running[0], Some(VcpuId(0)), "it went on");
    board.block(0);
    assert_eq!(board.running[0], None, "the wake counted once");
}

#[test]
fn a_vcpu_that_sleeps_alone_resumes_at_once_and_not_while_somebody_waits() {
    let mut board = Board::new(1, 2);
    board.wake(0);
    board.deliver();
    board.block(0);
    assert!(!board.scheduler.resume(CpuId(0), VcpuId(1)), "it is not resident");
    assert!(board.scheduler.resume(CpuId(0), VcpuId(0)));
    board.running[0] = Some(VcpuId(0));
    board.wake(1);
    board.block(0);
    assert_eq!(board.running[0], Some(VcpuId(1)));
    assert!(!board.scheduler.resume(CpuId(0), VcpuId(0)), "its registers were saved");
}

#[test]
fn an_idle_cpu_adopts_a_sleeper_that_no_cpu_has_and_resumes_it_without_a_pick() {
    let mut board = Board::new(2, 2);
    (0..2).for_each(|vcpu| board.wake(vcpu));
    board.deliver();
    (0..2).for_each(|cpu| board.block(cpu));
    assert!(!board.adopt(0, 1), "CPU 1 has it");
    assert!(board.adopt(0, 0), "CPU 0 has let go of it");
    assert!(!board.adopt(1, 0), "CPU 0 has it again");
    assert!(!board.scheduler.adopt(CpuId(0), VcpuId(u16::MAX)), "there is none");
    assert!(board.scheduler.resume(CpuId(0), VcpuId(0)));
    board.running[0] = Some(VcpuId(0));
    assert!(!board.adopt(1, 0), "it runs");
}

#[test]
fn a_removed_vcpu_never_runs_again_and_the_others_keep_their_order() {
    let mut board = Board::new(1, 4);
    (0..4).for_each(|vcpu| board.wake(vcpu));
    board.deliver();
    board.scheduler.remove(VcpuId(2));
    let mut order = Vec::new();
    for _ in 0..6 {
        order.push(board.running[0].unwrap().0);
        board.slice_over(0);
        board.deliver();
    }
    assert_eq!(order, [0, 1, 3, 0, 1, 3]);
    board.wake(2);
    assert!(board.kicked.is_empty(), "off stays off");
}

#[test]
fn under_random_events_nobody_who_is_awake_waits_for_ever() {
    for seed in 1..200u64 {
        let (cpus, vcpus) = (1 + seed as usize % 4, 2 + seed as usize % 11);
        let mut board = Board::new(cpus, vcpus);
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut awake = vec![false; vcpus];
        for _ in 0..400 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let (cpu, vcpu) = ((random >> 8) as usize % cpus, (random >> 16) as usize % vcpus);
            match random % 4 {
                0 => board.wake(vcpu),
                1 => board.block(cpu),
                2 if board.running[cpu].is_none() => drop(board.adopt(cpu, vcpu)),
                _ => board.slice_over(cpu),
            }
            if random & 0x100000 != 0 {
                board.deliver();
            }
            for (cpu, running) in board.running.iter().enumerate() {
                assert_eq!(board.scheduler.cpus[cpu].running, running.is_some(), "seed {seed}: CPU {cpu}");
            }
        }
        board.deliver();
        (0..vcpus).for_each(|vcpu| board.wake(vcpu));
        board.deliver();
        awake.fill(true);
        let before = board.ran.clone();
        for turn in 0..vcpus * 4 {
            (0..cpus).for_each(|cpu| board.slice_over((cpu + turn) % cpus));
            board.deliver();
        }
        for (vcpu, ran) in before.iter().enumerate() {
            let progress = board.ran[vcpu] > *ran || board.running.contains(&Some(VcpuId(vcpu as u16)));
            assert!(progress, "seed {seed}: vcpu {vcpu} starves");
        }
    }
}
