//! Where the AWS EC2 runtime lives: a workspace member of its own, because the AWS SDK compiles for minutes and nothing
//! else should wait for it or link it. It holds no code yet; only the worker's registry may depend on it.
