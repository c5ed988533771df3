//! From a release to what users reach: real workers, this machine's Docker engine, a real nginx, users from another process.
//! Its longer half is in `more.rs`.

#[cfg(test)]
mod first;
