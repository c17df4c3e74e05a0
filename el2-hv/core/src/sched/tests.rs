//! The policy on a simulated board: shares, latencies, guarantees.

mod board;
mod threads;

use super::*;
use board::{Board, HZ, Load, MS};
use proptest::prelude::*;

fn weight(weight: u16) -> Params {
    Params { weight: Weight::new(weight).expect("weight"), ..Params::default() }
}

fn ms(budget: u64, period: u64) -> Bandwidth {
    Bandwidth { budget: budget * MS, period: period * MS }
}

/// The largest error of a share, in its own measure.
fn error(ran: &[u64], weights: &[u16]) -> f64 {
    let (total, sum) = (ran.iter().sum::<u64>() as f64, weights.iter().map(|&w| f64::from(w)).sum::<f64>());
    let shares = ran.iter().zip(weights).map(|(&ran, &weight)| ran as f64 / (total * f64::from(weight) / sum));
    shares.map(|ratio| (ratio - 1.0).abs()).fold(0.0, f64::max)
}

#[test]
fn eight_busy_vcpus_on_one_cpu_share_by_weight_within_one_percent_of_each_second() {
    for weights in [[100; 8], [100, 200, 300, 400, 500, 600, 700, 800], [100, 100, 100, 100, 100, 100, 100, 1000]] {
        let mut board = Board::new(1);
        weights.iter().for_each(|&w| {
            board.add(Load::Busy, weight(w));
        });
        board.go(137 * MS);
        board.take_ran();
        for _ in 0..5 {
            board.go(1000 * MS);
            let error = error(&board.take_ran(), &weights);
            assert!(error < 0.01, "{weights:?}: {error}");
        }
    }
}

#[test]
fn busy_vcpus_on_four_cpus_share_by_weight_within_one_percent_of_each_second() {
    let mut random = 88172645463325252u64;
    let mut next = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    for round in 0..20 {
        let count = 8 + next(9) as usize;
        // No weight is above a fourth of all: nobody can have more than a CPU.
        let weights: Vec<u16> = (0..count).map(|_| 100 + next(100) as u16).collect();
        let mut board = Board::new(4);
        weights.iter().for_each(|&w| {
            board.add(Load::Busy, weight(w));
        });
        board.go(200 * MS);
        board.take_ran();
        for second in 0..4 {
            board.go(1000 * MS);
            let error = error(&board.take_ran(), &weights);
            assert!(error < 0.01, "round {round}, second {second}: {weights:?}: {error}");
        }
    }
}

#[test]
fn shares_hold_on_cpus_that_take_their_interrupts_late_at_times() {
    let mut random = 88172645463325252u64;
    let mut next = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    for cpus in [1, 4] {
        let weights: Vec<u16> = (0..2 * cpus).map(|number| if number % 2 == 0 { 100 } else { 200 }).collect();
        let mut board = Board::new(cpus);
        weights.iter().for_each(|&w| {
            board.add(Load::Busy, weight(w));
        });
        board.go(500 * MS);
        board.take_ran();
        for _ in 0..200 {
            // One of them in each 20 ms, for up to 40 ms.
            board.stall(next(cpus as u64) as usize, next(40 * MS));
            board.go(20 * MS);
        }
        let error = error(&board.take_ran(), &weights);
        assert!(error < 0.03, "{cpus} CPUs: {error}");
    }
}

#[test]
fn three_busy_vcpus_on_two_cpus_run_two_thirds_each() {
    let mut board = Board::new(2);
    (0..3).for_each(|_| {
        board.add(Load::Busy, Params::default());
    });
    board.go(100 * MS);
    board.take_ran();
    board.go(1000 * MS);
    let ran = board.take_ran();
    assert!(error(&ran, &[1; 3]) < 0.01, "{ran:?}");
    assert!(ran.iter().sum::<u64>() > 1990 * MS, "{ran:?}");
}

#[test]
fn a_weight_above_a_whole_cpu_gets_a_cpu_and_the_others_share_the_rest() {
    let mut board = Board::new(2);
    board.add(Load::Busy, weight(1000));
    (0..4).for_each(|_| {
        board.add(Load::Busy, weight(100));
    });
    board.go(100 * MS);
    board.take_ran();
    board.go(1000 * MS);
    let ran = board.take_ran();
    assert!(ran[0] > 980 * MS, "{ran:?}");
    assert!(error(&ran[1..], &[1; 4]) < 0.03, "{ran:?}");
}

