//! An app whose commits differ only in how they behave: the harness's own, which the benchmark uses, too.

pub use deploymind_tests::rolling::{SOON, Sample, quick};
