//! How durations are written in settings: a whole number and a unit (`500ms`, `5s`, `2m`, `1h`, `30d`).

use std::time::Duration;

/// Units from long to short; the length is in milliseconds.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// `None` when the text is not a duration. A number without a unit is refused: nobody agrees on what it would mean.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, length) = UNITS.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*length).map(Duration::from_millis)
}

/// The shortest way to write it, in the largest unit that divides it. Parts below a millisecond are dropped.
pub(super) fn show(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 {
        return "0s".to_owned();
    }
    for (unit, length) in UNITS {
        if millis % length == 0 {
            return format!("{}{unit}", millis / length);
        }
    }
    format!("{millis}ms")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_parses_back() {
        for text in ["1ms", "250ms", "5s", "90s", "2m", "1h", "36h", "30d", "0s"] {
            assert_eq!(show(parse(text).expect(text)), text);
        }
        assert_eq!(show(Duration::from_millis(60_000)), "1m");
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "5",
            "s",
            "-5s",
            "5.5s",
            "5 parsecs",
            "1h30m",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
