use std::time::Duration;

use clap::Parser;
use serde_json::{Value, json};

use super::*;
use crate::cli::Command;
use crate::testing::{FakeDevices, el2, frame, pair};

/// A vCPU by the contract's layout: number, CPU, state, five zeroes, then long words.
fn vcpu([number, cpu, state]: [u8; 3], words: [u64; 9]) -> Vec<u8> {
    let mut bytes = vec![number, cpu, state, 0, 0, 0, 0, 0];
    words.iter().for_each(|word| bytes.extend(word.to_le_bytes()));
    bytes
}

/// An answer: next position, time, handle, label, then vCPUs.
fn answer([next, up_ns, handle]: [u64; 3], label: &str, vcpus: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    [next, up_ns, handle].iter().for_each(|word| bytes.extend(word.to_le_bytes()));
    let mut padded = [0; 32];
    padded[..label.len()].copy_from_slice(label.as_bytes());
    bytes.extend(padded);
    bytes.extend(vcpus.iter().flatten());
    bytes
}

const S: u64 = 1_000_000_000;

/// What EL2 says at first, and half a second later: a VM of three vCPUs, and one that begins in between.
fn el2_says(reading: usize, position: u64) -> Vec<u8> {
    let late = reading as u64;
    let half = |first: u64, more: u64| first + late * more;
    let up = half(10 * S, S / 2);
    match position {
        0 => {
            let first = vcpu([0, 1, 3], [half(S, S / 2), half(7, 0), half(1, 100), 2, 3, half(4, 1), 5, 6, 7]);
            let second = vcpu([1, 0, 2], [half(S, S / 4), half(0, S / 8), 0, 0, 0, 0, 0, half(0, 2), 0]);
            answer([258, up, 77], "debian", &[first, second])
        }
        258 => answer([512, up, 77], "debian", &[vcpu([2, 0, 0], [0; 9])]),
        512 if late == 1 => answer([768, up, 99], "tiny", &[vcpu([0, 3, 1], [S / 4, 0, 0, 0, 0, 0, 0, 0, 10])]),
        _ => answer([u64::MAX, up, 0], "", &[]),
    }
}

/// A device by the contract's layout: its number and seven zeroes or a network, two limits, then long words.
fn device(number: u8, words: &[u64]) -> Vec<u8> {
    let mut bytes = vec![number, 0, 0, 0, 0, 0, 0, 0];
    bytes.extend([0; 8]);
    words.iter().for_each(|word| bytes.extend(word.to_le_bytes()));
    bytes
}

/// Disks: two of the first VM in one answer. Half a second brings 50 reads of 25 KiB, 10 writes of 5 KiB, and five others,
/// one of which failed.
fn disks(reading: usize, position: u64) -> Vec<u8> {
    let (up, late) = (10 * S + reading as u64 * S / 2, reading as u64);
    let first = device(0, &[7 + 50 * late, 512 + 25_600 * late, 0, 0, 3 + late, 2 * late, late, 99 * late]);
    let second = device(1, &[0, 0, 1 + 10 * late, 4096 + 5120 * late, late, 0, 0, 0]);
    match position {
        0 => answer([258, up, 77], "debian", &[first, second]),
        _ => answer([u64::MAX, up, 0], "", &[]),
    }
}

/// Network cards: one each. The second VM's was not there before.
fn nics(reading: usize, position: u64) -> Vec<u8> {
    let (up, late) = (10 * S + reading as u64 * S / 2, reading as u64);
    match position {
        0 => answer([257, up, 77], "debian", &[device(0, &[5, 100 + 62_500 * late, 6, 1000, 0, 0, 0, 0, 9])]),
        257 if late == 1 => answer([769, up, 99], "tiny", &[device(0, &[1, 60, 2, 125_000_000, 0, 0, 0, 0, 0])]),
        _ => answer([u64::MAX, up, 0], "", &[]),
    }
}

