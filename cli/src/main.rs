//! `deploymind`: every role of the fleet in one program.

mod args;
mod collect;
mod keys;
mod roles;
mod target;

use std::process::ExitCode;

use args::{Args, Command, KeysCommand};
use clap::Parser as _;
use deploymind_shared::config::EXIT_CONFIG;
use deploymind_shared::error::Class;

fn main() -> ExitCode {
    let args = Args::parse();
    let source = args.source();
    let ended = match &args.command {
        Command::Gateway(_) => roles::gateway(&source, args.print_config),
        Command::Worker(_) => roles::worker(&source, args.print_config),
        Command::Scheduler => roles::scheduler(&source, args.print_config),
        Command::Migrate => roles::migrate(&source, args.print_config),
        Command::Target(target) => target::run(&source, args.print_config, target),
        Command::Collect(collect) => {
            collect::run(&source, args.print_config, &collect.target, collect.dry_run)
        }
        Command::Keys(keys) => match &keys.command {
            KeysCommand::Generate { id } => keys::generate(id),
            KeysCommand::Rotate { dry_run } => keys::rotate(&source, args.print_config, *dry_run),
        },
    };
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("deploymind: {error}");
            let mut cause = std::error::Error::source(&error);
            while let Some(source) = cause {
                eprintln!("  because: {source}");
                cause = source.source();
            }
            eprintln!("  see docs/errors/{}.md", error.code());
            let wrong_settings = error.code().class() == Class::Config;
            ExitCode::from(if wrong_settings { EXIT_CONFIG } else { 1 })
        }
    }
}
