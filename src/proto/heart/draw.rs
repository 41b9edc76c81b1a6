//! Chance: where each draw falls in its range. Integers only, so that a draw never leaves the range by rounding.

use super::Time;

/// A splitmix64 generator (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014): eight bytes of state,
/// good enough to spread timers and useless for secrets.
#[derive(Debug)]
pub(super) struct Draws(u64);

impl Draws {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next draw: a 32-bit fraction of one.
    pub(super) fn draw(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 32) as u32
    }
}

/// The wait before a stream's first ping: in (interval/2, interval].
pub(super) fn first_wait(interval: u64, draw: u32) -> u64 {
    interval - (part(interval, draw) >> 1)
}

/// The wait before any later ping: in interval × [1-jitter, 1+jitter].
pub(super) fn wait(interval: u64, jitter: f64, draw: u32) -> u64 {
    let jitter = share(interval, jitter);
    (interval - jitter).saturating_add(part(jitter.saturating_mul(2).saturating_add(1), draw))
}

/// `due`, or up to a thousandth of `interval` earlier: the instants at which the pings of a worker's streams are due are few, so
/// that it wakes once for many of them. Never before `least`, where the range of the draw begins.
pub(super) fn together(due: Time, least: Time, interval: u64) -> Time {
    let common = due.0 - due.0 % (interval >> 10).max(1);
    if common < least.0 { due } else { Time(common) }
}

/// The age at which a stream ends: in max_age × [1-jitter, 1].
pub(super) fn age(max_age: u64, jitter: f64, draw: u32) -> u64 {
    max_age - part(share(max_age, jitter).saturating_add(1), draw)
}

/// How long after a reload a stream beyond a lowered max_age may go on: in (0, spread], 1 ns without a spread.
pub(super) fn spread(spread: u64, draw: u32) -> u64 {
    part(spread, draw).saturating_add(1)
}

/// `draw` of `range`: in [0, range).
fn part(range: u64, draw: u32) -> u64 {
    ((u128::from(range) * u128::from(draw)) >> 32) as u64
}

/// `of` × `share`, never more than `of`; a share that is no number is none.
fn share(of: u64, share: f64) -> u64 {
    ((of as f64 * share.clamp(0.0, 1.0)) as u64).min(of)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;
    const DRAWS: [u32; 4] = [0, 1, 1 << 31, u32::MAX];

    #[test]
    fn first_wait_is_over_half_and_up_to_a_whole_interval() {
        assert_eq!(first_wait(10 * S, 0), 10 * S);
        assert_eq!(first_wait(10 * S, 1 << 31), 7 * S + S / 2);
        assert!(first_wait(10 * S, u32::MAX) > 5 * S);
        assert_eq!(first_wait(1, u32::MAX), 1);
    }

    #[test]
    fn wait_reaches_both_ends_of_its_range_and_never_leaves_it() {
        assert_eq!(wait(10 * S, 0.1, 0), 9 * S);
        assert_eq!(wait(10 * S, 0.1, 1 << 31), 10 * S);
        assert!((11 * S - 1..=11 * S).contains(&wait(10 * S, 0.1, u32::MAX)));
        assert_eq!(wait(9, 1.0, u32::MAX), 18);
        for draw in DRAWS {
            assert_eq!(wait(10 * S, 0.0, draw), 10 * S);
            assert_eq!(wait(10 * S, f64::NAN, draw), 10 * S);
        }
    }

    #[test]
    fn waits_of_many_streams_end_together_within_their_range() {
        let interval = 1024 * S;
        let times = |times: [u64; 3]| times.map(Time);
        let [due, least, common] = times([1030 * S + 7, 1000 * S, 1030 * S]);
        assert_eq!(together(due, least, interval), common);
        assert_eq!(together(due, common, interval), common);
        assert_eq!(together(due, Time(common.0 + 1), interval), due);
        assert_eq!(together(common, least, interval), common);
        assert_eq!(
            together(due, least, 1023),
            due,
            "a microsecond has no parts"
        );
    }

    #[test]
    fn age_is_never_over_max_age() {
        assert_eq!(age(100 * S, 0.1, 0), 100 * S);
        assert_eq!(age(100 * S, 0.1, 1 << 31), 95 * S);
        assert!((90 * S..=90 * S + 1000).contains(&age(100 * S, 0.1, u32::MAX)));
        for draw in DRAWS {
            assert_eq!(age(100 * S, 0.0, draw), 100 * S);
        }
    }

    #[test]
    fn a_spread_is_left_open_at_now_and_closed_at_its_end() {
        assert_eq!(spread(10, 0), 1);
        assert_eq!(spread(10, u32::MAX), 10);
        assert_eq!(spread(0, u32::MAX), 1);
    }

    #[test]
    fn extremes_do_not_overflow() {
        for draw in DRAWS {
            for jitter in [-1.0, 0.0, 0.5, 1.0, 9.0, f64::NAN, f64::INFINITY] {
                for range in [0, 1, u64::MAX / 2, u64::MAX] {
                    let first = first_wait(range, draw);
                    assert!(range / 2 <= first && first <= range);
                    assert!(age(range, jitter, draw) <= range);
                    assert!(spread(range, draw) <= range.max(1));
                    wait(range, jitter, draw);
                }
            }
        }
    }

    /// The generator's published first outputs for two seeds (upper halves).
    #[test]
    fn draws_are_splitmix64() {
        let published: [(u64, [u64; 4]); 2] = [
            (
                1_234_567,
                [
                    6_457_827_717_110_365_317,
                    3_203_168_211_198_807_973,
                    9_817_491_932_198_370_423,
                    4_593_380_528_125_082_431,
                ],
            ),
            (
                0,
                [
                    0xe220_a839_7b1d_cdaf,
                    0x6e78_9e6a_a1b9_65f4,
                    0x06c4_5d18_8009_454f,
                    0xf88b_b8a8_724c_81ec,
                ],
            ),
        ];
        for (seed, outputs) in published {
            let mut draws = Draws::new(seed);
            for output in outputs {
                assert_eq!(draws.draw(), (output >> 32) as u32);
            }
        }
    }
}
