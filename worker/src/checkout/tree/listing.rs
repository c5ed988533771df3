//! The stream of `git ls-tree -r -l -z`: `mode type id size<TAB>path<NUL>`.

use deploymind_shared::error::{Code, Error};

/// Linux refuses longer paths (`PATH_MAX`), so such a file could not be written.
const PATH_LONGEST: usize = 4_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    File,
    Link,
    Submodule,
}

#[derive(Debug)]
pub(super) struct Entry<'a> {
    pub mode: Mode,
    pub id: &'a str,
    pub size: u64,
    pub path: &'a [u8],
}

/// Holds the piece of an entry that has not ended yet.
#[derive(Default)]
pub(super) struct Listing {
    rest: Vec<u8>,
}

impl Listing {
    /// # Errors
    /// The taker's, `RepositoryTooLarge` for a path nobody can write, `GitFailed` for what is no listing.
    pub fn read(
        &mut self,
        mut piece: &[u8],
        mut take: impl FnMut(Entry<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        while let Some(end) = piece.iter().position(|b| *b == 0) {
            self.rest.extend_from_slice(&piece[..end]);
            piece = &piece[end + 1..];
            if self.rest.len() > PATH_LONGEST + 128 {
                return Err(too_long());
            }
            take(parse(&self.rest).ok_or_else(|| {
                Error::new(Code::GitFailed, "git listed a tree in a way that is not understood; report this")
            })?)?;
            self.rest.clear();
        }
        self.rest.extend_from_slice(piece);
        if self.rest.len() > PATH_LONGEST + 128 { Err(too_long()) } else { Ok(()) }
    }
}

fn too_long() -> Error {
    Error::new(
        Code::RepositoryTooLarge,
        format!("a path in the repository is longer than {PATH_LONGEST} bytes; shorten it"),
    )
}

fn parse(entry: &[u8]) -> Option<Entry<'_>> {
    let tab = entry.iter().position(|b| *b == b'\t')?;
    let head = std::str::from_utf8(&entry[..tab]).ok()?;
    let mut words = head.split_ascii_whitespace();
    let mode = match words.next()? {
        "120000" => Mode::Link,
        "160000" => Mode::Submodule,
        mode if mode.starts_with("100") => Mode::File,
        _ => return None,
    };
    let _kind = words.next()?;
    let id = words.next().filter(|id| super::super::name::is_sha(id))?;
    let size = words.next()?;
    let size = if mode == Mode::Submodule { 0 } else { size.parse().ok()? };
    Some(Entry { mode, id, size, path: &entry[tab + 1..] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_whatever_the_pieces() {
        let id = "a".repeat(40);
        let text = format!(
            "100644 blob {id}      12\ta b\0120000 blob {id}       3\tl\n\0160000 commit {id}       -\ts/m\0"
        );
        for size in 1..text.len() {
            let mut seen = Vec::new();
            let mut listing = Listing::default();
            for piece in text.as_bytes().chunks(size) {
                let take = |entry: Entry<'_>| {
                    seen.push((entry.mode, entry.size, entry.path.to_vec()));
                    Ok(())
                };
                listing.read(piece, take).expect("a listing");
            }
            let wanted = [
                (Mode::File, 12, b"a b".to_vec()),
                (Mode::Link, 3, b"l\n".to_vec()),
                (Mode::Submodule, 0, b"s/m".to_vec()),
            ];
            assert_eq!(seen, wanted);
        }
    }

    #[test]
    fn what_is_no_listing_or_never_ends_is_refused() {
        let read = |text: &[u8]| Listing::default().read(text, |_| Ok(())).map_err(|error| error.code());
        assert_eq!(read(b"fatal: what\0"), Err(Code::GitFailed));
        assert_eq!(read(&[b'x'; 9_000]), Err(Code::RepositoryTooLarge));
    }
}
