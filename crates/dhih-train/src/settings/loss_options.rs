//! The loss by name, with the constants that should differ from its defaults. `dhih-model` has the losses.

use std::str::FromStr;

use dhih_model::{Hi, Loss};
use serde::Deserialize;
use toml::{Table, Value};

use crate::error::{Error, Result};

/// A loss by name with some of its constants: `csq` or `csq:lambda=0.5:codewords=distant` as text, in a TOML file also a table `[loss]` of
/// `name` and constants.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(try_from = "Form")]
pub struct LossOptions {
    /// The name; absent means `hi`.
    pub name: Option<String>,
    /// Constants by name.
    pub constants: Table,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "expected the name of a loss, or a table with its name and constants"
)]
enum Form {
    Name(String),
    Table {
        name: Option<String>,
        #[serde(flatten)]
        constants: Table,
    },
}

impl TryFrom<Form> for LossOptions {
    type Error = String;

    fn try_from(form: Form) -> Result<Self, String> {
        match form {
            Form::Name(text) => text.parse(),
            Form::Table { name, constants } => Ok(Self { name, constants }),
        }
    }
}

impl FromStr for LossOptions {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, params) = text.split_once(':').map_or((text, None), |(a, b)| (a, Some(b)));
        let mut options = Self { name: Some(name.to_owned()), constants: Table::new() };
        for param in params.iter().flat_map(|params| params.split(':')) {
            let LossParam { name, value } =
                param.parse().map_err(|expected| format!("{param:?} in {text:?}: {expected}"))?;
            if options.constants.insert(name, value).is_some() {
                return Err(format!("{param:?} in {text:?}: that constant is given twice"));
            }
        }
        Ok(options)
    }
}

/// One constant of a loss, `NAME=VALUE`.
#[derive(Debug, Clone, PartialEq)]
pub struct LossParam {
    name: String,
    value: Value,
}

impl FromStr for LossParam {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((name, value)) = text.split_once('=') else {
            return Err("expected NAME=VALUE, such as margin=0.2".to_owned());
        };
        let (name, text) = (name.trim().to_owned(), value.trim());
        let integer = text.parse().map(Value::Integer);
        let value = integer.or_else(|_| text.parse().map(Value::Float));
        let value = value.or_else(|_| text.parse().map(Value::Boolean));
        Ok(Self { name, value: value.unwrap_or_else(|_| Value::String(text.to_owned())) })
    }
}

impl LossOptions {
    /// The name of the loss.
    pub(crate) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or("hi")
    }

    /// These options, completed by `other`. If these name another loss than `other`, the constants of `other` are dropped.
    pub(crate) fn or(self, other: Self) -> Self {
        if self.name.is_some() && self.name() != other.name() {
            return self;
        }
        let mut constants = other.constants;
        constants.extend(self.constants);
        Self { name: self.name.or(other.name), constants }
    }

    /// Adds constants from flags; later ones override earlier ones.
    pub fn with_params(mut self, params: Vec<LossParam>) -> Self {
        self.constants.extend(params.into_iter().map(|LossParam { name, value }| (name, value)));
        self
    }

    /// Sets a constant of the HI loss that has its own flag.
    ///
    /// # Errors
    /// When the loss is another one, or the constant has another value already.
    pub(crate) fn set_hi(
        &mut self,
        flag: &'static str,
        constant: &str,
        value: Option<Value>,
    ) -> Result<()> {
        let Some(value) = value else { return Ok(()) };
        let wrong = |got: String, expected: &str| {
            Err(Error::Config { name: flag, got, expected: expected.to_owned() })
        };
        if self.name() != "hi" {
            let got = format!("{value} with the loss {}", self.name());
            return wrong(got, "the loss hi; --loss-param sets the constants of others");
        }
        match self.constants.insert(constant.to_owned(), value.clone()) {
            Some(other) if !is_equal(&value, &other) => {
                wrong(format!("{value}, and as constant of the loss {other}"), "one")
            }
            _ => Ok(()),
        }
    }

    /// The loss for codes of `bits`; its ranges are not checked.
    ///
    /// # Errors
    /// When there is no such loss, it has no such constant, or the constant does not accept such a value.
    pub(crate) fn resolve(self, bits: usize) -> Result<Loss> {
        let mut loss = self.defaults(bits)?;
        for (constant, value) in &self.constants {
            loss = with(loss, constant, value)?;
        }
        Ok(loss)
    }

    /// The loss with its defaults for codes of `bits`. The defaults of the HI loss depend on two of its constants: the mode, and whether there
    /// is supervised quantisation.
    fn defaults(&self, bits: usize) -> Result<Loss> {
        let names = Loss::ALL.iter().map(|(name, _)| *name);
        let Some(loss) = Loss::named(self.name(), bits) else {
            return Err(Error::unknown("loss", self.name(), names));
        };
        let given = |loss: Loss, constant: &str| match self.constants.get(constant) {
            Some(value) => with(loss, constant, value),
            None => Ok(loss),
        };
        if !matches!(loss, Loss::Hi(_)) {
            return Ok(loss);
        }
        let Loss::Hi(Hi { mode, .. }) = given(loss, "mode")? else { return Ok(loss) };
        let Loss::Hi(hi) = given(Loss::Hi(Hi::of_mode(mode)), "mu")? else { return Ok(loss) };
        Ok(Loss::Hi(Hi { lambda_q: Hi::default_lambda_q(mode, hi.mu), ..hi }))
    }
}

