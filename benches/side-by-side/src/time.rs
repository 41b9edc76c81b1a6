//! One clock for two processes, and how long things took.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of CLOCK_MONOTONIC, which app and load share.
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// So many buckets for each power of two: a reading is off by 0.8 % at most.
const FINE: u32 = 7;

/// How often each duration was seen.
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    longest: u64,
}

impl Histogram {
    /// Nothing seen yet.
    pub fn new() -> Self {
        Self { buckets: vec![0; ((64 - FINE as usize) + 1) << FINE], count: 0, longest: 0 }
    }

    /// Counts a duration of so many nanoseconds.
    pub fn record(&mut self, nanos: u64) {
        self.buckets[bucket(nanos)] += 1;
        self.count += 1;
        self.longest = self.longest.max(nanos);
    }

    /// Forgets all that was seen.
    pub fn clear(&mut self) {
        self.buckets.fill(0);
        (self.count, self.longest) = (0, 0);
    }

    /// The duration that this part of all that was seen does not exceed, in nanoseconds.
    fn quantile(&self, part: f64) -> u64 {
        let rank = (part * self.count as f64).ceil() as u64;
        let mut seen = 0;
        for (at, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank.max(1) {
                return longest_of(at).min(self.longest);
            }
        }
        self.longest
    }

    /// The usual quantiles as a field of a JSON object, in microseconds.
    pub fn field(&self) -> String {
        let [p50, p99, p999, longest] =
            [self.quantile(0.5), self.quantile(0.99), self.quantile(0.999), self.longest].map(|nanos| nanos as f64 / 1e3);
        format!("\"latency_us\": {{\"p50\": {p50:.1}, \"p99\": {p99:.1}, \"p99.9\": {p999:.1}, \"max\": {longest:.1}}}")
    }
}

fn bucket(nanos: u64) -> usize {
    let shift = (63 - (nanos | 1).leading_zeros()).saturating_sub(FINE);
    ((shift as usize) << FINE) + (nanos >> shift) as usize
}

/// The longest duration of a bucket.
fn longest_of(bucket: usize) -> u64 {
    let shift = (bucket >> FINE).saturating_sub(1);
    let high = (bucket - (shift << FINE)) as u64;
    (high << shift) + ((1 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_lies_in_its_bucket() {
        for nanos in (0..100_000).chain((20..63).map(|power| (1_u64 << power) + 12345)) {
            let longest = longest_of(bucket(nanos));
            assert!(longest >= nanos && longest as f64 <= nanos as f64 * 1.008, "{nanos} {longest}");
            assert!(bucket(nanos) == 0 || longest_of(bucket(nanos) - 1) < nanos);
        }
    }

    #[test]
    fn quantiles_are_those_of_the_readings() {
        let mut histogram = Histogram::new();
        (1..=1000).for_each(|nanos| histogram.record(nanos * 1000));
        for (part, expected) in [(0.5, 500_000.0), (0.99, 990_000.0), (0.999, 999_000.0), (1.0, 1_000_000.0)] {
            let found = histogram.quantile(part) as f64;
            assert!((found / expected - 1.0).abs() < 0.01, "{part}: {found}");
        }
    }
}
