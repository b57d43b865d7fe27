//! Runs that must be refused: the error names what is missing, damaged or of another model, and the command that repairs it.

use crate::common::{Fixture, ITEMS, SAMPLES, SIDE, write_gallery};
use dhih_index::{CodeSet, IndexBuilder, IndexConfig};

const TRAIN: &str = "`cargo run --release -p dhih-train`";
const BUILD: &str = "`cargo run --release -p dhih-index -- build --codes ";

fn says(refusal: &str, parts: &[&str]) {
    for part in parts {
        assert!(refusal.contains(part), "{refusal:?} does not say {part:?}");
    }
}

#[test]
fn a_whole_run_loads() {
    let run = Fixture::new().load().unwrap();
    assert_eq!((run.len(), run.samples(), run.bits()), (ITEMS, SAMPLES, 44));
    assert!(!run.is_empty());
}

#[test]
fn a_missing_file_is_named() {
    for name in ["model.safetensors", "codes.safetensors", "queries.safetensors"] {
        let fixture = Fixture::new();
        std::fs::remove_file(fixture.file(name)).unwrap();
        says(&fixture.refusal(), &[name, "is missing", TRAIN]);
    }
    let fixture = Fixture::new();
    std::fs::remove_dir_all(fixture.file("index")).unwrap();
    let codes = fixture.file("codes.safetensors").display().to_string();
    says(&fixture.refusal(), &["index is missing", BUILD, &codes]);
}

#[test]
fn the_records_are_optional() {
    let fixture = Fixture::new();
    for name in ["config.toml", "evaluation.json", "gallery.safetensors"] {
        std::fs::remove_file(fixture.file(name)).unwrap();
    }
    assert_eq!(fixture.load().unwrap().len(), ITEMS);
}

#[test]
fn an_empty_truncated_or_garbled_file_is_named() {
    for name in ["model", "codes", "queries", "gallery"].map(|name| format!("{name}.safetensors")) {
        let fixture = Fixture::new();
        let path = fixture.file(&name);
        let whole = std::fs::read(&path).unwrap();
        for bytes in [&b""[..], b"{", &[0xff; 4096], &whole[..whole.len() / 2], &whole[..7]] {
            std::fs::write(&path, bytes).unwrap();
            let refusal = fixture.refusal();
            says(&refusal, &[&name, TRAIN]);
            assert_eq!(refusal.matches(&name).count(), 1, "the file is named once: {refusal}");
        }
    }
    for (name, command) in [("config.toml", TRAIN), ("evaluation.json", "-- evaluate`")] {
        let fixture = Fixture::new();
        for bytes in ["{ nothing", "\u{0}"] {
            std::fs::write(fixture.file(name), bytes).unwrap();
            says(&fixture.refusal(), &[name, command]);
        }
    }
}

#[test]
fn a_model_with_a_flipped_bit_is_refused() {
    let fixture = Fixture::new();
    let path = fixture.file("model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 4;
    std::fs::write(&path, bytes).unwrap();
    says(&fixture.refusal(), &["safetensors", "make it anew with"]);
}

#[test]
fn every_flipped_byte_of_the_index_is_refused() {
    let fixture = Fixture::new();
    for entry in std::fs::read_dir(fixture.file("index")).unwrap() {
        let path = entry.unwrap().path();
        let whole = std::fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(whole.len() / 20 + 1) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            std::fs::write(&path, bytes).unwrap();
            says(&fixture.refusal(), &["index", BUILD]);
        }
        std::fs::write(&path, whole).unwrap();
    }
    fixture.load().unwrap();
}

#[test]
fn an_index_of_another_model_is_refused() {
    let (fixture, other) = (Fixture::with(1, None), Fixture::with(2, None));
    std::fs::remove_dir_all(fixture.file("index")).unwrap();
    std::fs::rename(other.file("index"), fixture.file("index")).unwrap();
    let [own, foreign] = [&fixture, &other].map(|run| run.encoder().model_sha256().to_owned());
    says(&fixture.refusal(), &["index holds codes of another model", &own, &foreign, BUILD]);
}

#[test]
fn codes_of_another_model_are_refused() {
    for name in ["codes.safetensors", "queries.safetensors"] {
        let (fixture, other) = (Fixture::with(1, None), Fixture::with(2, None));
        std::fs::rename(other.file(name), fixture.file(name)).unwrap();
        says(&fixture.refusal(), &[name, "another model", TRAIN]);
    }
}

#[test]
fn an_index_of_other_bits_is_refused_even_if_it_names_no_model() {
    let fixture = Fixture::new();
    let codes = dhih_index::Codes::new(16, vec![0; 2 * ITEMS]).unwrap();
    let index = fixture.file("index");
    IndexBuilder::new(IndexConfig::default()).build(&CodeSet::new(codes), &index).unwrap();
    says(&fixture.refusal(), &["16 bits", "44 bits", "unknown", BUILD]);
}

#[test]
fn an_index_of_codes_without_a_name_is_taken() {
    let fixture = Fixture::new();
    let codes = CodeSet::new(fixture.codes().codes);
    IndexBuilder::new(IndexConfig::default()).build(&codes, &fixture.file("index")).unwrap();
    assert_eq!(fixture.load().unwrap().len(), ITEMS);
}

#[test]
fn a_gallery_that_does_not_fit_is_refused() {
    let fixture = Fixture::new();
    let path = fixture.file("gallery.safetensors");
    let image = SIDE * SIDE * 3;
    write_gallery(&path, &vec![0; ITEMS * image], &vec![0; (SAMPLES - 1) * image]);
    says(&fixture.refusal(), &["gallery.safetensors", "11 thumbnails for the 12 codes", TRAIN]);

    let view =
        |dtype, shape, bytes| safetensors::tensor::TensorView::new(dtype, shape, bytes).unwrap();
    let (bytes, u8s, f32s) = (vec![0; 64], safetensors::Dtype::U8, safetensors::Dtype::F32);
    for (name, tensor) in [
        ("database", view(f32s, vec![1, 4, 4, 1], &bytes)),
        ("database", view(u8s, vec![2, 4, 4, 2], &bytes)),
        ("database", view(u8s, vec![64], &bytes)),
        ("database", view(u8s, vec![0, 0, usize::MAX, 3], &[])),
        ("thumbnails", view(u8s, vec![4, 4, 4, 1], &bytes)),
    ] {
        safetensors::serialize_to_file([(name, tensor)], None, &path).unwrap();
        says(&fixture.refusal(), &["gallery.safetensors", "tensor `database`", TRAIN]);
    }
}
