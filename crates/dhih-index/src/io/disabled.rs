//! What stands in for the modules of formats whose Cargo features are off: functions of the same names that refuse the file and
//! name the feature. The formats themselves: `parquet/`, `safetensors.rs`.
//!
//! Tests compile this module even if all features are on.

#[cfg(any(test, not(feature = "parquet")))]
pub(crate) mod parquet {
    use std::path::Path;

    use crate::codes::set::CodeSet;
    use crate::error::{Error, Result};

    pub(crate) fn read(path: &Path, _bits: Option<u32>) -> Result<CodeSet> {
        Err(disabled(path))
    }

    pub(crate) fn count_rows(path: &Path) -> Result<usize> {
        Err(disabled(path))
    }

    pub(crate) fn write(path: &Path, _set: &CodeSet) -> Result<()> {
        Err(disabled(path))
    }

    pub(crate) fn unpack(path: &Path, _out: &mut dyn std::io::Write) -> Result<[usize; 2]> {
        Err(disabled(path))
    }

    fn disabled(path: &Path) -> Error {
        Error::FormatDisabled { path: path.into(), format: "Parquet", feature: "parquet" }
    }
}

#[cfg(any(test, not(feature = "safetensors")))]
pub(crate) mod safetensors {
    use std::path::Path;

    use crate::codes::bytes::FileBytes;
    use crate::codes::set::CodeSet;
    use crate::error::{Error, Result};

    pub(crate) fn parse(path: &Path, _file: FileBytes) -> Result<CodeSet> {
        Err(disabled(path))
    }

    pub(crate) fn write(path: &Path, _set: &CodeSet) -> Result<()> {
        Err(disabled(path))
    }

    fn disabled(path: &Path) -> Error {
        Error::FormatDisabled { path: path.into(), format: "safetensors", feature: "safetensors" }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::codes::Codes;
    use crate::codes::bytes::FileBytes;
    use crate::codes::set::CodeSet;
    use crate::error::Error;

    #[test]
    fn a_disabled_format_names_the_file_and_the_feature() {
        let set = CodeSet::new(Codes::new(8, vec![1]).unwrap());
        let path = Path::new("codes.file");
        for (feature, errors) in [
            (
                "parquet",
                vec![
                    super::parquet::read(path, None).unwrap_err(),
                    super::parquet::count_rows(path).unwrap_err(),
                    super::parquet::write(path, &set).unwrap_err(),
                    super::parquet::unpack(path, &mut Vec::new()).unwrap_err(),
                ],
            ),
            (
                "safetensors",
                vec![
                    super::safetensors::parse(path, FileBytes::Read(Vec::new())).unwrap_err(),
                    super::safetensors::parse(path, FileBytes::Read(vec![1])).unwrap_err(),
                    super::safetensors::write(path, &set).unwrap_err(),
                ],
            ),
        ] {
            for error in errors {
                let message = error.to_string();
                assert!(matches!(error, Error::FormatDisabled { .. }), "{message}");
                assert!(
                    message.starts_with("codes.file is a ")
                        && message.contains(&format!("`--features {feature}`"))
                );
            }
        }
    }
}
