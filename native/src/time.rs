//! Timestamps of the common forms: RFC 3339 texts, and whole epoch numbers.

use crate::json::Sure;

/// Timestamps from 1970 up to this second fit into 64-bit nanoseconds.
const SECONDS_END: i64 = 9_223_372_036;
/// An epoch number below the bound counts units of 10^-digits seconds, any other nanoseconds.
const EPOCH_UNITS: [(i64, u32); 3] = [(10_i64.pow(11), 0), (10_i64.pow(14), 3), (10_i64.pow(17), 6)];
const TEXT_BYTES_MAX: usize = 64;
const DAYS_BEFORE: [i64; 13] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365];

/// Which forms are looked for.
pub struct Forms {
    pub rfc3339: bool,
    pub epoch: bool,
}

impl Forms {
    /// Returns nanoseconds since the epoch, and how many digits of the second are known.
    pub fn parse(&self, text: &str) -> Sure<(i64, i64)> {
        let bytes = text.as_bytes();
        if self.epoch && bytes.len() <= 18 {
            epoch(bytes)
        } else if self.rfc3339 && (20..=TEXT_BYTES_MAX).contains(&bytes.len()) {
            rfc3339(bytes)
        } else {
            None
        }
    }
}

fn epoch(bytes: &[u8]) -> Sure<(i64, i64)> {
    let number = number(bytes).filter(|_| !bytes.is_empty())?;
    let known = EPOCH_UNITS.iter().find(|(bound, _)| number < *bound).map_or(9, |(_, known)| *known);
    (number / 10_i64.pow(known) < SECONDS_END).then(|| (number * 10_i64.pow(9 - known), i64::from(known)))
}

fn rfc3339(bytes: &[u8]) -> Sure<(i64, i64)> {
    let (clock, rest) = bytes.split_at(19);
    let (fraction, offset_s) = match rest {
        [fraction @ .., b'Z' | b'z'] => (fraction, 0),
        [fraction @ .., sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (number(&[*h1, *h2])?, number(&[*m1, *m2])?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            (fraction, (hours * 3_600 + minutes * 60) * if *sign == b'-' { -1 } else { 1 })
        }
        _ => return None,
    };
    let (ns, known) = match fraction {
        [] => (0, 0),
        [b'.', digits @ ..] if !digits.is_empty() => {
            let (kept, cut) = digits.split_at(digits.len().min(9));
            number(cut)?;
            (number(kept)? * 10_i64.pow(9 - kept.len() as u32), kept.len() as i64)
        }
        _ => return None,
    };
    let seconds = seconds(clock)? - offset_s;
    (0..SECONDS_END).contains(&seconds).then_some((seconds * 1_000_000_000 + ns, known))
}

/// Parses `YYYY-MM-DDThh:mm:ss`: seconds since the epoch as if in UTC.
fn seconds(clock: &[u8]) -> Sure<i64> {
    let [.., b'-', _, _, b'-', _, _, b'T' | b't' | b' ', _, _, b':', _, _, b':', _, _] = clock else {
        return None;
    };
    let part = |first: usize, last: usize| number(&clock[first..last]);
    let (year, month, day) = (part(0, 4)?, part(5, 7)?, part(8, 10)?);
    let (hour, minute, second) = (part(11, 13)?, part(14, 16)?, part(17, 19)?);
    if !(1970..2263).contains(&year) || !(1..13).contains(&month) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let before = |month: i64| DAYS_BEFORE[month as usize - 1] + i64::from(is_leap && month > 2);
    let leap_days = |year: i64| year / 4 - year / 100 + year / 400;
    let first_day = (year - 1970) * 365 + leap_days(year - 1) - leap_days(1969) + before(month);
    let days_in_month = if month == 12 { 31 } else { before(month + 1) - before(month) };
    let is_day = (1..=days_in_month).contains(&day);
    is_day.then_some((first_day + day - 1) * 86_400 + hour * 3_600 + minute * 60 + second)
}

/// Returns the number that some digits make; 0 of none.
fn number(digits: &[u8]) -> Sure<i64> {
    digits.iter().try_fold(0_i64, |number, digit| {
        let digit = digit.wrapping_sub(b'0');
        (digit < 10).then_some(number.wrapping_mul(10).wrapping_add(i64::from(digit)))
    })
}
