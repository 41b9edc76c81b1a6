//! Durations, sizes, percentages and counts as people write them.

use std::fmt::Write as _;
use std::time::Duration;

/// The longest duration accepted; far below what `Instant` arithmetic can hold.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Units of a duration with their milliseconds, the longest first.
const DURATION_UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Units of a size with their bytes, the largest first.
const SIZE_UNITS: [(&str, u64); 8] = [
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1_000),
    ("kB", 1_000),
    ("B", 1),
];

/// A quantity that cannot be read, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// A number that could mean anything.
    #[error("`{text}` has no unit: write `{suggestion}`")]
    NoUnit {
        /// As written.
        text: String,
        /// The likeliest meaning.
        suggestion: String,
    },
    /// Zero of something; callers that know `off` say so.
    #[error("`{text}` is zero: write {instead}")]
    Zero {
        /// As written.
        text: String,
        /// An acceptable value.
        instead: &'static str,
    },
    /// Not the form of the quantity.
    #[error("`{text}` is no {what}: write {instead}")]
    Malformed {
        /// As written.
        text: String,
        /// The name of the quantity.
        what: &'static str,
        /// An acceptable form.
        instead: &'static str,
    },
    /// More than can be meant.
    #[error("`{text}` is too much: write at most `{most}`")]
    TooMuch {
        /// As written.
        text: String,
        /// The largest acceptable value.
        most: String,
    },
}

/// Reads `1m30s`: whole numbers with the units d, h, m, s, ms, in that order, each once; above zero, at most 365 days.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    const INSTEAD: &str =
        "whole numbers with the units d, h, m, s or ms, such as `55s`, `1m30s` or `250ms`";
    let malformed = || UnitError::Malformed {
        text: text.to_owned(),
        what: "duration",
        instead: INSTEAD,
    };
    let too_much = || UnitError::TooMuch {
        text: text.to_owned(),
        most: format_duration(LONGEST),
    };
    if is_bare(text) {
        return Err(bare(text, "s", "a duration such as `55s`"));
    }
    let mut rest = text;
    let mut milliseconds = 0_u64;
    let mut units = DURATION_UNITS.iter();
    while !rest.is_empty() {
        let (number, after) = split_number(rest).ok_or_else(malformed)?;
        let letters = after
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        // Consuming the iterator demands the order and forbids repeats.
        let (_, factor) = units
            .find(|(name, _)| *name == unit)
            .ok_or_else(malformed)?;
        let number: u64 = number.parse().map_err(|_| too_much())?;
        milliseconds = number
            .checked_mul(*factor)
            .and_then(|part| milliseconds.checked_add(part))
            .ok_or_else(too_much)?;
        rest = after;
    }
    match Duration::from_millis(milliseconds) {
        _ if text.is_empty() => Err(malformed()),
        Duration::ZERO => Err(UnitError::Zero {
            text: text.to_owned(),
            instead: "a duration such as `55s`",
        }),
        duration if duration > LONGEST => Err(too_much()),
        duration => Ok(duration),
    }
}

/// Writes a duration as `parse_duration` reads it; what is below a millisecond is cut, nothing at all is `0s`.
pub fn format_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, factor) in DURATION_UNITS {
        // 36h reads better than 1d12h, and 90s than 1m30s.
        let clumsy = match unit {
            "d" => !rest.is_multiple_of(factor),
            "m" => text.is_empty() && rest < 2 * factor,
            _ => false,
        };
        if rest >= factor && !clumsy {
            // Writing to a String cannot fail.
            let _ = write!(text, "{}{unit}", rest / factor);
            rest %= factor;
        }
    }
    if text.is_empty() {
        text.push_str("0s");
    }
    text
}

/// Reads `16KiB`, `10MB`, `512B` as bytes; above zero.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    let malformed = || UnitError::Malformed {
        text: text.to_owned(),
        what: "size",
        instead: "a whole number with the unit B, KiB, MiB, GiB, KB, MB or GB, such as `16KiB`",
    };
    if is_bare(text) {
        return Err(bare(text, "B", "a size such as `16KiB`"));
    }
    let (number, unit) = split_number(text).ok_or_else(malformed)?;
    let (_, factor) = SIZE_UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(malformed)?;
    let bytes = number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(*factor))
        .ok_or_else(|| UnitError::TooMuch {
            text: text.to_owned(),
            most: format_size(u64::MAX),
        })?;
    if bytes == 0 {
        return Err(UnitError::Zero {
            text: text.to_owned(),
            instead: "a size such as `16KiB`",
        });
    }
    Ok(bytes)
}

/// Writes a size as `parse_size` reads it, in the largest binary unit that comes out even.
pub fn format_size(bytes: u64) -> String {
    SIZE_UNITS
        .iter()
        .filter(|(unit, _)| unit.ends_with("iB") || *unit == "B")
        .find(|(_, factor)| bytes.is_multiple_of(*factor))
        .map_or_else(
            || format!("{bytes}B"),
            |(unit, factor)| format!("{}{unit}", bytes / factor),
        )
}

/// Reads `10%` as 0.1; 0 % to 100 %.
pub(super) fn parse_percent(text: &str) -> Result<f64, UnitError> {
    let malformed = || UnitError::Malformed {
        text: text.to_owned(),
        what: "percentage",
        instead: "a number with a percent sign, such as `10%`",
    };
    let Some(number) = text.strip_suffix('%') else {
        return Err(if is_number(text) {
            UnitError::NoUnit {
                text: text.to_owned(),
                suggestion: format!("{text}%"),
            }
        } else {
            malformed()
        });
    };
    if !is_number(number) {
        return Err(malformed());
    }
    let percent: f64 = number.parse().map_err(|_| malformed())?;
    if percent > 100.0 {
        return Err(UnitError::TooMuch {
            text: text.to_owned(),
            most: "100%".to_owned(),
        });
    }
    Ok(percent / 100.0)
}

