//! Settings of the keys that seal secrets.

use std::path::PathBuf;

use secrecy::SecretString;

use super::reader::Reader;

/// Where the keys are: in the setting itself or in a file. One of the two must be given.
#[derive(Debug, Clone)]
pub struct SecretsConfig {
    pub keys: Option<SecretString>,
    pub file: Option<PathBuf>,
}

impl SecretsConfig {
    pub const KEYS: &str = "DEPLOYMIND_KEYS";
    pub const FILE: &str = "DEPLOYMIND_KEYS_FILE";

    pub fn read(reader: &mut Reader) -> Self {
        let keys = reader.optional_secret(
            Self::KEYS,
            "main:<base64 of 32 bytes>",
            "Keys that seal secrets, `id:base64` separated by commas; the first seals, all open. Or give a file.",
            |_| Ok(()),
        );
        let file = reader.optional(
            Self::FILE,
            "/etc/deploymind/keys",
            "File of the same keys, one a line, readable by its owner alone. `deploymind keys generate` makes a line.",
            |text| Ok::<_, String>(PathBuf::from(text)),
        );
        match (&keys, &file) {
            (None, None) => {
                let problem = format!("is not set, nor is {}", Self::KEYS);
                reader.refuse(Self::FILE, problem, "/etc/deploymind/keys");
            }
            (Some(_), Some(_)) => {
                reader.refuse(
                    Self::FILE,
                    format!("is set together with {}", Self::KEYS),
                    "/etc/deploymind/keys",
                );
            }
            _ => {}
        }
        Self { keys, file }
    }
}
