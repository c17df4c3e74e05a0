//! QEMU as a child: two serial lines, typing, its end, and the report of a failure.

use crate::artifact;
use crate::debugger::Debugger;
use crate::line::{Line, Missing, end_of};
use crate::system::Directory;
use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Characters of each line that a failure prints.
const TAIL: usize = 10_000;
/// Between two looks at whether QEMU has ended.
const POLL: Duration = Duration::from_millis(5);

/// QEMU with a board in it.
#[derive(Debug)]
pub struct Run {
    child: Child,
    input: Option<ChildStdin>,
    /// The first PL011: whoever has the focus.
    pub console: Line,
    /// The second PL011: EL2's log.
    pub log: Line,
    monitor: UnixStream,
    command: String,
    seed: u32,
    /// The system that was booted.
    pub(crate) files: Option<Arc<Directory>>,
    _turn: Turn,
}

impl Run {
    /// Starts QEMU with `arguments` and both serial lines.
    pub(crate) fn start(arguments: &[String], seed: u32) -> Self {
        let turn = Turn::take();
        let (log, monitor) = (Socket::new("log", turn.number), Socket::new("monitor", turn.number));
        let mut command = Command::new("qemu-system-aarch64");
        command
            .args(arguments)
            .args(["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"])
            .args(["-chardev", &format!("socket,id=log,path={}", log.path()), "-serial", "chardev:log"])
            .args(["-chardev", &format!("socket,id=monitor,path={}", monitor.path()), "-mon", "chardev=monitor"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        let mut child = command.spawn().expect("qemu-system-aarch64 starts");
        // QEMU connects before it starts the board, or ends at once with a message on stderr.
        let log = Line::new(log.accept(&mut child));
        let monitor = monitor.accept(&mut child);
        Self {
            input: child.stdin.take(),
            console: Line::new(child.stdout.take().expect("a pipe was asked for")),
            log,
            monitor,
            command: format!("qemu-system-aarch64 {} -serial mon:stdio -serial file:el2.log", arguments.join(" ")),
            child,
            seed,
            files: None,
            _turn: turn,
        }
    }

    /// The same with a debugger at it: the board stands still.
    pub(crate) fn start_debugged(arguments: &[String], seed: u32) -> (Self, Debugger) {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("dormouse-debugger-{}-{number}", std::process::id()));
        let port = format!("unix:{},server=on,wait=off", artifact::text(&path));
        let run = Self::start(&[arguments, &["-S", "-gdb", &port].map(String::from)].concat(), seed);
        // QEMU makes this socket after those of the serial lines.
        let end = Instant::now() + crate::seconds(20);
        let stream = loop {
            match UnixStream::connect(&path) {
                Ok(stream) => break stream,
                Err(error) => assert!(Instant::now() < end, "{}: {error}", path.display()),
            }
            std::thread::sleep(POLL);
        };
        let _ = std::fs::remove_file(&path);
        (run, Debugger::new(stream))
    }

    /// Waits for `needle` on the console; the text up to its end.
    ///
    /// # Panics
    /// If it does not come within `time`.
    pub fn expect(&mut self, needle: &str, time: Duration) -> String {
        let found = self.console.wait(time, |text| end_of(text, needle));
        found.unwrap_or_else(|missing| fail("console", needle, missing, time))
    }

    /// Waits for `needle` in EL2's log; the text up to its end.
    ///
    /// # Panics
    /// If it does not come within `time`.
    pub fn expect_log(&mut self, needle: &str, time: Duration) -> String {
        let found = self.log.wait(time, |text| end_of(text, needle));
        found.unwrap_or_else(|missing| fail("EL2's log", needle, missing, time))
    }

    /// Waits until EL2's log has said all of `needles`, in whatever order.
    ///
    /// # Panics
    /// If it does not come within `time`.
    pub fn expect_log_of_all(&mut self, needles: &[String], time: Duration) {
        let all = |text: &str| needles.iter().try_fold(0, |last, needle| Some(end_of(text, needle)?.max(last)));
        let found = self.log.wait(time, all);
        found.unwrap_or_else(|missing| fail("EL2's log", &format!("{needles:?}"), missing, time));
    }

    /// Waits until EL2's log says that `vm` has ended; how it has.
    ///
    /// # Panics
    /// If it does not say so within `time`.
    pub fn expect_vm_end(&mut self, vm: &str, time: Duration) -> &'static str {
        self.expect_vm_ends(&[vm], time)[0]
    }

