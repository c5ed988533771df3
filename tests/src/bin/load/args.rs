//! The command line.

use clap::Parser;
use deploymind_tests::load::Share;
use url::Url;

#[derive(Parser, Debug)]
#[command(name = "load", about = "Asks an app at a steady rate and overlooks no failure")]
pub struct Args {
    /// Where the app is: `http://127.0.0.1:8080/`; the path is what is asked for.
    #[arg(long)]
    pub url: Url,
    /// The name in `Host`, when it is not the one of the URL.
    #[arg(long)]
    pub host: Option<String>,
    /// Requests per second.
    #[arg(long, default_value_t = 200.0, value_parser = rate)]
    pub rate: f64,
    /// Connections that are kept open and used in turn.
    #[arg(long, default_value_t = 20)]
    pub connections: usize,
    /// So many requests for `/slow` are under way at any time, beside the rate.
    #[arg(long, default_value_t = 2)]
    pub slow: usize,
    #[arg(long, default_value_t = 5000)]
    pub slow_ms: u64,
    /// The share of the requests, in percent, that are `POST /echo`.
    #[arg(long, default_value = "20", value_parser = share)]
    pub posts: Share,
    /// Open WebSockets at `/ws`.
    #[arg(long, default_value_t = 1)]
    pub websockets: usize,
    /// Each of them sends something that often.
    #[arg(long, default_value_t = 500)]
    pub echo_ms: u64,
    /// A request without a whole answer by then has failed.
    #[arg(long, default_value_t = 5000)]
    pub timeout_ms: u64,
    /// Ends by itself after so long.
    #[arg(long)]
    pub seconds: Option<f64>,
    /// Asks over a new connection each time until this release answers, and says when; at most `--seconds`, by default 60.
    #[arg(long)]
    pub until_version: Option<String>,
    #[arg(long, default_value_t = 2)]
    pub every_ms: u64,
    /// Measures so many requests, one after another over one connection.
    #[arg(long)]
    pub latency: Option<u64>,
}

fn rate(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|rate| (0.001..=100_000.0).contains(rate)).ok_or_else(|| "not a rate".to_owned())
}

fn share(text: &str) -> Result<Share, String> {
    text.parse().ok().and_then(Share::percent).ok_or_else(|| "not between 0 and 100".to_owned())
}