/// Writes 0.1 as `10%`.
pub(super) fn format_percent(ratio: f64) -> String {
    // Rounded to a millionth of a percent: 0.07 * 100.0 is 7.000000000000001.
    let percent = (ratio * 100.0 * 1e6).round() / 1e6;
    format!("{percent}%")
}

/// Reads a whole number from 1 to `most`.
pub(super) fn parse_count(text: &str, most: u64) -> Result<u64, UnitError> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(UnitError::Malformed {
            text: text.to_owned(),
            what: "whole number",
            instead: "digits only, such as `500`",
        });
    }
    match text.parse::<u64>() {
        Ok(0) => Err(UnitError::Zero {
            text: text.to_owned(),
            instead: "a number of at least 1",
        }),
        Ok(number) if number <= most => Ok(number),
        _ => Err(UnitError::TooMuch {
            text: text.to_owned(),
            most: most.to_string(),
        }),
    }
}

fn bare(text: &str, unit: &str, instead: &'static str) -> UnitError {
    if text.bytes().all(|b| b == b'0') {
        return UnitError::Zero {
            text: text.to_owned(),
            instead,
        };
    }
    UnitError::NoUnit {
        text: text.to_owned(),
        suggestion: format!("{text}{unit}"),
    }
}

/// Digits only: what a fraction was meant to be cannot be guessed.
fn is_bare(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn is_number(text: &str) -> bool {
    text.bytes().any(|b| b.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        && text.bytes().filter(|b| *b == b'.').count() <= 1
}

fn split_number(text: &str) -> Option<(&str, &str)> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    (digits > 0).then(|| text.split_at(digits))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_with_units_only() {
        for (text, milliseconds) in [
            ("55s", 55_000),
            ("1m30s", 90_000),
            ("250ms", 250),
            ("1h", 3_600_000),
            ("1d12h", 129_600_000),
            ("365d", 365 * 86_400_000),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
        for text in [
            "", "s", "1M", "1y", "2w", "10 m", "1m 30s", "30s1m", "1s1s", "1.5s", "1.5", "0.0",
            "-5s", "1us", "5S", "٣s",
        ] {
            assert!(
                matches!(parse_duration(text), Err(UnitError::Malformed { .. })),
                "{text}"
            );
        }
        for text in ["0", "00", "0s", "0ms", "0m0s"] {
            assert!(
                matches!(parse_duration(text), Err(UnitError::Zero { .. })),
                "{text}"
            );
        }
        for text in ["366d", "99999999999999999999s", "18446744073709551615h"] {
            assert!(
                matches!(parse_duration(text), Err(UnitError::TooMuch { .. })),
                "{text}"
            );
        }
    }

    #[test]
    fn durations_are_written_as_people_would() {
        for text in [
            "55s", "60s", "90s", "2m", "5m50s", "1h1m30s", "36h", "7d", "24s750ms",
        ] {
            assert_eq!(format_duration(parse_duration(text).unwrap()), text);
        }
        assert_eq!(format_duration(Duration::ZERO), "0s");
    }

    #[test]
    fn a_bare_number_is_told_what_to_write() {
        assert_eq!(
            parse_duration("55").unwrap_err().to_string(),
            "`55` has no unit: write `55s`"
        );
        assert_eq!(
            parse_size("16384").unwrap_err().to_string(),
            "`16384` has no unit: write `16384B`"
        );
        assert_eq!(
            parse_percent("10").unwrap_err().to_string(),
            "`10` has no unit: write `10%`"
        );
    }

    #[test]
    fn sizes_are_read_in_binary_and_decimal_units() {
        assert_eq!(parse_size("512B"), Ok(512));
        assert_eq!(parse_size("16KiB"), Ok(16_384));
        assert_eq!(parse_size("10MB"), Ok(10_000_000));
        for text in ["", "KiB", "1kib", "16 KiB", "1.5MiB", "1TiB"] {
            assert!(
                matches!(parse_size(text), Err(UnitError::Malformed { .. })),
                "{text}"
            );
        }
        assert!(matches!(parse_size("0KiB"), Err(UnitError::Zero { .. })));
        assert!(matches!(
            parse_size("99999999999GiB"),
            Err(UnitError::TooMuch { .. })
        ));
    }

    #[test]
    fn percentages_reach_from_nothing_to_all() {
        assert_eq!(parse_percent("0%"), Ok(0.0));
        assert_eq!(parse_percent("2.5%"), Ok(0.025));
        assert_eq!(parse_percent("100%"), Ok(1.0));
        assert!(matches!(
            parse_percent("101%"),
            Err(UnitError::TooMuch { .. })
        ));
        for text in ["", "%", "-1%", "nan%", "ten", "1e1%", ".%"] {
            assert!(
                matches!(parse_percent(text), Err(UnitError::Malformed { .. })),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            milliseconds in 1_u64..=365 * 86_400_000,
            bytes in 1_u64..,
            hundredths in 0_u32..=10_000,
        ) {
            let duration = Duration::from_millis(milliseconds);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
            prop_assert_eq!(parse_size(&format_size(bytes)), Ok(bytes));
            let ratio = f64::from(hundredths) / 100.0 / 100.0;
            prop_assert!((parse_percent(&format_percent(ratio)).unwrap() - ratio).abs() < 1e-12);
        }

        #[test]
        fn any_text_is_judged(text in "\\PC*") {
            let _ = parse_duration(&text);
            let _ = parse_size(&text);
            let _ = parse_percent(&text);
            let _ = parse_count(&text, u64::MAX);
        }
    }
}
