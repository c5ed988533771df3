//! Which names and values a process can have in its environment, and which names are not the app's to set.

use secrecy::{ExposeSecret, SecretString};

use crate::error::{Code, Error};

/// Longest name, in bytes.
pub const NAME_MAX: usize = 255;
/// Longest value, in bytes. Linux gives one string of an environment 128 KiB, name included.
pub const VALUE_MAX: usize = 64 * 1024;

/// Names that begin with this are the platform's own.
const RESERVED: &str = "DEPLOYMIND_";

/// POSIX: letters, digits and underscores, and no digit first. The name is not repeated, because text pasted in the
/// wrong place may be a secret.
pub fn check_name(name: &str) -> Result<(), Error> {
    let inside = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
    let problem = if name.is_empty() {
        "a variable has no name".to_owned()
    } else if name.len() > NAME_MAX {
        format!("the name of a variable is longer than {NAME_MAX} bytes")
    } else if name.as_bytes()[0].is_ascii_digit() || !name.bytes().all(inside) {
        "the name of a variable must be letters (a-z, A-Z), digits and underscores, and must not start with a digit"
            .to_owned()
    } else if name.to_ascii_uppercase().starts_with(RESERVED) {
        format!("names that begin with {RESERVED} are reserved for the platform: choose another name")
    } else {
        return Ok(());
    };
    Err(Error::new(Code::VariableInvalid, problem))
}

/// For a name that [`check_name`] accepts.
pub fn check_value(name: &str, value: &SecretString) -> Result<(), Error> {
    let value = value.expose_secret();
    let problem = if value.len() > VALUE_MAX {
        format!("the value of {name} is longer than {} KiB: put it into a file or a store", VALUE_MAX / 1024)
    } else if value.contains('\0') {
        format!(
            "the value of {name} holds a NUL character, which no process can be given: encode it, as base64"
        )
    } else {
        return Ok(());
    };
    Err(Error::new(Code::VariableInvalid, problem))
}

/// What to tell about a name that may be set, but hardly ever should be.
pub fn caution(name: &str) -> Option<&'static str> {
    match name {
        "PORT" => {
            Some("PORT is set by the platform to the app's port: set the port in the app's settings instead")
        }
        "PATH" => Some("PATH replaces the image's own, and programs of the image may no longer be found"),
        "LD_PRELOAD" | "LD_LIBRARY_PATH" => {
            Some("this name makes every program of the container load other libraries")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_posix() {
        for good in ["A", "_", "a1", "DATABASE_URL", "DEPLOYMINDED", "DEPLOYMIND", &"A".repeat(255)] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "1A",
            "hunter2-x",
            "A.B",
            "A B",
            "É",
            "A=B",
            "A\0",
            " A",
            "A\n",
            "DEPLOYMIND_X",
            "deploymind_x",
            &"A".repeat(256),
        ] {
            let error = check_name(bad).expect_err(bad);
            assert_eq!(error.code(), Code::VariableInvalid);
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn values_have_a_length_and_no_nul() {
        let check = |text: &str| check_value("A", &SecretString::from(text));
        assert!(check("").is_ok());
        assert!(check(&"x".repeat(VALUE_MAX)).is_ok());
        assert_eq!(check(&"x".repeat(VALUE_MAX + 1)).expect_err("long").code(), Code::VariableInvalid);
        let error = check("hunter2\0").expect_err("nul");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[test]
    fn some_names_deserve_a_word() {
        assert!(caution("PORT").is_some_and(|text| text.contains("settings")));
        assert!(caution("PATH").is_some() && caution("LD_PRELOAD").is_some());
        assert_eq!(caution("REPORT"), None);
    }
}
