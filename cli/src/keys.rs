//! The `keys` commands. A key is printed once, by the command that makes it, and by nothing else.

use std::io::{self, Write as _};

use deploymind_shared::config::{DatabaseConfig, Reader, SecretsConfig, Source};
use deploymind_shared::db::Db;
use deploymind_shared::error::{Code, Error, Result};
use deploymind_shared::fleet::{self, Rotation};
use deploymind_shared::process::{EXIT_FAILED, runtime};
use deploymind_shared::secret::{KeyId, Keyring};
use deploymind_shared::telemetry::Metrics;

use crate::roles;

/// The line goes to stdout and advice to stderr, so that the line can be sent straight into a file.
pub(crate) fn generate(id: &str) -> Result<u8> {
    let id = KeyId::parse(id)?;
    let line = Keyring::generate_line(&id);
    writeln!(io::stdout().lock(), "{}", line.as_str()).map_err(|source| {
        Error::new(Code::SecretKey, "the new key could not be written out, and is lost; make another")
            .because(source)
    })?;
    eprintln!(
        "Put this line first into the file that {file} names (mode 600, nobody else may read it), above the keys that are\n\
         there, wherever the file is read; or first into {keys}. Then restart the processes and run `deploymind keys rotate`.\n\
         Keep a copy apart from the backups of the database: what {id} seals cannot be read without it.",
        file = SecretsConfig::FILE,
        keys = SecretsConfig::KEYS,
    );
    Ok(0)
}

pub(crate) fn rotate(source: &dyn Source, print_config: bool, dry_run: bool) -> Result<u8> {
    let mut reader = Reader::new(source);
    let database = DatabaseConfig::read(&mut reader);
    let secrets = SecretsConfig::read(&mut reader);
    if print_config {
        return roles::print(reader);
    }
    reader.finish()?;
    let ring = Keyring::from_config(&secrets)?;
    let rotation = runtime()?.block_on(async {
        let db = Db::open(&database, Metrics::new(&[]))?;
        fleet::rotate(&db, &ring, dry_run).await
    })?;
    print!("{}", report(&ring, &rotation, dry_run));
    Ok(if rotation.complete() { 0 } else { EXIT_FAILED })
}

fn report(ring: &Keyring, rotation: &Rotation, dry_run: bool) -> String {
    let mut text = format!("{:<24}{}\n", "sealed values", if dry_run { "would move" } else { "moved" });
    for (table, moved) in &rotation.moved {
        text += &format!("{:<24}{moved:>10}\n", table.as_str());
    }
    if rotation.changed_meanwhile > 0 {
        text += &format!("{:<24}{:>10}\n", "changed meanwhile", rotation.changed_meanwhile);
    }
    if rotation.stuck > 0 {
        text += &format!("{:<24}{:>10}\n", "do not open", rotation.stuck);
    }
    for (place, why) in &rotation.stuck_named {
        text += &format!("\n{place}:\n  {why}\n");
    }
    let unnamed = rotation.stuck - rotation.stuck_named.len() as u64;
    if unnamed > 0 {
        text += &format!("\nand {unnamed} more\n");
    }
    text + "\n" + &advice(ring, rotation, dry_run)
}

fn advice(ring: &Keyring, rotation: &Rotation, dry_run: bool) -> String {
    let current = ring.current();
    let old: Vec<&str> = ring.ids().skip(1).map(KeyId::as_str).collect();
    let waiting: u64 = rotation.moved.iter().map(|(_, moved)| moved).sum();
    if rotation.stuck > 0 {
        return "Some values do not open: see docs/errors/DM-4601.md. Keep every key until they are mended.\n".to_owned();
    }
    if rotation.changed_meanwhile > 0 {
        return "Some values were set anew while this ran: run it again. Keep every key until then.\n"
            .to_owned();
    }
    if dry_run && waiting > 0 {
        return format!("Nothing was written. `deploymind keys rotate` seals these with {current}.\n");
    }
    if old.is_empty() {
        return format!("Every value is sealed with {current}.\n");
    }
    format!(
        "Every value is sealed with {current}. Once every process was restarted with {current} first and a dry run still finds\n\
         nothing to move, these may be removed: {}. Backups of the database from before need them.\n",
        old.join(", ")
    )
}