/// Runs `top` with these arguments over readings of [`el2_says`].
fn top_over(line: &str, readings: usize) -> Result<Output, Error> {
    let (mut links, mut peers) = (Vec::new(), Vec::new());
    for reading in 0..readings {
        let (link, peer) = pair();
        links.push(Ok(link));
        peers.push(el2(peer, move |asked| {
            assert_eq!((asked.party, &asked.body[1..8]), (0, &[0; 7][..]));
            let position = u64::from_le_bytes(asked.body[8..].try_into().unwrap());
            let said = match asked.body[0] {
                4 => el2_says(reading, position),
                8 => disks(reading, position),
                9 => nics(reading, position),
                kind => panic!("{kind}"),
            };
            vec![frame(0, 0, asked.id, &said)]
        }));
    }
    let devices = FakeDevices::new(&["port"], []);
    devices.outcomes.borrow_mut().extend(links);
    let arguments = Cli::parse_from(format!("hvctl {line} --timeout 5 -i 0.001").split(' '));
    let Command::Top(top) = &arguments.command else { panic!("{line}") };
    assert_eq!(top.interval, Duration::from_millis(1));
    let outcome = run(&arguments, &devices, top);
    peers.into_iter().for_each(|peer| drop(peer.join().unwrap()));
    outcome
}

fn text_of(outcome: Result<Output, Error>) -> String {
    String::from_utf8(outcome.unwrap().text).unwrap()
}

#[test]
fn the_difference_of_two_readings_is_a_line_for_each_vm() {
    assert_eq!(
        text_of(top_over("top", 2)),
        "\
VM      CPU %  STEAL %  HYPERCALL  REGISTER  DEVICE  WAIT  TIMER  INTERRUPT  OTHER  IO/S  READ/S  WRITTEN/S    SENT/S  RECEIVED/S
debian  150.0     25.0        200         0       0     2      0          4      0   130  50 KiB     10 KiB  1.0 Mbit       0 bit
tiny     50.0      0.0          0         0       0     0      0          0     20     0     0 B        0 B   960 bit    2.0 Gbit
"
    );
}

#[test]
fn each_vcpu_has_a_line_where_that_is_asked_for() {
    assert_eq!(
        text_of(top_over("top --vcpus", 2)),
        "\
VM      VCPU  STATE   ON  CPU %  STEAL %  HYPERCALL  REGISTER  DEVICE  WAIT  TIMER  INTERRUPT  OTHER
debian     0  runs     1  100.0      0.0        200         0       0     2      0          0      0
debian     1  waits    0   50.0     25.0          0         0       0     0      0          4      0
debian     2  off      0    0.0      0.0          0         0       0     0      0          0      0
tiny       0  sleeps   3   50.0      0.0          0         0       0     0      0          0     20
"
    );
}

#[test]
fn json_has_a_sample_for_each_time_with_numbers_by_name() {
    let samples: Value = serde_json::from_slice(&top_over("top --json", 2).unwrap().text).unwrap();
    assert_eq!(samples.as_array().map(Vec::len), Some(1));
    let debian = &samples[0]["vms"][0];
    assert_eq!(samples[0]["interval_ns"], 500_000_000);
    assert_eq!(
        (&debian["name"], &debian["cpu_percent"], &debian["steal_percent"]),
        (&json!("debian"), &json!(150.0), &json!(25.0))
    );
    assert_eq!(debian["exits_per_s"]["hypercall"], 200.0);
    let io = json!({
        "requests_per_s": 130.0, "read_bytes_per_s": 51_200.0, "written_bytes_per_s": 10_240.0,
        "sent_bits_per_s": 1e6, "received_bits_per_s": 0.0,
    });
    assert_eq!(debian["io"], io);
    let vcpu = &debian["vcpus"][1];
    assert_eq!((&vcpu["vcpu"], &vcpu["cpu"], &vcpu["state"]), (&json!(1), &json!(0), &json!("waits")));
    assert_eq!((&vcpu["ran_ns"], &vcpu["waited_ns"]), (&json!(S * 5 / 4), &json!(S / 8)));
    assert_eq!(vcpu["exits_per_s"]["interrupt"], 4.0);
}

#[test]
fn answers_that_are_no_list_of_vcpus_are_refused() {
    let mut all = Vec::new();
    assert!(take(&[0; 55], &mut all).is_err());
    assert!(take(&[0; 57], &mut all).is_err());
    let (link, peer) = pair();
    let peer = el2(peer, |asked| vec![frame(0, 0, asked.id, &answer([0, 1, 1], "a", &[]))]);
    let deadline = Deadline::new(Duration::from_secs(5));
    let outcome = readings(&mut Session::new(link, deadline).unwrap());
    assert!(matches!(outcome, Err(Error::Reply(_))), "{outcome:?}");
    drop(peer);
}
