//! Seals values with a named key and opens what any key of the ring has sealed: XChaCha20-Poly1305
//! (draft-irtf-cfrg-xchacha-03) with a random 192-bit nonce.
//!
//! A sealed value is bound to its place by associated data ([`Associated`]): moved to another row, app or name it does
//! not open. It must not store anything, and it never falls back to an empty value.
//!
//! The bytes are `version (1) | nonce (24) | ciphertext and tag`. The plaintext is `length (8, little endian) | value |
//! zeros` up to a multiple of [`BLOCK`], so that the record shows how long a value is to the nearest 64 bytes only.

use std::fmt;
use std::path::Path;

use chacha20poly1305::XNonce;
use chacha20poly1305::aead::{AeadInOut, Generate};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

pub use self::associated::Associated;
use super::key::{self, Key, KeyId};
use crate::error::{Code, Error};

mod associated;
mod file;

/// The form of the bytes that this program writes.
const VERSION: u8 = 1;
const NONCE: usize = 24;
const TAG: usize = 16;
const LENGTH: usize = 8;
/// The padded plaintext is a multiple of this.
pub const BLOCK: usize = 64;
/// Keys a ring may hold. More than a few means that a rotation was never finished.
const KEYS_MAX: usize = 32;

/// A value as the record holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    pub key_id: KeyId,
    pub bytes: Vec<u8>,
}

/// The first key seals, all open. Never empty.
pub struct Keyring {
    keys: Vec<Key>,
}

impl Keyring {
    /// Entries `id:base64`, one a line or separated by commas; the first is the current one. Empty lines and lines
    /// that begin with `#` are skipped.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let entries = text
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'))
            .flat_map(|line| line.split(','))
            .map(str::trim)
            .filter(|entry| !entry.is_empty());
        let mut keys: Vec<Key> = Vec::new();
        for (index, entry) in entries.enumerate() {
            let number = index + 1;
            if number > KEYS_MAX {
                return Err(refused(format!(
                    "there are more than {KEYS_MAX} keys: remove those no value uses"
                )));
            }
            let key = Key::parse(entry).map_err(|problem| refused(format!("key {number} {problem}")))?;
            if let Some(first) = keys.iter().position(|other| other.id == key.id) {
                return Err(refused(format!("key {number} has the same id as key {}", first + 1)));
            }
            if let Some(first) = keys.iter().position(|other| other.is_same_as(&key)) {
                return Err(refused(format!("key {number} is key {} under another id", first + 1)));
            }
            keys.push(key);
        }
        if keys.is_empty() {
            return Err(refused("there is no key in it".to_owned()));
        }
        Ok(Self { keys })
    }

    /// [`Keyring::parse`] of a regular file that nobody but its owner can read.
    pub fn from_file(path: &Path) -> Result<Self, Error> {
        let text = file::read(path)?;
        Self::parse(&text).map_err(|error| {
            Error::new(Code::SecretKey, format!("{} cannot be used: {}", path.display(), error.sentence()))
        })
    }

    /// A line for the key file with a fresh key.
    pub fn generate_line(id: &KeyId) -> Zeroizing<String> {
        key::generate(id)
    }

    /// The key that seals.
    pub fn current(&self) -> &KeyId {
        &self.keys[0].id
    }

    /// Every key, the current one first.
    pub fn ids(&self) -> impl Iterator<Item = &KeyId> {
        self.keys.iter().map(|key| &key.id)
    }

    pub fn seal(&self, associated: &Associated, plain: &SecretString) -> Sealed {
        let key = &self.keys[0];
        let plain = plain.expose_secret().as_bytes();
        let padded = (LENGTH + plain.len()).next_multiple_of(BLOCK);
        // All the room at once: a buffer that grows leaves a copy of the plaintext behind.
        let mut body = Zeroizing::new(Vec::with_capacity(padded + TAG));
        body.extend_from_slice(&(plain.len() as u64).to_le_bytes());
        body.extend_from_slice(plain);
        body.resize(padded, 0);
        let nonce = XNonce::generate();
        #[expect(clippy::expect_used, reason = "the cipher refuses only what is longer than 256 GiB")]
        key.cipher()
            .encrypt_in_place(&nonce, &associated.bytes(VERSION, &key.id), &mut *body)
            .expect("a value fits the cipher");
        let mut bytes = Vec::with_capacity(1 + NONCE + body.len());
        bytes.push(VERSION);
        bytes.extend_from_slice(&nonce);
        bytes.extend_from_slice(&body);
        Sealed { key_id: key.id.clone(), bytes }
    }

    pub fn open(&self, associated: &Associated, sealed: &Sealed) -> Result<SecretString, Error> {
        let id = &sealed.key_id;
        let Some(key) = self.keys.iter().find(|key| key.id == *id) else {
            return Err(undecryptable(format!(
                "{associated} was sealed with key {id}, which this process does not have: put that key back into the \
                 key file, or set the value again"
            )));
        };
        if sealed.bytes.first().is_some_and(|version| *version != VERSION) {
            return Err(undecryptable(format!(
                "{associated} was sealed with key {id} in a form this program does not know: run the version that \
                 wrote it, or set the value again"
            )));
        }
        unseal(key, associated, &sealed.bytes).ok_or_else(|| {
            undecryptable(format!(
                "{associated} does not open with key {id}: the stored value was changed or moved, or {id} is not the \
                 key it once was; put the old key back, or set the value again"
            ))
        })
    }

    /// The same value sealed with the current key, or `None` when it is sealed with that already. A value that is on
    /// the current key is not opened: [`Keyring::open`] tells whether it can be.
    pub fn reseal(&self, associated: &Associated, sealed: &Sealed) -> Result<Option<Sealed>, Error> {
        if sealed.key_id == *self.current() {
            return Ok(None);
        }
        let plain = self.open(associated, sealed)?;
        Ok(Some(self.seal(associated, &plain)))
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<&str> = self.ids().map(KeyId::as_str).collect();
        f.debug_struct("Keyring").field("ids", &ids).field("keys", &"[redacted]").finish()
    }
}

fn unseal(key: &Key, associated: &Associated, bytes: &[u8]) -> Option<SecretString> {
    let (_, rest) = bytes.split_first()?;
    let (nonce, body) = rest.split_first_chunk::<NONCE>()?;
    let mut body = Zeroizing::new(body.to_vec());
    key.cipher().decrypt_in_place(nonce.into(), &associated.bytes(VERSION, &key.id), &mut *body).ok()?;
    let (length, padded) = body.split_first_chunk::<LENGTH>()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    Some(SecretString::from(std::str::from_utf8(padded.get(..length)?).ok()?))
}

fn refused(problem: String) -> Error {
    Error::new(
        Code::SecretKey,
        format!("{problem}; write one id:base64 a line, as `deploymind keys generate` prints it"),
    )
}

fn undecryptable(sentence: String) -> Error {
    Error::new(Code::SecretUndecryptable, sentence)
}

#[cfg(test)]
mod tests;
