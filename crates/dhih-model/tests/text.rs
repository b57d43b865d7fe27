//! Text towers compute the same as `transformers` with the same weights, under the names of its published checkpoints, and tokens equal those of
//! the package `tokenizers`. `parity/golden.py` wrote the expected values. The tokenizers in `data/text` are small ones, built like those of
//! CLIP and SigLIP.
#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is the failure")]

mod parity;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use dhih_model::codec::{Codec, CodecConfig, Map, Method};
use dhih_model::text::{
    FitText, MAX_TEXT_BYTES, TextConfig, TextEncoder, TextFamily, TextTokenizer, TextTower, prompts,
};
use dhih_model::{Error, Pretrained};
use parity::{Formula, STRIDE, formula};
use safetensors::SafeTensors;
use sha2::{Digest, Sha256};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/text").join(name)
}

fn expected() -> HashMap<String, Tensor> {
    candle_core::safetensors::load(data("expected.safetensors"), &Device::Cpu).unwrap()
}

/// The same as `tokens` in `golden.py`; those for SigLIP are padded.
fn tokens(config: &TextConfig) -> Vec<Vec<u32>> {
    let one = |(number, length): (usize, usize)| {
        let of = (config.vocabulary - 3) as f64;
        let name = format!("tokens {number}");
        let values = formula(&name, length);
        let mut row: Vec<u32> = values.map(|u| ((u + 1.0) / 2.0 * of) as u32).collect();
        let last = config.vocabulary as u32 - 1;
        match config.family {
            TextFamily::Clip => (row[0], row[length - 1]) = (last - 1, last),
            TextFamily::Siglip => {
                row[length - 1] = 1;
                row.resize(config.context, 1);
            }
        }
        row
    };
    [config.context, 9].into_iter().enumerate().map(one).collect()
}

#[test]
fn vectors_and_names_are_those_of_transformers() {
    let expected = expected();
    let bytes = std::fs::read(data("expected.safetensors")).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let digests = header.metadata().clone().unwrap();
    for (name, config) in [("clip", TextConfig::CLIP_BASE), ("siglip", TextConfig::SIGLIP_BASE)] {
        let weights = Formula::default();
        let vb = VarBuilder::from_backend(Box::new(weights.clone()), DType::F32, Device::Cpu);
        let tower = TextTower::new(config, &vb).unwrap();
        let asked = weights.asked.lock().unwrap();
        let names: String = asked.iter().map(|(name, dims)| format!("{name} {dims:?}\n")).collect();
        let digest = Sha256::digest(&names);
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest, digests[name], "{name}: {names}");

        let got = tower.features(&tokens(&config)).unwrap();
        assert_eq!(got.len(), 2 * config.features);
        let rows = got.chunks_exact(config.features);
        let got: Vec<f32> = rows.flat_map(|row| row.iter().step_by(STRIDE)).copied().collect();
        let values = expected[name].flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(got.len(), values.len());
        let largest = values.iter().fold(0f32, |m, x| m.max(x.abs()));
        let error = got.iter().zip(&values).fold(0f32, |m, (g, e)| m.max((g - e).abs()));
        println!("{name}: off by {:.1e} of the largest", error / largest);
        assert!(error <= 1e-4 * largest, "{name}: off by {error}, largest {largest}");
    }
}

/// A tower of few weights, for one of the tokenizers in `data/text`.
fn tiny(family: TextFamily) -> (TextConfig, TextTokenizer) {
    let (vocabulary, file) = match family {
        TextFamily::Clip => (108, "clip.json"),
        TextFamily::Siglip => (37, "siglip.json"),
    };
    let (context, channels, hidden, heads, depth) = (12, 16, 24, 4, 2);
    let features = 10;
    let config =
        TextConfig { family, vocabulary, context, channels, hidden, heads, depth, features };
    (config, TextTokenizer::read(&data(file), &config).unwrap())
}

/// The tensors of a tower, by a formula.
fn tensors(config: TextConfig) -> HashMap<String, Tensor> {
    let weights = Formula::default();
    let vb = VarBuilder::from_backend(Box::new(weights.clone()), DType::F32, Device::Cpu);
    TextTower::new(config, &vb).unwrap();
    let asked = weights.asked.lock().unwrap().clone();
    asked.iter().map(|(name, dims)| (name.clone(), vb.get(&dims[..], name).unwrap())).collect()
}

fn pretrained(tensors: &HashMap<String, Tensor>, dir: &Path) -> Pretrained {
    let path = dir.join("model.safetensors");
    candle_core::safetensors::save(tensors, &path).unwrap();
    Pretrained::read(&path).unwrap()
}

#[test]
fn tokens_are_those_of_the_package() {
    let expected = expected();
    let texts = std::fs::read_to_string(data("texts.txt")).unwrap();
    for (family, name) in [(TextFamily::Clip, "clip"), (TextFamily::Siglip, "siglip")] {
        let (_, tokenizer) = tiny(family);
        for (number, text) in texts.lines().enumerate() {
            let got = tokenizer.tokens(text).unwrap();
            let got: Vec<i64> = got.into_iter().map(i64::from).collect();
            let expected = expected[&format!("{name} tokens {number}")].to_vec1::<i64>().unwrap();
            assert_eq!(got, expected, "{name}: {text}");
        }
    }
}

