//! Leaves out settings that a loss cannot use, such as a recipe's label smoothing for a loss that compares pairs, with a note, where the
//! settings were meant for several losses. A setting that a user gives for a single run is not left out: `config.rs` refuses it.

use dhih_model::Loss;

use crate::settings::table::TrainOptions;

impl TrainOptions {
    /// The name of the loss that these options train with.
    pub fn loss_name(&self) -> &str {
        self.loss.as_ref().map_or("hi", |loss| loss.name())
    }

    /// These options without those that the loss named `loss` cannot use, and the names of the latter. An unknown loss changes nothing: its name
    /// is refused where it is resolved.
    pub fn fitted_to(mut self, loss: &str) -> (Self, Vec<&'static str>) {
        let mut left_out = Vec::new();
        let Some(known) = Loss::named(loss, 1) else { return (self, left_out) };
        if known.is_pairwise() && self.label_smoothing.is_some_and(|part| part != 0.0) {
            self.label_smoothing = None;
            left_out.push("label_smoothing");
        }
        if known.is_pairwise() && self.cutmix.is_some_and(|part| part != 0.0) {
            self.cutmix = None;
            left_out.push("cutmix");
        }
        if known.name() != "hi" {
            let of_hi = [
                ("hi_mode", self.hi_mode.take().is_some()),
                ("hi_alpha", self.hi_alpha.take().is_some()),
                ("hi_lambda_q", self.hi_lambda_q.take().is_some()),
            ];
            left_out.extend(of_hi.into_iter().filter(|(_, given)| *given).map(|(name, _)| name));
        }
        (self, left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::recipe::Recipe;

    #[test]
    fn every_recipe_trains_with_every_loss() {
        for recipe in Recipe::ALL {
            for (loss, _) in Loss::ALL {
                let (options, left_out) = recipe.options().unwrap().fitted_to(loss);
                let own =
                    TrainOptions { loss: Some(loss.parse().unwrap()), ..TrainOptions::default() };
                let config = own.or(options).resolve().unwrap();
                let is_smoothed = !Loss::named(loss, 48).unwrap().is_pairwise();
                assert_eq!(config.label_smoothing > 0.0, is_smoothed, "{loss}");
                assert_eq!(left_out.contains(&"label_smoothing"), !is_smoothed, "{loss}");
            }
        }
    }

    #[test]
    fn losses_of_single_images_take_what_varies_labels_and_pairwise_ones_take_none_of_it() {
        for (name, _) in Loss::ALL {
            let (label_smoothing, cutmix) = (Some(0.1), Some(0.5));
            let loss = Some(name.parse().unwrap());
            let options = TrainOptions { loss, label_smoothing, cutmix, ..TrainOptions::default() };
            let is_pairwise = Loss::named(name, 48).unwrap().is_pairwise();
            assert_eq!(options.clone().resolve().is_err(), is_pairwise, "{name}");
            let (fitted, left_out) = options.fitted_to(name);
            let expected: &[&str] = if is_pairwise { &["label_smoothing", "cutmix"] } else { &[] };
            assert_eq!(left_out, expected, "{name}");
            fitted.resolve().unwrap();
        }
    }

    #[test]
    fn constants_of_the_hi_loss_are_left_out_for_others() {
        let options = TrainOptions { hi_alpha: Some(0.5), cutmix: Some(0.5), ..Default::default() };
        assert!(options.clone().fitted_to("hi").1.is_empty());
        assert_eq!(options.clone().fitted_to("csq").1, ["hi_alpha"]);
        let (fitted, left_out) = options.fitted_to("dsh");
        assert_eq!(left_out, ["cutmix", "hi_alpha"]);
        assert_eq!((fitted.hi_alpha, fitted.cutmix), (None, None));
    }
}
