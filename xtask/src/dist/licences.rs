//! The licences of what others wrote and is linked into the programs: one text file, each text once, with the crates it is of.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::bill::Runtime;
use super::parts::Part;

/// Beginnings of the names of files that hold licences, in lower case.
const NAMES: [&str; 5] = ["license", "licence", "copying", "notice", "unlicense"];

/// A statically linked glibc asks for its licence, and that it can be exchanged.
const GLIBC: &str = include_str!("LGPL-2.1.txt");

/// The file, of all parts that come from a registry, and of the runtimes.
pub(super) fn licences(parts: &[Part], runtimes: &[Runtime]) -> Result<String> {
    let mut texts = BTreeMap::<String, Vec<String>>::new();
    let mut without = Vec::new();
    for part in parts.iter().filter(|part| part.checksum.is_some()) {
        let name = format!("{} {}", part.key.0, part.key.1);
        let expression = part.licence.as_deref().unwrap_or("see its text");
        let found = of(&part.folder)?;
        if found.is_empty() {
            without.push(format!("{name}: {expression}"));
        }
        for text in found {
            texts.entry(text).or_default().push(format!("{name} ({expression})"));
        }
    }
    let mut file = String::from(
        "The programs are linked with the crates and libraries below. dhih itself is licensed under MIT or Apache-2.0: see\n\
         LICENSE-MIT and LICENSE-APACHE.\n",
    );
    for runtime in runtimes {
        file += &format!("\n{} {}: {}\n", runtime.name, runtime.version, runtime.licence);
        if runtime.name == "glibc" {
            file += "Linked statically, unchanged; its source is at https://sourceware.org/glibc/. The source of the programs is open, so\n\
                     that they can be linked with another version of it: ARCHITECTURE.md and CONTRIBUTING.md of dhih. Its licence ends this file.\n";
        }
    }
    if !without.is_empty() {
        file += &format!("\nWithout a text in their packages:\n{}\n", without.join("\n"));
    }
    for (text, crates) in &texts {
        file += &format!("\n{}\n{}\n\n{}\n", "=".repeat(80), crates.join("\n"), text.trim_end());
    }
    if runtimes.iter().any(|runtime| runtime.name == "glibc") {
        file += &format!("\n{}\nglibc\n\n{}\n", "=".repeat(80), GLIBC.trim_end());
    }
    Ok(file)
}

/// The texts that lie in a package's folder, by name.
fn of(folder: &Path) -> Result<Vec<String>> {
    let cannot = || format!("cannot list {}: `cargo fetch` brings it", folder.display());
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).with_context(cannot)? {
        let path = entry.with_context(cannot)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        if NAMES.iter().any(|start| name.starts_with(start)) && path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    let read = |path: &std::path::PathBuf| {
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(String::from_utf8_lossy(&bytes).replace("\r\n", "\n"))
    };
    paths.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn part(name: &str, folder: &Path) -> Part {
        Part {
            key: (name.to_owned(), "1.0.0".to_owned()),
            description: String::new(),
            licence: Some("MIT".to_owned()),
            checksum: Some("00".to_owned()),
            folder: folder.to_path_buf(),
            needs: BTreeSet::new(),
        }
    }

    #[test]
    fn a_text_is_there_once_with_all_its_crates() {
        let root = tempfile::tempdir().unwrap();
        let folder = |name: &str, file: &str, text: &str| {
            let folder = root.path().join(name);
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join(file), text).unwrap();
            part(name, &folder)
        };
        let a = folder("a", "LICENSE-MIT", "Do as you like.\r\n");
        let b = folder("b", "License.txt", "Do as you like.\n");
        let c = folder("c", "lib.rs", "");
        let ours = Part { checksum: None, ..folder("ours", "LICENSE", "Ours alone.") };
        let runtime =
            Runtime { name: "glibc".into(), version: "2".into(), licence: "LGPL-2.1-or-later" };
        let file = licences(&[a, b, c, ours], &[runtime]).unwrap();
        assert_eq!(file.matches("Do as you like.").count(), 1, "{file}");
        assert!(file.contains("a 1.0.0 (MIT)\nb 1.0.0 (MIT)\n\nDo as"), "{file}");
        assert!(file.contains("Without a text in their packages:\nc 1.0.0: MIT\n"), "{file}");
        assert!(!file.contains("Ours alone"), "{file}");
        assert!(file.contains("GNU LESSER GENERAL PUBLIC LICENSE"));
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = licences(&[part("a", Path::new("no/such/folder"))], &[]).unwrap_err();
        assert!(error.to_string().contains("no/such/folder"), "{error}");
    }
}
