//! Budgets as they are written: bytes, or KiB, MiB and GiB.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The least that a budget may be: less is a slip of the pen.
const LEAST_BYTES: usize = 1 << 20;
/// The units, greatest first, and what each is in bytes.
const UNITS: [(&str, usize); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// Some bytes that may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BudgetBytes(pub(crate) usize);

impl FromStr for BudgetBytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unit = UNITS.iter().find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?, *bytes)));
        let (digits, unit) = unit.unwrap_or((text, 1));
        let plain = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
        let bytes = digits.parse().ok().filter(|_| plain).and_then(|n: usize| n.checked_mul(unit));
        let bytes = bytes.ok_or("expected bytes, or KiB, MiB or GiB, as in 64MiB")?;
        Self::new(bytes)
    }
}

impl BudgetBytes {
    fn new(bytes: usize) -> Result<Self, String> {
        if bytes < LEAST_BYTES {
            return Err(format!("a budget is at least {}", Self(LEAST_BYTES)));
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for BudgetBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |(_, bytes): &&(&str, usize)| self.0.is_multiple_of(*bytes) && self.0 > 0;
        match UNITS.iter().find(whole) {
            Some((unit, bytes)) => write!(f, "{}{unit}", self.0.checked_div(*bytes).unwrap_or(0)),
            None => self.0.fmt(f),
        }
    }
}

impl Serialize for BudgetBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BudgetBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Written)
    }
}

/// Reads a number or a text.
struct Written;

impl de::Visitor<'_> for Written {
    type Value = BudgetBytes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes, or KiB, MiB or GiB, as in \"64MiB\"")
    }

    fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<BudgetBytes, E> {
        let bytes = usize::try_from(bytes).map_err(|_| E::custom("a budget is not negative"))?;
        BudgetBytes::new(bytes).map_err(E::custom)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<BudgetBytes, E> {
        text.parse().map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_with_and_without_a_unit_and_shown_in_the_greatest() {
        for (text, bytes, shown) in [
            ("67108864", 64 << 20, "64MiB"),
            ("64MiB", 64 << 20, "64MiB"),
            ("1024KiB", 1 << 20, "1MiB"),
            ("2GiB", 2 << 30, "2GiB"),
            ("1048577", (1 << 20) + 1, "1048577"),
        ] {
            let read: BudgetBytes = text.parse().unwrap();
            assert_eq!((read.0, &*read.to_string()), (bytes, shown), "{text}");
            assert_eq!(shown.parse(), Ok(read));
        }
    }

    #[test]
    fn what_is_no_budget_is_refused() {
        for text in [
            "",
            "0",
            "0MiB",
            "1023KiB",
            "-1",
            "+64MiB",
            "64MB",
            "64 MiB",
            "64mib",
            "MiB",
            "1.5GiB",
            "99999999999999999999",
            "18014398509481984GiB",
        ] {
            assert!(text.parse::<BudgetBytes>().is_err(), "{text}");
        }
    }
}
