//! Tells the program which commit it was built from: every recorded figure names it.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let packaged = packaged();
    let commit = packaged.clone().or_else(described).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=DHIH_COMMIT={commit}");
    if packaged.is_some() {
        return;
    }
    // Git is asked where these lie: in a linked worktree `.git` is no folder.
    for name in ["HEAD", "index", "logs/HEAD"] {
        if let Some(file) = git(&["rev-parse", "--git-path", name])
            && Path::new(&file).exists()
        {
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
    git(&["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = output.status.success().then_some(output.stdout)?;
    Some(String::from_utf8(text).ok()?.trim().to_owned())
}
