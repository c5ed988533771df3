//! The edge on a real nginx: `tests/images/build.sh nginx:1.29-bookworm` makes the image where no registry answers.

mod changes;
mod kill;
mod load;
mod lossless;
mod serving;
mod stage;
