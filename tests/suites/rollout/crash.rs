//! Roll-outs whose worker, job, edge or queue goes away in the middle: users end on one version, and the host is what the
//! record says.

mod bench;
mod cancelled;
mod edge;
mod frozen;
mod killed;
mod overlap;
mod settled;
mod wiped;