/// Whether two constants are equal, as a whole number may be written for a fraction.
fn is_equal(a: &Value, b: &Value) -> bool {
    let number = |value: &Value| value.as_float().or(value.as_integer().map(|n| n as f64));
    a == b || number(a).is_some_and(|a| number(b) == Some(a))
}

fn with(loss: Loss, constant: &str, value: &Value) -> Result<Loss> {
    let wrong = |expected: String| {
        let got = format!("{constant}={value}");
        Error::Config { name: "loss_param", got, expected }
    };
    let mut table = Table::try_from(loss).map_err(|error| wrong(error.to_string()))?;
    let name = table.remove("name");
    if !table.contains_key(constant) {
        let known: Vec<&str> = table.keys().map(String::as_str).collect();
        return Err(wrong(format!("one of {} for the loss {}", known.join(", "), loss.name())));
    }
    table.insert(constant.to_owned(), value.clone());
    table.extend(name.map(|name| ("name".to_owned(), name)));
    table.try_into().map_err(|error: toml::de::Error| wrong(expected(error.message()).to_owned()))
}

/// What a message of the TOML reader expects, in words: "unknown variant `x`, expected one of `a`, `b`".
fn expected(message: &str) -> &str {
    match message.split_once(", expected ").map_or(message, |(_, expected)| expected) {
        "f64" => "a number",
        "u64" => "a whole number",
        expected => expected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dhih_model::HiMode;

    fn options(toml: &str) -> LossOptions {
        let mut table: std::collections::BTreeMap<String, LossOptions> =
            toml::from_str(toml).unwrap();
        table.remove("loss").unwrap()
    }

    fn resolved(options: LossOptions) -> serde_json::Value {
        serde_json::to_value(options.resolve(16).unwrap()).unwrap()
    }

    #[test]
    fn a_file_has_a_name_or_a_table() {
        assert_eq!(options("loss = 'csq'"), "csq".parse().unwrap());
        let table = options("[loss]\nname = 'csq'\nlambda = 1\ncodewords = 'distant'");
        let loss = resolved(table);
        assert_eq!((&loss["lambda"], &loss["codewords"]), (&1.0.into(), &"distant".into()));
        assert_eq!(loss["codeword_seed"], 0);
        assert_eq!(resolved(options("[loss]\nalpha = 0.5"))["name"], "hi");
    }

    #[test]
    fn text_has_a_name_and_constants() {
        let loss = resolved("csq:lambda=1:codewords=distant".parse().unwrap());
        assert_eq!((&loss["lambda"], &loss["codewords"]), (&1.0.into(), &"distant".into()));
        assert_eq!(options("loss = 'hi:mu=2'"), options("[loss]\nname = 'hi'\nmu = 2"));
        for (text, part) in [
            ("csq:lambda", "\"lambda\" in \"csq:lambda\": expected NAME=VALUE"),
            ("csq:", "expected NAME=VALUE"),
            ("csq:lambda=1:lambda=2", "given twice"),
        ] {
            let error = text.parse::<LossOptions>().unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn flags_override_the_file_and_leave_constants_of_another_loss() {
        let file = || options("[loss]\nname = 'dsh'\nalpha = 0.5\nmargin = 9");
        let param = |text: &str| vec![text.parse().unwrap()];
        let same = resolved(LossOptions::default().or(file()).with_params(param("margin=3")));
        assert_eq!((&same["alpha"], &same["margin"]), (&0.5.into(), &3.0.into()));
        let mut flags: LossOptions = "dsh".parse().unwrap();
        flags.constants.insert("margin".to_owned(), Value::Float(4.0));
        assert_eq!(resolved(flags.or(file()))["margin"], 4.0);
        let other = resolved("hashnet".parse::<LossOptions>().unwrap().or(file()));
        assert_eq!((&other["name"], &other["alpha"]), (&"hashnet".into(), &0.625.into()));
    }

    #[test]
    fn defaults_of_the_hi_loss_follow_from_its_mode_and_from_supervised_quantisation() {
        let of = |params: &[&str]| {
            let params = params.iter().map(|param| param.parse().unwrap()).collect();
            let loss = resolved(LossOptions::default().with_params(params));
            ["mu", "lambda_q", "beta"].map(|constant| loss[constant].as_f64().unwrap())
        };
        let hi = |mode| {
            let Hi { mu, lambda_q, beta, .. } = Hi::of_mode(mode);
            [mu, lambda_q, beta]
        };
        assert_eq!(of(&[]), hi(HiMode::Target));
        assert_eq!(of(&["mode=target"]), hi(HiMode::Target));
        assert_eq!(of(&["mode=cosine"]), hi(HiMode::Cosine));
        assert_eq!(of(&["beta=0.2", "mode=cosine-weights"])[2], 0.2);
        // Supervised quantisation replaces the other term, unless both are given.
        assert_eq!(of(&["mu=0"])[..2], [0.0, 0.01]);
        assert_eq!(of(&["mu=0.5"])[..2], [0.5, 0.0]);
        assert_eq!(of(&["lambda_q=0.02", "mu=0.5"])[..2], [0.5, 0.02]);
        assert_eq!(of(&["mode=global", "mu=1"])[..2], [1.0, 0.0]);
        let without = LossOptions::default().with_params(vec!["batch_norm=false".parse().unwrap()]);
        assert_eq!(resolved(without)["batch_norm"], false);
    }

    #[test]
    fn what_does_not_fit_is_refused_with_what_does() {
        let refused = |name: &str, param: &str, parts: &[&str]| {
            let options: LossOptions = name.parse().unwrap();
            let options = options.with_params(vec![param.parse().unwrap()]);
            let message = options.resolve(16).unwrap_err().to_string();
            parts.iter().for_each(|part| assert!(message.contains(part), "{message}"));
        };
        refused("ortho-cos", "gamma=1", &["gamma=1", "codeword_seed, codewords, margin, scale"]);
        refused("dpsh", "name=dsh", &["name", "one of eta for the loss dpsh"]);
        refused("csq", "codewords=random", &["random", "auto", "hadamard", "distant"]);
        refused("csq", "lambda=much", &["lambda=\"much\", expected a number"]);
        refused("csq", "codeword_seed=-1", &["codeword_seed=-1, expected a whole number"]);
        refused(
            "hi",
            "mode=cosines",
            &["mode=\"cosines\", expected one of `target`, ", "cosine-weights"],
        );
        refused("hi", "mu=much", &["mu=\"much\""]);
        refused("cqs", "lambda=1", &["cqs", "did you mean \"csq\""]);
        assert!("margin".parse::<LossParam>().unwrap_err().contains("NAME=VALUE"));

        let mut hi = LossOptions::default();
        hi.set_hi("hi_alpha", "alpha", Some(Value::Float(0.5))).unwrap();
        let twice = hi.set_hi("hi_alpha", "alpha", Some(Value::Float(0.6))).unwrap_err();
        assert!(twice.to_string().contains("hi_alpha is 0.6, and"), "{twice}");
        let mut hi: LossOptions = "hi:alpha=1:mode=cosine".parse().unwrap();
        hi.set_hi("hi_alpha", "alpha", Some(Value::Float(1.0))).unwrap();
        hi.set_hi("hi_mode", "mode", Some(Value::String("cosine".into()))).unwrap();
        let mut csq: LossOptions = "csq".parse().unwrap();
        csq.set_hi("hi_alpha", "alpha", None).unwrap();
        let error = csq.set_hi("hi_alpha", "alpha", Some(Value::Float(0.5))).unwrap_err();
        assert!(error.to_string().contains("with the loss csq"), "{error}");
    }
}
