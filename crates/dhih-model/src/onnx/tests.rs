//! The exported graph is complete. The ignored tests of `dhih-train` (`tests/onnx.rs`, `tests/photos_text.rs`) compare its results in another
//! runtime.

use std::collections::BTreeSet;

use candle_core::Device;

use super::proto::{Graph, INT64};
use super::*;
use crate::backbone::Backbone;
use crate::codec::{Codec, CodecConfig, Map, Method};
use crate::hash_layer::{HashLayerConfig, HashNorm};
use crate::init::Parameters;
use crate::loss::Loss;
use crate::preprocess::Normalization;
use crate::pretrained::Pretrained;
use crate::text::{FitText, TextConfig, TextEncoder, TextFamily, TextTokenizer, TextTower};

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
fn assert_whole(graph: &Graph, expected: &[&str]) {
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
    assert_eq!(outputs, expected);
    assert!(outputs.iter().all(|output| known.contains(output)));
}

/// The type and the shape of an input or output, without its first dimension.
fn shape(info: &super::proto::ValueInfo) -> (i32, Vec<i64>) {
    let tensor = info.kind.clone().unwrap().tensor.unwrap();
    let dims = tensor.shape.clone().unwrap().dim;
    assert_eq!(dims[0].dim_param(), "n");
    (tensor.elem_type(), dims[1..].iter().map(|dim| dim.dim_value()).collect())
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
        assert_whole(&graph, &["codes", "values"]);
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
    assert_eq!(shape(&graph.input[0]), (UINT8, vec![8, 9, 3]));
    assert_eq!(shape(&graph.output[0]), (UINT8, vec![2]));
    assert_eq!(shape(&graph.output[1]), (FLOAT, vec![12]));
    assert_eq!(to_bytes(&network, "abc").unwrap(), to_bytes(&network, "abc").unwrap());
    let path = tempfile::tempdir().unwrap();
    let path = path.path().join("model.onnx");
    write(&network, "abc", &path).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), to_bytes(&network, "abc").unwrap());
}

/// An encoder of texts for codes of 9 bits, with drawn weights.
fn text_encoder(family: TextFamily) -> TextEncoder {
    let (vocabulary, file) = match family {
        TextFamily::Clip => (108, "clip.json"),
        TextFamily::Siglip => (37, "siglip.json"),
    };
    let (context, channels, hidden, heads, depth, features) = (12, 16, 24, 4, 2, 10);
    let config =
        TextConfig { family, vocabulary, context, channels, hidden, heads, depth, features };
    let parameters = Parameters::seeded(5);
    TextTower::new(config, &parameters.builder(candle_core::DType::F32, &Device::Cpu)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("weights.safetensors");
    let tensors = parameters.snapshot().unwrap();
    candle_core::safetensors::save(&tensors.into_iter().collect(), &path).unwrap();
    let weights = &Pretrained::read(&path).unwrap();
    let tower = &TextTower::from_pretrained(config, weights, &Device::Cpu).unwrap();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/text");
    let tokenizer = &TextTokenizer::read(&data.join(file), &config).unwrap();
    let (method, nested) = (Method::Rotation, Vec::new());
    let codec = CodecConfig { method, dims: features, bits: 9, normalize: false, nested };
    let map = Map::Linear { matrix: vec![0.5; 9 * features], centre: vec![0.1; features] };
    let codec = &Codec::new(codec, map).unwrap();
    FitText { tower, weights, tokenizer, codec, model_sha256: "abc" }.write(&path).unwrap();
    TextEncoder::load(&path, &Device::Cpu).unwrap()
}

#[test]
fn a_text_tower_gives_a_whole_graph() {
    for family in [TextFamily::Clip, TextFamily::Siglip] {
        let encoder = text_encoder(family);
        let bytes = text_to_bytes(&encoder).unwrap();
        assert_eq!(bytes, text_to_bytes(&encoder).unwrap());
        let model = Model::decode(&bytes[..]).unwrap();
        let graph = model.graph.unwrap();
        assert_whole(&graph, &["codes", "values", "vectors"]);
        assert_eq!(shape(&graph.input[0]), (INT64, vec![12]));
        let outputs: Vec<_> = graph.output.iter().map(shape).collect();
        assert_eq!(outputs, [(UINT8, vec![2]), (FLOAT, vec![9]), (FLOAT, vec![10])]);
        let metadata: Vec<(&str, &str)> =
            model.metadata_props.iter().map(|p| (p.key(), p.value())).collect();
        assert_eq!(metadata[..2], [("dhih.bits", "9"), ("dhih.model_sha256", "abc")]);
        let config: TextConfig = serde_json::from_str(metadata[2].1).unwrap();
        assert_eq!(config, *encoder.config());
        assert_eq!(metadata[3], ("dhih.tokenizer", encoder.parts().tokenizer.json()));
    }
}
