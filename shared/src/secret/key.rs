//! One key: its name, its bytes, and which bytes are too poor to be one. Never prints the bytes.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::Generate;
use chacha20poly1305::{Key as Bytes, KeyInit, XChaCha20Poly1305};
use secrecy::{ExposeSecret, ExposeSecretMut, SecretBox};
use zeroize::Zeroizing;

use crate::error::{Code, Error};

/// Bytes of a key.
pub(super) const KEY_BYTES: usize = 32;
/// Longest name of a key.
const ID_MAX: usize = 32;

/// The name of a key. It stands beside every value the key sealed, and is no secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(String);

impl KeyId {
    pub fn parse(text: &str) -> Result<Self, Error> {
        let inside = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        if text.is_empty() || text.len() > ID_MAX || !text.bytes().all(inside) {
            // Not repeated: somebody may have swapped the name and the key.
            return Err(Error::new(
                Code::SecretKey,
                format!("the id of a key must be 1 to {ID_MAX} lower-case letters, digits and dashes"),
            ));
        }
        Ok(Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for KeyId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        Self::parse(&text)
    }
}

pub(super) struct Key {
    pub(super) id: KeyId,
    bytes: SecretBox<[u8; KEY_BYTES]>,
}

impl Key {
    /// From `id:base64`. The error continues a sentence that begins with which entry it is.
    pub(super) fn parse(entry: &str) -> Result<Self, &'static str> {
        let (id, encoded) = entry.split_once(':').ok_or("is not written as id:base64")?;
        let id = KeyId::parse(id.trim())
            .map_err(|_| "has an id that is not 1 to 32 characters of a-z, 0-9 and -")?;
        let decoded = Zeroizing::new(
            STANDARD
                .decode(encoded.trim())
                .map_err(|_| "is not base64 (A-Z, a-z, 0-9, + and /, with = at the end)")?,
        );
        if decoded.len() != KEY_BYTES {
            return Err("does not decode to 32 bytes");
        }
        if is_weak(&decoded) {
            return Err("is not random: it is a pattern or text, which can be guessed");
        }
        let mut bytes = SecretBox::new(Box::new([0; KEY_BYTES]));
        bytes.expose_secret_mut().copy_from_slice(&decoded);
        Ok(Self { id, bytes })
    }

    pub(super) fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(self.bytes.expose_secret().into())
    }

    pub(super) fn is_same_as(&self, other: &Self) -> bool {
        self.bytes.expose_secret() == other.bytes.expose_secret()
    }
}

/// `id:base64` of fresh random bytes.
pub(super) fn generate(id: &KeyId) -> Zeroizing<String> {
    let bytes = Zeroizing::new(<[u8; KEY_BYTES]>::from(Bytes::generate()));
    let encoded = Zeroizing::new(STANDARD.encode(bytes.as_slice()));
    Zeroizing::new(format!("{id}:{}", encoded.as_str()))
}

/// What a random key is practically never (each below one in 10^13): few different bytes, an even ramp, or
/// nothing but printable ASCII, which is what a passphrase or hex text put through base64 gives.
fn is_weak(bytes: &[u8]) -> bool {
    let mut sorted = Zeroizing::new(bytes.to_vec());
    sorted.sort_unstable();
    sorted.dedup();
    let step = bytes[1].wrapping_sub(bytes[0]);
    sorted.len() < 16
        || bytes.windows(2).all(|pair| pair[1].wrapping_sub(pair[0]) == step)
        || bytes.iter().all(|byte| (b' '..=b'~').contains(byte))
}
