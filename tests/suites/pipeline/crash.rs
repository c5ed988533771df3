//! Workers that die, are told to stop, or find that a deployment cannot succeed: in each step, at each point of it.
//!
//! Every list of cases is made from the pipeline's own list of steps, so that a new one is covered without anybody
//! thinking of it. `validate` only reads, and has no fail points; a worker that dies in it dies before it has begun.

mod bench;
mod cancelled;
mod control;
mod killed;
mod midwork;
mod repeated;
mod unwound;
