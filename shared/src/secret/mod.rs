//! Secret values: how they are sealed for the record ([`keyring`]), read from a `.env` text ([`envfile`]) and
//! recognised ([`spot`]).
//!
//! Nothing here stores anything or knows who may see what. A value is a [`secrecy::SecretString`] from the moment it
//! is understood, and no error, warning or `Debug` output repeats any of it.

pub mod envfile;
mod key;
pub mod keyring;
pub mod spot;
pub mod variable;

pub use key::KeyId;
pub use keyring::{Associated, Keyring, Sealed};

impl Keyring {
    /// The keys that the settings give, by value or by file.
    pub fn from_config(config: &crate::config::SecretsConfig) -> Result<Self, crate::error::Error> {
        use secrecy::ExposeSecret as _;
        match (&config.keys, &config.file) {
            (Some(keys), _) => Self::parse(keys.expose_secret()),
            (None, Some(path)) => Self::from_file(path),
            (None, None) => Self::parse(""),
        }
    }
}
