//! Command line of dhih-train.
fn main() {}
