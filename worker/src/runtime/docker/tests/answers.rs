//! Programs that run and do not answer as they should.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn each_wrong_answer_says_what_to_do() {
    let bench = Bench::new();
    let mut started = Vec::new();
    for (epoch, mode) in
        ["redirect", "broken", "slow", "garbage", "other", "loopback", "good"].iter().enumerate()
    {
        let launch = bench.launch(i64::try_from(epoch).expect("small") + 1, mode);
        bench.start(&launch).await;
        started.push((launch.slot, *mode));
    }
    let slot = |mode: &str| &started.iter().find(|(_, of)| *of == mode).expect("started").0;
    bench.healthy(slot("good")).await;
    for (mode, expected, parts) in [
        ("redirect", FindingCode::WrongAnswer, ["301", "not followed"]),
        ("broken", FindingCode::WrongAnswer, ["500", "log"]),
        ("slow", FindingCode::NoAnswer, ["1000 ms", "health.timeout_ms"]),
        ("garbage", FindingCode::WrongAnswer, ["port 3000", "health.kind"]),
    ] {
        let finding = bad(bench.settled(slot(mode), &check("/")).await);
        assert_eq!((finding.code, finding.last), (expected, false), "{mode} {finding:?}");
        for part in parts {
            assert!(finding.sentence.contains(part), "{mode} {finding:?}");
        }
    }
    for (mode, part) in [("other", "listens on 3001 instead"), ("loopback", "127.0.0.1 only")] {
        let end = Instant::now() + SOON;
        loop {
            let finding = bad(bench.runtime.probe(slot(mode), 3000, &check("/")).await.expect("probe"));
            assert_eq!(finding.code, FindingCode::PortClosed, "{mode} {finding:?}");
            if finding.sentence.contains(part) {
                break;
            }
            assert!(Instant::now() < end, "{mode} {finding:?}");
        }
    }
    let finding = bad(bench.runtime.probe(slot("good"), 3000, &check("/missing")).await.expect("probe"));
    assert!(finding.sentence.contains("404") && finding.sentence.contains("health.path"), "{finding:?}");
    // One that ends while it is asked.
    let finding = bad(bench.runtime.probe(slot("good"), 3000, &check("/stop")).await.expect("probe"));
    assert!(matches!(finding.code, FindingCode::Exited | FindingCode::WrongAnswer), "{finding:?}");
    let finding = bad(bench.settled(slot("good"), &check("/")).await);
    assert!(finding.sentence.contains("exit code 4"), "{finding:?}");
}
