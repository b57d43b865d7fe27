//! The values of the tables: the record of an item, of an imported file, and of the former codes of an id.

use serde::{Deserialize, Serialize};

/// The record of an item, without its thumbnail.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The code in hexadecimal.
    pub(crate) code: String,
    /// The numbers of its classes.
    pub(crate) labels: Vec<i64>,
    /// A path below the imported folder, or the name of the uploaded file.
    pub(crate) source: Option<String>,
    /// The key of the file that it was imported from; absent for uploads, and for imports of format 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) import: Option<String>,
    /// Its former id, if it lost this id to an item of a rebuilt index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) former_id: Option<u64>,
    /// Its vector, if the index stores vectors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) vector: Option<Vec<f32>>,
}

/// A file that was imported.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ImportedFile {
    /// The id of its item; absent once the item was deleted.
    pub(crate) item: Option<u64>,
    /// SHA-256 of its content in hexadecimal; absent for imports of format 1.
    pub(crate) digest: Option<String>,
    /// The code of the deleted item. It identifies the content where the digest is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<String>,
}

/// The key of an imported file: the label of the imported folder, and the path below it.
pub(crate) fn import_key(root: &str, path: &str) -> String {
    format!("{root}\0{path}")
}

/// The key of a file that format 1 identified only by its path.
pub(crate) fn legacy_import_key(path: &str) -> String {
    import_key("", path)
}

/// The most former codes of an id. The bound keeps each replacement of an item short, however often it was replaced before.
const MOST: usize = 64;

/// Codes of an id that were removed or replaced, the last [`MOST`] of them. They stay removed when the index is rebuilt from codes that
/// contain them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FormerCodes {
    pub(super) codes: Vec<String>,
    /// Whether format 1 recorded a removal, whose code it did not store.
    pub(crate) has_unknown: bool,
}

impl FormerCodes {
    const UNKNOWN: &str = "*";

    pub(super) fn parse(text: &str) -> Self {
        let (unknown, codes): (Vec<&str>, Vec<&str>) = text
            .split(',')
            .filter(|code| !code.is_empty())
            .partition(|code| *code == Self::UNKNOWN);
        Self {
            codes: codes.into_iter().map(str::to_owned).collect(),
            has_unknown: !unknown.is_empty(),
        }
    }

    pub(super) fn text(&self) -> String {
        let unknown = self.has_unknown.then_some(Self::UNKNOWN);
        self.codes.iter().map(String::as_str).chain(unknown).collect::<Vec<_>>().join(",")
    }

    pub(super) fn insert(&mut self, code: &str) {
        if !code.is_empty() && !self.contains(code) {
            self.codes.push(code.to_owned());
        }
        let excess = self.codes.len().saturating_sub(MOST);
        self.codes.drain(..excess);
    }

    pub(super) fn forget(&mut self, code: &str) {
        self.codes.retain(|known| known != code);
    }

    /// Whether this code was removed or replaced.
    pub(crate) fn contains(&self, code: &str) -> bool {
        self.codes.iter().any(|known| known == code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn former_codes_are_the_same_after_they_were_written() {
        let mut codes = FormerCodes { has_unknown: true, ..FormerCodes::default() };
        codes.insert("0f");
        codes.insert("ab");
        codes.insert("0f");
        assert_eq!(codes.text(), "0f,ab,*");
        assert_eq!(FormerCodes::parse(&codes.text()), codes);
        codes.forget("0f");
        assert!(codes.contains("ab") && !codes.contains("0f"));
        assert_eq!(FormerCodes::parse(""), FormerCodes::default());
    }

    #[test]
    fn the_last_former_codes_are_kept() {
        let mut codes = FormerCodes::default();
        (0..1000).for_each(|code| codes.insert(&format!("{code:04x}")));
        assert_eq!(codes.codes.len(), MOST);
        assert!(codes.contains("03e7") && !codes.contains("0000"));
    }
}