#[test]
fn what_is_no_text_is_refused() {
    for family in [TextFamily::Clip, TextFamily::Siglip] {
        let (_, tokenizer) = tiny(family);
        for text in ["", " \n\t", &"a".repeat(MAX_TEXT_BYTES + 1)] {
            let error = tokenizer.tokens(text).unwrap_err();
            assert!(matches!(error, Error::Text { .. }), "{error}");
        }
        assert_eq!(tokenizer.tokens(&"a ".repeat(MAX_TEXT_BYTES / 2)).unwrap().len(), 12);
        assert!(tokenizer.left_out("").is_err());
    }
    let (_, siglip) = tiny(TextFamily::Siglip);
    let error = siglip.tokens("?!").unwrap_err().to_string();
    assert!(error.contains("no word"), "{error}");
    // The name of a special token is an ordinary word.
    let (_, clip) = tiny(TextFamily::Clip);
    let tokens = clip.tokens("a<|endoftext|>b").unwrap();
    assert_eq!(tokens.iter().filter(|token| **token == 107).count(), 1, "{tokens:?}");
}

/// CLIP has a start and an end in its context, SigLIP has an end.
#[test]
fn tokens_that_are_left_out_are_counted() {
    for (family, room) in [(TextFamily::Clip, 10), (TextFamily::Siglip, 11)] {
        let (_, tokenizer) = tiny(family);
        for (words, expected) in [(1, 0), (room, 0), (room + 1, 1), (room + 7, 7)] {
            let text = "a ".repeat(words);
            assert_eq!(tokenizer.left_out(&text).unwrap(), expected, "{family:?}: {words} words");
        }
        let cut = tokenizer.tokens(&"a ".repeat(room + 7)).unwrap();
        assert_eq!(cut, tokenizer.tokens(&"a ".repeat(room)).unwrap());
    }
}

#[test]
fn what_is_no_tokenizer_of_the_tower_is_refused() {
    let (config, tokenizer) = tiny(TextFamily::Clip);
    let path = Path::new("tokenizer.json");
    let refused = |bytes: &[u8], config: &TextConfig| {
        let Err(error) = TextTokenizer::from_bytes(bytes, config, path) else { panic!() };
        assert!(matches!(error, Error::Tokenizer { .. }), "{error}");
        error.to_string()
    };
    assert!(refused(b"{}", &config).contains("published with the weights"));
    refused(&[0xFF, 0xFE], &config);
    let fewer = TextConfig { vocabulary: 107, ..config };
    assert!(refused(tokenizer.json().as_bytes(), &fewer).contains("its last token is 107"));
    let other = TextConfig { family: TextFamily::Siglip, ..config };
    assert!(refused(tokenizer.json().as_bytes(), &other).contains("no token </s>"));
}

#[test]
fn every_tensor_that_does_not_fit_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (config, _) = tiny(TextFamily::Clip);
    let mut all = tensors(config);
    let zeros = Tensor::zeros(3, DType::F32, &Device::Cpu).unwrap();
    // The tensors of the image tower do not matter.
    all.insert("vision_model.post_layernorm.weight".to_owned(), zeros.clone());
    let weights = pretrained(&all, dir.path());
    assert!(TextTower::is_in(&weights));
    TextTower::from_pretrained(config, &weights, &Device::Cpu).unwrap();
    all.remove("text_projection.weight");
    all.insert("text_model.head.bias".to_owned(), zeros.clone());
    all.insert("text_model.final_layer_norm.bias".to_owned(), zeros.clone());
    let weights = pretrained(&all, dir.path());
    let error = TextTower::from_pretrained(config, &weights, &Device::Cpu).err().unwrap();
    let Error::Weights { missing, unknown, misshapen, .. } = error else { panic!("{error}") };
    assert_eq!(missing, ["text_projection.weight"]);
    assert_eq!(unknown, ["text_model.head.bias"]);
    assert_eq!(misshapen, ["text_model.final_layer_norm.bias: expected [16], got [3]"]);
    let none = HashMap::from([("vision_model.x".to_owned(), zeros)]);
    assert!(!TextTower::is_in(&pretrained(&none, dir.path())));
}

#[test]
fn sizes_out_of_range_are_refused() {
    let (config, _) = tiny(TextFamily::Clip);
    for wrong in [
        TextConfig { heads: 3, ..config },
        TextConfig { heads: 0, ..config },
        TextConfig { context: 2, ..config },
        TextConfig { channels: 0, ..config },
        TextConfig { vocabulary: usize::MAX, ..config },
        TextConfig { depth: usize::MAX, ..config },
    ] {
        assert!(matches!(wrong.check(), Err(Error::Config { .. })), "{wrong:?}");
    }
}

