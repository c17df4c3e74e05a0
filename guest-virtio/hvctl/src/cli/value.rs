//! Values of options: what they may be, and what is wrong with others.

use std::time::Duration;

use hv_abi::handle::Label;
use hv_abi::message::Reservation;

/// Longest time-out.
const TIMEOUT_MAX: f64 = 86_400.0;

/// Numbers of CPUs; none is every one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Cpus(pub(super) Vec<u8>);

/// The name of a VM.
pub(super) fn name(text: &str) -> Result<String, String> {
    match Label::new(text) {
        Some(label) => Ok(label.as_str().to_owned()),
        None => Err("a name has at most 31 of a-z, 0-9 and -".to_owned()),
    }
}

/// Bytes, from a number and K, M or G.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let shift = match &text[digits.len()..] {
        "" => Some(0),
        "K" | "k" | "KiB" => Some(10),
        "M" | "m" | "MiB" => Some(20),
        "G" | "g" | "GiB" => Some(30),
        _ => None,
    };
    let number = digits.parse::<u64>().ok().filter(|&number| number > 0);
    shift
        .zip(number)
        .and_then(|(shift, number)| number.checked_mul(1 << shift))
        .ok_or_else(|| "a size is a number with K, M or G behind it, like 64M".to_owned())
}

/// A cap; 0 is none.
pub(super) fn cap(text: &str) -> Result<u16, String> {
    match text.parse() {
        _ if text == "none" => Ok(0),
        Ok(cap) if cap > 0 => Ok(cap),
        _ => Err("a cap is a number of thousandths of a CPU, or none".to_owned()),
    }
}

/// A limit of a device; 0 is none.
pub(super) fn limit(text: &str) -> Result<u32, String> {
    match text.parse() {
        _ if text == "none" => Ok(0),
        Ok(limit) if limit > 0 => Ok(limit),
        _ => Err("a limit is a number from 1 on, or none".to_owned()),
    }
}

/// CPUs, from numbers and ranges.
pub(super) fn cpus(text: &str) -> Result<Cpus, String> {
    if text == "all" {
        return Ok(Cpus(Vec::new()));
    }
    let wrong = |_| "CPUs are a list like 0,2-3, or all".to_owned();
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u8, u8) = (first.parse().map_err(wrong)?, last.parse().map_err(wrong)?);
        if first > last {
            return Err(format!("{part}: a range goes from the lower to the higher"));
        }
        cpus.extend(first..=last);
    }
    Ok(Cpus(cpus))
}

/// A reservation; a budget of 0 is none.
pub(super) fn reservation(text: &str) -> Result<Reservation, String> {
    if text == "none" {
        return Ok(Reservation { budget_us: 0, period_us: 0 });
    }
    let numbers = text.split_once('/').and_then(|(budget, period)| Some((budget.parse().ok()?, period.parse().ok()?)));
    match numbers {
        Some((budget_us, period_us)) if budget_us > 0 => Ok(Reservation { budget_us, period_us }),
        _ => Err("a reservation is BUDGET/PERIOD in microseconds, like 2000/10000, or none".to_owned()),
    }
}

/// A time-out, from seconds.
pub(super) fn timeout(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= TIMEOUT_MAX => Ok(Duration::from_secs_f64(seconds)),
        _ => Err(format!("a time-out is a number of seconds up to {TIMEOUT_MAX}")),
    }
}
