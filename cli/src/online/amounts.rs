//! Numbers for people.

/// A count in at most five characters: `999`, `12.3k`, `4.56M`.
pub(super) fn count(value: u64) -> String {
    scaled(value as f64, 1_000.0, &["", "k", "M", "G", "T", "P", "E"])
}

/// A number of bytes, `512 B`, `1.5 MB` (powers of 1000).
pub(super) fn bytes(value: u64) -> String {
    scaled(value as f64, 1_000.0, &[" B", " kB", " MB", " GB", " TB", " PB", " EB"])
}

/// A rate, `-` when nothing happens.
pub(super) fn rate(per_second: f64) -> String {
    // What rounds to nothing is nothing.
    if per_second < 0.05 {
        String::from("-")
    } else {
        format!("{}/s", scaled(per_second, 1_000.0, &["", "k", "M", "G"]))
    }
}

fn scaled(mut value: f64, step: f64, units: &[&str]) -> String {
    let mut at = 0;
    // 999.5 would be printed as 1000.
    while value >= step - 0.5 && at + 1 < units.len() {
        value /= step;
        at += 1;
    }
    let whole = at == 0 && (value - value.round()).abs() < 1e-9;
    let digits = if whole || value >= 99.95 {
        0
    } else if value >= 9.995 || at == 0 {
        1
    } else {
        2
    };
    format!("{value:.digits$}{}", units.get(at).copied().unwrap_or(""))
}

/// Seconds as the two largest units.
pub(super) fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_keep_three_digits() {
        let cases =
            [(0, "0"), (999, "999"), (1_000, "1.00k"), (12_345, "12.3k"), (999_999, "1.00M"), (u64::MAX, "18.4E")];
        for (value, text) in cases {
            assert_eq!(count(value), text);
        }
        assert_eq!(bytes(1_500_000), "1.50 MB");
    }

    #[test]
    fn rates_show_the_first_decimal_and_nothing_as_a_dash() {
        assert_eq!(rate(0.0), "-");
        assert_eq!(rate(0.5), "0.5/s");
        assert_eq!(rate(7.0), "7/s");
        assert_eq!(rate(5_400_000.0), "5.40M/s");
    }

    #[test]
    fn durations_name_two_units() {
        assert_eq!(duration(59), "59 s");
        assert_eq!(duration(61), "1 min 1 s");
        assert_eq!(duration(3_660), "1 h 1 min");
        assert_eq!(duration(90_000), "1 d 1 h");
    }
}
