//! PyTorch's checkpoint files: a zip archive with a pickle and one file for each storage (since version 1.6), or pickles and storages one after
//! the other (before). [`super::pickle`] executes the opcodes of pickles.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};

use candle_core::{DType, Shape, Tensor};
use zip::ZipArchive;

use super::pickle::{Id, Pickle, Value};
use super::{is_counter, to_f32};

/// The first bytes of every zip archive.
pub(super) const ZIP: &[u8] = b"PK\x03\x04";
/// The first bytes of every file of the older format: a pickled constant.
pub(super) const LEGACY: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";

/// The names under which training checkpoints keep the state dict.
const NESTED: [&str; 2] = ["state_dict", "model"];

type Tensors = BTreeMap<String, Tensor>;

/// Reads the zip format.
pub(super) fn read_zip(bytes: &[u8]) -> Result<Tensors, String> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| error.to_string())?;
    let names: Vec<_> = archive.file_names().flatten().map(|name| name.into_owned()).collect();
    let name = names.into_iter().find(|name| name.ends_with("/data.pkl"));
    let name = name.ok_or("the archive holds no data.pkl")?;
    let folder = name.trim_end_matches(".pkl").to_owned();
    // A file is read to its end, so that its checksum is verified.
    let mut file = |name: &str| {
        let mut content = Vec::new();
        let mut file = archive.by_name(name).map_err(|error| format!("{name}: {error}"))?;
        file.read_to_end(&mut content).map_err(|error| format!("{name}: {error}"))?;
        Ok::<_, String>(content)
    };
    if file(&name.replace("data.pkl", "byteorder")).is_ok_and(|order| order != b"little") {
        return Err("its numbers are big-endian; save it on a little-endian machine".to_owned());
    }
    let pickle = Pickle::read(&mut &file(&name)?[..])?;
    let mut views = bounded(views(&pickle)?, bytes.len())?;
    // Each storage is read once.
    views.sort_by(|a, b| a.key.cmp(&b.key));
    let mut tensors = Tensors::new();
    for views in views.chunk_by(|a, b| a.key == b.key) {
        let storage = file(&format!("{folder}/{}", views[0].key))?;
        for view in views {
            tensors.insert(view.name.clone(), view.tensor(&storage)?);
        }
    }
    Ok(tensors)
}

/// Reads the older format: a constant, a version, facts about the machine, the state dict, and the keys of the storages; then for each storage
/// its number of values and the values.
pub(super) fn read_legacy(mut bytes: &[u8]) -> Result<Tensors, String> {
    let length = bytes.len();
    let bytes = &mut bytes;
    for _ in ["constant", "version", "machine"] {
        Pickle::read(bytes)?;
    }
    let (pickle, keys) = (Pickle::read(bytes)?, Pickle::read(bytes)?);
    let sizes = storage_sizes(&pickle);
    let mut storages = BTreeMap::new();
    for &key in sequence(&keys, keys.root()).unwrap_or_default() {
        let key = text(&keys, key).ok_or("the key of a storage is no text")?;
        let value_bytes =
            sizes.get(key).ok_or_else(|| format!("nothing refers to storage {key}"))?;
        let short = || format!("storage {key} ends too early");
        let (count, rest) = bytes.split_first_chunk().ok_or_else(short)?;
        let length = usize::try_from(u64::from_le_bytes(*count)).ok();
        let length = length.and_then(|count| count.checked_mul(*value_bytes)).ok_or_else(short)?;
        let (storage, rest) = rest.split_at_checked(length).ok_or_else(short)?;
        storages.insert(key, storage);
        *bytes = rest;
    }
    let mut tensors = Tensors::new();
    for view in bounded(views(&pickle)?, length)? {
        let absent = || format!("{}: its values are not in the file", view.name);
        let storage = storages.get(view.key.as_str()).ok_or_else(absent)?;
        tensors.insert(view.name.clone(), view.tensor(storage)?);
    }
    Ok(tensors)
}

