//! A switch of maps and lists, held against the switch by random lives.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Tokens in billionths, below zero after a frame longer than the burst.
#[derive(Clone, Copy)]
struct Level {
    rate: i128,
    most: i128,
    now: i128,
    at: u64,
}

impl Level {
    const PARTS: i128 = 1_000_000_000;

    fn new(rate: u64, burst: u64) -> Self {
        let most = i128::from(burst) * Self::PARTS;
        Self { rate: i128::from(rate), most, now: most, at: 0 }
    }

    fn at(&self, time: u64) -> i128 {
        self.most.min(self.now + i128::from(time - self.at) * self.rate)
    }

    fn has(&self, cost: u64, time: u64) -> bool {
        self.rate == 0 || self.at(time) >= (i128::from(cost) * Self::PARTS).min(self.most)
    }

    fn take(&mut self, cost: u64, time: u64) {
        (self.now, self.at) = (self.at(time) - i128::from(cost) * Self::PARTS, time);
    }
}

struct ModelPort {
    rules: PortRules,
    bits: Level,
    packets: Level,
    groups: Level,
    sent: (u64, u64),
    drops: BTreeMap<u8, u64>,
}

struct Station {
    mac: Mac,
    port: PortId,
    seen: u64,
}

#[derive(Default)]
struct Model {
    ports: BTreeMap<PortId, ModelPort>,
    learnt: Vec<Station>,
}

/// What the model says of a frame.
#[derive(PartialEq, Debug)]
enum Fate {
    To(Vec<PortId>),
    Later,
    Drop(Reason),
}

/// One of the addresses that bridges keep to themselves (IEEE 802.1AB §7.1).
const LLDP: Mac = Mac([0x01, 0x80, 0xc2, 0, 0, 0x0e]);

/// Bits of all frames that one becomes on a wire.
fn bits(frame: &Header) -> u64 {
    let first = u64::from(frame.length);
    let headers = (1..frame.frames).map(|_| u64::from(frame.repeated)).sum::<u64>();
    8 * (first + headers)
}

/// The first bit on the wire (IEEE 802.3 §3.2.3).
fn is_group(mac: Mac) -> bool {
    mac.0[0] % 2 == 1
}

impl Model {
    fn connect(&mut self, port: PortId, rules: PortRules) -> Result<(), SwitchError> {
        if port.0 >= 16 {
            return Err(SwitchError::NoSuchPort(port));
        }
        if self.ports.contains_key(&port) {
            return Err(SwitchError::InUse(port));
        }
        if is_group(rules.mac) || rules.mac.0 == [0; 6] {
            return Err(SwitchError::NotStation(rules.mac));
        }
        if let Some((&other, _)) = self.ports.iter().find(|(_, other)| other.rules.mac == rules.mac) {
            return Err(SwitchError::Taken(rules.mac, other));
        }
        self.learnt.retain(|station| station.mac != rules.mac);
        let (bits, packets) = Self::levels(rules.rate);
        let groups = Level::new(1000, 100);
        self.ports.insert(port, ModelPort { rules, bits, packets, groups, sent: (0, 0), drops: BTreeMap::new() });
        Ok(())
    }

    /// 10 ms, or a frame of 65,550 bytes, which is 65 of 1 KiB.
    fn levels(rate: Rate) -> (Level, Level) {
        let packets = u64::from(rate.packets_per_s);
        (
            Level::new(rate.bits_per_s, (rate.bits_per_s / 100).max(65_550 * 8)),
            Level::new(packets, (packets / 100).max(65)),
        )
    }

    fn disconnect(&mut self, port: PortId) {
        self.ports.remove(&port);
        self.learnt.retain(|station| station.port != port);
    }

    fn is_anybodys(&self, mac: Mac) -> bool {
        self.ports.values().any(|port| port.rules.mac == mac)
    }

