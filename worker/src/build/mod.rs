//! From a working tree to an image in a Docker engine, and from there to a registry.
//!
//! Owns everything that is said to the engine while a deployment is built: the context that is sent, the builder that is
//! chosen, the log that comes back, what an answer means, and the images that are kept or removed. It writes nothing into the
//! user's tree, decides nothing about policy, and knows neither the record nor the queue.
//!
//! Guarantees: a build that is cancelled, runs out of time or whose process dies closes its connection, and the engine ends
//! the step that runs. The context is read once, in a stable order, and never held in memory. No value of a variable is in a
//! line or an error of this module.

mod buildkit;
mod classic;
mod context;
mod engine;
mod failure;
mod http;
mod ignore;
mod images;
mod message;
mod output;
mod parameters;
mod registry;
mod request;
mod room;
mod run;
mod session;
mod tarball;

pub use engine::{Address, Engine, EngineConfig, EngineVersion};
pub use ignore::{Ignore, PatternError};
pub use images::{
    LABEL_APP, LABEL_COMMIT, LABEL_DEPLOYMENT, LabelledImage, export, image_remove, image_usable,
    images_labelled, images_prune,
};
pub use registry::{RegistryCredential, pull, push};
pub use request::{Builder, Built, Caps, Dockerfile, Layer, Limits, Request, UsedBuilder, Variable};
pub use run::{build, choose};

#[cfg(test)]
mod tests;
