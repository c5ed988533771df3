//! `sqlx::migrate!` reads the migrations when the crate is compiled; cargo has to be told that they are part of it.

fn main() {
    println!("cargo:rerun-if-changed=../migrations");
}
