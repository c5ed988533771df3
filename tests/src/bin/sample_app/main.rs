//! The app that tests roll out: a web server whose environment says how it behaves, well or badly; see `settings.rs`.
//!
//! `GET /`, `GET /slow?ms=`, `POST /echo`, `GET /ws` (WebSocket echo), `GET /headers` are for users and are counted;
//! `GET /hits` tells how many they were, and `GET /health` (or `HEALTH_PATH`) is for probes.

mod answers;
mod app;
mod echo;
mod health;
mod server;
mod settings;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use app::App;
use server::Signals;
use settings::Settings;
use tokio::net::TcpListener;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let settings = match Settings::of_this_process() {
        Ok(settings) => settings,
        Err(mistakes) => {
            eprintln!("sample-app: {}", mistakes.join("; "));
            return ExitCode::from(64);
        }
    };
    let version = settings.version.clone();
    if let Some(code) = settings.exit_at_start {
        eprintln!("sample-app {version} ends at once with code {code}, as it was told");
        return ExitCode::from(code);
    }
    // First of all: as the first process of a container it would not be ended by a signal that it has no handler for.
    let Ok(mut signals) = Signals::listen() else {
        eprintln!("sample-app {version} cannot wait for signals");
        return ExitCode::FAILURE;
    };
    tokio::select! {
        () = tokio::time::sleep(settings.start) => {}
        () = signals.leave(settings.on_term) => return ExitCode::SUCCESS,
    }
    let address = SocketAddr::from((settings.listen, settings.port));
    let listener = match TcpListener::bind(address).await {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("sample-app {version} cannot listen on {address}: {error}");
            return ExitCode::FAILURE;
        }
    };
    println!("sample-app {version} listens on {address}");
    let app = Arc::new(App::new(settings));
    tokio::select! {
        code = server::run(listener, &app, &mut signals) => code,
        never = eat(app.settings.eat_megabytes) => match never {},
    }
}

/// A little at a time, so that it is seen to grow; kept until the end.
async fn eat(megabytes: usize) -> std::convert::Infallible {
    let mut eaten = Vec::new();
    for _ in 0..megabytes {
        // Not zeros: the kernel would not give pages for those.
        eaten.push(vec![1_u8; 1 << 20]);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    std::future::pending().await
}
