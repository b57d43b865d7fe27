//! An ONNX graph under construction: nodes in the order in which they are computed, each value with a unique name.

use super::proto::{
    Attribute, Dimension, FLOAT, Graph, INT, INT64, INTS, Node, TensorShape, TensorType, Type,
    ValueInfo, Values,
};
use crate::image::InputShape;

/// A value in the graph.
#[derive(Clone)]
pub(super) struct Value {
    pub(super) name: String,
    pub(super) shape: InputShape,
    /// Whether the value is a vector. Otherwise it is an image, possibly of one pixel.
    pub(super) is_vector: bool,
}

#[derive(Default)]
pub(super) struct GraphBuilder {
    graph: Graph,
    names: usize,
}

/// The names of the attributes that hold a single number and not a list.
const SINGLE: [&str; 8] =
    ["to", "axis", "group", "keepdims", "transB", "count_include_pad", "start", "end"];

impl GraphBuilder {
    /// Declares an input of the graph, of shape `[n, ..dims]`.
    pub(super) fn input(&mut self, name: &str, elem_type: i32, dims: &[usize]) {
        self.graph.input.push(value_info(name, elem_type, dims));
    }

    /// Declares an output of the graph, of shape `[n, ..dims]`: the value that `compute` returns.
    pub(super) fn output(
        &mut self,
        name: &str,
        elem_type: i32,
        dims: &[usize],
        compute: impl FnOnce(&mut Self) -> String,
    ) {
        let value = compute(self);
        for node in &mut self.graph.node {
            node.output.iter_mut().filter(|output| **output == value).for_each(|output| {
                name.clone_into(output);
            });
        }
        self.graph.output.push(value_info(name, elem_type, dims));
    }

    /// Adds a node without attributes and returns the name of its output.
    pub(super) fn node(&mut self, op_type: &str, inputs: &[&str]) -> String {
        self.node_with(op_type, inputs, &[])
    }

    /// Adds a node and returns the name of its output.
    pub(super) fn node_with(
        &mut self,
        op_type: &str,
        inputs: &[&str],
        attributes: &[(&str, &[i64])],
    ) -> String {
        let attribute = |(name, values): &(&str, &[i64])| {
            let single = SINGLE.contains(name);
            Attribute {
                name: Some((*name).to_owned()),
                i: values.first().copied().filter(|_| single),
                ints: if single { Vec::new() } else { values.to_vec() },
                kind: Some(if single { INT } else { INTS }),
            }
        };
        let output = self.name(&op_type.to_lowercase());
        self.graph.node.push(Node {
            input: inputs.iter().map(|input| (*input).to_owned()).collect(),
            output: vec![output.clone()],
            op_type: Some(op_type.to_owned()),
            attribute: attributes.iter().map(attribute).collect(),
        });
        output
    }

    /// Converts values to another type.
    pub(super) fn cast(&mut self, value: &str, elem_type: i32) -> String {
        self.node_with("Cast", &[value], &[("to", &[elem_type.into()])])
    }

    /// Adds a constant.
    pub(super) fn floats(&mut self, dims: &[usize], values: &[f32]) -> String {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant("weights", dims, FLOAT, bytes)
    }

    /// Adds a constant vector.
    pub(super) fn ints(&mut self, values: &[i64]) -> String {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant("sizes", &[values.len()], INT64, bytes)
    }

    fn constant(&mut self, kind: &str, dims: &[usize], data_type: i32, bytes: Vec<u8>) -> String {
        let name = self.name(kind);
        self.graph.initializer.push(Values {
            dims: dims.iter().map(|dim| *dim as i64).collect(),
            data_type: Some(data_type),
            name: Some(name.clone()),
            raw_data: Some(bytes),
        });
        name
    }

    fn name(&mut self, kind: &str) -> String {
        self.names += 1;
        format!("{kind}_{}", self.names)
    }

    /// The finished graph.
    pub(super) fn finish(mut self, name: &str) -> Graph {
        self.graph.name = Some(name.to_owned());
        self.graph
    }
}

fn value_info(name: &str, elem_type: i32, dims: &[usize]) -> ValueInfo {
    let batch = Dimension { dim_param: Some("n".to_owned()), dim_value: None };
    let size = |dim: &usize| Dimension { dim_value: Some(*dim as i64), dim_param: None };
    let dim = std::iter::once(batch).chain(dims.iter().map(size)).collect();
    let tensor = TensorType { elem_type: Some(elem_type), shape: Some(TensorShape { dim }) };
    ValueInfo { name: Some(name.to_owned()), kind: Some(Type { tensor: Some(tensor) }) }
}
