//! A share of a sequence that is exact at every point of it: 10 % of the first 1,000 are 100, and never two of ten.

const WHOLE: u64 = 10_000;

/// Counts in hundredths of a percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    of_ten_thousand: u64,
    seed: Option<u64>,
}

impl Share {
    /// `None` when it is not between 0 and 100.
    #[must_use]
    pub fn percent(percent: f64) -> Option<Self> {
        if !(0.0..=100.0).contains(&percent) {
            return None;
        }
        let of_ten_thousand = (percent * 100.0).round() as u64;
        Some(Self { of_ten_thousand, seed: None })
    }

    /// Scattered instead: right on average, and the same for the same seed.
    #[must_use]
    pub fn scattered(self, seed: u64) -> Self {
        Self { seed: Some(seed), ..self }
    }

    /// Whether the one with this number belongs to it; the first is 1.
    #[must_use]
    pub fn takes(self, number: u64) -> bool {
        let Some(seed) = self.seed else {
            let until =
                |number: u64| u128::from(number) * u128::from(self.of_ten_thousand) / u128::from(WHOLE);
            return until(number) > until(number.saturating_sub(1));
        };
        mixed(seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15))) % WHOLE < self.of_ten_thousand
    }
}

/// The output step of splitmix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
fn mixed(state: u64) -> u64 {
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(share: Share, count: u64) -> u64 {
        (1..=count).filter(|number| share.takes(*number)).count().try_into().unwrap()
    }

    #[test]
    fn it_is_exact_at_every_point() {
        for (percent, of_thousand) in [(0.0, 0), (0.1, 1), (5.0, 50), (33.3, 333), (100.0, 1000)] {
            let share = Share::percent(percent).unwrap();
            assert_eq!(taken(share, 1000), of_thousand, "{percent}");
            for count in 1..1000 {
                assert_eq!(taken(share, count), count * of_thousand / 1000, "{percent} of {count}");
            }
        }
    }

    #[test]
    fn scattered_it_is_right_on_average_and_repeats_with_its_seed() {
        let of = |seed| Share::percent(5.0).unwrap().scattered(seed);
        let count = taken(of(7), 100_000);
        assert!((4_500..5_500).contains(&count), "{count}");
        let sequence = |seed| (1..1000).map(|number| of(seed).takes(number)).collect::<Vec<_>>();
        assert_eq!(sequence(7), sequence(7));
        assert_ne!(sequence(7), sequence(8));
    }

    #[test]
    fn a_share_is_between_none_and_all() {
        for wrong in [-0.1, 100.1, f64::NAN] {
            assert_eq!(Share::percent(wrong), None);
        }
    }
}
