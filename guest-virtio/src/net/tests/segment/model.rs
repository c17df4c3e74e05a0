//! TCP segments in Ethernet frames, built and read as their RFCs have them.

use super::super::exchange::sum;
use crate::net::Protocol;
use crate::testing::Random;

pub(super) const FIN: u8 = 0x01;
pub(super) const SYN: u8 = 0x02;
pub(super) const PSH: u8 = 0x08;
pub(super) const ACK: u8 = 0x10;
pub(super) const URG: u8 = 0x20;
pub(super) const ECE: u8 = 0x40;
pub(super) const CWR: u8 = 0x80;

/// What lies between Ethernet and TCP.
#[derive(Clone, Debug)]
pub(super) enum Ip {
    V4 {
        options: Vec<u8>,
        identification: u16,
        fragment: u16,
    },
    /// Extension headers: what each is, and its bytes but the first.
    V6 {
        extensions: Vec<(u8, Vec<u8>)>,
    },
}

/// One TCP segment, or what is to be cut into some.
#[derive(Clone, Debug)]
pub(super) struct Packet {
    pub(super) tags: Vec<u16>,
    pub(super) ip: Ip,
    pub(super) sequence: u32,
    pub(super) control: u8,
    pub(super) urgent: u16,
    pub(super) options: Vec<u8>,
    pub(super) payload: Vec<u8>,
}

/// A packet over IPv4 without options, with 3,000 bytes.
pub(super) fn ipv4() -> Packet {
    let ip = Ip::V4 { options: vec![], identification: 0x1234, fragment: 0 };
    Packet { tags: vec![], ip, sequence: 0x9abc_def0, control: ACK, urgent: 0, options: vec![], payload: vec![] }
        .with_payload(3000)
}

/// The same over IPv6.
pub(super) fn ipv6() -> Packet {
    Packet { ip: Ip::V6 { extensions: vec![] }, ..ipv4() }
}

/// The checksum of bytes that have the sum of what precedes them in them (RFC 1071 §1), as it stands in a frame: never zero.
pub(super) fn checksum(bytes: &[u8]) -> [u8; 2] {
    match !sum(bytes) {
        0 => [0xff; 2],
        sum => sum.to_be_bytes(),
    }
}

impl Packet {
    pub(super) fn with_payload(self, length: usize) -> Self {
        Self { payload: (0..length).map(|at| (at * 7 / 5) as u8).collect(), ..self }
    }

    pub(super) fn with_tags(self, tags: &[u16]) -> Self {
        Self { tags: tags.to_vec(), ..self }
    }

    pub(super) fn with_options(self, bytes: &[u8]) -> Self {
        Self { ip: Ip::V4 { options: bytes.to_vec(), identification: 7, fragment: 0 }, ..self }
    }

    /// With one more extension header of `units` times 8 bytes behind the first 8, whose fourth byte is `fourth`.
    pub(super) fn with_extension(mut self, kind: u8, units: u8, fourth: u8) -> Self {
        if let Ip::V6 { extensions } = &mut self.ip {
            let mut bytes = vec![units, 0, fourth];
            bytes.resize(7 + 8 * usize::from(units), 0x33);
            extensions.push((kind, bytes));
        }
        self
    }

    pub(super) fn random(random: &Random) -> Self {
        let bytes = |count: u64| (0..count).map(|_| random.next() as u8).collect::<Vec<u8>>();
        let mut packet = random.pick::<fn() -> Self>(&[ipv4, ipv6])();
        match &mut packet.ip {
            Ip::V4 { options, identification, fragment } => {
                // Record route, router alert, and what is the shortest.
                let known: [&[u8]; 4] = [&[], &[7, 7, 4, 0, 0, 0, 0, 1], &[148, 4, 0, 0], &[1, 200, 2, 0]];
                *options = random.pick(&known).repeat(random.below(5) as usize);
                (*identification, *fragment) = (random.next() as u16, random.pick(&[0, 0x4000]));
            }
            Ip::V6 { .. } => {
                let kinds: [&[u8]; 4] = [&[], &[0], &[0, 60, 43, 60], &[60, 60]];
                for &kind in random.pick(&kinds) {
                    packet = packet.with_extension(kind, random.below(3) as u8, 0);
                }
            }
        }
        let tags: [&[u16]; 3] = [&[], &[0x8100], &[0x88a8, 0x8100]];
        let options = bytes(4 * random.below(11));
        let (sequence, control, urgent) = (random.next() as u32, random.next() as u8 & !SYN, random.next() as u16);
        Self { sequence, control, urgent, options, ..packet }.with_tags(random.pick(&tags))
    }

