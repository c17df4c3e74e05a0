//! Shows that EL2 leaves the FP/SIMD registers alone: they hold the state of the guest that ran last.
//!
//! Reads what `objdump -d` prints (GNU's or LLVM's). Register names as in Arm ARM C1.2.5 "SIMD and
//! floating-point" and "SVE"; FPCR and FPSR are guest state as well.

use crate::error::{Error, Result};

/// Offending lines that a report shows; one lost target feature makes thousands.
const SHOWN_MAX: usize = 20;

/// Checks a disassembly. Only the functions in `allowed` may use FP registers, and they must exist.
///
/// Gives the number of instructions looked at.
pub(crate) fn check(disassembly: &str, allowed: &[String]) -> Result<usize> {
    let mut function = "";
    let mut seen = vec![false; allowed.len()];
    let mut instructions = 0;
    let mut offences = Vec::new();
    for line in disassembly.lines() {
        if let Some(name) = function_name(line) {
            function = name;
        }
        let permit = allowed.iter().position(|name| name == function);
        let Some(operands) = operands(line) else {
            continue;
        };
        instructions += 1;
        if let Some(index) = permit {
            seen[index] = true;
        } else if uses_fp(operands) {
            offences.push(format!("  {function}: {}", line.trim()));
        }
    }
    if instructions == 0 {
        return Err(Error::Disassembly("the disassembly has no instruction: is it from `objdump -d`?".into()));
    }
    if let Some(index) = seen.iter().position(|seen| !seen) {
        return Err(Error::Disassembly(format!("no function `{}` is in the disassembly", allowed[index])));
    }
    report(&offences, allowed).map(|()| instructions)
}

fn report(offences: &[String], allowed: &[String]) -> Result<()> {
    if offences.is_empty() {
        return Ok(());
    }
    let place = match allowed {
        [] => String::new(),
        _ => format!(" outside of {}", allowed.join(" and ")),
    };
    let shown = offences[..offences.len().min(SHOWN_MAX)].join("\n");
    Err(Error::Disassembly(format!(
        "{} instructions use FP/SIMD registers{place}; the first:\n{shown}",
        offences.len()
    )))
}

/// `0000000000000040 <name>:` gives `name`.
fn function_name(line: &str) -> Option<&str> {
    let (address, rest) = line.split_once(" <")?;
    let named = rest.strip_suffix(">:")?;
    address.bytes().all(|byte| byte.is_ascii_hexdigit()).then_some(named)
}

/// The operands of an instruction line: `  40: <encoding> <mnemonic> <operands> // comment`.
///
/// `None` for every other line and for data between instructions.
fn operands(line: &str) -> Option<&str> {
    let (address, rest) = line.split_once(':')?;
    let address = address.trim();
    if address.is_empty() || !address.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    // The encoding is one word of eight digits (GNU, new LLVM) or four of two (old LLVM).
    let mut rest = rest.trim_start();
    let mut digits = 0;
    while digits < 8 {
        let (word, after) = rest.split_once(|at: char| at.is_whitespace())?;
        if !word.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        digits += word.len();
        rest = after.trim_start();
    }
    let (mnemonic, operands) = rest.split_once(|at: char| at.is_whitespace()).unwrap_or((rest, ""));
    if mnemonic.starts_with('.') {
        return None;
    }
    let operands = operands.split("//").next().unwrap_or_default();
    Some(operands)
}

fn uses_fp(operands: &str) -> bool {
    // A branch target is an address with its symbol behind it: `d0 <_start+0xd0>` is no register.
    let operands = match operands.split_once('<') {
        Some((before, _)) => before.trim_end().rsplit_once([' ', ',', '\t']).map_or("", |(kept, _)| kept),
        None => operands,
    };
    // An underscore belongs to a name: `s3_0_c0_c7_4` is a system register.
    operands.split(|at: char| !at.is_ascii_alphanumeric() && at != '_').any(is_fp_register)
}

/// Also sees `v0` of `{v0.16b}` and of `v0.d[1]`: those are split at what is not alphanumeric.
fn is_fp_register(word: &str) -> bool {
    if matches!(word, "fpcr" | "fpsr") {
        return true;
    }
    let Some(number) = word.strip_prefix(['v', 'q', 'd', 's', 'h', 'b', 'z']) else {
        return false;
    };
    !number.is_empty()
        && number.len() <= 2
        && number.bytes().all(|byte| byte.is_ascii_digit())
        && number.parse::<u8>().is_ok_and(|number| number < 32)
}

#[cfg(test)]
mod tests;
