use std::time::Duration;

use deploymind_tests::wait_for;

const SHORT: Duration = Duration::from_millis(50);

#[tokio::test]
async fn it_asks_until_the_answer_is_there() {
    let mut asked = 0;
    let answer = wait_for("three questions", Duration::from_secs(5), async || {
        asked += 1;
        if asked < 3 { Err(format!("{asked}")) } else { Ok(asked) }
    })
    .await;
    assert_eq!(answer, 3);
}

#[tokio::test]
#[should_panic(expected = "the queue is empty: not within 50ms; last status: 7 jobs left")]
async fn it_says_what_was_missing() {
    wait_for("the queue is empty", SHORT, async || Err::<(), _>("7 jobs left".to_owned())).await;
}

#[tokio::test]
#[should_panic(expected = "the last check hung")]
async fn a_check_that_hangs_does_not_hang_the_test() {
    wait_for("an answer", SHORT, async || std::future::pending::<Result<(), String>>().await).await;
}
