//! A serial line: what came, and waiting for what is to come.

use std::io::{ErrorKind, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// What a line has given so far, and whether it has ended.
#[derive(Default, Debug)]
struct Received {
    bytes: Vec<u8>,
    ended: bool,
}

/// The receiving side of a serial line. A thread reads it for as long as QEMU lives.
#[derive(Debug)]
pub struct Line {
    shared: Arc<(Mutex<Received>, Condvar)>,
    /// Everything before this was waited for already.
    position: usize,
}

/// Why a wait ended without its text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Missing {
    /// The time was up.
    TimeOut,
    /// The line ended: QEMU is gone.
    Ended,
}

impl Line {
    /// Reads `source` until it ends.
    pub fn new(mut source: impl Read + Send + 'static) -> Self {
        let shared = Arc::new((Mutex::new(Received::default()), Condvar::new()));
        let writer = Arc::clone(&shared);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                let count = match source.read(&mut buffer) {
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    count => count.unwrap_or(0),
                };
                let (received, changed) = &*writer;
                let mut received = lock(received);
                received.bytes.extend_from_slice(&buffer[..count]);
                received.ended = count == 0;
                changed.notify_all();
                if count == 0 {
                    return;
                }
            }
        });
        Self { shared, position: 0 }
    }

    /// Waits until `found` finds something in what came since the last find; it gives the number
    /// of bytes that are done with. The text up to there.
    ///
    /// # Errors
    /// [`Missing`].
    pub fn wait(&mut self, time: Duration, found: impl Fn(&str) -> Option<usize>) -> Result<String, Missing> {
        let end = Instant::now() + time;
        let (received, changed) = &*self.shared;
        let mut received = lock(received);
        loop {
            // Latin-1, so that positions in text and bytes agree whatever a guest prints.
            let text = latin1(&received.bytes[self.position..]);
            if let Some(length) = found(&text) {
                let text: String = text.chars().take(length).collect();
                self.position += length;
                return Ok(text);
            }
            if received.ended {
                return Err(Missing::Ended);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Missing::TimeOut);
            }
            received = changed.wait_timeout(received, left).unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
    }

    /// Everything so far.
    pub fn text(&self) -> String {
        latin1(&lock(&self.shared.0).bytes)
    }

    /// What came since the last find.
    pub fn unread(&self) -> String {
        latin1(&lock(&self.shared.0).bytes[self.position..])
    }
}

/// Where `needle` ends in `text`, in characters, each of which was a byte.
pub fn end_of(text: &str, needle: &str) -> Option<usize> {
    let place = text.find(needle)?;
    Some(text[..place].chars().count() + needle.chars().count())
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

fn lock(received: &Mutex<Received>) -> MutexGuard<'_, Received> {
    received.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_come_in_order_and_an_end_is_told_from_a_time_out() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let mut line = Line::new(reader);
        std::io::Write::write_all(&mut writer, b"one \xff two\n").unwrap();
        let long = Duration::from_secs(10);
        assert_eq!(line.wait(long, |text| end_of(text, "\u{ff}")).unwrap(), "one \u{ff}");
        assert_eq!(line.wait(long, |text| end_of(text, "two")).unwrap(), " two");
        let missing = line.wait(Duration::from_millis(1), |text| end_of(text, "one"));
        assert_eq!(missing, Err(Missing::TimeOut), "what was found once is gone");
        drop(writer);
        assert_eq!(line.wait(long, |text| end_of(text, "one")), Err(Missing::Ended));
        assert_eq!(line.text(), "one \u{ff} two\n");
    }
}
