//! The `target` command: where a target is and what it is reached with.

use std::io::Read as _;
use std::path::Path;

use deploymind_shared::config::{DatabaseConfig, Reader, SecretsConfig, Source};
use deploymind_shared::db::Db;
use deploymind_shared::db::targets::{target_connection_put, target_create};
use deploymind_shared::error::{Code, Error, Result};
use deploymind_shared::ids::TargetName;
use deploymind_shared::process::runtime;
use deploymind_shared::secret::{Associated, Keyring};
use deploymind_shared::telemetry::Metrics;
use secrecy::SecretString;

use crate::args::TargetArgs;
use crate::roles;

/// Longer than any key or bundle of certificates.
const SECRET_MAX: u64 = 64 * 1024;

pub(crate) fn run(source: &dyn Source, print_config: bool, args: &TargetArgs) -> Result<u8> {
    let mut reader = Reader::new(source);
    let database = DatabaseConfig::read(&mut reader);
    let secrets = SecretsConfig::read(&mut reader);
    if print_config {
        return roles::print(reader);
    }
    reader.finish()?;
    let name = TargetName::parse(&args.name)?;
    let sealed = match &args.secret_file {
        None => None,
        Some(path) => Some(Keyring::from_config(&secrets)?.seal(&Associated::target(&name), &secret(path)?)),
    };
    runtime()?.block_on(async {
        let db = Db::open(&database, Metrics::new(&[]))?;
        target_create(&db, &name).await?;
        target_connection_put(&db, &name, args.address.as_deref(), sealed.as_ref()).await
    })?;
    eprintln!("{name} is reached {}", args.address.as_deref().unwrap_or("as the worker's own engine"));
    Ok(0)
}

fn secret(path: &Path) -> Result<SecretString> {
    let unreadable = |why: std::io::Error| {
        Error::new(Code::TargetConnection, format!("{} cannot be read as text: {why}", path.display()))
    };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(SECRET_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > SECRET_MAX {
        return Err(Error::new(Code::FieldTooLong, format!("{} is longer than 64 KiB", path.display())));
    }
    Ok(SecretString::from(text))
}
