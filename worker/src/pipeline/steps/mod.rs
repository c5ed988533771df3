//! The steps, one a file, in the order in which they run.

mod build;
mod checkout;
mod detect;
mod push;
mod release;
mod scan;

pub(super) use build::Build;
pub(super) use checkout::Checkout;
pub(super) use detect::{Detect, Detected};
pub(super) use push::Push;
pub(super) use release::{Release, release_port};
pub(super) use scan::{ScanImage, ScanSource};
