//! The command line. Flags are settings under another name: they win over the environment and are checked with it.

use clap::{Parser, Subcommand};
use deploymind_shared::config::{EnvSource, MapSource, Overlay, WorkerConfig};

/// Turns "this commit" into "this is what users reach".
#[derive(Debug, Parser)]
#[command(name = "deploymind", version, about, max_term_width = 100)]
#[command(after_help = "Settings come from the environment (DEPLOYMIND_…); docs/CONFIG.md lists them all.\n\
                        Exit codes: 0 ended in order, 1 failed, 2 usage, 64 wrong settings, 130 second signal.")]
pub(crate) struct Args {
    /// Print the settings in effect, secrets redacted, and exit
    #[arg(long, global = true)]
    pub(crate) print_config: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve the API
    Gateway(GatewayArgs),
    /// Take jobs of one or more environments and run them
    Worker(WorkerArgs),
    /// Keep the promises when something dies; run two, one leads
    Scheduler,
    /// Bring the database schema up to this version and exit
    Migrate,
    /// Say how a target is reached, and with which secret
    Target(TargetArgs),
    /// Remove from a Docker host what no app needs any more: images, stopped slots, steps of builds
    ///
    /// With the settings of a worker, where a worker could run.
    Collect(CollectArgs),
    /// Make keys that seal secrets, and move sealed values to a new one
    Keys(KeysArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct GatewayArgs {
    /// Address and port of the API
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct WorkerArgs {
    /// Environment whose jobs to take; may be given several times
    #[arg(long = "environment", value_name = "NAME")]
    environments: Vec<String>,

    /// Jobs that may run at once; at least one per environment
    #[arg(long, value_name = "N")]
    concurrency: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct TargetArgs {
    /// Such as docker://web-1; created when it is not there
    pub(crate) name: String,

    /// unix:///path, tcp://host:port or ssh://user@host[:port][/path of the socket]; the worker's own engine when not given
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) address: Option<String>,

    /// File with an SSH private key, or for TLS the JSON {"ca": PEM, "certificate": PEM, "key": PEM}; it is sealed
    #[arg(long, value_name = "FILE", requires = "address")]
    pub(crate) secret_file: Option<std::path::PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CollectArgs {
    /// Say what would go, what stays and why, and touch nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// The Docker host
    #[arg(long, value_name = "TARGET", default_value = "docker://local")]
    pub(crate) target: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct KeysArgs {
    #[command(subcommand)]
    pub(crate) command: KeysCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Print a line for the key file with a fresh random key; store it nowhere
    Generate {
        /// Name of the key: lower-case letters, digits and dashes, such as 2026-01
        id: String,
    },
    /// Seal every value that is on an older key with the first key
    ///
    /// It may be stopped and repeated, and runs beside a working fleet. Exits with 1 when a value does not open.
    Rotate {
        /// Open everything, say what would move and what does not open, and write nothing
        #[arg(long)]
        dry_run: bool,
    },
}

impl Args {
    pub(crate) fn source(&self) -> Overlay<MapSource, EnvSource> {
        let mut flags = MapSource::new();
        match &self.command {
            Command::Gateway(args) => {
                if let Some(listen) = &args.listen {
                    flags = flags.with("DEPLOYMIND_LISTEN", listen);
                }
            }
            Command::Worker(args) => {
                if !args.environments.is_empty() {
                    flags = flags.with(WorkerConfig::ENVIRONMENTS, args.environments.join(","));
                }
                if let Some(concurrency) = &args.concurrency {
                    flags = flags.with(WorkerConfig::CONCURRENCY, concurrency);
                }
            }
            Command::Scheduler
            | Command::Migrate
            | Command::Target(_)
            | Command::Collect(_)
            | Command::Keys(_) => {}
        }
        Overlay(flags, EnvSource)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Args::command().debug_assert();
    }
}
