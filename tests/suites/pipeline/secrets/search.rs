//! Everything a deployment left anywhere, as texts to be searched.

use std::sync::{Arc, Mutex, PoisonError};

use deploymind_shared::db::logs::LogLine;
use deploymind_tests::delivery::{Delivery, Ended};
use deploymind_tests::wait_for;
use futures::StreamExt as _;
use sqlx::{AssertSqlSafe, PgPool};
use tokio::task::JoinSet;

use crate::common::SOON;

#[derive(Default)]
pub(super) struct Haystack(Vec<(String, String)>);

impl Haystack {
    pub(super) fn add(&mut self, place: &str, text: String) {
        // What JSON escapes, a reader sees unescaped.
        if let Ok(value) = serde_json::from_str::<serde_json::Value>(&text) {
            let mut inner = String::new();
            strings(&value, &mut inner);
            self.0.push((place.to_owned(), inner));
        }
        self.0.push((place.to_owned(), text));
    }

    pub(super) fn heard(&mut self, heard: Vec<(String, String)>) {
        for (place, text) in heard {
            self.add(&place, text);
        }
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.iter().map(|(_, text)| text.len()).sum()
    }

    /// Every column of every table, whatever its type; bytes as they are.
    pub(super) async fn database(&mut self, pool: &PgPool) {
        let columns: Vec<(String, String, String)> = sqlx::query_as(
            "SELECT table_schema || '.' || quote_ident(table_name), quote_ident(column_name), data_type::text
             FROM information_schema.columns WHERE table_schema NOT IN ('pg_catalog', 'information_schema')",
        )
        .fetch_all(pool)
        .await
        .expect("the columns");
        assert!(columns.len() > 50, "{columns:?}");
        for (table, column, kind) in columns {
            let place = format!("{table}.{column}");
            let select =
                |what: &str| AssertSqlSafe(format!("SELECT {what} FROM {table} WHERE {column} IS NOT NULL"));
            if kind == "bytea" {
                let rows: Vec<Vec<u8>> =
                    sqlx::query_scalar(select(&column)).fetch_all(pool).await.expect("bytes");
                for row in rows {
                    self.0.push((place.clone(), String::from_utf8_lossy(&row).into_owned()));
                }
            } else {
                let text = format!("{column}::text");
                let rows: Vec<String> =
                    sqlx::query_scalar(select(&text)).fetch_all(pool).await.expect("texts");
                for row in rows {
                    self.add(&place, row);
                }
            }
        }
    }

    /// Every key of the fleet with what it holds.
    pub(super) async fn redis(&mut self, delivery: &Delivery) {
        let mut redis = delivery.rig.redis().await;
        let pattern = format!("*{}*", delivery.rig.name);
        let keys: Vec<String> =
            redis::cmd("KEYS").arg(&pattern).query_async(&mut redis).await.expect("the keys");
        assert!(!keys.is_empty(), "a fleet with a worker has keys");
        for key in keys {
            let kind: String = redis::cmd("TYPE").arg(&key).query_async(&mut redis).await.expect("its type");
            let mut ask = match kind.as_str() {
                "string" => redis::cmd("GET"),
                "list" => redis::cmd("LRANGE"),
                "hash" => redis::cmd("HGETALL"),
                "set" => redis::cmd("SMEMBERS"),
                "zset" => redis::cmd("ZRANGE"),
                "stream" => redis::cmd("XRANGE"),
                _ => continue,
            };
            ask.arg(&key);
            match kind.as_str() {
                "list" | "zset" => _ = ask.arg(0).arg(-1),
                "stream" => _ = ask.arg("-").arg("+"),
                _ => {}
            }
            let value: redis::Value = ask.query_async(&mut redis).await.expect("its value");
            self.add("redis", format!("{key} {value:?}"));
        }
    }

    /// Where a secret is, in which form.
    pub(super) fn find(&self, name: &str, value: &str) -> Vec<String> {
        let forms = forms(value);
        let mut found = Vec::new();
        for (place, text) in &self.0 {
            if let Some((at, form)) = forms.iter().find_map(|form| Some((text.find(form)?, form))) {
                let start = text.floor_char_boundary(at.saturating_sub(80));
                let end = text.ceil_char_boundary((at + form.len().min(60) + 20).min(text.len()));
                found.push(format!("{name} in {place}: {:?}", &text[start..end]));
            }
        }
        found
    }
}

