//! A deployment's log: from what a step says to numbered, redacted lines in the record and on the wire.
//!
//! Bytes of a tool become lines ([`split`]); lines of every step reach one writer ([`writer`]), which makes them safe to
//! show ([`sanitize`]), hides secrets ([`redact`]), keeps to the limits ([`limit`]), numbers and stores them.

pub mod limit;
pub mod lines;
pub mod redact;
pub mod sanitize;
pub mod split;
pub mod writer;

pub use limit::Limits;
pub use lines::{Level, Line, Lines};
pub use redact::Redactor;
pub use split::LineSplitter;
pub use writer::{Flusher, Place, Totals, Writer};
