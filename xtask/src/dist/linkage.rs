//! How the programs of a release are linked. With glibc everything is linked in: one file that starts on any Linux of its
//! architecture, whatever C library is there, also in an empty container. Elsewhere the system's libraries are asked for, as usual.
//!
//! Only the last step knows of it, so that the crates below are those of every release build. A static glibc loads no modules of its name
//! service (NSS): host names are resolved by `/etc/hosts` and DNS alone. Processors are told apart at run time, by the programs and by
//! glibc, so no target CPU is named.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::bill::Runtime;
use crate::step::{self, Step};
use crate::workspace::Workspace;

/// What rustc is told for the programs themselves.
pub(super) fn flags(target: &str) -> &'static [&'static str] {
    if is_static(target) { &["--", "-C", "target-feature=+crt-static"] } else { &[] }
}

fn is_static(target: &str) -> bool {
    target.ends_with("-linux-gnu")
}

/// The target that this machine's compiler makes programs for, and its version.
pub(super) fn compiler(workspace: &Workspace) -> Result<(String, String)> {
    let rustc = step::cargo().with_file_name("rustc");
    let rustc = if rustc.is_file() { rustc } else { "rustc".into() };
    let told = Step::new("ask the compiler", &rustc, workspace).args(["-vV"]).capture()?;
    let of = |name: &str| {
        let value = told.lines().find_map(|line| line.strip_prefix(name));
        value.map(str::to_owned).with_context(|| format!("rustc -vV prints no line `{name}`"))
    };
    Ok((of("host: ")?, of("release: ")?))
}

/// What is linked into the programs beside crates.
pub(super) fn runtimes(target: &str, rust: &str, workspace: &Workspace) -> Result<Vec<Runtime>> {
    let runtime = |name: &str, version: &str, licence| Runtime {
        name: name.to_owned(),
        version: version.to_owned(),
        licence,
    };
    let mut runtimes = vec![runtime("rust-std", rust, "MIT OR Apache-2.0")];
    if is_static(target) {
        let ask = |program: &str, word: &str| {
            let told = Step::new("ask for a version", program.as_ref(), workspace).args([word]);
            Ok::<_, anyhow::Error>(told.capture()?.trim().to_owned())
        };
        let glibc = ask("getconf", "GNU_LIBC_VERSION")?;
        let glibc = glibc.strip_prefix("glibc ").unwrap_or(&glibc);
        runtimes.push(runtime("glibc", glibc, "LGPL-2.1-or-later"));
        let gcc = ask("cc", "-dumpfullversion")?;
        runtimes.push(runtime("libgcc", &gcc, "GPL-3.0-or-later WITH GCC-exception-3.1"));
    }
    Ok(runtimes)
}

/// Sees that a program for `target` asks for no library where it must not.
pub(super) fn check(program: &Path, target: &str) -> Result<()> {
    if !is_static(target) {
        return Ok(());
    }
    let bytes = fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    match interpreter(&bytes) {
        Some(false) => Ok(()),
        Some(true) => bail!("{} is not linked statically", program.display()),
        None => bail!("{} is no 64-bit ELF program", program.display()),
    }
}

/// Whether an ELF program (64 bits, little-endian) names a loader, which finds its libraries; `None` for anything else.
fn interpreter(bytes: &[u8]) -> Option<bool> {
    const PT_INTERP: u64 = 3;
    if !bytes.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let number = |at: usize, size: usize| {
        let field = bytes.get(at..at.checked_add(size)?)?;
        Some(field.iter().rev().fold(0, |value: u64, &byte| (value << 8) | u64::from(byte)))
    };
    let (first, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    for header in 0..count {
        let at = usize::try_from(first.checked_add(header * size)?).ok()?;
        if number(at, 4)? == PT_INTERP {
            return Some(true);
        }
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header of two segments of the given kinds.
    fn elf(kinds: [u8; 2]) -> Vec<u8> {
        let mut bytes = vec![0; 64 + 2 * 56];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        (bytes[32], bytes[54], bytes[56]) = (64, 56, 2);
        (bytes[64], bytes[64 + 56]) = (kinds[0], kinds[1]);
        bytes
    }

    #[test]
    fn a_loader_is_seen_and_damage_is_no_program() {
        assert_eq!(interpreter(&elf([1, 3])), Some(true));
        assert_eq!(interpreter(&elf([1, 2])), Some(false));
        assert_eq!(interpreter(&elf([1, 2])[..100]), None);
        assert_eq!(interpreter(b"#!/bin/sh"), None);
    }

    #[test]
    fn programs_for_glibc_must_be_static() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p");
        for (bytes, expected) in
            [(elf([1, 3]), "not linked statically"), (vec![0], "no 64-bit ELF")]
        {
            fs::write(&path, bytes).unwrap();
            let error = check(&path, "x86_64-unknown-linux-gnu").unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            check(&path, "aarch64-apple-darwin").unwrap();
        }
        fs::write(&path, elf([1, 2])).unwrap();
        check(&path, "x86_64-unknown-linux-gnu").unwrap();
        assert!(check(Path::new("no/such/file"), "aarch64-unknown-linux-gnu").is_err());
    }

    #[test]
    fn the_compiler_tells_target_and_version() {
        let workspace = Workspace::find().unwrap();
        let (target, version) = compiler(&workspace).unwrap();
        assert!(target.contains('-') && version.contains('.'), "{target} {version}");
        assert_eq!(flags("x86_64-unknown-linux-gnu").len(), 3);
        assert_eq!(flags("aarch64-apple-darwin").len(), 0);
    }
}
