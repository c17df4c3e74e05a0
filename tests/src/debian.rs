//! Debian's shell on the console, driven line by line.

use crate::run::Run;
use serde_json::Value;
use std::time::Duration;

/// What a command gave.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// Its exit status.
    pub status: i32,
    /// What it printed, both streams, lines ended by `\n`.
    pub output: String,
}

impl Answer {
    /// The output of a command that must have succeeded.
    ///
    /// # Panics
    /// If it has not.
    pub fn ok(self) -> String {
        assert_eq!(self.status, 0, "{}", self.output);
        self.output
    }

    /// The output as JSON.
    ///
    /// # Panics
    /// If it is none: a torn line would be none.
    pub fn json(self) -> Value {
        let output = self.ok();
        serde_json::from_str(output.trim()).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    }
}

/// The console of a Debian guest, in a shell that neither echoes nor edits.
#[derive(Debug)]
pub struct Shell {
    /// The board.
    pub run: Run,
}

/// How long Debian may take to its shell.
const BOOT: u64 = 300;
/// Bytes of all rings at most: those of EL2, of consoles that live, of 8 that have ended.
const RINGS_MAX: u64 = 2 << 20;
/// How long a command may take.
const COMMAND: u64 = 60;

impl Shell {
    /// Waits for the shell's prompt, and puts a loop in its place that reads a line, runs it, and
    /// says with which status it ended.
    pub fn enter(mut run: Run) -> Self {
        run.expect("# ", crate::seconds(BOOT));
        // The mark is cut in two, so that its echo is not taken for its output.
        run.send(
            "stty -echo; echo 'begin'_; while IFS= read -r line; do eval \"$line\" </dev/null; echo \"_en\"\"d_ $?\"; done\n",
        );
        run.expect("begin_\r\n", crate::seconds(COMMAND));
        Self { run }
    }

    /// Runs `command`.
    pub fn command(&mut self, command: &str) -> Answer {
        self.command_within(command, crate::seconds(COMMAND))
    }

    /// Runs `command`, which may take `time`.
    pub fn command_within(&mut self, command: &str, time: Duration) -> Answer {
        self.run.send(&format!("{command} 2>&1\n"));
        let output = self.run.expect("_end_ ", time).replace('\r', "");
        let status = self.run.expect("\n", time);
        Answer {
            status: status.trim().parse().unwrap_or_else(|_| panic!("status {status:?}")),
            output: output.trim_end_matches("_end_ ").to_owned(),
        }
    }

    /// `hvctl --json` with `arguments`, as JSON.
    pub fn hvctl(&mut self, arguments: &str) -> Value {
        self.command(&format!("hvctl --json {arguments}")).json()
    }

    /// Waits until the service partition is off; its status then.
    pub fn await_off(&mut self) -> Value {
        for _ in 0..200 {
            let status = self.hvctl("sos status");
            if status["state"] == "off" {
                return status;
            }
            self.command("sleep 0.1").ok();
        }
        panic!("the service partition stays on");
    }

    /// The rows of memory; that they add up to all of RAM is looked at by hvctl itself. Rings grow out of what is free by
    /// the consoles of ended VMs, of as many as EL2 keeps: the two are one row here.
    ///
    /// # Panics
    /// If there are more rings than that.
    pub fn memory(&mut self) -> Value {
        let mut rows = self.hvctl("hv info")["memory"].clone();
        let number = |name: &str| rows[name].as_u64().unwrap_or_default();
        let (rings, free) = (number("el2_rings"), number("free"));
        assert!(rings < RINGS_MAX, "{rows}");
        (rows["el2_rings"], rows["free"]) = (Value::Null, (rings + free).into());
        rows
    }

    /// Powers Debian off.
    pub fn power_off(&mut self) {
        self.run.send("poweroff -f\n");
    }
}
