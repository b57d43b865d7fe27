//! The exported graph is complete. `cargo xtask test-onnx` compares its results in another runtime.

use std::collections::BTreeSet;

use candle_core::Device;

use super::proto::Graph;
use super::*;
use crate::backbone::Backbone;
use crate::hash_layer::{HashLayerConfig, HashNorm};
use crate::loss::Loss;
use crate::preprocess::Normalization;

fn network(backbone: Backbone, side: usize, bits: usize) -> Network {
    let config = NetworkConfig {
        backbone,
        input: InputShape::new(side, side + 1, 3),
        normalization: Normalization::imagenet(),
        bits,
        hash_layer: HashLayerConfig { feature_norm: true, hidden: Some(30), norm: HashNorm::Batch },
        loss: Loss::default(),
        views: Default::default(),
        classes: vec!["a".into(), "b".into()],
    };
    Network::new(config, 1, &Device::Cpu).unwrap()
}

fn export(network: &Network) -> (Model, Graph) {
    let model = Model::decode(&to_bytes(network, "abc").unwrap()[..]).unwrap();
    let graph = model.graph.clone().unwrap();
    (model, graph)
}

/// Asserts that every value is made once and before it is used, and that every constant is used and as long as its shape says.
fn assert_whole(graph: &Graph) {
    let mut known: BTreeSet<&str> = graph.input.iter().map(|input| input.name()).collect();
    let mut unused = BTreeSet::new();
    for values in &graph.initializer {
        let count: i64 = values.dims.iter().product();
        let size = if values.data_type() == FLOAT { 4 } else { 8 };
        assert_eq!(values.raw_data().len() as i64, count * size, "{}", values.name());
        assert!(known.insert(values.name()) && unused.insert(values.name()));
    }
    for node in &graph.node {
        for input in &node.input {
            assert!(known.contains(input.as_str()), "{} needs {input}", node.op_type());
            unused.remove(input.as_str());
        }
        assert!(node.output.iter().all(|output| known.insert(output)), "{node:?}");
    }
    assert!(unused.is_empty(), "{unused:?}");
    let outputs: Vec<&str> = graph.output.iter().map(|output| output.name()).collect();
    assert_eq!(outputs, ["codes", "values"]);
    assert!(outputs.iter().all(|output| known.contains(output)));
}

#[test]
fn every_backbone_gives_a_whole_graph() {
    for backbone in [
        Backbone::SMALL,
        Backbone::named("dsh-cnn").unwrap(),
        Backbone::named("cifarnet").unwrap(),
        Backbone::named("cifarnet-deep").unwrap(),
        Backbone::named("resnet18-cifar").unwrap(),
        Backbone::named("squeezenet1-1").unwrap(),
        Backbone::named("mobilenet-v2").unwrap(),
        Backbone::named("efficientnet-lite0").unwrap(),
    ] {
        let network = network(backbone, backbone.min_side().max(32), 20);
        let (_, graph) = export(&network);
        assert_whole(&graph);
        let ops: BTreeSet<&str> = graph.node.iter().map(|node| node.op_type()).collect();
        assert!(!ops.contains("BatchNormalization"), "{ops:?}");
        // All weights are exported. Folding adds one bias and removes four vectors for each batch norm.
        let floats = graph.initializer.iter().filter(|values| values.data_type() == FLOAT);
        let stored: i64 = floats.map(|values| values.dims.iter().product::<i64>()).sum();
        let trained = network.parameters().all().into_iter().filter(|(name, var)| {
            var.rank() > 1 && (name.starts_with("backbone") || name.starts_with("hash_layer"))
        });
        let trained: usize = trained.map(|(_, var)| var.elem_count()).sum();
        assert!(stored >= trained as i64, "{backbone:?}: {stored} of {trained}");
    }
}

#[test]
fn facts_and_shapes_are_told_and_the_same_network_gives_the_same_bytes() {
    let network = network(Backbone::SMALL, 8, 12);
    let (model, graph) = export(&network);
    assert_eq!((model.ir_version(), model.opset_import[0].version()), (IR_VERSION, OPSET));
    let properties: Vec<(&str, &str)> =
        model.metadata_props.iter().map(|p| (p.key(), p.value())).collect();
    assert_eq!(properties[..2], [("dhih.bits", "12"), ("dhih.model_sha256", "abc")]);
    let config: NetworkConfig = serde_json::from_str(properties[2].1).unwrap();
    assert_eq!(config, *network.config());
    let shape = |info: &super::proto::ValueInfo| -> (i32, Vec<i64>) {
        let tensor = info.kind.clone().unwrap().tensor.unwrap();
        let dims = tensor.shape.clone().unwrap().dim;
        assert_eq!(dims[0].dim_param(), "n");
        (tensor.elem_type(), dims[1..].iter().map(|dim| dim.dim_value()).collect())
    };
    assert_eq!(shape(&graph.input[0]), (UINT8, vec![8, 9, 3]));
    assert_eq!(shape(&graph.output[0]), (UINT8, vec![2]));
    assert_eq!(shape(&graph.output[1]), (FLOAT, vec![12]));
    assert_eq!(to_bytes(&network, "abc").unwrap(), to_bytes(&network, "abc").unwrap());
    let path = tempfile::tempdir().unwrap();
    let path = path.path().join("model.onnx");
    write(&network, "abc", &path).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), to_bytes(&network, "abc").unwrap());
}
