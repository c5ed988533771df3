//! Postgres: a database per test on the shared server, and a server of our own that may be killed or frozen.

mod database;
mod server;

pub use database::{TestDatabase, base_database_url};
pub use server::PrivatePostgres;
