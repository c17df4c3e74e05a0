//! The terminal while it is another VM's: every key goes there, and it is as before afterwards, whatever ends the program
//! but SIGKILL.

use std::io::{self, Read, stdin};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcsetattr};

/// Signals that end the program in good order: SIGHUP, SIGINT, SIGQUIT and SIGTERM.
const SIGNALS: [i32; 4] = [1, 2, 3, 15];

/// Standard input as it was, and as it is to be again.
#[derive(Debug)]
pub(crate) struct Terminal {
    before: Option<Termios>,
    signals: OwnedFd,
}

impl Terminal {
    /// Takes over standard input: where that is a terminal, and `raw`, each key is read as it is.
    ///
    /// # Errors
    /// The terminal's, or those of signals.
    pub(crate) fn take(raw: bool) -> io::Result<Self> {
        let (signals, raised) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        for signal in SIGNALS {
            signal_hook::low_level::pipe::register(signal, raised.try_clone()?)?;
        }
        let before = if raw && isatty(stdin()) { Some(tcgetattr(stdin())?) } else { None };
        if let Some(mut now) = before.clone() {
            now.make_raw();
            tcsetattr(stdin(), OptionalActions::Now, &now)?;
        }
        Ok(Self { before, signals })
    }

    /// Whether a person types.
    pub(crate) const fn is_raw(&self) -> bool {
        self.before.is_some()
    }

    /// Readable when a signal has come that ends the program.
    pub(crate) fn signals(&self) -> BorrowedFd<'_> {
        self.signals.as_fd()
    }

    /// Reads what was typed; 0 at the end.
    ///
    /// # Errors
    /// Of standard input.
    pub(crate) fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        // Unbuffered: what is read is not waited for any more.
        let mut input = std::fs::File::from(stdin().as_fd().try_clone_to_owned()?);
        input.read(into)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // Nothing can be done about a terminal that is gone.
            let _ = tcsetattr(stdin(), OptionalActions::Flush, before);
        }
    }
}
