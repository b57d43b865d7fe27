//! Tells the program which commit it was built from: every recorded figure names it.

use std::path::Path;
use std::process::Command;

fn main() {
    let described = Command::new("git")
        .args(["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"])
        .output()
        .ok()
        .filter(|output| output.status.success())
        .and_then(|output| String::from_utf8(output.stdout).ok());
    let commit = described.map_or_else(|| "unknown".to_owned(), |text| text.trim().to_owned());
    println!("cargo::rustc-env=DHIH_COMMIT={commit}");
    println!("cargo::rerun-if-changed=build.rs");
    for file in ["../../.git/HEAD", "../../.git/index"] {
        if Path::new(file).exists() {
            println!("cargo::rerun-if-changed={file}");
        }
    }
}
