//! Layers to stages of steps: how many images go together, and where each value lies. How a layer becomes steps is in [`super::lower`].
//!
//! Invariants: a stage has a step at least, and its last value is its output. A slot holds one value at a time: it is given to another
//! only behind the last step that reads the value, so a step never writes what it reads.

use std::sync::Mutex;

use candle_core::Result;

use super::lower::{Draft, Lowering, Value};
use super::sites::Sites;
use super::stage::{Place, Stage, Step, Together};
use super::step::Op;
use crate::config::InputShape;
use crate::layer::{Layer, Sequential};

/// The stages of folded layers on images of a shape; at least one.
pub(super) fn compile(
    layers: &Sequential,
    input: InputShape,
    sites: &mut Sites<'_>,
) -> Result<Vec<Stage>> {
    let mut stages = Vec::new();
    let mut shape = input;
    let mut rest = &layers.0[..];
    let mut least = Together::Images(1);
    while !rest.is_empty() || stages.is_empty() {
        // Later layers have fewer pixels and more weights: as many images or more.
        let mut count = 0;
        let mut at = shape;
        for layer in rest {
            let together = together(layer, at)?;
            let together = if together == Together::Batch { together } else { together.max(least) };
            if count > 0 && together != least {
                break;
            }
            least = together;
            at = layer.output(at)?;
            count += 1;
        }
        let (now, later) = rest.split_at(count);
        let mut lowering = Lowering::new(shape, stages.is_empty(), sites);
        let output = lowering.sequential(now, Value { id: 0, shape })?;
        stages.push(placed(lowering, output, least));
        (shape, rest) = (output.shape, later);
    }
    Ok(stages)
}

/// How many images a layer is given at once: few, so that their values stay in cache, but so many that each weight is used
/// often when it has been read.
fn together(layer: &Layer, input: InputShape) -> Result<Together> {
    /// Uses of a weight that are worth reading it from memory.
    const USES: usize = 192;
    /// Values that are read from cache anyway.
    const CACHED: usize = 1 << 16;
    let most = |layers: &Sequential| {
        let mut shape = input;
        let mut most = Together::Images(1);
        for layer in &layers.0 {
            most = most.max(together(layer, shape)?);
            shape = layer.output(shape)?;
        }
        Ok(most)
    };
    Ok(match layer {
        Layer::Linear(_) => Together::Batch,
        Layer::Conv(conv) => {
            let output = layer.output(input)?;
            // Winograd's tiles of 4 x 4 pixels use each of four times as many weights once.
            let is_3x3 = conv.weight.dims().ends_with(&[3, 3]) && conv.weight.rank() == 4;
            let (pixels, factor) = if is_3x3 && conv.config.groups == 1 { (16, 4) } else { (1, 1) };
            let uses = (output.height * output.width / pixels).max(1);
            let by_weights =
                if conv.weight.elem_count() * factor <= CACHED { 1 } else { USES.div_ceil(uses) };
            let by_values = CACHED.div_ceil(input.len() + output.len());
            Together::Images(by_weights.max(by_values).next_power_of_two())
        }
        Layer::Residual { body, shortcut, .. } => most(body)?.max(most(shortcut)?),
        Layer::Concat(branches) => {
            let each = branches.iter().map(most).collect::<Result<Vec<_>>>()?;
            each.into_iter().max().unwrap_or(Together::Images(1))
        }
        Layer::Gate(gate) => most(gate)?,
        _ => Together::Images(1),
    })
}

/// Gives every value a place; those that are not needed any more leave theirs to others.
fn placed(mut lowered: Lowering<'_, '_>, mut output: Value, together: Together) -> Stage {
    if output.id == 0 {
        let len = output.shape.len();
        let to = lowered.value(output.shape);
        output = lowered.push(Op::Copy { channels: len, pixel: len }, output, None, to);
    }
    let Lowering { drafts, lens, .. } = lowered;
    let mut last_use = vec![0; lens.len()];
    for (number, draft) in drafts.iter().enumerate() {
        last_use[draft.from] = number;
        draft.other.into_iter().for_each(|other| last_use[other] = number);
    }
    let mut places: Vec<Option<Place>> = vec![None; lens.len()];
    places[0] = Some(Place::Input);
    places[output.id] = Some(Place::Output);
    let (mut slots, mut free) = (0, Vec::new());
    let mut steps = Vec::new();
    for (number, Draft { op, from, other, to, offset, site }) in drafts.into_iter().enumerate() {
        let to_place = *places[to].get_or_insert_with(|| {
            Place::Slot(free.pop().unwrap_or_else(|| {
                slots += 1;
                slots - 1
            }))
        });
        let place = |value: usize| places[value].unwrap_or(Place::Input);
        let len = lens[to];
        let (from_place, other_place) = (place(from), other.map(place));
        steps.push(Step {
            op,
            from: from_place,
            other: other_place,
            to: to_place,
            len,
            offset,
            site,
        });
        let read = [Some((from, from_place)), other.zip(other_place)];
        let mut seen = None;
        for (value, place) in read.into_iter().flatten() {
            if let Place::Slot(slot) = place
                && last_use[value] == number
                && seen != Some(value)
            {
                free.push(slot);
                seen = Some(value);
            }
        }
    }
    let sizes = (lens[0], output.shape.len());
    Stage { steps, slots, together, sizes, arenas: Mutex::default() }
}
