//! Page numbers out of a chain: an array of 32-bit numbers (virtio 1.2 §5.5.6), however it is cut into buffers (§2.7.4).

use super::{Answer, Came};
use crate::memory::GuestMemory;
use crate::queue::{Chain, Direction, QueueError, Step};

/// Bytes of a number.
const NUMBER: usize = 4;

/// The number that has come in part, or is to be asked for again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    bytes: [u8; NUMBER],
    come: u8,
}

impl Numbers {
    /// None: all zero, for a static table.
    pub(super) const NONE: Self = Self { bytes: [0; NUMBER], come: 0 };

    /// A step along a chain: asks for the number that has come, reads what is missing of one, or goes to the next buffer.
    pub(super) fn take(
        &mut self,
        chain: &mut Chain,
        memory: &dyn GuestMemory,
        ask: &mut dyn FnMut(u32) -> Answer,
    ) -> Result<Came, QueueError> {
        let come = usize::from(self.come);
        if come == NUMBER {
            return Ok(match ask(u32::from_le_bytes(self.bytes)) {
                Answer::Later => Came::Nowhere,
                Answer::Done => {
                    *self = Self::NONE;
                    Came::Further
                }
            });
        }
        let Some(segment) = chain.current() else {
            return match chain.advance(memory)? {
                Step::End if come > 0 => Err(QueueError::Short(chain.head())),
                Step::End => Ok(Came::ToItsEnd),
                // The device reads them; what it could write holds no number of the driver's.
                Step::Segment(segment) if segment.direction != Direction::Readable => {
                    Err(QueueError::Direction(chain.head()))
                }
                Step::Table | Step::Segment(_) => Ok(Came::Further),
            };
        };
        let count = (segment.length as usize).min(NUMBER - come);
        memory.read(segment.ipa, &mut self.bytes[come..come + count])?;
        chain.consume(count as u32);
        self.come += count as u8;
        Ok(Came::Further)
    }
}
