//! The queue's own Lua, with or without a mistake put into it: for controls that must fail.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Script};

macro_rules! source {
    ($file:literal) => {
        include_str!(concat!("../../shared/src/queue/scripts/", $file, ".lua"))
    };
}

/// The text of one script as the product loads it.
fn text(name: &str) -> String {
    let script = match name {
        "enqueue" => source!("enqueue"),
        "finish" => source!("finish"),
        "park" => source!("park"),
        "renew" => source!("renew"),
        "take" => source!("take"),
        "withdraw" => source!("withdraw"),
        other => panic!("add {other} to the list"),
    };
    [source!("prelude"), script].join("\n")
}

/// The script with each mistake put in its place.
///
/// # Panics
/// When the text to replace is not in it exactly once: the script has changed and the control would control nothing.
pub fn script(name: &str, mistakes: &[(&str, &str)]) -> Script {
    let mut text = text(name);
    for (right, wrong) in mistakes {
        assert_eq!(text.matches(right).count(), 1, "{right:?} is in {name}.lua once");
        text = text.replacen(right, wrong, 1);
    }
    Script::new(&text)
}

pub async fn connect(url: &str) -> MultiplexedConnection {
    // The default of half a second is too short on a machine that is busy with other tests.
    let patient = AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(20)));
    let client = redis::Client::open(url).expect("an address");
    client.get_multiplexed_async_connection_with_config(&patient).await.expect("connect")
}
