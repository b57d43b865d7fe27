//! How a failure is reported: a line `error:` with its causes, and a line `hint:` with what helps, where the error knows it. CONTRIBUTING.md
//! describes the style.

use dhih_train::Error;

/// The text that is printed for an error.
pub(crate) fn report(error: &anyhow::Error) -> String {
    let message = without_stack_trace(&format!("{error:#}"));
    let cure = error.chain().find_map(|cause| cause.downcast_ref::<Error>().and_then(cure));
    let split = cure.and_then(|cure| {
        let cause = message.strip_suffix(&cure)?.trim_end_matches([';', ',', ':', ' ']);
        Some(format!("error: {cause}\nhint: {cure}"))
    });
    split.unwrap_or_else(|| format!("error: {message}"))
}

/// The advice at the end of an error's message.
fn cure(error: &Error) -> Option<String> {
    match error {
        Error::Data { cure, .. } => Some(cure.clone()),
        Error::Push { cure, .. } => Some((*cure).to_owned()),
        Error::Token => Some(Error::LOGIN.to_owned()),
        Error::Setting { .. } => Some(Error::SETTINGS.to_owned()),
        Error::Unknown { .. } => Some("`dhih-train list` shows all".to_owned()),
        Error::Run { .. } => Some("train again with `dhih-train train`".to_owned()),
        Error::RunVersion { .. } => Some("use the program that made it, or train again".to_owned()),
        Error::Diverged { learning_rate, .. } => Some(format!(
            "lower --learning-rate, now {learning_rate:?}, or cut gradients with --clip-norm"
        )),
        Error::Model(dhih_model::Error::Checkpoint { .. }) => {
            Some("train again, or take an intact copy".to_owned())
        }
        _ => None,
    }
}

/// The message without the stack frames that tensor errors contain where `RUST_BACKTRACE` is set.
fn without_stack_trace(message: &str) -> String {
    let is_frame = |line: &str| {
        let number = line.trim_start().split(':').next().unwrap_or_default();
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    };
    let lines: Vec<&str> = message.lines().collect();
    let end = lines.iter().position(|line| is_frame(line)).filter(|end| *end > 0);
    lines[..end.unwrap_or(lines.len())].join("\n").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn advice_has_its_own_line() {
        let missing = || Error::Data {
            path: "data/cifar10".into(),
            reason: "it is not there".into(),
            cure: "`cargo xtask fetch-data cifar10` fetches it".into(),
        };
        let report = report(&anyhow::Error::from(missing()));
        let expected = "error: data/cifar10: it is not there\nhint: `cargo xtask fetch-data cifar10` fetches it";
        assert_eq!(report, expected);
        let error = Err::<(), _>(missing()).context("nothing was trained").unwrap_err();
        assert!(super::report(&error).starts_with("error: nothing was trained: data/cifar10: it"));
        let unknown =
            Error::Unknown { kind: "loss", got: "cqs".into(), nearest: Some("csq".into()) };
        let report = super::report(&unknown.into());
        let expected = "error: there is no loss \"cqs\", did you mean \"csq\"?\nhint: `dhih-train list` shows all";
        assert_eq!(report, expected);
    }

    #[test]
    fn every_cure_is_the_end_of_its_message() {
        let diverged =
            Error::Diverged { loss: f32::NAN, epoch: 1, batch: 2, step: 3, learning_rate: 0.5 };
        for error in [
            diverged,
            Error::Run { path: "r".into(), reason: "it has no config.toml".into() },
            Error::Token,
            Error::Push { repo: "o/r".into(), reason: "no".into(), cure: "run it again" },
            Error::RunVersion { path: "r".into(), found: 7, supported: 1 },
            Error::Model(dhih_model::Error::Checkpoint { path: "m".into(), reason: "cut".into() }),
        ] {
            let report = report(&error.into());
            assert_eq!(
                (report.lines().count(), report.matches("\nhint: ").count()),
                (2, 1),
                "{report}"
            );
        }
    }

    #[test]
    fn stack_traces_are_not_shown() {
        let message = "matmul: shapes differ\n   0: candle::Error::bt\n   1: main\n";
        assert_eq!(without_stack_trace(message), "matmul: shapes differ");
        assert_eq!(without_stack_trace("one: two"), "one: two");
    }
}
