//! Symbolic links: where each would lead, followed as the kernel follows them, through the links of all trees together.

use std::collections::HashMap;

use deploymind_shared::error::{Code, Error};
use deploymind_shared::retry::Stop;

use super::{Tree, shown};
use crate::checkout::child::{Git, Run};

const MOST: usize = 20_000;
/// Linux refuses longer targets.
const TARGET_LONGEST: u64 = 4_095;
const TARGETS_TOGETHER: u64 = 4 << 20;
/// Linux gives up after as many (`ELOOP`), so a link that needs more leads nowhere.
const FOLLOWED: usize = 40;

pub(in crate::checkout) struct Link {
    pub path: Vec<u8>,
    pub id: String,
}

/// Path in the work tree to target.
#[derive(Default)]
pub(in crate::checkout) struct Links {
    targets: HashMap<Vec<u8>, Vec<u8>>,
    announced: u64,
}

fn escapes(path: &[u8], target: &[u8]) -> Error {
    Error::new(
        Code::TreeEscapes,
        format!(
            "the link {} leads out of the repository (to {}); make it point inside, or replace it by a file",
            shown(path),
            shown(target)
        ),
    )
}

impl Links {
    /// One more link, of a size that git announces, while `pending` are not read yet.
    pub fn make_room(&mut self, pending: usize, size: u64, path: &[u8]) -> Result<(), Error> {
        self.announced = self.announced.saturating_add(size);
        if size > TARGET_LONGEST {
            return Err(Error::new(
                Code::TreeEscapes,
                format!(
                    "the link {} has a target of {size} bytes, which no system follows; remove it",
                    shown(path)
                ),
            ));
        }
        if self.targets.len() + pending >= MOST || self.announced > TARGETS_TOGETHER {
            return Err(Error::new(
                Code::RepositoryTooLarge,
                format!(
                    "the repository has more than {MOST} links, or their targets are very long; remove some"
                ),
            ));
        }
        Ok(())
    }

    /// Reads where a tree's links point.
    pub async fn read_targets(&mut self, git: &Git<'_>, tree: &Tree, links: Vec<Link>) -> Result<(), Stop> {
        if links.is_empty() {
            return Ok(());
        }
        let input: String = links.iter().flat_map(|link| [link.id.as_str(), "\n"]).collect();
        let run = Run::new(&["cat-file", "--batch"]).env("GIT_DIR", &tree.store).input(input.as_bytes());
        let most = usize::try_from(TARGETS_TOGETHER).unwrap_or(usize::MAX) + links.len() * 128;
        let output = git.output(run, most).await?;
        let mut rest = output.as_slice();
        for link in links {
            let (target, after) = next_object(rest).ok_or_else(|| {
                Error::new(
                    Code::GitFailed,
                    "git did not say where a link points; deploy again, then report this",
                )
            })?;
            self.targets.insert(link.path, target.to_vec());
            rest = after;
        }
        Ok(())
    }

    pub fn judge(&self) -> Result<(), Error> {
        // In the order of names, so that the same repository always names the same link.
        let mut paths: Vec<_> = self.targets.iter().collect();
        paths.sort();
        for (path, target) in paths {
            if self.leads_out(path, target) {
                return Err(escapes(path, target));
            }
        }
        Ok(())
    }

    fn leads_out(&self, path: &[u8], target: &[u8]) -> bool {
        let mut at: Vec<&[u8]> = path.split(|b| *b == b'/').collect();
        at.pop();
        // What is still to be walked, the next part last.
        let mut ahead: Vec<&[u8]> = Vec::new();
        let mut next = Some(target);
        for _ in 0..FOLLOWED {
            if let Some(target) = next.take() {
                if target.first() == Some(&b'/') {
                    return true;
                }
                ahead.extend(target.split(|b| *b == b'/').rev());
            }
            while let Some(part) = ahead.pop() {
                match part {
                    b"" | b"." => {}
                    b".." => {
                        if at.pop().is_none() {
                            return true;
                        }
                    }
                    part => {
                        at.push(part);
                        if let Some(target) = self.targets.get(&at.join(&b'/')) {
                            at.pop();
                            next = Some(target);
                            break;
                        }
                    }
                }
            }
            if next.is_none() {
                return false;
            }
        }
        false
    }
}

/// `id type size<LF>content<LF>`.
fn next_object(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = text.iter().position(|b| *b == b'\n')?;
    let head = std::str::from_utf8(&text[..end]).ok()?;
    let size: usize = head.rsplit(' ').next()?.parse().ok()?;
    let content = text.get(end + 1..end + 1 + size)?;
    Some((content, text.get(end + 2 + size..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(links: &[(&str, &str)]) -> Result<(), String> {
        let mut all = Links::default();
        for (path, target) in links {
            all.targets.insert(path.as_bytes().to_vec(), target.as_bytes().to_vec());
        }
        all.judge().map_err(|error| error.sentence().to_owned())
    }

    #[test]
    fn links_inside_are_allowed_however_they_turn() {
        for links in [
            &[("a", "b")][..],
            &[("a/b/c", "../../d")],
            &[("a/b", "../a/../x/..")],
            &[("a", "missing/../b")],
            &[("loop", "loop")],
            &[("x", "y"), ("y", "x")],
            &[("a", ".")],
            &[("sub/l", "../other")],
        ] {
            assert_eq!(judged(links), Ok(()), "{links:?}");
        }
    }

    #[test]
    fn links_out_are_found_however_they_hide() {
        for links in [
            &[("a", "/etc/passwd")][..],
            &[("a", "..")],
            &[("a", "../x")],
            &[("a/b", "../../x")],
            &[("a", "b/../../x")],
            &[("a", "./.././x")],
            // Harmless by its letters: only the link on the way makes it lead out.
            &[("deep/er/link", "../.."), ("a", "deep/er/link/../etc")],
            &[("d/l", ".."), ("a", "d/l/l2"), ("l2", "d/l/../x")],
        ] {
            assert!(judged(links).is_err(), "{links:?}");
        }
        assert!(judged(&[("bin/evil", "/etc/passwd")]).unwrap_err().contains("bin/evil"));
    }

    #[test]
    fn objects_are_read_by_their_size() {
        let text = b"aa blob 3\nx\ny\nbb blob 0\n\n";
        let (first, rest) = next_object(text).expect("first");
        let (second, rest) = next_object(rest).expect("second");
        assert_eq!((first, second, rest), (&b"x\ny"[..], &b""[..], &b""[..]));
        assert!(next_object(b"aa missing\n").is_none());
        assert!(next_object(b"aa blob 99\nshort\n").is_none());
    }
}
