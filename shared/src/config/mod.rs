//! Settings: where they come from, how they are parsed, and one struct per module that needs some.
//!
//! Owns every `DEPLOYMIND_` key. [`EnvSource`] is the only place in the program that reads the process environment.
//! Must not act on a setting: nothing here connects, opens or listens.
//!
//! Start-up reads everything it needs through one [`Reader`] and then calls [`Reader::finish`], so that whoever runs
//! the program sees all mistakes at once instead of one per restart:
//!
//! ```
//! # use deploymind_shared::config::{DatabaseConfig, MapSource, Reader, RedisConfig};
//! # let source = MapSource::from([
//! #     ("DEPLOYMIND_DATABASE_URL", "postgres://localhost/deploymind"),
//! #     ("DEPLOYMIND_REDIS_URL", "redis://localhost"),
//! # ]);
//! let mut reader = Reader::new(&source);
//! let database = DatabaseConfig::read(&mut reader);
//! let redis = RedisConfig::read(&mut reader);
//! reader.finish()?; // before this line the structs may hold placeholders
//! # Ok::<(), deploymind_shared::config::ConfigErrors>(())
//! ```

mod admin;
mod database;
mod durations;
mod gateway;
mod hosts;
mod mistakes;
mod pipeline;
mod queue;
mod reader;
mod redis;
mod reference;
mod scheduler;
mod secrets;
mod setting;
mod source;
mod telemetry;
mod worker;

pub use admin::AdminConfig;
pub use database::DatabaseConfig;
pub use gateway::GatewayConfig;
pub use hosts::{CollectConfig, HostsConfig};
pub use mistakes::{ConfigErrors, Mistake};
pub use pipeline::{BuildConfig, BuilderChoice, CheckoutConfig, PipelineConfig, ScanConfig};
pub use queue::QueueConfig;
pub use reader::Reader;
pub use redis::{FleetName, RedisConfig};
pub use reference::reference;
pub use scheduler::SchedulerConfig;
pub use secrets::SecretsConfig;
pub use source::{EnvSource, MapSource, Overlay, Source};
pub use telemetry::{LogFormat, TelemetryConfig};
pub use worker::WorkerConfig;

/// The exit code for wrong settings: `EX_USAGE` of BSD `sysexits.h`. A supervisor that sees it need not try again.
pub const EXIT_CONFIG: u8 = 64;
