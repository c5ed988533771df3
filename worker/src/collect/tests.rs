//! The planner by table and by property; everything together against a real engine.

mod engine;
mod planning;
mod properties;
mod world;