#[test]
fn one_alone_is_never_looked_at() {
    let mut board = Board::new(2);
    board.add(Load::Busy, Params::default());
    board.go(10 * MS);
    board.reviews = 0;
    board.go(1000 * MS);
    assert_eq!(board.reviews, 0);
}

#[test]
fn one_that_sleeps_most_of_the_time_runs_at_once_beside_busy_ones() {
    for cpus in [1, 4] {
        let mut board = Board::new(cpus);
        (0..8).for_each(|_| {
            board.add(Load::Busy, Params::default());
        });
        let light = board.add(Load::Cycle { run: 50_000, sleep: 5 * MS }, Params::default());
        board.go(100 * MS);
        board.forget();
        board.go(2000 * MS);
        let latency = board.guests[light.index()].latency;
        assert!(latency < 5_000, "{cpus} CPUs: {latency} ns");
    }
}

#[test]
fn one_that_wakes_all_the_time_gets_no_more_than_its_share() {
    let mut board = Board::new(1);
    let sly = board.add(Load::Cycle { run: 90_000, sleep: 1_000 }, Params::default());
    (0..3).for_each(|_| {
        board.add(Load::Busy, Params::default());
    });
    board.go(2000 * MS);
    let ran = board.take_ran();
    assert!(ran[sly.index()] < 2000 * MS * 27 / 100, "{ran:?}");
}

#[test]
fn a_reservation_is_met_in_every_period_beside_eight_busy_ones() {
    for (budget, period, cpus) in [(2, 10, 1), (2, 10, 4), (8, 10, 1), (1, 3, 1)] {
        let mut board = Board::new(cpus);
        (0..8).for_each(|_| {
            board.add(Load::Busy, Params::default());
        });
        let class = Class::Reserved(ms(budget, period));
        let reserved = board.add(Load::Busy, Params { class, ..Params::default() });
        for number in 0..200 {
            board.go(period * MS);
            let ran = board.take_ran()[reserved.index()];
            // The switch to it is paid from its budget.
            let least = budget * MS - 2 * 1100;
            assert!(ran >= least && ran <= budget * MS + 2000, "{budget}/{period} period {number}: {ran}");
        }
    }
}

#[test]
fn reservations_of_one_cpu_are_all_met_up_to_nine_tenths() {
    let mut board = Board::new(1);
    (0..4).for_each(|_| {
        board.add(Load::Busy, Params::default());
    });
    let wanted = [(2, 10), (3, 15), (10, 40), (5, 20)];
    let reserved = wanted.map(|(budget, period)| {
        board.add(Load::Busy, Params { class: Class::Reserved(ms(budget, period)), ..Params::default() })
    });
    board.go(120 * MS);
    board.take_ran();
    for _ in 0..20 {
        board.go(120 * MS);
        let ran = board.take_ran();
        for ((budget, period), vcpu) in wanted.into_iter().zip(reserved) {
            let due = 120 / period * budget * MS;
            let got = ran[vcpu.index()];
            assert!(got + 40_000 > due && got < due + 20_000, "{budget}/{period}: {got} of {due}");
        }
    }
    assert_eq!(
        board.scheduler.set(VcpuId(9), &Params { class: Class::Reserved(ms(1, 100)), ..Params::default() }, 1),
        Err(Refused::Overcommitted)
    );
}

#[test]
fn a_reservation_that_sleeps_is_served_when_it_wakes() {
    let mut board = Board::new(1);
    (0..8).for_each(|_| {
        board.add(Load::Busy, Params::default());
    });
    let class = Class::Reserved(ms(2, 10));
    let reserved = board.add(Load::Cycle { run: MS, sleep: 9 * MS }, Params { class, ..Params::default() });
    board.go(2000 * MS);
    assert!(board.guests[reserved.index()].latency < 3000, "{}", board.guests[reserved.index()].latency);
}

#[test]
fn a_cap_holds_while_the_cpu_is_free_and_leaves_the_rest_to_others() {
    for others in [0, 3] {
        let mut board = Board::new(1);
        let class = Class::Fair { cap: Some(ms(3, 20)) };
        let capped = board.add(Load::Busy, Params { class, ..Params::default() });
        (0..others).for_each(|_| {
            board.add(Load::Busy, Params::default());
        });
        board.go(100 * MS);
        board.take_ran();
        board.go(1000 * MS);
        let ran = board.take_ran();
        let got = ran[capped.index()];
        assert!((149 * MS..=151 * MS).contains(&got), "{others} others: {got}");
        assert!(ran.iter().sum::<u64>() > 990 * MS || others == 0, "{ran:?}");
    }
}

