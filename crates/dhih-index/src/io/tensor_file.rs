//! Writing safetensors files: the same content gives the same bytes, tensors are streamed, and the file appears under its name
//! only when it is complete. The crate `safetensors` reads such files; which tensors a file holds is up to the caller.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use safetensors::Dtype;

use crate::error::Result;
use crate::store::disk;

type Content<'a> = Box<dyn FnOnce(&mut dyn Write) -> io::Result<()> + 'a>;

/// A tensor to write. `content` must write exactly as many bytes as `dtype` and `shape` promise.
pub(crate) struct Tensor<'a> {
    name: &'static str,
    dtype: Dtype,
    shape: Vec<u64>,
    content: Content<'a>,
}

impl<'a> Tensor<'a> {
    pub(crate) fn u8(name: &'static str, shape: &[usize], values: &'a [u8]) -> Self {
        let shape = shape.iter().map(|&n| n as u64).collect();
        Self { name, dtype: Dtype::U8, shape, content: Box::new(|out| out.write_all(values)) }
    }

    pub(crate) fn u32(
        name: &'static str,
        shape: Vec<u64>,
        mut values: impl Iterator<Item = u32> + 'a,
    ) -> Self {
        let write = move |out: &mut dyn Write| {
            values.try_for_each(|value| out.write_all(&value.to_le_bytes()))
        };
        Self { name, dtype: Dtype::U32, shape, content: Box::new(write) }
    }

    pub(crate) fn f32(
        name: &'static str,
        shape: Vec<u64>,
        values: impl Iterator<Item = f32> + 'a,
    ) -> Self {
        let bits = Self::u32(name, shape, values.map(f32::to_bits));
        Self { dtype: Dtype::F32, ..bits }
    }

    pub(crate) fn u64(
        name: &'static str,
        shape: Vec<u64>,
        mut values: impl Iterator<Item = u64> + 'a,
    ) -> Self {
        let write = move |out: &mut dyn Write| {
            values.try_for_each(|value| out.write_all(&value.to_le_bytes()))
        };
        Self { name, dtype: Dtype::U64, shape, content: Box::new(write) }
    }

    pub(crate) fn i64(name: &'static str, values: &'a [i64]) -> Self {
        let write = |out: &mut dyn Write| {
            values.iter().try_for_each(|value| out.write_all(&value.to_le_bytes()))
        };
        let shape = vec![values.len() as u64];
        Self { name, dtype: Dtype::I64, shape, content: Box::new(write) }
    }

    fn bytes(&self) -> Option<u64> {
        let item = (self.dtype.bitsize() / 8) as u64;
        self.shape.iter().try_fold(item, |bytes, &n| bytes.checked_mul(n))
    }
}

/// Writes tensors and metadata. The tensors of the widest type come first, so that each is aligned in the file.
pub(crate) fn write(
    path: &Path,
    metadata: &BTreeMap<&str, String>,
    mut tensors: Vec<Tensor>,
) -> Result<()> {
    tensors.sort_by_key(|tensor| std::cmp::Reverse(tensor.dtype.bitsize()));
    disk::write(path, |out| {
        let mut header = format!("{{\"__metadata__\":{}", serde_json::to_string(metadata)?);
        let mut offset = 0_u64;
        for tensor in &tensors {
            let end = tensor.bytes().and_then(|bytes| offset.checked_add(bytes));
            let end = end.ok_or_else(|| io::Error::other("the file would pass 2^64 bytes"))?;
            let (name, dtype, shape) = (tensor.name, tensor.dtype, &tensor.shape);
            header += &format!(",\"{name}\":{{\"dtype\":\"{dtype:?}\",\"shape\":{shape:?},");
            header += &format!("\"data_offsets\":[{offset},{end}]}}");
            offset = end;
        }
        header.push('}');
        let padding = header.len().next_multiple_of(8) - header.len();
        header.extend(std::iter::repeat_n(' ', padding));
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(header.as_bytes())?;
        tensors.into_iter().try_for_each(|tensor| (tensor.content)(out))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::SafeTensors;

    #[test]
    fn the_safetensors_crate_reads_what_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.safetensors");
        let metadata = BTreeMap::from([("b", "\"1\"\n".to_string()), ("a", "2".to_string())]);
        let tensors = vec![
            Tensor::u8("bytes", &[3, 1], &[1, 2, 3]),
            Tensor::u32("words", vec![1], [7].into_iter()),
            Tensor::u64("longs", vec![2], [8, u64::MAX].into_iter()),
            Tensor::i64("signed", &[-1]),
        ];
        write(&path, &metadata, tensors).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(file.tensor("bytes").unwrap().data(), [1, 2, 3]);
        assert_eq!(file.tensor("words").unwrap().data(), 7_u32.to_le_bytes());
        assert_eq!(file.tensor("longs").unwrap().shape(), [2]);
        assert_eq!(file.tensor("signed").unwrap().data(), (-1_i64).to_le_bytes());
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        assert_eq!(header.metadata().as_ref().unwrap()["b"], "\"1\"\n");

        let endless = Tensor::u64("x", vec![u64::MAX, 2], std::iter::empty());
        assert!(write(&path, &metadata, vec![endless]).is_err());
    }
}