    fn receivers(&self, from: PortId, frame: &Header) -> Result<Vec<PortId>, Reason> {
        let Some(sender) = self.ports.get(&from).map(|port| port.rules) else { return Err(Reason::NoSuchPort) };
        let source = frame.source;
        let free = !is_group(source) && source.0 != [0; 6] && !self.is_anybodys(source);
        if source != sender.mac && !((sender.any_source || sender.uplink) && free) {
            return Err(Reason::Spoofed);
        }
        if frame.destination == LLDP {
            return Err(Reason::Reserved);
        }
        let station = self.learnt.iter().find(|station| station.mac == frame.destination);
        let wants = |port: PortId, rules: &PortRules| match station {
            _ if is_group(frame.destination) => true,
            _ if self.is_anybodys(frame.destination) => rules.mac == frame.destination,
            Some(station) => station.port == port,
            None => rules.any_source || rules.uplink,
        };
        let others = self.ports.iter().map(|(&port, other)| (port, other.rules)).filter(|(port, _)| *port != from);
        let wanted: Vec<_> = others.filter(|(port, rules)| wants(*port, rules)).collect();
        let allowed = wanted.iter().filter(|(_, rules)| !(sender.isolated && rules.isolated)).map(|(port, _)| *port);
        let allowed: Vec<_> = allowed.collect();
        match (wanted.len(), allowed.len()) {
            (0, _) => Err(Reason::Nobody),
            (_, 0) => Err(Reason::Isolated),
            _ => Ok(allowed),
        }
    }

    fn fate(&self, from: PortId, frame: &Header, now: u64) -> Fate {
        let receivers = match self.receivers(from, frame) {
            Ok(receivers) => receivers,
            Err(reason) => return Fate::Drop(reason),
        };
        let (port, packets) = (&self.ports[&from], u64::from(frame.frames));
        if is_group(frame.destination) && (packets > 100 || !port.groups.has(packets, now)) {
            return Fate::Drop(Reason::Storm);
        }
        match port.bits.has(bits(frame), now) && port.packets.has(packets, now) {
            true => Fate::To(receivers),
            false if port.rules.uplink => Fate::Drop(Reason::Rate),
            false => Fate::Later,
        }
    }

    fn forward(&mut self, from: PortId, frame: &Header, now: u64) -> Fate {
        self.learnt.retain(|station| now < station.seen + 300 * SECOND);
        let fate = self.fate(from, frame, now);
        let Some(port) = self.ports.get_mut(&from) else { return fate };
        match &fate {
            Fate::To(_) => {
                port.bits.take(bits(frame), now);
                port.packets.take(u64::from(frame.frames), now);
                if is_group(frame.destination) {
                    port.groups.take(u64::from(frame.frames), now);
                }
                port.sent = (port.sent.0 + 1, port.sent.1 + u64::from(frame.length));
                self.learn(from, frame.source, now);
            }
            Fate::Drop(reason) => *port.drops.entry(*reason as u8).or_default() += 1,
            Fate::Later => {}
        }
        fate
    }

    fn learn(&mut self, from: PortId, mac: Mac, now: u64) {
        if self.is_anybodys(mac) {
            return;
        }
        self.learnt.retain(|station| station.mac != mac);
        let own = self.learnt.iter().filter(|station| station.port == from).count() >= 16;
        if own || self.learnt.len() >= 64 {
            let candidates = self.learnt.iter().enumerate().filter(|(_, station)| !own || station.port == from);
            let (oldest, _) = candidates.min_by_key(|(_, station)| station.seen).unwrap();
            self.learnt.remove(oldest);
        }
        self.learnt.push(Station { mac, port: from, seen: now });
    }
}

#[derive(Clone, Debug)]
enum Step {
    Connect(PortId, PortRules),
    Disconnect(PortId),
    SetRate(PortId, Rate),
    Send(PortId, Header),
    /// Frames from this many stations behind a port, one after the other.
    Crowd(PortId, u16),
    Pass(u64),
}

fn port() -> impl Strategy<Value = PortId> {
    prop_oneof![9 => 0..8u8, 1 => 0..=17u8].prop_map(PortId)
}

/// Ports' own, stations', groups' and no address.
fn mac() -> impl Strategy<Value = Mac> {
    prop_oneof![
        8 => port().prop_map(own),
        8 => (port(), 0..20u16).prop_map(|(port, station)| behind(port, station)),
        3 => Just(Mac::BROADCAST),
        1 => Just(Mac([0; 6])),
        1 => Just(LLDP),
    ]
}

fn rate() -> impl Strategy<Value = Rate> {
    let bits = prop_oneof![Just(0), Just(1_000_000), Just(7_777_777_777)];
    let packets = prop_oneof![Just(0), Just(999), Just(100_000)];
    (bits, packets).prop_map(|(bits_per_s, packets_per_s)| Rate { bits_per_s, packets_per_s })
}

fn connect() -> impl Strategy<Value = Step> {
    let mac = prop_oneof![4 => Just(None), 1 => mac().prop_map(Some)];
    (port(), mac, rate(), any::<[bool; 4]>()).prop_map(|(port, mac, rate, [any_source, isolated, uplink, rare])| {
        let mac = mac.unwrap_or(own(port));
        Step::Connect(port, PortRules { mac, any_source, isolated, uplink: uplink && rare, rate })
    })
}