#[test]
fn a_pinned_vcpu_owns_its_cpu_and_the_others_leave_it() {
    let mut board = Board::new(2);
    (0..5).for_each(|_| {
        board.add(Load::Busy, Params::default());
    });
    board.go(50 * MS);
    let params = Params { class: Class::Pinned, ..Params::default() };
    let pinned = board.add(Load::Busy, params);
    board.go(MS);
    board.take_ran();
    board.go(1000 * MS);
    let ran = board.take_ran();
    assert_eq!(ran[pinned.index()], 1000 * MS);
    assert!(error(&ran[..5], &[1; 5]) < 0.01, "{ran:?}");
    // Given back, it is everybody's again.
    board.set(pinned, Params::default());
    board.go(50 * MS);
    board.take_ran();
    board.go(1000 * MS);
    let ran = board.take_ran();
    assert!(error(&ran, &[1; 6]) < 0.01, "{ran:?}");
}

#[test]
fn what_a_call_asks_for_is_taken_in_its_ranges_only() {
    use hv_abi::call::Scheduling;
    let (all, plain) = (CpuMask(0b1111), Scheduling::DEFAULT);
    let asked = |words: Scheduling| Params::asked(&words, all, 62_500_000);
    assert_eq!(asked(plain), Some(Params::default()));
    let on = asked(Scheduling { cpus: 0b1000, weight: 10_000, ..plain }).expect("weight and CPU");
    assert_eq!((on.affinity, on.weight.get()), (CpuMask(0b1000), 10_000));
    let cap = asked(Scheduling { cap: 250, ..plain }).expect("cap").class;
    assert_eq!(cap, Class::Fair { cap: Some(Bandwidth { budget: 312_500, period: 1_250_000 }) });
    let reserved = asked(Scheduling { budget_us: 100, period_us: 1000, ..plain }).expect("reservation").class;
    assert_eq!(reserved, Class::Reserved(Bandwidth { budget: 6250, period: 62_500 }));
    assert_eq!(asked(Scheduling { pinned: true, ..plain }).expect("pinned").class, Class::Pinned);
    for wrong in [
        Scheduling { cpus: 0, ..plain },
        Scheduling { cpus: 0b1_0001, ..plain },
        Scheduling { cpus: 1 << 40, ..plain },
        Scheduling { weight: 0, ..plain },
        Scheduling { weight: 10_001, ..plain },
        Scheduling { weight: 0x1_0064, ..plain },
        Scheduling { cap: 9, ..plain },
        Scheduling { cap: 1001, ..plain },
        Scheduling { budget_us: 99, period_us: 1000, ..plain },
        Scheduling { budget_us: 1001, period_us: 1000, ..plain },
        Scheduling { budget_us: 500, period_us: 999, ..plain },
        Scheduling { budget_us: 500, period_us: 1_000_001, ..plain },
        Scheduling { budget_us: 500, period_us: 0, ..plain },
        Scheduling { budget_us: 0, period_us: 1000, ..plain },
        Scheduling { cap: 100, budget_us: 500, period_us: 1000, ..plain },
        Scheduling { cap: 100, pinned: true, ..plain },
        Scheduling { budget_us: 500, period_us: 1000, pinned: true, ..plain },
    ] {
        assert_eq!(asked(wrong), None, "{wrong:?}");
    }
    assert_eq!([1, 2, 8].map(CpuMask::first_of), [CpuMask(1), CpuMask(3), CpuMask::ALL]);
}