    /// Waits until EL2's log says that all of `vms` have ended, in whatever order; how they have.
    ///
    /// # Panics
    /// If it does not say so within `time`.
    pub fn expect_vm_ends(&mut self, vms: &[&str], time: Duration) -> Vec<&'static str> {
        let ended = |text: &str, vm: &str| {
            let ends = ENDS.iter().filter_map(|end| Some((end_of(text, &format!("] vm {vm}: {end}"))?, *end)));
            ends.min()
        };
        let all = |text: &str| vms.iter().try_fold(0, |last, vm| Some(ended(text, vm)?.0.max(last)));
        let found = self.log.wait(time, all);
        let text = found.unwrap_or_else(|missing| fail("EL2's log", &format!("end of {vms:?}"), missing, time));
        vms.iter().filter_map(|vm| Some(ended(&text, vm)?.1)).collect()
    }

    /// Waits for a whole line of the console that begins with `start`; the line.
    pub fn expect_line(&mut self, start: &str, time: Duration) -> String {
        self.expect(start, time);
        let rest = self.expect("\n", time);
        format!("{start}{}", rest.trim_end())
    }

    /// Types `text` at the console.
    pub fn send(&mut self, text: &str) {
        let input = self.input.as_mut().expect("standard input is open");
        input.write_all(text.as_bytes()).and_then(|()| input.flush()).expect("QEMU reads its console");
    }

    /// Presses the console's escape until the console is that of `name`. Every announcement of a console so far
    /// must have been waited for.
    ///
    /// # Panics
    /// If none of the consoles is.
    pub fn focus(&mut self, name: &str) {
        for _ in 0..8 {
            self.send("\u{1d}");
            if self.expect_line("[console: ", crate::seconds(20)) == format!("[console: {name}]") {
                return;
            }
        }
        panic!("no escape leads to the console of {name}");
    }

    /// Tells QEMU's monitor.
    pub fn monitor(&mut self, command: &str) {
        self.monitor.write_all(format!("{command}\n").as_bytes()).expect("QEMU reads its monitor");
    }

    /// Presses the board's reset button.
    pub fn reset(&mut self) {
        self.monitor("system_reset");
    }

    /// Closes QEMU's standard input, as a script that has nothing more to say.
    pub fn close_input(&mut self) {
        self.input = None;
    }

    /// Kills QEMU as a power cut would, with no time to put anything in order; all that the console has said.
    ///
    /// # Panics
    /// If QEMU is gone already.
    pub fn kill(mut self) -> String {
        assert!(self.child.try_wait().expect("QEMU is our child").is_none(), "QEMU has ended by itself");
        self.child.kill().expect("QEMU can be killed");
        let _ = self.console.wait(crate::seconds(20), |_| None);
        self.console.text()
    }

    /// Waits for QEMU's own end.
    ///
    /// # Panics
    /// If it does not come within `time`.
    pub fn expect_end(&mut self, time: Duration) -> ExitStatus {
        let end = Instant::now() + time;
        loop {
            if let Some(status) = self.child.try_wait().expect("QEMU is our child") {
                return status;
            }
            assert!(Instant::now() < end, "QEMU still runs after {time:?}");
            std::thread::sleep(POLL);
        }
    }

    /// Waits for QEMU's end and for the one fatal line of a start that went wrong; that line.
    ///
    /// # Panics
    /// If there is none, or more than one.
    pub fn expect_fatal(&mut self, time: Duration) -> String {
        self.expect_end(time);
        // Both readers see the end of their line soon after.
        let ended = |line: &mut Line| {
            let _ = line.wait(time, |_| None);
            line.text()
        };
        let (log, console) = (ended(&mut self.log), ended(&mut self.console));
        let fatal = [log, console]
            .iter()
            .flat_map(|text| text.lines())
            .filter(|line| line.contains(FATAL))
            .map(|line| line.trim_end().to_owned())
            .collect::<std::collections::BTreeSet<_>>();
        assert_eq!(fatal.len(), 1, "one line with `{FATAL}` is expected: {fatal:#?}");
        fatal.into_iter().next().unwrap_or_default()
    }

    /// Waits for a line of either serial line that contains `needle`; that line.
    ///
    /// # Panics
    /// If there is none within `time`.
    pub fn expect_on_any(&mut self, needle: &str, time: Duration) -> String {
        let end = Instant::now() + time;
        loop {
            let (log, console) = (self.log.text(), self.console.text());
            // A line that has not ended may lack what the caller looks for.
            let mut lines = whole_lines(&log).chain(whole_lines(&console));
            if let Some(line) = lines.find(|line| line.contains(needle)) {
                return line.trim_end().to_owned();
            }
            assert!(Instant::now() < end, "no {needle:?} on any line within {time:?}");
            std::thread::sleep(POLL);
        }
    }

    /// What a failure prints.
    fn report(&self) -> String {
        format!(
            "\n--- console ---\n{}\n--- EL2's log ---\n{}\n--- seed {}, to repeat (the archive is kept) ---\n{}\n",
            tail(&self.console.text()),
            tail(&self.log.text()),
            self.seed,
            self.command
        )
    }
}

