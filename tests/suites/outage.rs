//! Stores that go away, lose everything, freeze or fall silent, and what the fleet makes of it.

mod drill;
mod gone;
mod meter;
mod silence;
mod wipe;
