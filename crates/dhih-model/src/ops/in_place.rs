//! In-place updates of several variables in one pass over memory; candle's own in-place operators change one variable each.

use std::cell::RefCell;

use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Tensor, Var, bail};

use super::values;

/// Calls `f` with the values of `variable` and `source`, both contiguous f32 on the CPU. `f` may update other variables.
///
/// # Errors
/// Those of `f`, and when the two share their memory.
pub(super) fn update(
    variable: &Var,
    source: &Tensor,
    f: impl FnMut(&mut [f32], &[f32]) -> Result<()>,
) -> Result<()> {
    variable.inplace_op2(source, &Update(RefCell::new(f)))
}

struct Update<F>(RefCell<F>);

impl<F: FnMut(&mut [f32], &[f32]) -> Result<()>> InplaceOp2 for Update<F> {
    fn name(&self) -> &'static str {
        "update in place"
    }

    fn cpu_fwd(
        &self,
        variable: &mut CpuStorage,
        variable_layout: &Layout,
        source: &CpuStorage,
        source_layout: &Layout,
    ) -> Result<()> {
        let source = values(source, source_layout)?;
        let (CpuStorage::F32(variable), Some((start, end))) =
            (variable, variable_layout.contiguous_offsets())
        else {
            bail!("contiguous f32 variables are needed");
        };
        (self.0.borrow_mut())(&mut variable[start..end], source)
    }
}
