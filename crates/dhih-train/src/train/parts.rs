//! Checks before the first step, and not after hours of training, that the parts of a split can be trained on and evaluated. `protocol.rs` draws
//! parts.

use crate::error::{Error, Result};
use crate::protocol::Split;
use crate::settings::table::TrainConfig;

/// The images of the smallest set that can be trained on: batch norm needs the variance of a step's images, and such a set is one step.
const LEAST: usize = 2;

/// Checks that no part is empty, and that there are enough images for a training step.
///
/// # Errors
/// [`Error::Config`] names the part.
pub(crate) fn check(config: &TrainConfig, split: &Split) -> Result<()> {
    let name = split.protocol.name();
    let wrong = |got: String, expected: &str| {
        Err(Error::Config { name: "protocol", got, expected: expected.to_owned() })
    };
    for (part, rows) in [("database", &split.database), ("queries", &split.queries)] {
        if rows.is_empty() {
            let expected = "images in every part: another protocol, or the files of that part";
            return wrong(format!("{name}, whose {part} have no image"), expected);
        }
    }
    if split.train.len() < LEAST {
        let got = format!("{name} with {} images to train on", split.train.len());
        return wrong(got, &format!("at least {LEAST}, for batch norm"));
    }
    if config.validation > 0.0 && split.validation.is_empty() {
        let got = format!("{name}, of which nothing is held out");
        return wrong(got, "more images, or no --validation");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Protocol;
    use crate::settings::table::TrainOptions;

    #[test]
    fn an_empty_part_is_found_before_training() {
        let of_loss =
            |loss: &str| TrainOptions { loss: Some(loss.parse().unwrap()), ..Default::default() };
        let config = |loss: &str| of_loss(loss).resolve().unwrap();
        let whole = Split {
            protocol: Protocol::Official,
            seed: 0,
            train: vec![0, 1],
            database: vec![0],
            queries: vec![2],
            validation: Vec::new(),
        };
        // Two images suffice, even where the hash layer ends in batch norm.
        for loss in ["softmax", "hi", "ortho-arc"] {
            check(&config(loss), &whole).unwrap();
        }
        for (split, loss, part) in [
            (Split { queries: Vec::new(), ..whole.clone() }, "hi", "queries have no image"),
            (Split { database: Vec::new(), ..whole.clone() }, "hi", "database have no image"),
            (Split { train: Vec::new(), ..whole.clone() }, "hi", "0 images to train on"),
            (Split { train: vec![1], ..whole.clone() }, "ortho-arc", "1 images to train on"),
        ] {
            let error = check(&config(loss), &split).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
