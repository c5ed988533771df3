use std::time::{Duration, Instant};

use deploymind_tests::proxy::{FaultProxy, Mode};
use deploymind_tests::redis::TestRedis;
use redis::AsyncCommands as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const SILENCE: Duration = Duration::from_millis(200);
const DEADLINE: Duration = Duration::from_secs(5);

/// Answers every piece with itself.
async fn echo() -> (String, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut task = JoinSet::new();
    task.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            connections.spawn(async move {
                let (mut from, mut to) = stream.split();
                drop(tokio::io::copy(&mut from, &mut to).await);
            });
        }
    });
    (address, task)
}

struct Client(TcpStream);

impl Client {
    async fn connect(proxy: &FaultProxy) -> Self {
        Self(TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap())
    }

    async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// What arrives next; empty when the connection was closed.
    async fn receive(&mut self) -> String {
        let mut buffer = [0; 64];
        let count = tokio::time::timeout(DEADLINE, self.0.read(&mut buffer)).await.unwrap();
        String::from_utf8_lossy(&buffer[..count.unwrap_or(0)]).into_owned()
    }

    async fn hears_nothing(&mut self) -> bool {
        let mut buffer = [0; 64];
        tokio::time::timeout(SILENCE, self.0.read(&mut buffer)).await.is_err()
    }
}

#[tokio::test]
async fn it_passes_both_ways() {
    let (upstream, _server) = echo().await;
    let proxy = FaultProxy::start(&upstream).await;
    let mut client = Client::connect(&proxy).await;
    client.send("hello").await;
    assert_eq!(client.receive().await, "hello");
}

#[tokio::test]
async fn swallow_is_silence_on_old_and_new_connections() {
    let (upstream, _server) = echo().await;
    let proxy = FaultProxy::start(&upstream).await;
    let mut old = Client::connect(&proxy).await;
    old.send("before").await;
    assert_eq!(old.receive().await, "before");
    proxy.set(Mode::Swallow).await;
    let mut new = Client::connect(&proxy).await;
    old.send("old").await;
    new.send("new").await;
    assert!(old.hears_nothing().await);
    assert!(new.hears_nothing().await);
    proxy.set(Mode::Pass).await;
    assert_eq!(old.receive().await, "old");
    assert_eq!(new.receive().await, "new");
}

#[tokio::test]
async fn cut_closes_what_is_open_and_refuses_what_is_new() {
    let (upstream, _server) = echo().await;
    let proxy = FaultProxy::start(&upstream).await;
    let mut client = Client::connect(&proxy).await;
    client.send("before").await;
    assert_eq!(client.receive().await, "before");
    proxy.set(Mode::Cut).await;
    assert_eq!(client.receive().await, "");
    let refused = TcpStream::connect(("127.0.0.1", proxy.port())).await;
    assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    proxy.set(Mode::Pass).await;
    let mut client = Client::connect(&proxy).await;
    client.send("after").await;
    assert_eq!(client.receive().await, "after");
}

#[tokio::test]
async fn a_partition_can_end_in_a_cut() {
    let (upstream, _server) = echo().await;
    let proxy = FaultProxy::start(&upstream).await;
    proxy.set(Mode::Swallow).await;
    let mut client = Client::connect(&proxy).await;
    client.send("never").await;
    proxy.set(Mode::Cut).await;
    assert_eq!(client.receive().await, "");
}

#[tokio::test]
async fn a_reply_cut_in_the_middle_was_still_carried_out() {
    let redis = TestRedis::start().await;
    let proxy = FaultProxy::before(&redis.url()).await;
    let config = redis::AsyncConnectionConfig::new().set_response_timeout(Some(DEADLINE));
    let client = redis::Client::open(proxy.url(&redis.url())).unwrap();
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await.unwrap();
    let () = connection.set("key", 1).await.unwrap();
    proxy.set(Mode::CutMidReply).await;
    let added: redis::RedisResult<i64> = connection.incr("key", 1).await;
    let error = added.unwrap_err();
    assert!(!error.is_timeout(), "{error}");
    let value: i64 = redis.connect().await.get("key").await.unwrap();
    assert_eq!(value, 2);
}

#[tokio::test]
async fn half_of_the_reply_arrives() {
    let (upstream, _server) = echo().await;
    let proxy = FaultProxy::start(&upstream).await;
    proxy.set(Mode::CutMidReply).await;
    let mut client = Client::connect(&proxy).await;
    client.send("123456").await;
    assert_eq!(client.receive().await, "123");
    assert_eq!(client.receive().await, "");
}

#[tokio::test]
async fn delay_is_paid_both_ways() {
    let (upstream, _server) = echo().await;
    let proxy = FaultProxy::start(&upstream).await;
    proxy.set(Mode::Delay(Duration::from_millis(100))).await;
    let mut client = Client::connect(&proxy).await;
    let start = Instant::now();
    client.send("slow").await;
    assert_eq!(client.receive().await, "slow");
    assert!(start.elapsed() >= Duration::from_millis(200), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_dead_upstream_looks_like_a_closed_connection() {
    let (upstream, server) = echo().await;
    drop(server);
    let proxy = FaultProxy::start(&upstream).await;
    let mut client = Client::connect(&proxy).await;
    assert_eq!(client.receive().await, "");
}
