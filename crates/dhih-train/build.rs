//! Tells the program which commit it was built from: every recorded figure names it.

use std::path::Path;
use std::process::Command;

fn main() {
    let commit = packaged().or_else(described).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=DHIH_COMMIT={commit}");
    println!("cargo::rerun-if-changed=build.rs");
    for file in ["../../.git/HEAD", "../../.git/index"] {
        if Path::new(file).exists() {
            println!("cargo::rerun-if-changed={file}");
        }
    }
}

/// What cargo wrote into a package when it was made. Git, asked there, would tell of whatever repository is around.
fn packaged() -> Option<String> {
    let text = std::fs::read_to_string(".cargo_vcs_info.json").ok()?;
    let (_, rest) = text.split_once(r#""sha1": ""#)?;
    let dirty = if text.contains(r#""dirty": true"#) { "-dirty" } else { "" };
    Some(format!("{}{dirty}", rest.get(..12)?))
}

/// What git says of a checkout.
fn described() -> Option<String> {
    let described = Command::new("git")
        .args(["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"])
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    Some(String::from_utf8(described.stdout).ok()?.trim().to_owned())
}
