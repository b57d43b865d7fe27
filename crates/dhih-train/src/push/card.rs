//! The model card: the README.md of a repository, with the metadata that the hub reads in front. Every figure is that of the run's own
//! evaluation.

use serde_json::json;

use super::{Licence, PushConfig};
use crate::run::Evaluation;
use crate::run::run_dir::{RunConfig, RunDir};

/// The card of a run.
pub(super) fn card(config: &PushConfig, settings: &RunConfig, evaluation: &Evaluation) -> String {
    let name = config.repo.name();
    let facts = [
        front_matter(config, evaluation),
        format!("# {name}\n\n{}", introduction(settings, evaluation)),
        format!("## Metrics\n\n{}", metrics(evaluation)),
        format!("## Data\n\n{}", data(evaluation)),
        format!("## Training\n\n{}", training(settings, evaluation)),
        format!("## How to use it\n\n{}", usage(config)),
        format!("## Licence\n\n{}", licence(config.licence.as_ref())),
    ];
    facts.join("\n\n") + "\n"
}

/// JSON is YAML: values are quoted by it, so that none ends the metadata.
fn front_matter(config: &PushConfig, evaluation: &Evaluation) -> String {
    let dataset = evaluation.dataset.name.name();
    let metrics: Vec<_> = figures(evaluation)
        .into_iter()
        .map(|(kind, name, value)| json!({ "type": kind, "name": name, "value": value }))
        .collect();
    let index = json!([{
        "name": config.repo.name(),
        "results": [{
            "task": { "type": "image-retrieval", "name": "Image retrieval" },
            "dataset": { "type": dataset, "name": format!("{dataset}, protocol {}", evaluation.protocol.name()) },
            "metrics": metrics,
        }],
    }]);
    let licence = config.licence.iter().map(|Licence(name)| format!("license: {name}\n"));
    let tags = json!(["image-retrieval", "learning-to-hash", "hashing", "hamming-distance"]);
    format!(
        "---\n{}library_name: dhih\npipeline_tag: image-feature-extraction\ntags: {tags}\nmodel-index: {index}\n---",
        licence.collect::<String>()
    )
}

fn introduction(settings: &RunConfig, evaluation: &Evaluation) -> String {
    format!(
        "This network turns an image into a binary code of {} bits, so that similar images get codes of a small Hamming distance. \
         It is a `{}` with a hash layer, trained by dhih on `{}` with the loss `{}`.",
        evaluation.metrics.bits,
        evaluation.backbone,
        settings.train.dataset.name(),
        evaluation.loss
    )
}

/// What is measured: the hub's word for it, ours, and the value.
fn figures(evaluation: &Evaluation) -> Vec<(&'static str, String, f64)> {
    let metrics = &evaluation.metrics;
    let mut figures = vec![(
        "mean_average_precision",
        "mAP over the whole ranking, ties averaged".to_owned(),
        metrics.map,
    )];
    let at = metrics.map_at_tie_aware.iter();
    figures.extend(
        at.map(|(k, value)| ("mean_average_precision", format!("mAP@{k}, ties averaged"), *value)),
    );
    figures.push((
        "precision",
        "Precision within Hamming radius 2".to_owned(),
        metrics.precision_radius_2,
    ));
    figures.push(("recall", "Recall within Hamming radius 2".to_owned(), metrics.recall_radius_2));
    let class_code = evaluation.class_code_map;
    figures.extend(class_code.map(|value| {
        ("mean_average_precision", "mAP of the predicted class taken as code".to_owned(), value)
    }));
    let accuracy = evaluation.accuracy;
    figures.extend(
        accuracy.map(|value| ("accuracy", "Accuracy of the loss's classifier".to_owned(), value)),
    );
    figures
}

fn metrics(evaluation: &Evaluation) -> String {
    let rows: String = figures(evaluation)
        .iter()
        .map(|(_, name, value)| format!("| {name} | {value:.4} |\n"))
        .collect();
    let metrics = &evaluation.metrics;
    format!(
        "| metric | value |\n|---|---:|\n{rows}\n\
         {} queries search {} images, whose codes have {} distinct values. By the order of tied images, mAP lies between \
         {:.4} and {:.4}. `{}` has all metrics. They were computed by the program that trained the network, and nobody else has \
         verified them.",
        metrics.queries,
        metrics.database,
        metrics.distinct_codes,
        metrics.map_bounds.pessimistic,
        metrics.map_bounds.optimistic,
        RunDir::EVALUATION
    )
}

fn data(evaluation: &Evaluation) -> String {
    let record = &evaluation.dataset.record;
    let published = match record.verified {
        Some(true) => "Its images are the published ones.",
        Some(false) => "Its images are not verified to be the published ones.",
        None => "Nothing published is known that its images could be compared with.",
    };
    format!(
        "- Dataset: `{}`, protocol `{}`. {published}\n- SHA-256 of images and labels: `{}`\n- Files that could not be used: {}\n\n\
         The repository has neither the images nor their codes.",
        evaluation.dataset.name.name(),
        evaluation.protocol.name(),
        record.sha256,
        record.skipped
    )
}

fn training(settings: &RunConfig, evaluation: &Evaluation) -> String {
    let weights = match &settings.weights_sha256 {
        Some(sha256) => format!("pretrained weights of SHA-256 `{sha256}`"),
        None => "random weights".to_owned(),
    };
    let machine = evaluation.origin.as_ref().map_or_else(
        || "an unrecorded machine".to_owned(),
        |origin| format!("{}, {} threads", origin.machine, origin.threads),
    );
    format!(
        "| | |\n|---|---|\n| backbone | `{}`, from {weights} |\n| loss | `{}` |\n| bits | {} |\n| epochs | {} |\n| seed | {} |\n\
         | time | {:.0} s on {machine} |\n| commit of dhih | `{}` |\n\n`{}` has every setting.",
        evaluation.backbone,
        evaluation.loss,
        evaluation.metrics.bits,
        evaluation.epochs,
        evaluation.seed,
        evaluation.seconds,
        evaluation.commit,
        RunDir::CONFIG
    )
}

fn usage(config: &PushConfig) -> String {
    let (id, name) = (config.repo.id(), config.repo.name());
    format!(
        "```sh\nhf download {id} --local-dir runs/{name}\n\
         dhih-train encode --run runs/{name} --input photos --out photos.safetensors\n\
         dhih-index build --codes photos.safetensors --out photos.idx\n```\n\n\
         In Python:\n\n```python\nimport dhih\n\n\
         encoder = dhih.Encoder(\"runs/{name}\")\n\
         codes = dhih.pack(encoder.encode_files([\"a.jpg\", \"b.jpg\"]))\n```"
    )
}

fn licence(licence: Option<&Licence>) -> String {
    match licence {
        Some(Licence(name)) => format!("The licence of the model is `{name}`."),
        None => "No licence was stated when the model was published: ask its owner.".to_owned(),
    }
}