#[test]
fn what_would_leave_somebody_without_a_cpu_is_refused() {
    let scheduler = Box::new(Scheduler::<board::Lock>::new());
    (0..2).for_each(|cpu| scheduler.bring_up(CpuId(cpu), HZ));
    let pinned = Params { class: Class::Pinned, ..Params::default() };
    let on = |mask: u8| Params { affinity: CpuMask(mask), ..Params::default() };
    assert_eq!(scheduler.set(VcpuId(0), &on(0b100), 1), Err(Refused::NoCpu));
    assert!(scheduler.set(VcpuId(0), &on(0b10), 1).is_ok());
    assert!(scheduler.set(VcpuId(1), &pinned, 1).is_ok(), "CPU 0 is nobody's only one");
    assert_eq!(scheduler.set(VcpuId(2), &pinned, 1), Err(Refused::Strands));
    assert_eq!(scheduler.set(VcpuId(3), &on(0b01), 1), Err(Refused::NoCpu));
    let all = Params { class: Class::Reserved(ms(91, 100)), ..Params::default() };
    assert_eq!(scheduler.set(VcpuId(2), &all, 1), Err(Refused::Overcommitted));
    let _ = scheduler.reset(VcpuId(1), 1);
    assert!(scheduler.set(VcpuId(3), &on(0b01), 1).is_ok());
}

#[test]
fn an_affinity_that_is_set_while_it_runs_is_kept_from_then_on() {
    let mut board = Board::new(4);
    let moved = board.add(Load::Busy, Params::default());
    (0..7).for_each(|_| {
        board.add(Load::Busy, Params::default());
    });
    for mask in [0b1000, 0b0001, 0b0110, 0b0100] {
        board.set(moved, Params { affinity: CpuMask(mask), ..Params::default() });
        board.go(20 * MS);
        board.guests[moved.index()].ran_on = [0; MAX_CPUS];
        board.go(100 * MS);
        let on = board.guests[moved.index()].ran_on;
        for (cpu, ran) in on.into_iter().enumerate() {
            assert!(mask & 1 << cpu != 0 || ran == 0, "{mask:#b}: {on:?}");
        }
        assert!(on.iter().sum::<u64>() > 20 * MS, "{on:?}");
    }
}

#[test]
fn a_reservation_or_a_cap_that_begins_late_charges_nothing_of_what_was_run_before() {
    for class in [Class::Reserved(ms(2, 10)), Class::Fair { cap: Some(ms(2, 10)) }] {
        let mut board = Board::new(1);
        let busy = board.add(Load::Busy, Params::default());
        board.go(3000 * MS);
        board.set(busy, Params { class, ..Params::default() });
        for period in 0..5 {
            board.take_ran();
            board.go(10 * MS);
            let ran = board.take_ran()[busy.index()];
            assert!((2 * MS - 3000..=2 * MS + 3000).contains(&ran), "{class:?}: period {period}: {ran}");
        }
    }
}

#[test]
fn parameters_for_several_are_taken_by_all_or_by_none() {
    let mut board = Board::new(4);
    let vcpus: Vec<_> = (0..3).map(|_| board.add(Load::Busy, weight(300))).collect();
    let pinned = Params { class: Class::Pinned, affinity: CpuMask(0b1000), ..Params::default() };
    board.set(vcpus[0], pinned);
    board.go(50 * MS);
    // Two of the three find a CPU; CPU 0 has to be left to nobody in particular.
    let all = Params { class: Class::Reserved(ms(8, 10)), affinity: CpuMask(0b0110), ..Params::default() };
    let (kick, outcome) = board.scheduler.set_all(&vcpus, &all, board.now);
    assert_eq!(outcome, Err(Refused::Overcommitted));
    assert!(!kick.is_empty());
    let has =
        |board: &Board, vcpu: VcpuId| (board.scheduler.entities[vcpu].params(), board.scheduler.entities[vcpu].bound());
    assert_eq!(has(&board, vcpus[0]), (pinned, Some(CpuId(3))));
    assert_eq!(has(&board, vcpus[1]), (weight(300), None));
    assert_eq!(board.scheduler.open(), CpuMask(0b0111));
    board.kick(kick);
    board.go(50 * MS);
    board.take_ran();
    board.go(100 * MS);
    assert!(board.take_ran().into_iter().all(|ran| ran > 99 * MS));
    let (kick, outcome) = board.scheduler.set_all(&vcpus[..2], &all, board.now);
    assert_eq!(outcome, Ok(()));
    board.kick(kick);
    assert_eq!(board.scheduler.open(), CpuMask(0b1111));
    assert_eq!(has(&board, vcpus[1]).0, all);
}

#[test]
fn an_account_has_what_a_vcpu_ran_and_waited_up_to_now() {
    let mut board = Board::new(1);
    let vcpus: Vec<_> = (0..2).map(|_| board.add(Load::Busy, Params::default())).collect();
    board.go(1000 * MS);
    for vcpu in vcpus {
        let account = board.scheduler.account(vcpu, board.now);
        assert_eq!(account.ran + account.waited, 1000 * MS, "{account:?}");
        assert!(account.ran.abs_diff(500 * MS) < 10 * MS && account.cpu == CpuId(0), "{account:?}");
        assert!(matches!(account.state, State::Running | State::Queued), "{account:?}");
    }
}

