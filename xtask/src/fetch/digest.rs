//! Size and SHA-256 of a file, and copying that computes both on the way.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use anyhow::{Context, Result};
use sha2::{Digest as _, Sha256};

/// What identifies a file's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Digest {
    /// In bytes.
    pub(crate) size: u64,
    /// In lower-case hexadecimal.
    pub(crate) sha256: String,
}

impl Digest {
    /// Reads the whole file.
    pub(crate) fn of_file(path: &Path) -> Result<Self> {
        digest(path, &mut io::sink())
    }

    /// Copies `from` to the new file `to`, down to the disk.
    pub(crate) fn of_copy(from: &Path, to: &Path) -> Result<Self> {
        let mut file =
            File::create(to).with_context(|| format!("cannot create {}", to.display()))?;
        let found = digest(from, &mut file)?;
        file.sync_all().with_context(|| format!("cannot write {}", to.display()))?;
        Ok(found)
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes, sha256 {}", self.size, self.sha256)
    }
}

fn digest(from: &Path, to: &mut dyn Write) -> Result<Digest> {
    let mut file = File::open(from).with_context(|| format!("cannot open {}", from.display()))?;
    let (mut hasher, mut size, mut block) = (Sha256::new(), 0, vec![0; 1 << 20]);
    loop {
        let count =
            file.read(&mut block).with_context(|| format!("cannot read {}", from.display()))?;
        if count == 0 {
            break;
        }
        hasher.update(&block[..count]);
        to.write_all(&block[..count]).context("cannot write the copy; is the disk full?")?;
        size += count as u64;
    }
    let mut sha256 = String::with_capacity(64);
    for byte in hasher.finalize() {
        write!(sha256, "{byte:02x}").context("cannot format the digest")?;
    }
    Ok(Digest { size, sha256 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_published_vector_and_copies_the_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("a"), directory.path().join("b"));
        std::fs::write(&from, "abc").unwrap();
        let expected = Digest {
            size: 3,
            sha256: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad".to_owned(),
        };
        assert_eq!(Digest::of_file(&from).unwrap(), expected);
        assert_eq!(Digest::of_copy(&from, &to).unwrap(), expected);
        assert_eq!(std::fs::read(&to).unwrap(), b"abc");
        assert!(Digest::of_file(directory.path()).is_err());
    }
}
