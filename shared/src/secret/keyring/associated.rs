//! What a sealed value is bound to. Two different places never have the same bytes.

use std::fmt;

use uuid::Uuid;

use crate::ids::{AppId, TargetName};
use crate::secret::KeyId;

/// Keeps these values apart from anything else ever sealed with the same keys.
const DOMAIN: &[u8] = b"deploymind.secret";

/// The place a value belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Associated {
    place: Place,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Variable { app: AppId, name: String },
    Credential(Uuid),
    Target(TargetName),
}

impl Associated {
    /// A variable of an app.
    pub fn variable(app: AppId, name: &str) -> Self {
        Self { place: Place::Variable { app, name: name.to_owned() } }
    }

    /// A stored credential, by the id of its row.
    pub fn credential(id: Uuid) -> Self {
        Self { place: Place::Credential(id) }
    }

    /// What a target is reached with.
    pub fn target(name: &TargetName) -> Self {
        Self { place: Place::Target(name.clone()) }
    }

    /// Every field after its length, so that no two lists of fields run together into the same bytes.
    pub(super) fn bytes(&self, version: u8, key: &KeyId) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut field = |part: &[u8]| {
            bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
            bytes.extend_from_slice(part);
        };
        field(DOMAIN);
        field(&[version]);
        field(key.as_str().as_bytes());
        match &self.place {
            Place::Variable { app, name } => {
                field(b"variable");
                field(app.as_uuid().as_bytes());
                field(name.as_bytes());
            }
            Place::Credential(id) => {
                field(b"credential");
                field(id.as_bytes());
            }
            Place::Target(name) => {
                field(b"target");
                field(name.as_str().as_bytes());
            }
        }
        bytes
    }
}

/// For people: `the value of "DATABASE_URL"`.
impl fmt::Display for Associated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Variable { name, .. } => {
                let shown: String = name.chars().take(60).collect();
                write!(f, "the value of {shown:?}")
            }
            Place::Credential(id) => write!(f, "the credential {id}"),
            Place::Target(name) => write!(f, "the connection of {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_places_share_their_bytes() {
        let (app, other) = (AppId::generate(), AppId::generate());
        let (k1, k12) = (KeyId::parse("k1").expect("id"), KeyId::parse("k12").expect("id"));
        let all = [
            Associated::variable(app, "A").bytes(1, &k1),
            Associated::variable(app, "AB").bytes(1, &k1),
            Associated::variable(app, "").bytes(1, &k1),
            Associated::variable(other, "A").bytes(1, &k1),
            Associated::variable(app, "A").bytes(2, &k1),
            Associated::variable(app, "A").bytes(1, &k12),
            Associated::credential(app.as_uuid()).bytes(1, &k1),
            Associated::credential(other.as_uuid()).bytes(1, &k1),
            Associated::target(&TargetName::parse("docker://a").expect("name")).bytes(1, &k1),
            Associated::target(&TargetName::parse("docker://ab").expect("name")).bytes(1, &k1),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(all.iter().skip(index + 1).all(|next| next != one), "{index}");
        }
    }
}
