//! What networks cost at EL2, by a bare-metal guest's driver: all in instructions, on one CPU.

use dormouse_tests::figures::{Measured, median};
use dormouse_tests::{Board, Description, Guest, System, artifact, seconds};

use super::{LONG, counts_until};

/// Frames between two of which a guest loops so long that the host has taken the first one: what EL2 does depends on how
/// many the board's card still has.
const GAP: u32 = 20_000;
/// The partition's card and address, as the guest has them.
const PARTITION: &str = "network = \"lan\"; address = \"10.7.0.100/24\"; mac-address = [02 00 00 00 00 64];";

fn with_nic(guest: Guest) -> Guest {
    guest.having("nics { eth0 { compatible = \"dormouse,nic\"; network = \"lan\"; }; };")
}

#[test]
#[ignore = "long; make bench runs it"]
fn frames_to_the_boards_card_take_no_more_than_their_limit_at_el2() {
    let mut measured = Measured::default();
    frames(&mut measured);
    measured.require(&["el2_per_frame", "el2_per_frame_batch"]);
}

pub(super) fn frames(measured: &mut Measured) {
    for (name, batch) in [("el2_per_frame", 1), ("el2_per_frame_batch", 8)] {
        // What boot and the rest of the guest take is in both.
        let sample = |seed| (at_el2(batch, 1600, seed) - at_el2(batch, 800, seed)) / 800.0;
        measured.set(name, median(name, [1, 2, 3].map(sample)));
    }
}

/// Instructions at EL2, all together, of a board with one CPU whose guest sends so many frames.
fn at_el2(batch: u32, count: u32, seed: u32) -> f64 {
    let gap = GAP * batch;
    let guest = with_nic(Guest::bare("net", &format!("role=send count={count} batch={batch} gap={gap}")));
    let mut board = Board { kernel: Some(artifact::measuring_image()), seed, ..Board::counting(1) };
    // A hub with nobody else at it takes every frame at once.
    let options = ["-global", "virtio-mmio.force-legacy=false", "-netdev", "hubport,id=hub,hubid=0"];
    board.more.extend(options.into_iter().chain(["-device", "virtio-net-device,netdev=hub"]).map(String::from));
    let description = Description::with("net", guest).network("lan", "uplink;");
    let mut run = board.boot(&System::new(&description));
    assert_eq!(run.expect_vm_end("net", seconds(120)), "powered off");
    let said = run.expect_log(" instructions at EL2 so far", seconds(60));
    let count = said.split("stay: ").last().and_then(|rest| rest.split(' ').next()).map(str::parse);
    count.and_then(Result::ok).unwrap_or_else(|| panic!("{said}"))
}

/// A board of one CPU without a card of its own, and guests in the partition's network.
fn inner(description: Description, seed: u32) -> (Board, System) {
    let description = description.network("lan", "").partition(|partition| {
        partition.idle_timeout_ms = 20;
        partition.more.push_str(PARTITION);
    });
    (Board { seed, ..Board::counting(1) }, System::new(&description))
}

#[test]
#[ignore = "long; make bench runs it"]
fn an_http_request_to_the_sleeping_partition_is_answered_within_its_limit() {
    let mut measured = Measured::default();
    cold_request(&mut measured);
    measured.require(&["http_cold_first_byte"]);
}

pub(super) fn cold_request(measured: &mut Measured) {
    let sample = |seed| {
        const ROUNDS: usize = 10;
        let guest = with_nic(Guest::bare("net", &format!("role=ask rounds={ROUNDS}")));
        let (board, system) = inner(Description::with("asks", guest), seed);
        let mut run = board.boot(&system);
        let mut counts = counts_until(&mut run, "COLD ", "COLD-END");
        let said = run.log.text();
        // The first life is that of power-on.
        assert_eq!((counts.len(), said.matches("sos: life ").count()), (ROUNDS, ROUNDS + 1), "{said}");
        counts.sort_by(f64::total_cmp);
        println!("STAT http_cold_first_byte {} {} {}", counts[0], counts[ROUNDS / 2], counts[ROUNDS - 1]);
        counts[ROUNDS / 2]
    };
    measured.set("http_cold_first_byte", median("http_cold_first_byte", [1, 2, 3].map(sample)));
}

#[test]
#[ignore = "long; make bench runs it"]
fn a_flood_of_frames_that_match_leaves_busy_guests_their_share() {
    let mut measured = Measured::default();
    flood(&mut measured);
    measured.require(&["flood_guest_share"]);
}

pub(super) fn flood(measured: &mut Measured) {
    let sample = |seed| rounds(true, seed) / rounds(false, seed);
    measured.set("flood_guest_share", median("flood_guest_share", [1, 2, 3].map(sample)));
}

/// Rounds of two busy guests, while another wakes each 100 us, and sends a SYN to the partition's open port or nothing.
fn rounds(sends: bool, seed: u32) -> f64 {
    let busy = || Guest::bare("count", "");
    let flood = with_nic(Guest::bare("net", &format!("role=flood frames={}", u32::from(sends))));
    let (board, system) = inner(Description::with("a", busy()).and("b", busy()).and("flood", flood), seed);
    let mut run = board.boot(&system);
    let mut sum = 0.0;
    for name in ["a", "b"] {
        if name == "b" {
            run.focus("b");
        }
        let line = run.expect_line("COUNT ", seconds(LONG));
        sum += line.split(' ').next_back().and_then(|count| count.parse::<f64>().ok()).expect("a count");
    }
    run.focus("flood");
    let sent = run.expect_line("NET sent ", seconds(LONG));
    println!("INFO flood: {sum} rounds, {sent}, {} lives", run.log.text().matches("sos: life ").count());
    sum
}
