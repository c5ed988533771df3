//! The users of an app, as a process: `load --url http://127.0.0.1:8080 --rate 200 --seconds 10`.
//!
//! One JSON line on stdout at the end (after `--seconds`, or on SIGTERM), and one of the counts so far on each SIGUSR1.
//! With `--until-version` or `--latency` it measures that instead. The rate is kept however late the answers are, nothing
//! is sent twice, and every failure is counted.

mod args;
mod connection;
mod latency;
mod lookout;
mod pool;
mod slow;
mod socket;
mod steady;
mod tally;
mod target;
mod wire;

use std::process::ExitCode;
use std::sync::Arc;

use args::Args;
use clap::Parser as _;
use serde::Serialize;
use tally::Tally;
use target::Target;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = Args::parse();
    let target = match Target::resolve(&args).await {
        Ok(target) => Arc::new(target),
        Err(error) => {
            eprintln!("load: {}: {error}", args.url);
            return ExitCode::FAILURE;
        }
    };
    if let Some(version) = &args.until_version {
        return print(&lookout::watch(&target, version, &args).await);
    }
    if let Some(requests) = args.latency {
        return print(&latency::measure(&target, requests).await);
    }
    run(&args, &target).await
}

async fn run(args: &Args, target: &Arc<Target>) -> ExitCode {
    let (Ok(mut terminate), Ok(mut ask)) =
        (signal(SignalKind::terminate()), signal(SignalKind::user_defined1()))
    else {
        eprintln!("load: cannot wait for signals");
        return ExitCode::FAILURE;
    };
    let tally = Arc::new(Tally::start());
    let stop = CancellationToken::new();
    let mut users = JoinSet::new();
    users.spawn(steady::run(Arc::clone(target), Arc::clone(&tally), stop.clone()));
    for _ in 0..args.slow {
        users.spawn(slow::run(Arc::clone(target), Arc::clone(&tally), stop.clone()));
    }
    for _ in 0..args.websockets {
        users.spawn(socket::run(Arc::clone(target), Arc::clone(&tally), stop.clone()));
    }
    loop {
        tokio::select! {
            _ = terminate.recv() => stop.cancel(),
            _ = ask.recv() => drop(print(&tally.report(false))),
            ended = users.join_next() => match ended {
                // The steady ones end by themselves when the time is over; the others with them.
                Some(Ok(())) => stop.cancel(),
                Some(Err(error)) => {
                    eprintln!("load: {error}");
                    return ExitCode::FAILURE;
                }
                None => return print(&tally.report(true)),
            },
        }
    }
}

fn print(what: &impl Serialize) -> ExitCode {
    match serde_json::to_string(what) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}
