//! Accepts connections until it is told to leave, and lets those that are open finish.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::app::App;
use crate::settings::OnTerm;
use crate::{answers, health};

const DIED: u8 = 3;

pub struct Signals([Signal; 3]);

impl Signals {
    pub fn listen() -> std::io::Result<Self> {
        let of = |kind: SignalKind| signal(kind);
        Ok(Self([of(SignalKind::terminate())?, of(SignalKind::interrupt())?, of(SignalKind::quit())?]))
    }

    /// Until it is to leave: never, if it ignores signals.
    pub async fn leave(&mut self, on_term: OnTerm) {
        let [terminate, interrupt, quit] = &mut self.0;
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = quit.recv() => {}
            }
            if on_term != OnTerm::Ignore {
                return;
            }
            eprintln!("sample-app ignores a signal, as it was told");
        }
    }
}

pub async fn run(listener: TcpListener, app: &Arc<App>, signals: &mut Signals) -> ExitCode {
    let settings = &app.settings;
    let version = &settings.version;
    let death = settings.dies_after.map(|after| app.since + after);
    loop {
        tokio::select! {
            () = signals.leave(settings.on_term) => break,
            () = sleep_until(death.unwrap_or_else(Instant::now)), if death.is_some() => {
                eprintln!("sample-app {version} dies, as it was told");
                return ExitCode::from(DIED);
            }
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(app.tasks.spawn(serve(stream, Arc::clone(app)))),
                Err(error) => {
                    eprintln!("sample-app {version} cannot accept a connection: {error}");
                    sleep(Duration::from_millis(10)).await;
                }
            }
        }
    }
    if settings.on_term == OnTerm::Exit {
        println!("sample-app {version} leaves at once");
        return ExitCode::SUCCESS;
    }
    drop(listener);
    println!(
        "sample-app {version} leaves after {} hits, {} connections are open",
        app.hits(),
        app.tasks.len()
    );
    app.leaving.cancel();
    app.tasks.close();
    if timeout(settings.grace, app.tasks.wait()).await.is_err() {
        eprintln!("sample-app {version} cuts {} connections after {:?}", app.tasks.len(), settings.grace);
    }
    println!("sample-app {version} ends");
    ExitCode::SUCCESS
}

async fn serve(stream: TcpStream, app: Arc<App>) {
    // How a connection ends is the client's affair; so is an option that cannot be set.
    drop(stream.set_nodelay(true));
    if health::hangs_up(&stream, &app.settings).await {
        return health::speak_no_http(stream).await;
    }
    let service = service_fn(|request| answers::answer(request, Arc::clone(&app)));
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades();
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        biased;
        ended = connection.as_mut() => return drop(ended),
        () = app.leaving.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    drop(connection.await);
}
