//! Load on a disk or a network card of a Linux guest, for so many seconds; what it came to, each second: `LOAD <number>`.
//!
//! `load disk DEVICE BYTES DEPTH random|sequential SECONDS`: requests of so many bytes past the cache by `DEPTH` threads, each
//! at one at a time. Random ones are reads and writes in turn, sequential ones are reads. A request is one.
//! `load serve PORT`: whoever connects and sends `s` has all that follows taken, after `r` each byte sent back.
//! `load stream ADDRESS SECONDS`: bytes sent to a server; `load exchange ADDRESS SECONDS`: bytes sent and answered, one by one.
//! `load whole CARD`: the card gets no more frames that it would have to cut.

use std::ffi::{CString, c_void};
use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Read, Result, Seek, SeekFrom, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// What O_DIRECT wants of a buffer's address.
const PAGE: usize = 4096;
/// Bytes of one write to a stream.
const CHUNK: usize = 256 << 10;
/// ETHTOOL_STSO and ETHTOOL_SGSO (linux/ethtool.h): segments are cut by the card, and not before the driver.
const SEGMENTS: [u32; 2] = [0x1f, 0x24];

fn main() -> ExitCode {
    let words = std::env::args().skip(1).collect::<Vec<_>>();
    let words = words.iter().map(String::as_str).collect::<Vec<_>>();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> Result<()> {
    match *words {
        ["disk", device, bytes, depth, order, time] => {
            let load = Disk { device, bytes: number(bytes)?, random: order == "random", time: seconds(time)? };
            load.run(number(depth)?)
        }
        ["serve", port] => serve(&TcpListener::bind(("0.0.0.0", number(port)? as u16))?),
        ["stream", address, time] => {
            let data = vec![0x5a; CHUNK];
            client(address, b"s", seconds(time)?, |stream| {
                stream.write_all(&data)?;
                Ok(CHUNK)
            })
        }
        ["exchange", address, time] => client(address, b"r", seconds(time)?, |stream| {
            stream.write_all(&[1])?;
            stream.read_exact(&mut [0])?;
            Ok(1)
        }),
        ["whole", card] => SEGMENTS.iter().try_for_each(|command| switch_off(card, *command)),
        _ => Err(wrong("what is it to do?")),
    }
}

fn wrong(what: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, what)
}

fn number(word: &str) -> Result<usize> {
    word.parse().map_err(|_| wrong(word))
}

fn seconds(word: &str) -> Result<Duration> {
    Ok(Duration::from_secs(number(word)? as u64))
}

fn say(count: u64, took: Duration) {
    println!("LOAD {:.1}", count as f64 / took.as_secs_f64());
}

/// What a disk is asked for.
#[derive(Clone, Copy)]
struct Disk<'w> {
    device: &'w str,
    bytes: usize,
    random: bool,
    time: Duration,
}

impl Disk<'_> {
    fn run(self, depth: usize) -> Result<()> {
        let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_DIRECT).open(self.device)?;
        let blocks = (&file).seek(SeekFrom::End(0))? / self.bytes as u64;
        if blocks == 0 {
            return Err(wrong("the disk is shorter than a request"));
        }
        let start = Instant::now();
        let file = &file;
        let done = std::thread::scope(|scope| {
            let threads = (0..depth as u64).map(|thread| scope.spawn(move || self.requests(file, blocks, thread)));
            let threads = threads.collect::<Vec<_>>();
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err(wrong("a thread")))).sum()
        });
        let done: Result<u64> = done;
        say(done?, start.elapsed());
        Ok(())
    }

    /// One thread's requests: how many there were in the time.
    fn requests(self, file: &File, blocks: u64, thread: u64) -> Result<u64> {
        let buffer = aligned(self.bytes);
        let (start, mut done, mut state) = (Instant::now(), 0, thread + 1);
        while start.elapsed() < self.time {
            let at = if self.random { next(&mut state) % blocks } else { done % blocks } * self.bytes as u64;
            if self.random && done % 2 == 1 {
                file.write_all_at(buffer, at)?;
            } else {
                file.read_exact_at(buffer, at)?;
            }
            done += 1;
        }
        Ok(done)
    }
}

/// Numbers without order (Marsaglia's xorshift, 64 bits).
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// A buffer on a page, which lives as long as the program.
fn aligned(bytes: usize) -> &'static mut [u8] {
    let more = vec![0; bytes + PAGE].leak();
    let skip = more.as_ptr().align_offset(PAGE);
    &mut more[skip..skip + bytes]
}

fn serve(listener: &TcpListener) -> Result<()> {
    loop {
        let (mut stream, _) = listener.accept()?;
        // A client that goes away ends its connection and nothing else.
        std::thread::spawn(move || answer(&mut stream));
    }
}

fn answer(stream: &mut TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let (mut kind, mut data) = ([0], vec![0; CHUNK]);
    stream.read_exact(&mut kind)?;
    loop {
        let count = stream.read(&mut data)?;
        if count == 0 {
            return Ok(());
        }
        if kind == *b"r" {
            stream.write_all(&data[..count])?;
        }
    }
}

fn client(
    address: &str,
    kind: &[u8],
    time: Duration,
    mut step: impl FnMut(&mut TcpStream) -> Result<usize>,
) -> Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.write_all(kind)?;
    let (start, mut sum) = (Instant::now(), 0);
    while start.elapsed() < time {
        sum += step(&mut stream)? as u64;
    }
    say(sum, start.elapsed());
    Ok(())
}

/// struct ethtool_value (linux/ethtool.h).
#[repr(C)]
struct Setting {
    command: u32,
    value: u32,
}

/// struct ifreq with a pointer (netdevice(7)): 40 bytes.
#[repr(C)]
struct Request {
    card: [u8; libc::IFNAMSIZ],
    setting: *mut Setting,
    rest: [u64; 2],
}

fn switch_off(card: &str, command: u32) -> Result<()> {
    const SIOCETHTOOL: libc::c_int = 0x8946;
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    let name = CString::new(card)?;
    let mut setting = Setting { command, value: 0 };
    let mut request = Request { card: [0; libc::IFNAMSIZ], setting: &raw mut setting, rest: [0; 2] };
    let bytes = name.as_bytes();
    request.card.get_mut(..bytes.len()).ok_or_else(|| wrong(card))?.copy_from_slice(bytes);
    let request = (&raw mut request).cast::<c_void>();
    // SAFETY: SIOCETHTOOL takes a struct ifreq and what its pointer leads to, both of which live.
    match unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, request) } {
        -1 => Err(Error::last_os_error()),
        _ => Ok(()),
    }
}
