//! Writes the golden indexes of the format that this program writes, once for each release that changes it:
//!
//! ```text
//! cargo run --release -p dhih-index --example compat_gen -- crates/dhih-index/tests/golden/v3
//! ```
//!
//! `tests/golden.rs` reads those of all versions. What is written lives in `tests/common/golden_indexes.rs`.

use std::error::Error;
use std::path::Path;

#[path = "../tests/common/mod.rs"]
mod common;
#[path = "../tests/common/golden_indexes.rs"]
mod golden_indexes;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [out] = &words[..] else { return Err("give one folder to write to".into()) };
    let out = Path::new(out);
    if out.exists() {
        let reason = "golden files of a released version are never written again";
        return Err(format!("{} exists: {reason}", out.display()).into());
    }
    golden_indexes::write_all(out)?;
    println!("{}", out.display());
    Ok(())
}