#[test]
fn one_whose_cpus_are_all_owned_still_runs() {
    let mut board = Board::new(2);
    board.add(Load::Busy, Params { affinity: CpuMask(0b10), ..Params::default() });
    board.lend(CpuId(1), false);
    board.go(50 * MS);
    board.take_ran();
    board.go(100 * MS);
    assert!(board.guests[0].ran_on[0] > 140 * MS, "{:?}", board.guests[0]);
}

#[test]
fn a_cpu_is_lent_for_one_who_sits_there_and_given_back() {
    let mut board = Board::new(2);
    let vcpus: Vec<_> = (0..4).map(|_| board.add(Load::Busy, Params::default())).collect();
    board.go(100 * MS);
    for _ in 0..3 {
        board.lend(CpuId(1), false);
        let sitter = board.sit(CpuId(1), weight(1000));
        board.go(MS);
        board.take_ran();
        board.go(200 * MS);
        let ran = board.take_ran();
        assert_eq!(ran[sitter.index()], 200 * MS, "{ran:?}");
        assert_eq!(board.guests[sitter.index()].ran_on[0], 0);
        assert!(vcpus.iter().all(|vcpu| ran[vcpu.index()].abs_diff(50 * MS) < 3 * MS), "{ran:?}");
        assert!(!board.scheduler.take_down(CpuId(1)), "somebody runs there");
        board.remove(sitter);
        board.lend(CpuId(1), true);
        board.go(20 * MS);
        board.take_ran();
        board.go(200 * MS);
        let ran = board.take_ran();
        assert!(vcpus.iter().all(|vcpu| ran[vcpu.index()].abs_diff(100 * MS) < 5 * MS), "{ran:?}");
    }
}

#[test]
fn nothing_is_promised_of_a_cpu_that_is_given_to_nobody() {
    let mut board = Board::new(2);
    let vcpu = board.add(Load::Busy, Params::default());
    board.lend(CpuId(1), false);
    let only = |class| Params { affinity: CpuMask(0b10), class, ..Params::default() };
    for class in [Class::Fair { cap: None }, Class::Reserved(ms(1, 10)), Class::Pinned] {
        assert_eq!(board.try_set(vcpu, only(class)), Err(Refused::NoCpu));
    }
    let sitter = board.sit(CpuId(1), Params::default());
    let pinned = Params { class: Class::Pinned, ..Params::default() };
    assert_eq!(board.try_set(vcpu, pinned), Err(Refused::Strands), "one CPU is left to all others");
    let reserved = Params { class: Class::Reserved(ms(5, 10)), ..Params::default() };
    board.try_set(vcpu, reserved).unwrap();
    board.go(10 * MS);
    assert_eq!(board.guests[vcpu.index()].ran_on[1], 0);
    board.remove(sitter);
}

#[test]
fn a_cpu_that_is_taken_down_gets_nobody_and_comes_back_for_one_who_waits_there() {
    let mut board = Board::new(2);
    let vcpu = board.add(Load::Busy, Params::default());
    board.lend(CpuId(1), false);
    for _ in 0..3 {
        board.go(10 * MS);
        assert!(board.scheduler.take_down(CpuId(1)));
        assert_eq!(board.scheduler.online(), CpuMask(0b01));
        board.go(50 * MS);
        // Who sits there waits until the CPU is on; nobody is kicked for it.
        let sitter = board.sit(CpuId(1), Params::default());
        board.go(10 * MS);
        assert_eq!(board.guests[sitter.index()].ran, 0);
        board.turn_on(CpuId(1));
        assert_eq!(board.scheduler.online().count(), 2);
        board.go(10 * MS);
        assert_eq!(board.guests[sitter.index()].ran_on, [0, 10 * MS - 800, 0, 0, 0, 0, 0, 0]);
        board.remove(sitter);
    }
    assert_eq!(board.guests[vcpu.index()].ran_on[1], 0);
    // One whose CPU does not come goes to the others.
    board.go(10 * MS);
    assert!(board.scheduler.take_down(CpuId(1)));
    let sitter = board.sit(CpuId(1), Params::default());
    board.set(sitter, weight(1000));
    board.go(20 * MS);
    assert_eq!(board.guests[sitter.index()].ran_on[1], 0);
    assert!(board.guests[sitter.index()].ran > 5 * MS, "{:?}", board.guests[sitter.index()]);
}

