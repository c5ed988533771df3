//! What the environment may say. A name that is not there means a well-behaved app on port 8080.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;
use std::time::Duration;

use deploymind_tests::load::Share;
use url::Url;

#[derive(Debug, Clone)]
pub struct Settings {
    /// `VERSION`: in the header `X-Version` and in the body of every answer.
    pub version: String,
    /// `LISTEN`, by default 0.0.0.0.
    pub listen: IpAddr,
    /// `PORT`.
    pub port: u16,
    /// `START_MS`: it listens only then.
    pub start: Duration,
    /// `EXIT_AT_START`: ends at once with this code.
    pub exit_at_start: Option<u8>,
    /// `DIES_AFTER_MS`: ends with code 3 so long after it began to listen.
    pub dies_after: Option<Duration>,
    /// `HEALTH`.
    pub health: Health,
    /// `HEALTH_PATH`, by default `/health`.
    pub health_path: String,
    /// `ERROR_PERCENT`: this share of the users' requests is answered 500, evenly, or scattered by `ERROR_SEED`.
    pub errors: Share,
    /// `EAT_MEMORY_MB`: taken once it listens, a megabyte a millisecond.
    pub eat_megabytes: usize,
    /// `DELAY_MS`: every user's request takes that much longer.
    pub delay: Duration,
    /// `DEPENDENCY`: a URL; while nobody accepts connections there, users get 500.
    pub dependency: Option<Url>,
    /// `ON_TERM`.
    pub on_term: OnTerm,
    /// `GRACE_MS`: how long requests under way may take after SIGTERM, by default 10 s.
    pub grace: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// `ok`: 200.
    Ok,
    /// `fail`: 503.
    Fail,
    /// `fail-after <ms>`: 200, and 503 so long after it began to listen.
    FailAfter(Duration),
    /// `redirect`: 302 to `/`.
    Redirect,
    /// `slow <ms>`: 200, late.
    Slow(Duration),
    /// `garbage`: 200 with random bytes.
    Garbage,
    /// `nothttp`: bytes that are no HTTP, and the end of the connection.
    NotHttp,
}

/// What SIGTERM, SIGINT and SIGQUIT do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnTerm {
    /// `drain`: nothing new is accepted, what is under way is finished.
    Drain,
    /// `ignore`: nothing.
    Ignore,
    /// `exit`: it is gone at once, with all that is under way.
    Exit,
}

impl Settings {
    pub fn of_this_process() -> Result<Self, Vec<String>> {
        #[expect(
            clippy::disallowed_methods,
            reason = "the app stands for one that knows nothing of this workspace"
        )]
        let environment: BTreeMap<String, String> = std::env::vars().collect();
        Self::read(&environment)
    }

    fn read(environment: &BTreeMap<String, String>) -> Result<Self, Vec<String>> {
        let mut of = Reader { environment, mistakes: Vec::new() };
        let mut errors =
            of.with("ERROR_PERCENT", |text| Share::percent(text.parse().ok()?), Share::percent(0.0));
        if let Some(seed) = of.optional("ERROR_SEED") {
            errors = errors.map(|errors| errors.scattered(seed));
        }
        let settings = Self {
            version: environment.get("VERSION").cloned().unwrap_or_else(|| "none".to_owned()),
            listen: of.optional("LISTEN").unwrap_or(Ipv4Addr::UNSPECIFIED.into()),
            port: of.optional("PORT").unwrap_or(8080),
            start: of.milliseconds("START_MS").unwrap_or_default(),
            exit_at_start: of.optional("EXIT_AT_START"),
            dies_after: of.milliseconds("DIES_AFTER_MS"),
            health: of.with("HEALTH", health, Some(Health::Ok)).unwrap_or(Health::Ok),
            health_path: of.optional("HEALTH_PATH").unwrap_or_else(|| "/health".to_owned()),
            errors: errors.or(Share::percent(0.0)).ok_or_else(Vec::new)?,
            eat_megabytes: of.optional("EAT_MEMORY_MB").unwrap_or_default(),
            delay: of.milliseconds("DELAY_MS").unwrap_or_default(),
            dependency: of.optional("DEPENDENCY"),
            on_term: of.with("ON_TERM", on_term, Some(OnTerm::Drain)).unwrap_or(OnTerm::Drain),
            grace: of.milliseconds("GRACE_MS").unwrap_or(Duration::from_secs(10)),
        };
        if of.mistakes.is_empty() { Ok(settings) } else { Err(of.mistakes) }
    }
}

struct Reader<'a> {
    environment: &'a BTreeMap<String, String>,
    mistakes: Vec<String>,
}

impl Reader<'_> {
    fn with<T>(&mut self, name: &str, parse: impl Fn(&str) -> Option<T>, absent: Option<T>) -> Option<T> {
        let Some(text) = self.environment.get(name).filter(|text| !text.is_empty()) else {
            return absent;
        };
        let parsed = parse(text);
        if parsed.is_none() {
            self.mistakes.push(format!("{name} cannot be {text:?}"));
        }
        parsed
    }

    fn optional<T: FromStr>(&mut self, name: &str) -> Option<T> {
        self.with(name, |text| text.parse().ok(), None)
    }

    fn milliseconds(&mut self, name: &str) -> Option<Duration> {
        self.optional(name).map(Duration::from_millis)
    }
}

fn health(text: &str) -> Option<Health> {
    let (word, rest) = text.split_once([' ', ':']).unwrap_or((text, ""));
    let milliseconds = || rest.trim().parse().ok().map(Duration::from_millis);
    match (word, rest) {
        ("ok", "") => Some(Health::Ok),
        ("fail", "") => Some(Health::Fail),
        ("fail-after", _) => milliseconds().map(Health::FailAfter),
        ("redirect", "") => Some(Health::Redirect),
        ("slow", _) => milliseconds().map(Health::Slow),
        ("garbage", "") => Some(Health::Garbage),
        ("nothttp", "") => Some(Health::NotHttp),
        _ => None,
    }
}

fn on_term(text: &str) -> Option<OnTerm> {
    match text {
        "drain" => Some(OnTerm::Drain),
        "ignore" => Some(OnTerm::Ignore),
        "exit" => Some(OnTerm::Exit),
        _ => None,
    }
}
