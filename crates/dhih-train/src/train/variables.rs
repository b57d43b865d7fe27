//! Saves named variables as tensors, and restores them.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor, Var};

use crate::error::Result;

/// Copies of the values by name, on the CPU.
///
/// # Errors
/// Those of the device.
pub(crate) fn snapshot<'a>(
    named: impl Iterator<Item = (String, &'a Var)>,
) -> Result<BTreeMap<String, Tensor>> {
    let copy = |(name, var): (String, &Var)| {
        Ok((name, var.as_tensor().copy()?.detach().to_device(&Device::Cpu)?))
    };
    named.map(copy).collect()
}

/// Restores values. Returns `false` where one is missing, unknown or of another shape; the state is undefined then.
///
/// # Errors
/// Those of the device.
pub(crate) fn restore<'a>(
    named: impl Iterator<Item = (String, &'a Var)>,
    tensors: &BTreeMap<String, Tensor>,
) -> Result<bool> {
    let mut count = 0;
    for (name, var) in named {
        match tensors.get(&name) {
            Some(tensor) if tensor.shape() == var.shape() => {
                var.set(&tensor.to_device(var.device())?)?;
            }
            _ => return Ok(false),
        }
        count += 1;
    }
    Ok(tensors.len() == count)
}
