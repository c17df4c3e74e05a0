//! Asks the service partition by HTTP, which is off before.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use test_guests::{Machine, cpu, println, timer};

use crate::card::Card;
use crate::tcp::{self, ACK, PSH, RST, SYN, Segment};

const REQUEST: &[u8] = b"GET /api/v1/vms HTTP/1.1\r\nHost: board\r\nConnection: close\r\n\r\n";
const STATUS: &[u8] = b"HTTP/1.1 200 ";

/// What a round of this guest's own takes, in ticks, besides what others do for it.
struct Own(u64);

impl Own {
    /// Does something that is the guest's own. It has no exit but one for an interrupt.
    fn work<T>(&mut self, what: impl FnOnce() -> T) -> T {
        let start = timer::now();
        let done = what();
        self.0 += timer::now() - start;
        done
    }
}

/// Asks in every round, and prints what each took.
pub(crate) fn ask(machine: &Machine, card: &mut Card) {
    let rounds = machine.number("rounds", 10) as u16;
    let pause = timer::ticks(machine.number("pause-ms", 2000) * 1_000_000);
    let mut counts = Vec::with_capacity(rounds.into());
    for round in 0..rounds {
        let end = timer::now() + pause;
        // What comes after the end of the round before, such as a FIN, ends a sleep.
        while timer::now() < end {
            timer::sleep_until(end);
            while card.take().is_some() {}
        }
        counts.push(once(card, 0x8000 + round));
        card.await_sent();
    }
    let counts = counts.iter().map(|count| format!(" {count}")).collect::<String>();
    println!("COLD{counts}");
    println!("COLD-END");
    // The console stays until somebody has read it.
    loop {
        cpu::wait();
    }
}

/// From the SYN to the status line.
fn once(card: &mut Card, port: u16) -> u64 {
    let (address, mut own) = (card.address(), Own(0));
    let syn = tcp::syn(address, port);
    let start = timer::now();
    card.put(&syn);
    card.notify();
    loop {
        let frame = card.receive();
        if frame.get(12..14) == Some(&[0x08, 0x06]) {
            if let Some(answer) = own.work(|| tcp::arp(address, &frame)) {
                card.put(&answer);
                card.notify();
            }
            continue;
        }
        let Some((said, data)) = tcp::parse(&frame, port) else { continue };
        assert_eq!(said.flags & RST, 0, "the partition refuses");
        if said.flags & SYN != 0 {
            let acknowledgment = said.sequence.wrapping_add(1);
            let reply = Segment { port, sequence: said.acknowledgment, acknowledgment, flags: ACK | PSH };
            let request = own.work(|| tcp::frame(address, &reply, REQUEST));
            card.put(&request);
            card.notify();
        } else if !data.is_empty() {
            let count = timer::now() - start - own.0;
            assert!(data.starts_with(STATUS), "{data:?}");
            let end = Segment { port, sequence: said.acknowledgment, acknowledgment: 0, flags: RST };
            card.put(&tcp::frame(address, &end, &[]));
            card.notify();
            return count;
        }
    }
}
