use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;

fn tally(requests: u64, errors: u64) -> Tally {
    Tally { requests, errors, ..Tally::default() }
}

/// All answers in one bucket.
fn slow(requests: u64, bucket: i16) -> Tally {
    Tally { requests, errors: 0, latency: [(bucket, requests)].into() }
}

fn after(seconds: u64, settings: &CanarySettings, new: &Tally, old: &Tally) -> Verdict {
    judge(settings, Some(new), Some(old), Duration::from_secs(seconds))
}

fn is_fail(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Fail(_))
}

fn is_error(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Error(_))
}

#[test]
fn a_stage_needs_its_window_and_its_requests() {
    let settings = CanarySettings::default();
    let old = tally(1000, 0);
    assert_eq!(after(299, &settings, &tally(10_000, 0), &old), Verdict::TooEarly);
    assert_eq!(after(300, &settings, &tally(99, 0), &old), Verdict::TooEarly);
    assert_eq!(after(300, &settings, &tally(100, 5), &old), Verdict::Pass, "at the limit is not above it");
    assert!(is_fail(&after(300, &settings, &tally(100, 6), &old)));
    assert_eq!(after(599, &settings, &tally(99, 0), &old), Verdict::TooEarly);
    assert!(matches!(after(600, &settings, &tally(99, 0), &old), Verdict::Insufficient(_)));
    assert_eq!(after(600, &settings, &tally(100, 0), &old), Verdict::Pass);
}

#[test]
fn no_traffic_never_promotes() {
    let settings = CanarySettings::default();
    for seconds in (0..20_000).step_by(7) {
        for requests in [0, 1, 20, 99] {
            let verdict = after(seconds, &settings, &tally(requests, 0), &tally(100_000, 0));
            let late = seconds >= 600;
            assert_eq!(
                matches!(verdict, Verdict::Insufficient(_)),
                late,
                "{requests} in {seconds} s: {verdict:?}"
            );
            assert!(late || verdict == Verdict::TooEarly);
        }
        let verdict = judge(&settings, None, None, Duration::from_secs(seconds));
        assert!(if seconds < 600 { verdict == Verdict::TooEarly } else { is_error(&verdict) });
    }
}

#[test]
fn worse_by_a_margin_fails_below_the_limit() {
    let settings = CanarySettings { margin_percent: Some(2.0), ..CanarySettings::default() };
    assert!(is_fail(&after(300, &settings, &tally(1000, 31), &tally(1000, 10))));
    assert_eq!(after(300, &settings, &tally(1000, 30), &tally(1000, 10)), Verdict::Pass);
    // With too few on the other side there is nothing to compare with.
    assert_eq!(after(300, &settings, &tally(1000, 31), &tally(19, 0)), Verdict::Pass);
}

#[test]
fn slow_answers_fail_and_a_slow_dependency_does_not() {
    let settings = CanarySettings { max_p95_ms: Some(500), ..CanarySettings::default() };
    let quick = slow(1000, 20);
    // 431 to 512 ms may be below the limit; 512 to 609 ms is not.
    assert_eq!(after(300, &settings, &slow(100, 36), &quick), Verdict::Pass);
    assert!(is_fail(&after(300, &settings, &slow(100, 37), &quick)));
    assert_eq!(after(300, &settings, &slow(100, 37), &slow(1000, 37)), Verdict::TooEarly);
    assert!(is_error(&after(600, &settings, &slow(100, 37), &slow(1000, 37))));
    assert!(is_fail(&after(300, &settings, &slow(100, 41), &slow(1000, 37))));
}

#[test]
fn what_both_suffer_is_not_the_new_ones_fault_and_no_proof_of_it_either() {
    let settings = CanarySettings::default();
    for seconds in [0, 100, 300, 599] {
        assert_eq!(after(seconds, &settings, &tally(100, 60), &tally(900, 540)), Verdict::TooEarly);
    }
    let verdict = after(600, &settings, &tally(100, 60), &tally(900, 540));
    assert!(matches!(&verdict, Verdict::Error(why) if why.contains("the stable release fails as well")));
    // Worse than what both suffer.
    assert!(is_fail(&after(5, &settings, &tally(100, 95), &tally(900, 540))));
    // Too few of the old one to excuse anything.
    assert!(is_fail(&after(300, &settings, &tally(100, 60), &tally(19, 19))));
    // It is over in time.
    assert_eq!(after(450, &settings, &tally(2000, 60), &tally(9000, 540)), Verdict::Pass);
}

