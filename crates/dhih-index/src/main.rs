//! Command line of dhih-index.
fn main() {}
