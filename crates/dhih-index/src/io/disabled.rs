//! What stands in for the modules of formats whose Cargo features are off: functions of the same names that refuse the file and
//! name the feature. The formats themselves: `parquet/`, `safetensors.rs`.

#[cfg(not(feature = "parquet"))]
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

    fn disabled(path: &Path) -> Error {
        Error::FormatDisabled { path: path.into(), format: "Parquet", feature: "parquet" }
    }
}

#[cfg(not(feature = "safetensors"))]
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
