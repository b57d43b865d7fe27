//! Command line of dhih-serve.
fn main() {}
