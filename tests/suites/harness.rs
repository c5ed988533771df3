//! The harness itself: a fault that is not injected makes every test that relies on it worthless.

mod collector;
mod load;
mod postgres;
mod process;
mod proxy;
mod redis;
mod wait;
