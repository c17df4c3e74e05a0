//! `hvctl`: the guest's command line for Dormouse.
//!
//! It finds a management port, puts one question on it, and shows the answer as text for people or
//! as one JSON document. It keeps no state and holds a port no longer than its question takes.
//!
//! | module | what it owns |
//! | --- | --- |
//! | [`cli`] | the command line, and the requests it means |
//! | [`port`] | finding and opening a port, waiting on it |
//! | [`session`] | requests and replies on a port |
//! | [`command`] | what each command asks and shows |
//! | [`agent`] | disks that come and go, taken up and let go of by Linux |
//! | [`console`] | another VM's console, on this terminal |
//! | [`terminal`] | the terminal while it is another VM's |
//! | [`records`] | EL2's fixed records, read and as JSON |
//! | [`top`] | what vCPUs do with the CPUs |
//! | [`text`] | tables and units for people |
//! | [`counter`] | the CPU's counter |
//! | [`error`] | what can go wrong, what to do, exit codes |
#![forbid(unsafe_code)]

mod agent;
mod cli;
mod command;
mod console;
mod counter;
mod counters;
mod error;
mod history;
mod port;
mod records;
mod session;
mod terminal;
#[cfg(test)]
mod testing;
mod text;
mod top;
mod traffic;

use std::io::{ErrorKind, Write, stderr, stdout};
use std::process::ExitCode;

use clap::Parser;

use crate::command::Output;
use crate::error::{Error, exit};

fn main() -> ExitCode {
    let arguments = match cli::Cli::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    let devices = port::System::new(&arguments.root);
    match command::run(&arguments, &devices) {
        Ok(output) => show(&output),
        Err(error) => complain(&error),
    }
}

/// Prints what a command gives.
fn show(output: &Output) -> ExitCode {
    let mut out = stdout().lock();
    // What is behind the last line would be written at the end of the program, where nobody looks at errors.
    if let Err(error) = out.write_all(&output.text).and_then(|()| out.flush()) {
        return complain(&Error::Output(error));
    }
    match &output.doubt {
        Some(doubt) => complain(doubt),
        None => ExitCode::SUCCESS,
    }
}

/// Prints an error as one line, and gives its exit code.
fn complain(error: &Error) -> ExitCode {
    // Whoever reads has seen enough (`hvctl hv log | head`).
    if matches!(error, Error::Output(error) if error.kind() == ErrorKind::BrokenPipe) {
        return ExitCode::SUCCESS;
    }
    say(&error.to_string());
    ExitCode::from(error.exit_code())
}

/// Answers a command line that asks for help, or cannot be understood.
fn usage(error: &clap::Error) -> ExitCode {
    use clap::error::ErrorKind as Kind;
    match error.kind() {
        Kind::DisplayHelp | Kind::DisplayVersion => {
            // Nothing can be done about a reader that is gone.
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        Kind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
        }
        _ => say(&cli::one_line(&error.to_string())),
    }
    ExitCode::from(exit::USAGE)
}

/// One line on standard error; nothing can be done where that fails.
fn say(text: &str) {
    let _ = writeln!(stderr().lock(), "hvctl: {text}");
}
