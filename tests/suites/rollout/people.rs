//! What people see of a roll-out and ask of it: canaries and their verdicts, shares, pauses, ways back, and what else an app
//! may be on a host.

mod back;
mod blame;
mod canary;
mod commands;
mod follow;
mod healthy;
mod kept;
mod pinned;
mod reach;
mod shares;
mod visitor;
mod volumes;
