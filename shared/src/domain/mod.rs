//! The rules, without any I/O: what a deployment may become, what a job is, which push wins.

pub mod app;
pub mod deployment;
pub mod job;
pub mod overlap;
pub mod release;
pub mod rollout;
pub mod slot;

/// A closed set of words that is stored and sent as text: one table gives both directions, so they cannot differ.
#[macro_export]
macro_rules! text_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        #[serde(into = "&'static str", try_from = "String")]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl From<$name> for &'static str {
            fn from(value: $name) -> Self {
                value.as_str()
            }
        }

        impl TryFrom<String> for $name {
            type Error = $crate::domain::UnknownWord;

            fn try_from(text: String) -> Result<Self, $crate::domain::UnknownWord> {
                match text.as_str() {
                    $($text => Ok(Self::$variant),)*
                    _ => Err($crate::domain::UnknownWord { of: stringify!($name) }),
                }
            }
        }
    };
}
pub use crate::text_enum;

/// Text that is none of the words of its set; the record and this program disagree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a word of {of}")]
pub struct UnknownWord {
    pub of: &'static str,
}