fn send() -> impl Strategy<Value = Step> {
    let length = prop_oneof![60..1515u32, 1515..65_551u32, Just(u32::MAX)];
    let source = prop_oneof![2 => Just(None), 1 => mac().prop_map(Some)];
    let cut = prop_oneof![4 => Just((1, 0)), 1 => (1..200u16, any::<u16>())];
    (port(), source, mac(), length, cut).prop_map(|(port, source, destination, length, (frames, repeated))| {
        let source = source.unwrap_or(own(port));
        Step::Send(port, Header { destination, source, length, frames, repeated })
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => connect(),
        1 => port().prop_map(Step::Disconnect),
        1 => (port(), rate()).prop_map(|(port, rate)| Step::SetRate(port, rate)),
        20 => send(),
        3 => (port(), 1..20u16).prop_map(|(port, stations)| Step::Crowd(port, stations)),
        2 => prop_oneof![1..SECOND / 100, 1..400 * SECOND].prop_map(Step::Pass),
    ]
}

/// Both, at one time.
struct Pair {
    switch: Switch,
    model: Model,
    now: u64,
}

impl Pair {
    fn send(&mut self, from: PortId, frame: &Header) -> Result<(), TestCaseError> {
        // So that no two addresses are equally old, and it is said which goes first.
        self.now += 1;
        let (verdict, fate) = (self.switch.forward(from, frame, self.now), self.model.forward(from, frame, self.now));
        match verdict {
            Verdict::To(ports) => prop_assert_eq!(Fate::To(ports.iter().collect()), fate),
            Verdict::Drop(reason) => prop_assert_eq!(Fate::Drop(reason), fate),
            Verdict::Later { until_ns } => {
                prop_assert_eq!(fate, Fate::Later);
                let port = &self.model.ports[&from];
                let may = |time| port.bits.has(bits(frame), time) && port.packets.has(u64::from(frame.frames), time);
                prop_assert!(until_ns > self.now && may(until_ns) && !may(until_ns - 1));
            }
        }
        Ok(())
    }

    fn go(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Connect(port, rules) => {
                prop_assert_eq!(self.switch.connect(port, rules), self.model.connect(port, rules));
            }
            Step::Disconnect(port) => {
                self.switch.disconnect(port);
                self.model.disconnect(port);
            }
            Step::SetRate(port, rate) => {
                let known = self.model.ports.get_mut(&port).map(|known| {
                    (known.bits, known.packets) = Model::levels(rate);
                });
                prop_assert_eq!(self.switch.set_rate(port, rate), known.ok_or(SwitchError::NotConnected(port)));
            }
            Step::Send(port, header) => self.send(port, &header)?,
            Step::Crowd(port, stations) => {
                for station in 0..stations {
                    self.send(port, &Header { length: 60, ..frame(behind(port, station), own(PortId(port.0 ^ 1))) })?;
                }
            }
            Step::Pass(time) => self.now += time,
        }
        Ok(())
    }

    /// Where each station is, and what was counted.
    fn compare(&self) -> Result<(), TestCaseError> {
        for (&port, model) in &self.model.ports {
            let counters = self.switch.counters(port).unwrap();
            prop_assert_eq!((counters.sent_frames, counters.sent_bytes), model.sent);
            for reason in Reason::ALL {
                prop_assert_eq!(counters.dropped(reason), model.drops.get(&(reason as u8)).copied().unwrap_or(0));
            }
        }
        let live = |station: &&Station| self.now < station.seen + 300 * SECOND;
        for port in (0..18).map(PortId) {
            for mac in (0..20).map(|station| behind(port, station)) {
                let station = self.model.learnt.iter().filter(live).find(|station| station.mac == mac);
                let own = self.model.ports.iter().find(|(_, port)| port.rules.mac == mac);
                let place = own.map(|(port, _)| *port).or(station.map(|station| station.port));
                prop_assert_eq!(self.switch.table.port_of(mac, self.now), place, "{}", mac);
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn random_lives_match_maps_and_lists(steps in proptest::collection::vec(step(), 1..300)) {
        let mut pair = Pair { switch: Switch::NONE, model: Model::default(), now: 0 };
        for step in steps {
            pair.go(step)?;
        }
        pair.compare()?;
    }
}
