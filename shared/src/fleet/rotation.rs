//! A new key for what is sealed: every value that another key sealed is opened and sealed anew, one row at a time.

use crate::db::Db;
use crate::db::rotation::{SealedRow, SealedTable, sealed_list, sealed_replace};
use crate::error::Result;
use crate::secret::Keyring;

/// Rows read at once.
const BATCH: i64 = 200;
/// Values that do not open and are named one by one; the others are only counted.
const NAMED: usize = 20;

/// What a rotation did, or would do.
#[derive(Debug, Default)]
pub struct Rotation {
    /// How many values of each kind are (or would be) on the current key now and were not before.
    pub moved: Vec<(SealedTable, u64)>,
    /// Values that changed between reading and writing; another run sees to them.
    pub changed_meanwhile: u64,
    /// Values no key of the ring opens. Nothing was done to them.
    pub stuck: u64,
    /// The first of them: where, and why.
    pub stuck_named: Vec<(String, String)>,
}

impl Rotation {
    /// Whether the old keys may be taken away.
    pub fn complete(&self) -> bool {
        self.stuck == 0 && self.changed_meanwhile == 0
    }
}

/// Moves every sealed value to the current key of `ring`. With `dry_run` each is opened, also what is on the current key,
/// and nothing is written. It may be broken off and run again at any time, beside a running fleet whose processes have both keys.
pub async fn rotate(db: &Db, ring: &Keyring, dry_run: bool) -> Result<Rotation> {
    let mut rotation = Rotation::default();
    // No key has an empty name: then nothing is left out.
    let left_out = if dry_run { "" } else { ring.current().as_str() };
    for table in SealedTable::ALL {
        let mut moved = 0;
        let mut last: Option<SealedRow> = None;
        loop {
            let rows = sealed_list(db, table, left_out, last.as_ref(), BATCH).await?;
            for row in &rows {
                let sealed = if dry_run {
                    ring.open(&row.associated(), &row.sealed).map(|_| {
                        moved += u64::from(row.sealed.key_id != *ring.current());
                        None
                    })
                } else {
                    ring.reseal(&row.associated(), &row.sealed)
                };
                match sealed {
                    Ok(None) => {}
                    Ok(Some(sealed)) => {
                        if sealed_replace(db, table, row, &sealed).await? {
                            moved += 1;
                        } else {
                            rotation.changed_meanwhile += 1;
                        }
                    }
                    Err(error) => {
                        rotation.stuck += 1;
                        if rotation.stuck_named.len() < NAMED {
                            rotation.stuck_named.push((row.place(), error.sentence().to_owned()));
                        }
                    }
                }
            }
            match rows.into_iter().next_back() {
                Some(row) => last = Some(row),
                None => break,
            }
        }
        rotation.moved.push((table, moved));
    }
    Ok(rotation)
}