/// How EL2's log says that a VM has ended.
const ENDS: [&str; 5] = ["powered off", "reset", "crashed", "stopped", "watchdog expired"];

/// What every fatal line of EL2 contains.
pub const FATAL: &str = "dormouse: fatal:";

/// Set to have the measuring image in all runs of one CPU in counted instructions; each says its longest stay at EL2 then.
pub const STAYS: &str = "DORMOUSE_STAYS";

impl Drop for Run {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.report());
        }
        if std::env::var_os(STAYS).is_some()
            && let Some(stay) = self.log.text().lines().rfind(|line| line.contains(" at EL2 for "))
        {
            println!("STAY {stay}");
        }
        // QEMU keeps nothing that it would have to put in order.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn fail(line: &str, needle: &str, missing: Missing, time: Duration) -> ! {
    match missing {
        Missing::TimeOut => panic!("no {needle:?} on {line} within {time:?}"),
        Missing::Ended => panic!("QEMU ended without {needle:?} on {line}"),
    }
}

fn tail(text: &str) -> String {
    let skip = text.chars().count().saturating_sub(TAIL);
    text.chars().skip(skip).collect()
}

/// The lines of `text` that have come to their end.
fn whole_lines(text: &str) -> std::str::Lines<'_> {
    text.rfind('\n').map_or("", |end| &text[..end]).lines()
}

/// A socket to which QEMU connects.
struct Socket {
    path: PathBuf,
    listener: UnixListener,
}

impl Socket {
    fn new(name: &str, number: u64) -> Self {
        let path = std::env::temp_dir().join(format!("dormouse-{name}-{}-{number}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).expect("socket for QEMU");
        listener.set_nonblocking(true).expect("non-blocking socket");
        Self { path, listener }
    }

    fn path(&self) -> &str {
        artifact::text(&self.path)
    }

    fn accept(&self, child: &mut Child) -> UnixStream {
        let end = Instant::now() + crate::seconds(20);
        loop {
            if let Ok((stream, _)) = self.listener.accept() {
                stream.set_nonblocking(false).expect("blocking socket");
                return stream;
            }
            let ended = child.try_wait().expect("QEMU is our child");
            assert!(ended.is_none() && Instant::now() < end, "QEMU does not start: {ended:?}");
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The right to run a QEMU: as many at a time as the host has CPUs.
#[derive(Debug)]
struct Turn {
    number: u64,
}

/// QEMUs that run, and how many have been started.
static TURNS: Mutex<(usize, u64)> = Mutex::new((0, 0));
static TURN_ENDED: Condvar = Condvar::new();

impl Turn {
    fn take() -> Self {
        let limit = std::thread::available_parallelism().map_or(1, |cpus| cpus.get().max(1));
        let mut turns = lock(&TURNS);
        while turns.0 >= limit {
            turns = TURN_ENDED.wait(turns).unwrap_or_else(PoisonError::into_inner);
        }
        turns.0 += 1;
        turns.1 += 1;
        Self { number: turns.1 }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        lock(&TURNS).0 -= 1;
        TURN_ENDED.notify_one();
    }
}

fn lock(turns: &Mutex<(usize, u64)>) -> MutexGuard<'_, (usize, u64)> {
    turns.lock().unwrap_or_else(PoisonError::into_inner)
}