#[test]
fn a_clear_failure_ends_a_stage_early() {
    let settings = CanarySettings::default();
    let old = tally(180, 0);
    assert_eq!(after(1, &settings, &tally(19, 19), &old), Verdict::TooEarly, "too few to say");
    assert!(is_fail(&after(1, &settings, &tally(20, 10), &old)));
    // By chance 1 in 390, and 1 in 3000.
    assert_eq!(after(1, &settings, &tally(20, 5), &old), Verdict::TooEarly);
    assert!(is_fail(&after(1, &settings, &tally(20, 6), &old)));
    assert!(is_fail(&after(
        1,
        &CanarySettings { max_error_percent: 0.0, ..settings.clone() },
        &tally(20, 1),
        &old
    )));
    let lax = CanarySettings { max_error_percent: 60.0, ..settings.clone() };
    assert_eq!(after(1, &lax, &tally(20, 11), &old), Verdict::TooEarly, "within what was allowed");
    let any = CanarySettings { max_error_percent: 100.0, ..settings };
    assert_eq!(after(300, &any, &tally(100, 100), &old), Verdict::Pass);
}

#[test]
fn tails_are_those_of_the_binomial_distribution() {
    // Against the plain sum, term by term from zero up.
    for (n, p) in
        [(1, 0.5), (10, 0.05), (31, 0.3), (32, 0.3), (33, 0.3), (100, 0.05), (400, 0.011), (900, 0.5)]
    {
        let n: u64 = n;
        let mut term = (1.0_f64 - p).powf(n as f64);
        let mut below = 0.0;
        for k in 0..=n {
            let exact: f64 = 1.0 - below;
            if k as f64 > n as f64 * p && exact > 1e-6 {
                let got = tail(n, k, p);
                assert!((got / exact - 1.0).abs() < 1e-6, "{n} {k} {p}: {got} {exact}");
            }
            below += term;
            term *= (n - k) as f64 / (k + 1) as f64 * p / (1.0 - p);
        }
    }
    assert!((tail(100, 6, 0.05) - 0.384).abs() < 5e-4);
    assert_eq!((tail(100, 5, 0.05), tail(100, 1, 0.0), tail(5, 9, 0.5)), (1.0, 0.0, tail(5, 5, 0.5)));
    assert!(tail(10_000_000, 600_000, 0.05) < 1e-100 && tail(10_000_000, 500_001, 0.05) > 0.49);
}

/// What the numbers of a stage say by the theory of chance: the probability that it fails, with a look after each request,
/// by every path that the errors can take.
fn exact_fail(settings: &CanarySettings, rate: f64) -> f64 {
    let n = u64::from(settings.min_requests);
    let old = tally(9 * n, 0);
    // alive[e]: probability of e errors so far and no verdict.
    let mut alive = vec![1.0];
    let mut failed = 0.0;
    for requests in 1..=n {
        let mut next = vec![0.0; requests as usize + 1];
        for (errors, p) in alive.iter().enumerate().filter(|(_, p)| **p > 1e-15) {
            next[errors] += p * (1.0 - rate);
            next[errors + 1] += p * rate;
        }
        let seconds = if requests == n { 300 } else { 1 };
        for (errors, p) in next.iter_mut().enumerate() {
            if *p > 0.0 && is_fail(&after(seconds, settings, &tally(requests, errors as u64), &old)) {
                failed += std::mem::take(p);
            }
        }
        alive = next;
    }
    failed
}

struct Drawn {
    failed: f64,
    passed: f64,
    errors: f64,
    /// Requests of the new side until its failure was said, on average.
    until: f64,
}

