//! What a probe gets.

use hyper::body::Bytes;
use hyper::header::LOCATION;
use hyper::{Response, StatusCode};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::answers::{Answer, json, plain};
use crate::app::App;
use crate::settings::{Health, Settings};

const NO_HTTP: &[u8] = b"\x00\x01this is no HTTP\xff\xfe\r\n";

pub async fn answer(app: &App) -> std::io::Result<Answer> {
    let settings = &app.settings;
    let good = || json(settings, StatusCode::OK, &serde_json::json!({ "status": "ok" }));
    let bad = || json(settings, StatusCode::SERVICE_UNAVAILABLE, &serde_json::json!({ "status": "failing" }));
    Ok(match settings.health {
        Health::Ok => good(),
        Health::Fail => bad(),
        Health::FailAfter(after) if app.since.elapsed() >= after => bad(),
        Health::FailAfter(_) => good(),
        Health::Redirect => {
            let mut answer: Response<_> = plain(settings, StatusCode::FOUND, Bytes::new());
            answer.headers_mut().insert(LOCATION, hyper::header::HeaderValue::from_static("/"));
            answer
        }
        Health::Slow(late) => {
            tokio::time::sleep(late).await;
            good()
        }
        Health::Garbage => {
            let bytes = rand::random::<[u8; 256]>().to_vec();
            plain(settings, StatusCode::OK, Bytes::from(bytes))
        }
        // On a connection that has served a user before; an error ends it without an answer.
        Health::NotHttp => return Err(std::io::Error::other("no HTTP, as it was told")),
    })
}

/// Whether the first request of this connection is a probe that gets no HTTP.
pub async fn hangs_up(stream: &TcpStream, settings: &Settings) -> bool {
    if settings.health != Health::NotHttp {
        return false;
    }
    let probe = format!("GET {} ", settings.health_path).into_bytes();
    let mut seen = vec![0; probe.len()];
    // The request line of a real client comes in one piece.
    stream.peek(&mut seen).await.is_ok_and(|length| length == probe.len() && seen == probe)
}

pub async fn speak_no_http(mut stream: TcpStream) {
    let mut request = [0; 4096];
    // Read first: what is unread when a connection is closed would reset it.
    drop(stream.readable().await);
    drop(stream.try_read(&mut request));
    drop(stream.write_all(NO_HTTP).await);
    drop(stream.shutdown().await);
}
