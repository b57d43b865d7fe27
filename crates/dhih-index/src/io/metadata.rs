//! The metadata that safetensors and Parquet codes files have in common: its keys, and the parsing of its values.

use crate::io::fault::Fault;

/// The length of a code in bits.
pub(crate) const BITS: &str = "dhih.bits";
/// SHA-256 of the model that made the codes, in hexadecimal.
pub(crate) const MODEL: &str = "dhih.model_sha256";
/// The number type that the model was computed in, if it is not floating point.
pub(crate) const PRECISION: &str = "dhih.precision";
/// The names of the classes, as a list in JSON.
pub(crate) const CLASSES: &str = "dhih.classes";

/// The length of a code in bits.
pub(crate) fn parse_bits(text: &str) -> Result<u32, Fault> {
    let fault = |error| Fault::caused(format!("its `{BITS}` is {text:?}, not a number"), error);
    text.parse::<u32>().map_err(fault)
}

/// The names of the classes; none where the file does not have them.
pub(crate) fn parse_classes(text: Option<&str>) -> Result<Vec<String>, Fault> {
    let fault =
        |error| Fault::caused(format!("its `{CLASSES}` is not a JSON list of names"), error);
    text.map_or(Ok(Vec::new()), |text| serde_json::from_str(text).map_err(fault))
}
