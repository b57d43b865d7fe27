//! Recipes: named sets of settings that belong together. Each is a TOML file in `recipes/` in the format of `--config`, whose first line says
//! what it is for. Flags and the user's own file override it.

use crate::error::{Result, by_name};
use crate::settings::table::TrainOptions;

/// A recipe.
#[derive(Debug, Clone, Copy)]
pub struct Recipe {
    /// The name used in flags.
    pub name: &'static str,
    text: &'static str,
}

impl Recipe {
    /// All recipes, in the order in which they are listed.
    pub const ALL: [Self; 5] = [
        Self { name: "cifar10-fast", text: include_str!("../../recipes/cifar10-fast.toml") },
        Self { name: "cifar10-best", text: include_str!("../../recipes/cifar10-best.toml") },
        Self { name: "cifar10-top", text: include_str!("../../recipes/cifar10-top.toml") },
        Self { name: "cifar10-test", text: include_str!("../../recipes/cifar10-test.toml") },
        Self { name: "cifar10-5k", text: include_str!("../../recipes/cifar10-5k.toml") },
    ];

    /// The recipe of this name.
    ///
    /// # Errors
    /// [`Error::Unknown`](crate::Error::Unknown) with the most similar name.
    pub fn parse(name: &str) -> Result<Self> {
        by_name("recipe", name, Self::ALL.into_iter().map(|recipe| (recipe.name, recipe)))
    }

    /// One line about its purpose.
    pub fn description(self) -> &'static str {
        self.text.lines().next().unwrap_or_default().trim_start_matches("# ")
    }

    /// Its settings.
    ///
    /// # Errors
    /// Never for those in [`Self::ALL`], all of which a test reads.
    pub fn options(self) -> Result<TrainOptions> {
        TrainOptions::parse(self.text, self.name.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recipe_resolves_and_says_what_it_is_for() {
        for recipe in Recipe::ALL {
            recipe.options().unwrap().resolve().unwrap();
            assert!(recipe.text.starts_with("# ") && recipe.description().len() > 10);
        }
        let error = Recipe::parse("cifar-fast").unwrap_err().to_string();
        assert!(error.contains("cifar10-fast"), "{error}");
    }
}