    pub(super) fn protocol(&self) -> Protocol {
        match self.ip {
            Ip::V4 { .. } => Protocol::Tcp4,
            Ip::V6 { .. } => Protocol::Tcp6,
        }
    }

    /// Where TCP begins.
    pub(super) fn tcp_at(&self) -> usize {
        let ip = match &self.ip {
            Ip::V4 { options, .. } => 20 + options.len(),
            Ip::V6 { extensions } => 40 + extensions.iter().map(|(_, bytes)| 1 + bytes.len()).sum::<usize>(),
        };
        14 + 4 * self.tags.len() + ip
    }

    /// What it is to be cut into: pieces of the stream, each in a packet of its own.
    pub(super) fn cut(&self, size: u16) -> Vec<Self> {
        let mut pieces: Vec<&[u8]> = self.payload.chunks(size.into()).collect();
        if pieces.is_empty() {
            pieces.push(&[]);
        }
        let last = pieces.len() - 1;
        let piece = |(index, bytes): (usize, &&[u8])| {
            let before = index * usize::from(size);
            let mut packet = Self { payload: bytes.to_vec(), ..self.clone() };
            packet.sequence = (u64::from(self.sequence) + before as u64) as u32;
            if let Ip::V4 { identification, .. } = &mut packet.ip {
                *identification = (usize::from(*identification) + index) as u16;
            }
            if index != last {
                packet.control &= !(FIN | PSH);
            }
            if index != 0 {
                packet.control &= !CWR;
                packet.urgent = (i64::from(self.urgent) - before as i64).max(0) as u16;
                packet.control &= if packet.urgent == 0 { !URG } else { 0xff };
            }
            packet
        };
        pieces.iter().enumerate().map(piece).collect()
    }

