//! Signals by name and number.

use crate::problem::Problem;
use crate::words;

/// 1 to 31, without `SIG`, as on every machine that is supported (signal(7)).
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];
/// The first of the signals without a meaning; the C libraries keep the two below for themselves.
const REALTIME_MIN: u8 = 34;
const REALTIME_MAX: u8 = 64;

/// Reads `SIGTERM`, `TERM`, `15` or `SIGRTMIN+3`.
pub(crate) fn read(text: &str) -> Result<u8, Problem> {
    let error = |nearest: String| Problem::Signal { found: text.to_owned(), nearest };
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        let number = text
            .parse()
            .ok()
            .filter(|number| (1..=31).contains(number) || (REALTIME_MIN..=REALTIME_MAX).contains(number));
        return number.ok_or_else(|| error(String::new()));
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let known = (1..).zip(NAMES).find(|(_, known)| *known == name).map(|(number, _)| number);
    known.or_else(|| realtime(name)).ok_or_else(|| {
        let full: Vec<String> = NAMES.iter().map(|name| format!("SIG{name}")).collect();
        error(words::did_you_mean(&format!("SIG{name}"), full.iter().map(String::as_str)))
    })
}

fn realtime(name: &str) -> Option<u8> {
    let rest = name.strip_prefix("RTMIN")?;
    if rest.is_empty() {
        return Some(REALTIME_MIN);
    }
    let more = rest.strip_prefix('+')?.parse::<u8>().ok()?;
    REALTIME_MIN.checked_add(more).filter(|number| *number <= REALTIME_MAX)
}

/// Writes a signal so that it reads back.
pub(crate) fn show(number: u8) -> String {
    let name = usize::from(number).checked_sub(1).and_then(|index| NAMES.get(index));
    match (name, number.checked_sub(REALTIME_MIN)) {
        (Some(name), _) => format!("SIG{name}"),
        (None, Some(more)) => format!("SIGRTMIN+{more}"),
        (None, None) => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_read_by_name_and_number() {
        let check = |text: &str, number: Option<u8>| assert_eq!(read(text).ok(), number, "{text}");
        check("SIGTERM", Some(15));
        check("term", Some(15));
        check("9", Some(9));
        check("SIGSYS", Some(31));
        check("SIGRTMIN", Some(34));
        check("SIGRTMIN+3", Some(37));
        check("RTMIN+30", Some(64));
        check("SIGRTMIN+31", None);
        check("0", None);
        check("32", None);
        check("65", None);
        check("", None);
        check("SIG", None);
        for number in (1..=31).chain(34..=64) {
            check(&show(number), Some(number));
        }
        let error = read("SIGTREM").unwrap_err().to_string();
        assert!(error.ends_with("; did you mean 'SIGTERM'?"), "{error}");
    }
}
