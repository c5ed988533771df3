//! Turns names from the wire into label values of a bounded number.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Keeps the first few names as they are and calls all later ones `other`: enough to see which kind a forgotten worker
/// lacks, and no more series than that whatever is put into the queue.
#[derive(Debug, Default)]
pub(super) struct CappedNames(Mutex<BTreeSet<String>>);

const NAMES_MAX: usize = 16;
const LENGTH_MAX: usize = 40;
const OTHER: &str = "other";

impl CappedNames {
    /// `name` itself, or `other`.
    pub(super) fn label<'n>(&self, name: &'n str) -> &'n str {
        let plain = |c: u8| c.is_ascii_alphanumeric() || b"_-.".contains(&c);
        if name.is_empty() || name.len() > LENGTH_MAX || !name.bytes().all(plain) {
            return OTHER;
        }
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.contains(name) {
            return name;
        }
        if seen.len() >= NAMES_MAX {
            return OTHER;
        }
        seen.insert(name.to_owned());
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_beyond_the_cap_and_odd_ones_are_other() {
        let names = CappedNames::default();
        for n in 0..NAMES_MAX {
            let name = format!("kind_{n}");
            assert_eq!(names.label(&name), name);
        }
        assert_eq!(names.label("one-more"), OTHER);
        assert_eq!(names.label("kind_3"), "kind_3", "a known name stays");
        let fresh = CappedNames::default();
        for odd in ["", "a b", "é", "a\nb", &"a".repeat(41)] {
            assert_eq!(fresh.label(odd), OTHER, "{odd:?}");
        }
    }
}