fn strings(value: &serde_json::Value, into: &mut String) {
    match value {
        serde_json::Value::String(text) => {
            into.push_str(text);
            into.push('\n');
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| strings(item, into)),
        serde_json::Value::Object(fields) => fields.iter().for_each(|(key, value)| {
            into.push_str(key);
            into.push('\n');
            strings(value, into);
        }),
        other => {
            into.push_str(&other.to_string());
            into.push('\n');
        }
    }
}

/// Lines that were cut, whole again, and those beside each other, too.
pub(super) fn unbroken(log: &[LogLine]) -> String {
    log.iter().map(|line| line.line.strip_prefix("↪ ").unwrap_or(&line.line)).collect()
}

/// Half of a value is as bad: of each line of it, the whole and both halves, as they are and encoded.
fn forms(value: &str) -> Vec<String> {
    let mut forms = Vec::new();
    for line in value.lines().map(str::trim).filter(|line| line.len() >= 12 && !line.starts_with("-----")) {
        let middle = line.floor_char_boundary(line.len() / 2);
        // A half of few characters is chance, and a word that all values of a kind begin with tells nothing.
        let halves = [&line[..middle], &line[middle..]];
        let halves =
            halves.into_iter().filter(|half| half.len() >= 14 && line.bytes().all(|b| b.is_ascii_hexdigit()));
        for part in std::iter::once(line).chain(halves) {
            forms.push(part.to_owned());
            let json = serde_json::json!(part).to_string();
            forms.push(json[1..json.len() - 1].to_owned());
            forms.push(url::form_urlencoded::byte_serialize(part.as_bytes()).collect());
            for offset in 0..3 {
                let shifted = [&[0; 2][..offset], part.as_bytes()].concat();
                let coded = base64(&shifted);
                let inner = (offset * 8).div_ceil(6)..shifted.len() * 8 / 6;
                forms.push(coded[inner.clone()].to_owned());
                forms.push(coded[inner].replace('+', "-").replace('/', "_"));
            }
            forms.push(part.bytes().map(|byte| format!("{byte:02x}")).collect());
        }
    }
    assert!(!forms.is_empty(), "{value:?} has nothing to look for");
    forms
}

pub(super) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let at = |index: usize| u32::from(chunk.get(index).copied().unwrap_or_default());
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..4 {
            let six = usize::try_from(bits >> (18 - 6 * place) & 63).expect("six bits");
            out.push(if place > chunk.len() { '=' } else { char::from(ALPHABET[six]) });
        }
    }
    out
}

/// Hears what the fleet publishes, and every command that Redis is given.
pub(super) struct Ears {
    heard: Arc<Mutex<Vec<(String, String)>>>,
    _tasks: JoinSet<()>,
}

impl Ears {
    pub(super) async fn start(delivery: &Delivery) -> Self {
        let client = redis::Client::open(delivery.rig.stores.redis.as_str()).expect("a redis address");
        let mut channels = client.get_async_pubsub().await.expect("subscribe");
        channels.psubscribe(format!("*{}*", delivery.rig.name)).await.expect("subscribe");
        let monitor = client.get_async_monitor().await.expect("monitor");
        let heard = Arc::<Mutex<Vec<(String, String)>>>::default();
        let mut tasks = JoinSet::new();
        let into = Arc::clone(&heard);
        tasks.spawn(async move {
            let mut messages = channels.into_on_message();
            while let Some(message) = messages.next().await {
                let text: Vec<u8> = message.get_payload().unwrap_or_default();
                let text = String::from_utf8_lossy(&text).into_owned();
                into.lock().unwrap_or_else(PoisonError::into_inner).push(("channel".to_owned(), text));
            }
        });
        let (into, fleet) = (Arc::clone(&heard), delivery.rig.name.clone());
        tasks.spawn(async move {
            let mut commands = monitor.into_on_message::<String>();
            while let Some(command) = commands.next().await {
                // Other tests use the same server.
                if command.contains(&fleet) {
                    into.lock().unwrap_or_else(PoisonError::into_inner).push(("monitor".to_owned(), command));
                }
            }
        });
        Self { heard, _tasks: tasks }
    }

    /// What was heard until the last line of a log came by.
    pub(super) async fn stop(self, ended: &Ended) -> Vec<(String, String)> {
        let last = ended.log.last().map(|line| line.line.clone()).unwrap_or_default();
        let take = || self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone();
        wait_for("the last line on the channel", SOON, async || {
            let heard = take();
            let came = heard.iter().any(|(place, text)| place == "channel" && text.contains(&last));
            if came { Ok(()) } else { Err(format!("{} messages", heard.len())) }
        })
        .await;
        take()
    }
}