#[test]
fn four_and_two_hundred_busy_vcpus_all_run_in_every_round() {
    for count in [4, 200] {
        let mut board = Board::new(1);
        (0..count).for_each(|_| {
            board.add(Load::Busy, Params::default());
        });
        board.go(500 * MS);
        board.forget();
        board.go(1000 * MS);
        let most = board.guests.iter().map(|guest| guest.gap).max();
        assert!(most < Some(count * MS * 5 / 2), "{count}: {most:?}");
        assert!(error(&board.take_ran(), &vec![1; count as usize]) < 0.12);
    }
}

fn load() -> impl Strategy<Value = Load> {
    let cycle = (1_000..20 * MS, 1_000..20 * MS).prop_map(|(run, sleep)| Load::Cycle { run, sleep });
    prop_oneof![Just(Load::Busy), cycle]
}

fn params(cpus: usize) -> impl Strategy<Value = Params> {
    let bandwidth = (1..4u64, 5..40u64).prop_map(|(budget, period)| ms(budget, period));
    let class = prop_oneof![
        5 => Just(Class::Fair { cap: None }),
        1 => bandwidth.clone().prop_map(|cap| Class::Fair { cap: Some(cap) }),
        1 => bandwidth.prop_map(Class::Reserved),
        1 => Just(Class::Pinned),
    ];
    (1..1000u16, 1..(1u16 << cpus), class).prop_map(|(weight, mask, class)| Params {
        weight: Weight::new(weight).expect("weight"),
        affinity: CpuMask(mask as u8),
        class,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn under_any_load_nobody_starves_and_no_cpu_idles_while_somebody_waits(
        cpus in 1..5usize,
        loads in proptest::collection::vec((load(), 1..500u16), 1..12),
    ) {
        let mut board = Board::new(cpus);
        for (load, w) in &loads {
            board.add(*load, weight(*w));
        }
        board.go(100 * MS);
        board.forget();
        for _ in 0..400 {
            board.go(MS / 2 + 37);
            prop_assert!(board.is_kicked() || board.idle() == 0 || board.waiting() == 0);
        }
        // From the begin of one round to the end of the next. A round is 8 ms by the weights that could run at its begin,
        // and is 8 ms longer each time that they double in it; on more CPUs it is that long for all together.
        let weights = || loads.iter().map(|(_, weight)| u32::from(*weight));
        let doublings = (weights().sum::<u32>() / weights().min().unwrap_or(1)).ilog2();
        let longest = 2 * u64::from(1 + doublings) * 8 * cpus as u64 * MS;
        for guest in &board.guests {
            prop_assert!(guest.ran > 0 && guest.gap < longest, "{:?}", guest);
        }
    }

    #[test]
    fn changes_at_any_moment_lose_nobody(
        cpus in 1..5usize,
        loads in proptest::collection::vec(load(), 1..8),
        changes in proptest::collection::vec((0..8usize, params(4), 1..5 * MS), 1..60),
    ) {
        let mut board = Board::new(cpus);
        for load in &loads {
            board.add(*load, Params::default());
        }
        for (vcpu, params, time) in changes {
            let vcpu = VcpuId((vcpu % loads.len()) as u16);
            let _ = board.try_set(vcpu, params);
            board.go(time);
        }
        for vcpu in 0..loads.len() {
            // All at the default in the end, so that everybody's turn comes.
            let _ = board.try_set(VcpuId(vcpu as u16), Params::default());
        }
        board.go(100 * MS);
        board.take_ran();
        board.go(100 * MS);
        for (vcpu, ran) in board.take_ran().into_iter().enumerate() {
            prop_assert!(ran > 0, "vCPU {} is lost", vcpu);
        }
    }
}

#[test]
fn those_that_come_later_get_their_share_too() {
    let mut board = Board::new(1);
    for _ in 0..16 {
        board.add(Load::Busy, Params::default());
        board.go(1_700_000);
    }
    board.go(100 * MS);
    board.take_ran();
    board.go(1000 * MS);
    let ran = board.take_ran();
    assert!(error(&ran, &[1; 16]) < 0.01, "{ran:?}");
}