/// Draws stages: one request of ten goes to the new side, and it is judged after each.
fn draw(settings: &CanarySettings, of_new: f64, of_old: f64, runs: u32) -> Drawn {
    let mut rng = StdRng::seed_from_u64(u64::from(settings.min_requests) + (of_new * 1000.0) as u64);
    let n = u64::from(settings.min_requests);
    let (mut failed, mut passed, mut unsure, mut until) = (0u32, 0u32, 0u32, 0u64);
    for _ in 0..runs {
        let (mut new, mut old) = (tally(0, 0), tally(0, 0));
        let verdict = loop {
            new.requests += 1;
            new.errors += u64::from(rng.random_bool(of_new));
            old.requests += 9;
            let of_nine = if of_old == 0.0 { 0 } else { 9 };
            old.errors += (0..of_nine).map(|_| u64::from(rng.random_bool(of_old))).sum::<u64>();
            let last = new.requests == n;
            let verdict = after(if last { 300 } else { 1 }, settings, &new, &old);
            if last && verdict == Verdict::TooEarly {
                break after(600, settings, &new, &old);
            }
            if verdict != Verdict::TooEarly {
                break verdict;
            }
        };
        match verdict {
            Verdict::Fail(_) => (failed, until) = (failed + 1, until + new.requests),
            Verdict::Pass => passed += 1,
            _ => unsure += 1,
        }
    }
    let share = |count: u32| f64::from(count) / f64::from(runs);
    Drawn {
        failed: share(failed),
        passed: share(passed),
        errors: share(unsure),
        until: until as f64 / f64::from(failed.max(1)),
    }
}

#[test]
fn verdicts_are_wrong_as_often_as_chance_makes_them_and_no_oftener() {
    println!("requests  rate    failed  exact   binomial  mean requests to fail");
    for (requests, runs) in [(100, 4000), (1000, 400)] {
        let settings = CanarySettings { min_requests: requests, ..CanarySettings::default() };
        for rate in [0.0, 0.01, 0.049, 0.051, 0.10, 0.50] {
            let drawn = draw(&settings, rate, 0.0, runs);
            let exact = exact_fail(&settings, rate);
            // Of one look alone, at the end.
            let binomial = match u64::from(requests) / 20 + 1 {
                over if over as f64 > f64::from(requests) * rate => tail(requests.into(), over, rate),
                over => 1.0 - tail(requests.into(), u64::from(requests) - over + 1, 1.0 - rate),
            };
            let (failed, until) = (drawn.failed, drawn.until);
            println!("{requests:>8}  {rate:<6}  {failed:<6.4}  {exact:<6.4}  {binomial:<8.4}  {until:.0}");
            let four_sigma = 4.0 * (exact * (1.0 - exact).max(0.0) / f64::from(runs)).sqrt();
            assert!((failed - exact).abs() <= four_sigma + 1e-6, "{failed} is not {exact}");
            assert_eq!(drawn.errors, 0.0);
            assert!((drawn.passed + failed - 1.0).abs() < 1e-9);
            // Looking early costs next to nothing in wrong verdicts below the limit.
            assert!(rate > 0.05 || exact - binomial < 0.02, "{exact} against {binomial}");
            assert!(rate < 0.10 || exact >= binomial - 1e-6, "a bad release gets through oftener");
        }
    }
}

#[test]
fn a_shared_dependency_is_blamed_on_nobody() {
    let settings = CanarySettings::default();
    for rate in [0.08, 0.30, 0.60, 1.0] {
        let drawn = draw(&settings, rate, rate, 2000);
        let Drawn { failed, passed, errors, .. } = drawn;
        println!("both at {rate}: failed {failed:.4}, held {errors:.4}, passed {passed:.4}");
        assert!(failed < 0.04, "blamed too often");
        // It passes where so few of the errors fell on it that it keeps to its limit.
        let lucky = 1.0 - tail(100, 6, rate).min(1.0 - tail(100, 95, 1.0 - rate));
        assert!(passed <= lucky.max(0.0) + 0.05 && (rate < 0.2 || passed == 0.0));
    }
    let worse = draw(&settings, 0.9, 0.3, 500);
    assert!(worse.failed > 0.999, "a bad release hides behind a bad dependency");
}
