//! From a repository to an image and a release, with real git, a real engine and a real scanner; and back, when it fails.

#[cfg(test)]
mod common;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod gates;
#[cfg(test)]
mod input;
#[cfg(test)]
mod languages;
#[cfg(test)]
mod release;
#[cfg(test)]
mod secrets;
