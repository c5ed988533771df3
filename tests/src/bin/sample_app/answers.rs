//! What a user gets.

use std::sync::Arc;
use std::time::Duration;

use deploymind_tests::load::{VERSION_HEADER, checksum, websocket};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    CONNECTION, CONTENT_TYPE, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE,
};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json as value};

use crate::app::App;
use crate::settings::Settings;
use crate::{echo, health};

pub type Answer = Response<Full<Bytes>>;

const LARGEST_BODY: usize = 16 << 20;
const SLOWEST: u64 = 600_000;

pub async fn answer(request: Request<Incoming>, app: Arc<App>) -> std::io::Result<Answer> {
    let settings = &app.settings;
    let path = request.uri().path();
    if path == settings.health_path {
        return health::answer(&app).await;
    }
    if path == "/hits" {
        return Ok(plain(settings, StatusCode::OK, app.hits().to_string().into()));
    }
    let number = app.hit();
    let (mut parts, body) = request.into_parts();
    let upgrade = parts.extensions.remove();
    // All of it, also for an answer that does not depend on it: what is unread when a connection ends would reset it.
    let body = match Limited::new(body, LARGEST_BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => {
            let body = value!({ "error": error.to_string() });
            return Ok(json(settings, StatusCode::PAYLOAD_TOO_LARGE, &body));
        }
    };
    // Even no time at all takes a tick of the timer, which is longer than the rest.
    if !settings.delay.is_zero() {
        tokio::time::sleep(settings.delay).await;
    }
    if let Some(trouble) = app.trouble(number).await {
        let body = value!({ "version": settings.version, "n": number, "error": trouble });
        return Ok(json(settings, StatusCode::INTERNAL_SERVER_ERROR, &body));
    }
    let mut said = value!({ "version": settings.version, "n": number });
    match (&parts.method, parts.uri.path()) {
        (&Method::GET, "/") => {}
        (&Method::GET, "/slow") => tokio::time::sleep(asked_for(parts.uri.query())).await,
        (&Method::POST, "/echo") => {
            said["bytes"] = body.len().into();
            said["sum"] = checksum(&body).into();
        }
        (&Method::GET, "/headers") => {
            let of = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
            let headers: Vec<Value> =
                parts.headers.iter().map(|(name, text)| value!([name.as_str(), of(text)])).collect();
            said["headers"] = headers.into();
        }
        (&Method::GET, "/ws") => {
            let key = parts.headers.get(SEC_WEBSOCKET_KEY).and_then(|key| key.to_str().ok());
            let (Some(key), Some(upgrade)) = (key, upgrade) else {
                return Ok(json(settings, StatusCode::UPGRADE_REQUIRED, &said));
            };
            app.tasks.spawn(echo::run(upgrade, app.leaving.clone()));
            return Ok(switching(settings, key));
        }
        _ => return Ok(json(settings, StatusCode::NOT_FOUND, &said)),
    }
    Ok(json(settings, StatusCode::OK, &said))
}

fn asked_for(query: Option<&str>) -> Duration {
    let text = query.and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("ms=")));
    let milliseconds: u64 = text.and_then(|text| text.parse().ok()).unwrap_or_default();
    Duration::from_millis(milliseconds.min(SLOWEST))
}

fn switching(settings: &Settings, key: &str) -> Answer {
    let mut answer = plain(settings, StatusCode::SWITCHING_PROTOCOLS, Bytes::new());
    let headers = answer.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = websocket::accept(key).parse() {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    answer
}

pub fn json(settings: &Settings, status: StatusCode, body: &Value) -> Answer {
    let mut answer = plain(settings, status, body.to_string().into());
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

pub fn plain(settings: &Settings, status: StatusCode, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    if let Ok(version) = HeaderValue::from_str(&settings.version) {
        answer.headers_mut().insert(VERSION_HEADER, version);
    }
    answer
}
