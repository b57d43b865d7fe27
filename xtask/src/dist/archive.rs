//! The archive: files in order, with one time and no owner, so that the same files are the same bytes. And its way back, for
//! the check of what was made. Checksums are those of `sha256sum`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use flate2::read::GzDecoder;
use flate2::{Compression, GzBuilder};
use sha2::{Digest, Sha256};

/// A file of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    pub(super) bytes: Vec<u8>,
    pub(super) executable: bool,
}

/// Files by path, with `/`.
pub(super) type Files = BTreeMap<String, File>;

/// `files` below the folder `top`, as a gzipped tar; all of them from `epoch`, in seconds since 1970.
pub(super) fn packed(files: &Files, top: &str, epoch: u64) -> Result<Vec<u8>> {
    // gzip's own field of the time stays empty: the entries have one.
    let gzip = GzBuilder::new().write(Vec::new(), Compression::best());
    let mut tar = tar::Builder::new(gzip);
    for (path, file) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(file.bytes.len() as u64);
        header.set_mode(if file.executable { 0o755 } else { 0o644 });
        header.set_mtime(epoch);
        let path = format!("{top}/{path}");
        tar.append_data(&mut header, &path, file.bytes.as_slice())
            .with_context(|| format!("cannot pack {path}"))?;
    }
    Ok(tar.into_inner()?.finish()?)
}

/// Unpacks an archive made by [`packed`] into `folder`.
pub(super) fn unpack(archive: &Path, folder: &Path) -> Result<()> {
    let bytes = fs::read(archive).with_context(|| format!("cannot read {}", archive.display()))?;
    tar::Archive::new(GzDecoder::new(bytes.as_slice()))
        .unpack(folder)
        .with_context(|| format!("{} cannot be unpacked", archive.display()))
}

/// In lower-case hexadecimal.
pub(super) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Compares every file that a list of checksums names with its own, in the list's folder.
pub(super) fn verify(sums: &Path) -> Result<usize> {
    let text =
        fs::read_to_string(sums).with_context(|| format!("cannot read {}", sums.display()))?;
    let folder = sums.parent().unwrap_or(Path::new(""));
    for line in text.lines() {
        let (expected, name) = line
            .split_once("  ")
            .with_context(|| format!("{}: {line:?} is no checksum", sums.display()))?;
        let path = folder.join(name);
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let got = sha256(&bytes);
        if got != expected {
            bail!("{}: expected {expected}, got {got}; make it anew", path.display());
        }
    }
    Ok(text.lines().count())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> Files {
        let file = |bytes: &[u8], executable| File { bytes: bytes.to_vec(), executable };
        let long = format!("man/{}.1", "x".repeat(120));
        [
            ("b/c".to_owned(), file(b"1", true)),
            ("a".to_owned(), file(b"22", false)),
            (long, file(b"", false)),
        ]
        .into()
    }

    #[test]
    fn the_same_files_are_the_same_bytes_and_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("x.tar.gz");
        let bytes = packed(&files(), "top", 1_000_000_000).unwrap();
        assert_eq!(bytes, packed(&files(), "top", 1_000_000_000).unwrap());
        assert_ne!(bytes, packed(&files(), "top", 1_000_000_001).unwrap());

        fs::write(&archive, &bytes).unwrap();
        unpack(&archive, folder.path()).unwrap();
        for (path, file) in files() {
            let path = folder.path().join("top").join(path);
            assert_eq!(fs::read(&path).unwrap(), file.bytes);
            let metadata = fs::metadata(&path).unwrap();
            #[cfg(unix)]
            assert_eq!(
                std::os::unix::fs::MetadataExt::mode(&metadata) & 0o111 != 0,
                file.executable
            );
            let age = metadata.modified().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap();
            assert_eq!(age.as_secs(), 1_000_000_000);
        }
        fs::write(&archive, &bytes[..bytes.len() / 2]).unwrap();
        let error = unpack(&archive, folder.path()).unwrap_err().to_string();
        assert!(error.contains("x.tar.gz cannot be unpacked"), "{error}");
    }

    #[test]
    fn a_changed_missing_or_unlisted_file_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let sums = folder.path().join("SHA256SUMS");
        fs::write(folder.path().join("a"), b"abc").unwrap();
        // The published value for `abc`.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        fs::write(&sums, format!("{abc}  a\n")).unwrap();
        assert_eq!(verify(&sums).unwrap(), 1);
        fs::write(folder.path().join("a"), b"abd").unwrap();
        assert!(verify(&sums).unwrap_err().to_string().contains(abc));
        fs::write(&sums, format!("{abc}  b\n")).unwrap();
        assert!(verify(&sums).unwrap_err().to_string().contains("cannot read"));
        fs::write(&sums, b"a\n").unwrap();
        assert!(verify(&sums).unwrap_err().to_string().contains("is no checksum"));
    }
}
