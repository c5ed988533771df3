//! The vulnerability database on disk: is it there, whole, and young enough to rely on?
//!
//! Trivy's own checks are not enough: with updates switched off it takes a database of any age, and it deletes one
//! that it finds broken.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use deploymind_shared::clock::{Timestamp, age};
use serde::Deserialize;

use super::failure::ScanFailure;

/// The layout of the tables, as this adapter was tested with.
const SCHEMA: u32 = 2;
const METADATA_BYTES: u64 = 64 * 1024;
/// How far ahead of ours the clock of whoever made it may run.
const SKEW: Duration = Duration::from_secs(24 * 3600);

/// bbolt's first page: a header of 16 bytes, then magic, version, page size, flags, root (16), free list, page count.
const META: usize = 16 + 64;
const MAGIC: u32 = 0xED0C_DAED;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Metadata {
    version: u32,
    updated_at: Timestamp,
    next_update: Timestamp,
}

/// When the database in `cache_dir` was made, if it can be relied on at `now`.
pub(super) fn check(cache_dir: &Path, max_age: Duration, now: Timestamp) -> Result<Timestamp, ScanFailure> {
    let metadata = metadata(cache_dir)?;
    let made = metadata.updated_at;
    if metadata.version != SCHEMA {
        return Err(unusable(format!("it has schema {}, not {SCHEMA}", metadata.version)));
    }
    if age(made, now) > SKEW {
        return Err(unusable(format!("it says it was made in the future ({made}); check the clock")));
    }
    let old = age(now, made);
    if old > max_age {
        return Err(unusable(format!(
            "it was made on {}, {} hours ago, and at most {} hours are allowed",
            made.format("%Y-%m-%d"),
            old.as_secs() / 3600,
            max_age.as_secs() / 3600
        )));
    }
    whole(&cache_dir.join("db/trivy.db"))?;
    Ok(made)
}

/// Whether a newer one has been published, or this one is not there at all.
pub(super) fn wants_update(cache_dir: &Path, max_age: Duration, now: Timestamp) -> bool {
    check(cache_dir, max_age, now).is_err() || metadata(cache_dir).is_ok_and(|data| data.next_update <= now)
}

fn metadata(cache_dir: &Path) -> Result<Metadata, ScanFailure> {
    let path = cache_dir.join("db/metadata.json");
    let mut text = Vec::new();
    File::open(&path)
        .and_then(|file| file.take(METADATA_BYTES).read_to_end(&mut text))
        .map_err(|error| unusable(format!("`{}` cannot be read ({})", path.display(), error.kind())))?;
    serde_json::from_slice(&text).map_err(|_| unusable(format!("`{}` is damaged", path.display())))
}

/// A file that was cut short or overwritten is found here; a page damaged inside makes Trivy fail.
fn whole(path: &Path) -> Result<(), ScanFailure> {
    let damaged = || unusable(format!("`{}` is damaged", path.display()));
    let mut page = [0u8; META];
    let length = File::open(path)
        .and_then(|mut file| {
            file.read_exact(&mut page)?;
            file.metadata()
        })
        .map_err(|error| unusable(format!("`{}` cannot be read ({})", path.display(), error.kind())))?
        .len();
    let word = |at: usize| page[at..].first_chunk().copied().map(u32::from_le_bytes).unwrap_or_default();
    let long = |at: usize| page[at..].first_chunk().copied().map(u64::from_le_bytes).unwrap_or_default();
    let (magic, page_size, pages) = (word(16), word(24), long(56));
    let expected = pages.checked_mul(u64::from(page_size)).ok_or_else(damaged)?;
    if magic == MAGIC && expected > 0 && expected <= length { Ok(()) } else { Err(damaged()) }
}

fn unusable(what: String) -> ScanFailure {
    ScanFailure::Database(format!("{what}; renew it with `trivy image --download-db-only`"))
}
