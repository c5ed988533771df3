use tokio::sync::oneshot;

use super::batch::Batch;
use super::*;
use crate::log::lines::{Level, Lines};
use crate::log::split::CONTINUED;

/// Everything prepared from what `say` says, and the totals. Whoever stores is never slow here.
async fn prepared(
    redactor: &Redactor,
    limits: Limits,
    last: i64,
    say: impl AsyncFnOnce(Lines, mpsc::Sender<Wish>),
) -> (Vec<Batch>, Totals) {
    let (lines, receiver) = Lines::channel(8);
    let (wishes, to_prepare) = mpsc::channel(4);
    let (made, mut batches) = mpsc::channel(1);
    let hurry = CancellationToken::new();
    let prepare = prepare::Prepare::new(redactor, limits, last).run(receiver, to_prepare, made, &hurry);
    let store = async {
        let mut all = Vec::new();
        while let Some(mut batch) = batches.recv().await {
            for wish in batch.wishes.drain(..) {
                wish.send(Ok(())).expect("somebody waits");
            }
            all.push(batch);
        }
        all
    };
    let (totals, all, ()) = tokio::join!(prepare, store, say(lines, wishes));
    assert!(hurry.is_cancelled());
    (all, totals)
}

fn texts(batches: &[Batch]) -> Vec<&str> {
    batches.iter().flat_map(|batch| &batch.lines).map(|line| line.line.as_str()).collect()
}

#[tokio::test]
async fn lines_are_numbered_from_the_last_and_made_safe() {
    let redactor = Redactor::new([("NAME", "hunter22"), ("PIN", "12")]).expect("small");
    let (batches, totals) = prepared(&redactor, Limits::default(), 41, async |lines, _| {
        lines.info("one\0").await;
        lines.warn("\x1b[31mtwo hun\x1b[0mter22").await;
        lines.error("three\nfour hunter22\r\n").await;
    })
    .await;
    assert_eq!(
        texts(&batches),
        [
            "PIN is too short to be hidden in logs: give it at least 5 characters",
            "one␀",
            "two [REDACTED:NAME]",
            "three",
            "four [REDACTED:NAME]",
        ]
    );
    let numbers: Vec<i64> = batches.iter().flat_map(|batch| &batch.lines).map(|line| line.seq).collect();
    assert_eq!(numbers, [42, 43, 44, 45, 46]);
    assert_eq!((totals.last, totals.lines, totals.dropped), (46, 5, 0));
    let levels: Vec<&str> = batches.iter().flat_map(|b| &b.lines).map(|line| line.level.as_str()).collect();
    assert_eq!(levels, ["warn", "info", "warn", "error", "error"]);
}

#[tokio::test]
async fn a_long_line_goes_on_marked_without_a_secret_on_both_sides() {
    let redactor = Redactor::new([("NAME", "hunter22")]).expect("small");
    let limits = Limits { line_bytes: 16, ..Limits::default() };
    let text = format!("{}hunter22{}", "a".repeat(12), "é".repeat(20));
    let (batches, _) = prepared(&redactor, limits, 0, async |lines, _| lines.info(text).await).await;
    let texts = texts(&batches);
    assert!(texts.len() > 2 && texts.iter().all(|text| text.len() <= 16 + CONTINUED.len()));
    let joined: String = texts.iter().map(|text| text.strip_prefix(CONTINUED).unwrap_or(text)).collect();
    assert_eq!(joined, format!("{}[REDACTED:NAME]{}", "a".repeat(12), "é".repeat(20)));
}

#[tokio::test]
async fn what_is_dropped_is_said_where_it_is_missing_and_at_the_end() {
    let limits = Limits { lines: 2, ..Limits::default() };
    let (batches, totals) = prepared(&Redactor::shapes_only(), limits, 0, async |lines, _| {
        for number in 0..10 {
            lines.info(format!("line {number}")).await;
        }
        lines.error("it broke").await;
    })
    .await;
    assert_eq!(
        texts(&batches),
        [
            "line 0",
            "line 1",
            "this log has reached its limit of 2 lines or 256 MiB; what follows is dropped, but for warnings and errors",
            "dropped 8 lines here",
            "it broke",
            "dropped 8 lines (48 bytes) of this log in all",
        ]
    );
    assert_eq!((totals.dropped, totals.dropped_bytes), (8, 48));
}

#[tokio::test]
async fn who_is_too_fast_is_slowed_and_loses_nothing() {
    let limits = Limits { lines_per_s: 1_000, burst: Duration::ZERO, ..Limits::default() };
    let began = std::time::Instant::now();
    let (batches, totals) = prepared(&Redactor::shapes_only(), limits, 0, async |lines, _| {
        for number in 0..500 {
            lines.info(number.to_string()).await;
        }
    })
    .await;
    assert_eq!((texts(&batches).len(), totals.dropped), (500, 0));
    assert!(began.elapsed() >= Duration::from_millis(400), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_wish_goes_with_the_last_line_said_before_it() {
    let (batches, _) = prepared(&Redactor::shapes_only(), Limits::default(), 0, async |lines, wishes| {
        for round in 0..20 {
            for _ in 0..=(round % 8) {
                lines.say(Level::Debug, round.to_string()).await;
            }
            let (wish, answer) = oneshot::channel();
            wishes.send(wish).await.expect("it listens");
            answer.await.expect("answered").expect("stored");
        }
    })
    .await;
    // Each round waited for its own lines, so no batch holds lines of two.
    for batch in &batches {
        let rounds: std::collections::BTreeSet<&str> = batch.lines.iter().map(|l| l.line.as_str()).collect();
        assert!(rounds.len() <= 1, "{rounds:?}");
    }
    assert_eq!(texts(&batches).len(), (0..20).map(|round| round % 8 + 1).sum::<usize>());
}

#[tokio::test]
async fn steps_wait_while_nothing_can_be_stored() {
    let (lines, receiver) = Lines::channel(8);
    let (_wishes, to_prepare) = mpsc::channel(1);
    let (made, mut batches) = mpsc::channel(1);
    let (redactor, hurry) = (Redactor::shapes_only(), CancellationToken::new());
    let prepare =
        prepare::Prepare::new(&redactor, Limits::default(), 0).run(receiver, to_prepare, made, &hurry);
    let said = std::cell::Cell::new(0usize);
    let say = async {
        for _ in 0..100_000 {
            lines.info("x".repeat(100)).await;
            said.set(said.get() + 1);
        }
        drop(lines);
    };
    let both = async { tokio::join!(prepare, say) };
    tokio::pin!(both);
    // Long enough for all of it, if anything let it through.
    assert!(tokio::time::timeout(Duration::from_secs(2), both.as_mut()).await.is_err());
    assert!(said.get() < 10_000, "{} lines were taken", said.get());
    let store = async {
        let mut stored = 0;
        while let Some(batch) = batches.recv().await {
            stored += batch.lines.len();
        }
        stored
    };
    let (_, stored) = tokio::join!(both, store);
    assert_eq!(stored, 100_000);
}