    /// The frame, all its lengths and checksums right.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let (front, pseudo, kind) = self.ip_bytes();
        let mut tcp = self.tcp_bytes();
        let sum = checksum(&[pseudo, tcp.clone()].concat());
        tcp[16..18].copy_from_slice(&sum);
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        for tag in &self.tags {
            frame.extend([tag.to_be_bytes(), [0x60, 0x2a]].concat());
        }
        [frame, kind.to_vec(), front, tcp].concat()
    }

    /// The frame as a guest sends it that is to be cut: its lengths and checksums are what they like.
    pub(super) fn unfinished(&self) -> Vec<u8> {
        let mut bytes = self.bytes();
        let (ip, tcp) = (14 + 4 * self.tags.len(), self.tcp_at());
        let places = match self.ip {
            Ip::V4 { .. } => [ip + 2, ip + 10, tcp + 16],
            Ip::V6 { .. } => [ip + 4, ip + 4, tcp + 16],
        };
        for at in places {
            bytes[at..at + 2].copy_from_slice(&[0x5a, 0xa6]);
        }
        bytes
    }

    /// From the ports to the payload, without a checksum (RFC 9293 §3.1).
    fn tcp_bytes(&self) -> Vec<u8> {
        let offset = ((20 + self.options.len()) / 4 * 16) as u8;
        let mut bytes = vec![0x1f, 0x90, 0xc0, 0x01];
        bytes.extend(self.sequence.to_be_bytes());
        bytes.extend([0xa0, 0xb0, 0xc0, 0xd0, offset, self.control, 0x12, 0x34, 0, 0]);
        bytes.extend(self.urgent.to_be_bytes());
        [bytes, self.options.clone(), self.payload.clone()].concat()
    }

    /// IP's headers, the pseudo header, and the EtherType.
    fn ip_bytes(&self) -> (Vec<u8>, Vec<u8>, [u8; 2]) {
        let tcp = 20 + self.options.len() + self.payload.len();
        match &self.ip {
            Ip::V4 { options, identification, fragment } => {
                // RFC 791 §3.1; what is too long for its field is a frame that is yet to be cut.
                let length = (20 + options.len() + tcp) as u16;
                let addresses = [10, 0, 0, 1, 192, 168, 3, 4];
                let words = [length, *identification, *fragment];
                let mut bytes = vec![0x45 + options.len() as u8 / 4, 0x10];
                bytes.extend(words.iter().flat_map(|word| word.to_be_bytes()));
                bytes.extend([64, 6, 0, 0]);
                bytes.extend(addresses);
                bytes.extend(options);
                let sum = !sum(&bytes);
                bytes[10..12].copy_from_slice(&sum.to_be_bytes());
                // RFC 9293 §3.1.
                let pseudo = [&addresses[..], &[0, 6], &(tcp as u16).to_be_bytes()].concat();
                (bytes, pseudo, [0x08, 0x00])
            }
            Ip::V6 { extensions } => {
                // RFC 8200 §3 and §4.
                let mut chain = vec![];
                let kinds = extensions.iter().map(|(kind, _)| *kind).chain([6]).collect::<Vec<u8>>();
                for ((_, bytes), next) in extensions.iter().zip(&kinds[1..]) {
                    chain.push(*next);
                    chain.extend(bytes);
                }
                let addresses: Vec<u8> = (0..32).map(|byte| byte * 5 + 0x20).collect();
                let [high, low] = ((chain.len() + tcp) as u16).to_be_bytes();
                let bytes = [vec![0x6a, 0xbc, 0xde, 0xf0, high, low, kinds[0], 64], addresses.clone(), chain].concat();
                // RFC 8200 §8.1.
                let pseudo = [addresses, (tcp as u32).to_be_bytes().to_vec(), vec![0, 0, 0, 6]].concat();
                (bytes, pseudo, [0x86, 0xdd])
            }
        }
    }
}

/// What of a frame its receiver reads.
pub(super) struct Received {
    /// 0 over IPv6.
    pub(super) identification: u16,
    pub(super) sequence: u32,
    pub(super) control: u8,
    pub(super) urgent: u16,
    pub(super) payload: Vec<u8>,
}

/// Reads a frame as its receiver does, who takes none with a wrong length or checksum.
pub(super) fn read(frame: &[u8]) -> Received {
    let word = |bytes: &[u8], at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    let mut at = 12;
    while matches!(word(frame, at), 0x8100 | 0x88a8) {
        at += 4;
    }
    let (kind, ip) = (word(frame, at), &frame[at + 2..]);
    let (identification, addresses, length) = if kind == 0x0800 {
        let length = usize::from(ip[0] & 15) * 4;
        assert_eq!((ip[0] >> 4, ip[9], usize::from(word(ip, 2))), (4, 6, ip.len()));
        assert_eq!(sum(&ip[..length]), 0xffff, "the header with its checksum (RFC 791 §3.1)");
        (word(ip, 4), &ip[12..20], length)
    } else {
        assert_eq!((kind, ip[0] >> 4, usize::from(word(ip, 4))), (0x86dd, 6, ip.len() - 40));
        let (mut next, mut length) = (ip[6], 40);
        while next != 6 {
            (next, length) = (ip[length], length + 8 * (1 + usize::from(ip[length + 1])));
        }
        (0, &ip[8..40], length)
    };
    let tcp = &ip[length..];
    let pseudo = [addresses, &[0, 6], &(tcp.len() as u16).to_be_bytes()].concat();
    assert_eq!(sum(&[&pseudo, tcp].concat()), 0xffff, "all of it with its checksum (RFC 9293 §3.1)");
    Received {
        identification,
        sequence: u32::from(word(tcp, 4)) << 16 | u32::from(word(tcp, 6)),
        control: tcp[13],
        urgent: word(tcp, 18),
        payload: tcp[usize::from(tcp[12] >> 4) * 4..].to_vec(),
    }
}