/// The part of a storage that a tensor is; sizes and positions count values.
struct View {
    name: String,
    key: String,
    dtype: DType,
    offset: usize,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

/// How many times as long as the file all tensors together may be. Tied weights are one storage with several names.
const MOST_COPIES: usize = 4;

/// Checks that the tensors are not many times larger than the file, which many views of one storage could be.
fn bounded(views: Vec<View>, file_bytes: usize) -> Result<Vec<View>, String> {
    let bytes_of = |view: &View| {
        let size = view.dtype.size_in_bytes();
        view.shape.iter().try_fold(size, |bytes, side| bytes.checked_mul(*side))
    };
    let total = views.iter().try_fold(0usize, |sum, view| sum.checked_add(bytes_of(view)?));
    match total {
        Some(total) if total <= MOST_COPIES.saturating_mul(file_bytes) => Ok(views),
        _ => Err(format!(
            "its tensors have more than {MOST_COPIES} times the {file_bytes} bytes of the file: they share their values"
        )),
    }
}

/// The tensors of floating-point numbers of the state dict, without batch norm's counters and empty tensors.
fn views(pickle: &Pickle) -> Result<Vec<View>, String> {
    let nested = NESTED.iter().find_map(|name| {
        let entries = entries(pickle, pickle.root())?;
        let (_, value) = entries.iter().find(|(key, _)| text(pickle, *key) == Some(name))?;
        entries_of_tensors(pickle, *value)
    });
    let found = nested.or_else(|| entries_of_tensors(pickle, pickle.root()));
    let none = "it holds no tensors by name; save `model.state_dict()`";
    let found = found.ok_or(none)?.into_iter().filter(|(name, _)| !is_counter(name));
    let views = found.map(|(name, arguments)| view(pickle, name, arguments));
    let views = views.filter_map(Result::transpose).collect::<Result<Vec<View>, String>>()?;
    match views.is_empty() {
        true => Err("it holds no tensors of floating-point numbers".to_owned()),
        false => Ok(views),
    }
}

/// Names and arguments of the tensors of a dictionary; `None` where it has none.
fn entries_of_tensors(pickle: &Pickle, dict: Id) -> Option<Vec<(&str, &[Id])>> {
    let entry = |&(key, value): &(Id, Id)| Some((text(pickle, key)?, tensor(pickle, value)?));
    let found: Vec<_> = entries(pickle, dict)?.iter().filter_map(entry).collect();
    (!found.is_empty()).then_some(found)
}

/// The arguments from which PyTorch makes a tensor: storage, offset, shape, strides and more.
fn tensor(pickle: &Pickle, mut id: Id) -> Option<&[Id]> {
    // A parameter wraps its tensor once.
    for _ in 0..2 {
        let Value::Call { function, arguments } = pickle.get(id) else { return None };
        let Value::Global(function) = pickle.get(*function) else { return None };
        let arguments = sequence(pickle, *arguments)?;
        match function.as_str() {
            "torch._utils._rebuild_tensor_v2" | "torch._utils._rebuild_tensor" => {
                return Some(arguments);
            }
            "torch._utils._rebuild_parameter" => id = *arguments.first()?,
            "torch._tensor._rebuild_from_type_v2" => return sequence(pickle, *arguments.get(2)?),
            _ => return None,
        }
    }
    None
}

/// `None` for a tensor that is empty or has integers, such as position numbers, which are no weights of any backbone here.
fn view(pickle: &Pickle, name: &str, arguments: &[Id]) -> Result<Option<View>, String> {
    let place = |name: &str| -> Option<_> {
        let [storage, offset, shape, strides, ..] = arguments else { return None };
        let (dtype_name, key) = storage_of(pickle, *storage)?;
        let numbers = |id| -> Option<Vec<usize>> {
            sequence(pickle, id)?.iter().map(|&id| number(pickle, id)).collect()
        };
        let dtype = dtype(dtype_name);
        let (shape, strides) = (numbers(*shape)?, numbers(*strides)?);
        let (name, key) = (name.to_owned(), key.to_owned());
        let offset = number(pickle, *offset)?;
        Some(dtype.map(|dtype| View { name, key, dtype, offset, shape, strides }))
    };
    let view = place(name).ok_or_else(|| format!("{name}: its description is damaged"))?;
    Ok(view.filter(|view| !view.shape.contains(&0)))
}

/// The type and the key of a storage.
fn storage_of(pickle: &Pickle, id: Id) -> Option<(&str, &str)> {
    let Value::Persistent(id) = pickle.get(id) else { return None };
    let [_, kind, key, ..] = sequence(pickle, *id)? else { return None };
    let Value::Global(kind) = pickle.get(*kind) else { return None };
    Some((kind.trim_start_matches("torch."), text(pickle, *key)?))
}

/// The bytes of a value, for every storage that the pickle refers to.
fn storage_sizes(pickle: &Pickle) -> BTreeMap<&str, usize> {
    let size = |kind: &str| match kind {
        "DoubleStorage" | "LongStorage" => 8,
        "HalfStorage" | "BFloat16Storage" | "ShortStorage" => 2,
        "ByteStorage" | "CharStorage" | "BoolStorage" => 1,
        _ => 4,
    };
    let storages = pickle.ids().filter_map(|id| storage_of(pickle, id));
    storages.map(|(kind, key)| (key, size(kind))).collect()
}

fn dtype(storage: &str) -> Option<DType> {
    match storage {
        "FloatStorage" => Some(DType::F32),
        "DoubleStorage" => Some(DType::F64),
        "HalfStorage" => Some(DType::F16),
        "BFloat16Storage" => Some(DType::BF16),
        _ => None,
    }
}

impl View {
    /// The tensor in f32.
    fn tensor(&self, storage: &[u8]) -> Result<Tensor, String> {
        let Self { name, dtype, offset, shape, strides, .. } = self;
        let stored = storage.len() / dtype.size_in_bytes();
        let outside = || format!("{name}: shape {shape:?} lies outside its {stored} stored values");
        let count = shape.iter().try_fold(1usize, |count, &side| count.checked_mul(side));
        let count = count.filter(|&count| count <= stored && shape.len() == strides.len());
        let count = count.ok_or_else(outside)?;
        let mut steps =
            shape.iter().zip(strides).map(|(&side, &stride)| (side.max(1) - 1).checked_mul(stride));
        let last = steps.try_fold(*offset, |at, step| at.checked_add(step?));
        if count == 0 || last.is_none_or(|last| last >= stored) {
            return Err(outside());
        }
        let size = dtype.size_in_bytes();
        let with_name = |error| format!("{name}: {error}");
        let shape = Shape::from(shape.as_slice());
        if shape.is_contiguous(strides) {
            return to_f32(&storage[offset * size..][..count * size], *dtype, &shape)
                .map_err(with_name);
        }
        let mut bytes = Vec::with_capacity(count * size);
        for i in 0..count {
            let (mut rest, mut at) = (i, *offset);
            for (side, stride) in shape.dims().iter().zip(strides).rev() {
                at += rest % side * stride;
                rest /= side;
            }
            bytes.extend_from_slice(&storage[at * size..][..size]);
        }
        to_f32(&bytes, *dtype, &shape).map_err(with_name)
    }
}

fn entries(pickle: &Pickle, id: Id) -> Option<&[(Id, Id)]> {
    match pickle.get(id) {
        Value::Dict(entries) => Some(entries),
        _ => None,
    }
}

fn sequence(pickle: &Pickle, id: Id) -> Option<&[Id]> {
    match pickle.get(id) {
        Value::Sequence(items) => Some(items),
        _ => None,
    }
}

fn text(pickle: &Pickle, id: Id) -> Option<&str> {
    match pickle.get(id) {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

fn number(pickle: &Pickle, id: Id) -> Option<usize> {
    match pickle.get(id) {
        Value::Int(value) => usize::try_from(*value).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(shape: &[usize]) -> View {
        View {
            name: "w".to_owned(),
            key: "0".to_owned(),
            dtype: DType::F32,
            offset: 0,
            shape: shape.to_vec(),
            strides: vec![1; shape.len()],
        }
    }

    #[test]
    fn names_that_share_values_are_no_way_to_much_memory() {
        let many = |count: usize| (0..count).map(|_| view(&[10, 10])).collect::<Vec<_>>();
        // A storage of 400 bytes, in a file of 500 bytes.
        assert_eq!(bounded(many(2), 500).unwrap().len(), 2);
        let error = bounded(many(1000), 500).err().unwrap();
        assert!(error.contains("500 bytes of the file"), "{error}");
        assert!(bounded(vec![view(&[usize::MAX, 2])], usize::MAX).is_err());
    }
}
