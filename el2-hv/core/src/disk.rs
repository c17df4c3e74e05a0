//! What a guest's disk may do in a second, and what it has done.
//!
//! A request is begun when those before it are paid for, whatever it costs itself, and is paid for by those after it. So
//! a disk below its limits never waits, one above them waits for each request as long as the last one was worth, and no
//! request is too large to be ever begun. What waits, waits in order, a flush among it.

use crate::switch::Bucket;

/// A burst is what one second brings, divided by this: 10 ms, as of a network card, and at least one request.
const BURST: u64 = 100;

/// What a disk may do; what is 0 is not limited.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DiskRate {
    /// Requests of every kind, in each second.
    pub iops: u32,
    /// Bytes in each second, those of reads, writes and writes of zeroes together.
    pub bytes_per_s: u64,
}

/// What a request is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Work {
    /// A read of so many bytes.
    Read(u32),
    /// A write of so many bytes.
    Write(u32),
    /// A flush.
    Flush,
    /// A discard.
    Discard,
    /// A write of zeroes, of so many bytes.
    Zeroes(u64),
}

impl Work {
    /// Bytes that count in a disk's limit. A discard moves none.
    const fn bytes(self) -> u64 {
        match self {
            Self::Read(bytes) | Self::Write(bytes) => bytes as u64,
            Self::Zeroes(bytes) => bytes,
            Self::Flush | Self::Discard => 0,
        }
    }
}

/// The limits of a disk. Times are nanoseconds of any clock; a time before the latest one counts as that.
#[derive(Clone, Copy, Debug)]
pub struct Throttle {
    requests: Bucket,
    bytes: Bucket,
    rate: DiskRate,
}

impl Throttle {
    /// No limits: all zero.
    pub const NONE: Self =
        Self { requests: Bucket::NONE, bytes: Bucket::NONE, rate: DiskRate { iops: 0, bytes_per_s: 0 } };

    /// These limits, beginning with a whole burst.
    pub const fn new(rate: DiskRate) -> Self {
        Self { requests: bucket(rate.iops as u64), bytes: bucket(rate.bytes_per_s), rate }
    }

    /// The limits.
    pub const fn rate(&self) -> DiskRate {
        self.rate
    }

    /// Whether there is a limit at all.
    #[inline]
    pub const fn is_limited(&self) -> bool {
        self.rate.iops != 0 || self.rate.bytes_per_s != 0
    }

    /// Until when the next request has to wait; `None` where it may be begun.
    #[inline]
    pub fn wait(&self, now_ns: u64) -> Option<u64> {
        self.requests.wait(1, now_ns).max(self.bytes.wait(1, now_ns))
    }

    /// A request is begun.
    #[inline]
    pub const fn take(&mut self, work: Work, now_ns: u64) {
        self.requests.take(1, now_ns);
        self.bytes.take(work.bytes(), now_ns);
    }
}

const fn bucket(rate: u64) -> Bucket {
    let burst = rate / BURST;
    Bucket::new(rate, if burst > 0 { burst } else { 1 })
}

/// What a disk has done since its VM has it. The numbers wrap.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DiskCounters {
    /// Reads that were done.
    pub reads: u64,
    /// Bytes of these.
    pub read_bytes: u64,
    /// Writes that were done.
    pub writes: u64,
    /// Bytes of these.
    pub written_bytes: u64,
    /// Flushes that were done.
    pub flushes: u64,
    /// Discards and writes of zeroes that were done.
    pub others: u64,
    /// Requests that failed.
    pub failed: u64,
    /// How often the disk had to wait for its limits.
    pub waits: u64,
}

impl DiskCounters {
    /// Nothing was done: all zero.
    pub const NONE: Self =
        Self { reads: 0, read_bytes: 0, writes: 0, written_bytes: 0, flushes: 0, others: 0, failed: 0, waits: 0 };

    /// A request is over.
    #[inline]
    pub const fn ended(&mut self, work: Work, went_well: bool) {
        let (count, bytes) = match work {
            _ if !went_well => return add(&mut self.failed, 1),
            Work::Read(bytes) => (&mut self.reads, Some((&mut self.read_bytes, bytes))),
            Work::Write(bytes) => (&mut self.writes, Some((&mut self.written_bytes, bytes))),
            Work::Flush => (&mut self.flushes, None),
            Work::Discard | Work::Zeroes(_) => (&mut self.others, None),
        };
        add(count, 1);
        if let Some((sum, bytes)) = bytes {
            add(sum, bytes as u64);
        }
    }

    /// The disk has to wait.
    pub const fn waits(&mut self) {
        add(&mut self.waits, 1);
    }
}

#[inline]
const fn add(count: &mut u64, more: u64) {
    *count = count.wrapping_add(more);
}

#[cfg(test)]
mod tests;