#[test]
fn texts_that_do_not_fit_the_tower_are_refused() {
    for family in [TextFamily::Clip, TextFamily::Siglip] {
        let (config, _) = tiny(family);
        let vb = VarBuilder::from_tensors(tensors(config), DType::F32, &Device::Cpu);
        let tower = TextTower::new(config, &vb).unwrap();
        for text in [vec![], vec![1; 13], vec![config.vocabulary as u32; 12]] {
            assert!(matches!(tower.features(&[text]), Err(Error::Text { .. })));
        }
        assert_eq!(tower.features(&[]).unwrap().len(), 0);
    }
}

/// More texts than go through the tower together, of all lengths: none depends on its neighbours or on its padding.
#[test]
fn texts_together_have_the_vectors_of_each_alone() {
    for family in [TextFamily::Clip, TextFamily::Siglip] {
        let (config, _) = tiny(family);
        let vb = VarBuilder::from_tensors(tensors(config), DType::F32, &Device::Cpu);
        let tower = TextTower::new(config, &vb).unwrap();
        let text = |number: u32| {
            let length = match family {
                TextFamily::Clip => 1 + number % config.context as u32,
                TextFamily::Siglip => config.context as u32,
            };
            (0..length).map(|at| (7 * at + 3 * number) % config.vocabulary as u32).collect()
        };
        let texts: Vec<Vec<u32>> = (0..40).map(text).collect();
        let together = tower.features(&texts).unwrap();
        for (text, together) in texts.iter().zip(together.chunks_exact(config.features)) {
            let alone = tower.features(std::slice::from_ref(text)).unwrap();
            let length = alone.iter().map(|x| x * x).sum::<f32>().sqrt();
            for (a, b) in together.iter().zip(&alone) {
                assert!(
                    (a - b).abs() < 1e-6 * length,
                    "{family:?}, {} tokens: {a} {b}",
                    text.len()
                );
            }
        }
    }
}

fn codec(dims: usize) -> Codec {
    let (method, nested) = (Method::Rotation, Vec::new());
    let config = CodecConfig { method, dims, bits: 4, normalize: false, nested };
    let matrix = formula("matrix", 4 * dims).map(|u| u as f32).collect();
    Codec::new(config, Map::Linear { matrix, centre: vec![0.5; dims] }).unwrap()
}

#[test]
fn codes_of_texts_are_those_of_the_centred_vectors() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("text.safetensors");
    for family in [TextFamily::Clip, TextFamily::Siglip] {
        let (config, tokenizer) = tiny(family);
        let all = tensors(config);
        let vb = VarBuilder::from_tensors(all.clone(), DType::F32, &Device::Cpu);
        let tower = TextTower::new(config, &vb).unwrap();
        let unit = |text: &str| {
            let vector = tower.features(&[tokenizer.tokens(text).unwrap()]).unwrap();
            let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
            vector.iter().map(|x| x / length).collect::<Vec<f32>>()
        };
        let count = prompts().len() as f32;
        let mut centre = vec![0.0; config.features];
        for prompt in prompts() {
            centre.iter_mut().zip(unit(&prompt)).for_each(|(sum, x)| *sum += x / count);
        }
        let codec = codec(config.features);
        let (matrix, _) = codec.affine().unwrap();
        let texts = ["a red car", "a dog"];
        let mut expected = Vec::new();
        for text in texts {
            let centred: Vec<f32> = unit(text).iter().zip(&centre).map(|(x, c)| x - c).collect();
            let rows = matrix.chunks_exact(config.features);
            expected
                .extend(rows.map(|row| row.iter().zip(&centred).map(|(a, b)| a * b).sum::<f32>()));
        }
        let weights = pretrained(&all, dir.path());
        let (tokenizer, codec) = (&tokenizer, &codec);
        let tower = &tower;
        FitText { tower, weights: &weights, tokenizer, codec, model_sha256: "ab" }
            .write(&path)
            .unwrap();
        let encoder = TextEncoder::load(&path, &Device::Cpu).unwrap();
        assert_eq!((encoder.bits(), encoder.model_sha256()), (4, "ab"));
        let got = encoder.encode(&texts).unwrap();
        for (got, expected) in got.iter().zip(&expected) {
            assert!((got - expected).abs() < 1e-5, "{got} for {expected}");
        }
        assert!(matches!(encoder.encode(&["a dog", " "]), Err(Error::Text { .. })));
    }
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("text.safetensors");
    let (config, tokenizer) = tiny(TextFamily::Clip);
    let weights = pretrained(&tensors(config), dir.path());
    let (codec, device) = (codec(9), &Device::Cpu);
    let tower = &TextTower::from_pretrained(config, &weights, device).unwrap();
    let (weights, tokenizer, codec) = (&weights, &tokenizer, &codec);
    let fit = FitText { tower, weights, tokenizer, codec, model_sha256: "" };
    let error = fit.write(&path).unwrap_err().to_string();
    assert!(error.contains("features of the text tower is 10, expected 9"), "{error}");
    assert!(!path.exists());
    // A codec alone is not a text encoder.
    codec.save(&path).unwrap();
    let error = TextEncoder::load(&path, device).err().unwrap();
    assert!(matches!(error, Error::Checkpoint { .. }), "{error}");
    assert!(error.to_string().contains("no text tower"), "{error}");
}
