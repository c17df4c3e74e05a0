//! A peer for tests: EL2's end of a port over a socket pair, written from the contract's layout
//! of a frame and from nothing of what it tests.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::Duration;

use crate::error::Error;
use crate::port::{Devices, Link};

/// Header flag: more frames follow.
pub(crate) const MORE: u16 = 2;
/// Header flag: the body is EL2's error.
pub(crate) const ERROR: u16 = 4;
/// Header flag: the body is an event.
pub(crate) const EVENT: u16 = 8;

/// A message that came from the program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Asked {
    /// 0 is `hv`, 1 is `sos`.
    pub(crate) party: u8,
    /// Flags of its first frame.
    pub(crate) flags: u16,
    /// Its number.
    pub(crate) id: u32,
    /// Its body.
    pub(crate) body: Vec<u8>,
}

/// The bytes of a frame.
pub(crate) fn frame(party: u8, flags: u16, id: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = b"DMf1\x01".to_vec();
    bytes.push(party);
    bytes.extend(flags.to_le_bytes());
    bytes.extend(id.to_le_bytes());
    bytes.extend((body.len() as u16).to_le_bytes());
    bytes.extend([0; 10]);
    bytes.extend(body);
    bytes
}

/// Reads one message; `None` at the end of the stream.
pub(crate) fn read_message(stream: &mut impl Read) -> Option<Asked> {
    let mut asked: Option<Asked> = None;
    loop {
        let mut header = [0; 24];
        stream.read_exact(&mut header).ok()?;
        assert_eq!(&header[..5], b"DMf1\x01");
        assert_eq!(header[14..], [0; 10], "port and VM are EL2's to fill in");
        let flags = u16::from_le_bytes([header[6], header[7]]);
        let length = usize::from(u16::from_le_bytes([header[12], header[13]]));
        assert!(length <= 216);
        let mut body = vec![0; length];
        stream.read_exact(&mut body).ok()?;
        let id = u32::from_le_bytes(header[8..12].try_into().ok()?);
        let message = asked.get_or_insert(Asked { party: header[5], flags, id, body: Vec::new() });
        assert_eq!((message.party, message.id), (header[5], id));
        message.body.extend(body);
        if flags & MORE == 0 {
            return asked;
        }
    }
}

/// A port and EL2's end of it.
pub(crate) fn pair() -> (Link, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    (Link::new(OwnedFd::from(ours)), theirs)
}

/// What EL2 does about a message: pieces of bytes that it writes one by one.
pub(crate) trait Script: FnMut(&Asked) -> Vec<Vec<u8>> + Send + 'static {}
impl<F: FnMut(&Asked) -> Vec<Vec<u8>> + Send + 'static> Script for F {}

/// Plays EL2 until the program closes the port; gives what was asked.
pub(crate) fn el2(mut stream: UnixStream, mut script: impl Script) -> JoinHandle<Vec<Asked>> {
    spawn(move || {
        let mut all = Vec::new();
        while let Some(asked) = read_message(&mut stream) {
            for piece in script(&asked) {
                // The program may have closed the port meanwhile.
                let _ = stream.write_all(&piece);
                sleep(Duration::from_millis(1));
            }
            all.push(asked);
        }
        all
    })
}

/// Ports whose opening goes as told: each `open` takes the next outcome; after the last one, all are in use.
pub(crate) struct FakeDevices {
    /// Devices that exist.
    pub(crate) ports: Vec<PathBuf>,
    /// What opening gives.
    pub(crate) outcomes: RefCell<VecDeque<io::Result<Link>>>,
    /// What was opened.
    pub(crate) opened: RefCell<Vec<PathBuf>>,
}

impl FakeDevices {
    /// As many ports as named, and outcomes of opening them.
    pub(crate) fn new<const N: usize>(ports: &[&str], outcomes: [io::Result<Link>; N]) -> Self {
        Self {
            ports: ports.iter().map(PathBuf::from).collect(),
            outcomes: RefCell::new(outcomes.into()),
            opened: RefCell::default(),
        }
    }
}

impl Devices for FakeDevices {
    fn ports(&self) -> Result<Vec<PathBuf>, Error> {
        Ok(self.ports.clone())
    }

    fn open(&self, path: &Path) -> io::Result<Link> {
        self.opened.borrow_mut().push(path.to_owned());
        let outcome = self.outcomes.borrow_mut().pop_front();
        outcome.unwrap_or_else(|| Err(busy()))
    }
}

/// What a port gives that is in use.
pub(crate) fn busy() -> io::Error {
    rustix::io::Errno::BUSY.into()
}
