//! The settings file: TOML with the names of the flags. Flags and environment variables override it.

use std::fmt;
use std::path::Path;

/// Turns the settings of a TOML file into defaults of the command line.
///
/// # Errors
/// When the file cannot be read, or contains an unknown or invalid setting.
pub fn with_file(mut command: clap::Command, path: &Path) -> Result<clap::Command, String> {
    let wrong = |reason: &dyn fmt::Display| format!("the settings {}: {reason}", path.display());
    let text = std::fs::read_to_string(path).map_err(|e| wrong(&e))?;
    let table: toml::Table = text.parse().map_err(|e: toml::de::Error| wrong(&e.message()))?;
    for (name, value) in table {
        let id = name.replace('-', "_");
        if id == "config" || !command.get_arguments().any(|arg| arg.get_id() == &*id) {
            let known = command.get_arguments().map(|arg| arg.get_id().as_str());
            let known = known.filter(|id| !["config", "help", "version"].contains(id));
            let proposed = dhih_manual::did_you_mean(&id, known);
            return Err(wrong(&format!(
                "{name:?} is no setting{proposed}\nhint: `dhih-serve --help` shows all, by the names of their flags"
            )));
        }
        let text = match value {
            toml::Value::String(text) => text,
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Boolean(truth) => truth.to_string(),
            toml::Value::Array(values) if is_repeatable(&command, &id) => {
                let texts = values.iter().map(|value| value.as_str().map(str::to_owned));
                let texts: Option<Vec<String>> = texts.collect();
                texts.ok_or_else(|| wrong(&format!("{name} has what is no text in it")))?.join(",")
            }
            other => {
                return Err(wrong(&format!("{name} is {other}; give text, a number or a truth")));
            }
        };
        // clap needs a static string. The file is read once per process, so the leak is bounded.
        let text: &'static str = text.leak();
        command = command.mut_arg(id, |arg| match arg.get_action() {
            clap::ArgAction::SetTrue => arg.default_value(text).action(clap::ArgAction::SetTrue),
            _ => arg.required(false).default_value(text),
        });
    }
    Ok(command)
}

/// Whether a setting has several values, separated by commas.
fn is_repeatable(command: &clap::Command, id: &str) -> bool {
    let mut flags = command.get_arguments();
    flags.any(|arg| arg.get_id() == id && matches!(arg.get_action(), clap::ArgAction::Append))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::cli::{Cli, Config};
    use crate::operation::keys::Keys;
    use crate::operation::telemetry::LogFormat;
    use clap::{CommandFactory, FromArgMatches};

    fn parsed(toml: &str, words: &[&str]) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("serve.toml");
        std::fs::write(&path, toml).unwrap();
        let command = with_file(Cli::command(), &path)?;
        let words = std::iter::once("dhih-serve").chain(words.iter().copied());
        let matches = command.try_get_matches_from(words).map_err(|e| e.to_string())?;
        Ok(Cli::from_arg_matches(&matches).map_err(|e| e.to_string())?.config)
    }

    #[test]
    fn a_file_sets_what_flags_do_not() {
        let toml = "bind = '127.0.0.1:9'\nmax-batch = 7\nread_only = true\nlog_format = 'json'";
        let config = parsed(toml, &["--max-batch", "9"]).unwrap();
        assert_eq!((config.bind.port(), config.max_batch, config.queue), (9, 9, 128));
        assert!(config.read_only && config.log_format == LogFormat::Json);
        assert!(!parsed("read_only = false", &[]).unwrap().read_only);
        for (toml, part) in [
            ("bnid = 'x'", "\"bnid\" is no setting, did you mean `bind`?"),
            ("config = 'x'", "no setting"),
            ("max_batch = 0", "0 is not in 1..=1024"),
            ("bind = ['a']", "give text, a number or a truth"),
            ("bind", "serve.toml"),
        ] {
            let error = parsed(toml, &[]).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        assert!(with_file(Cli::command(), Path::new("/no/file")).unwrap_err().contains("/no/file"));
    }

    #[test]
    fn addresses_that_others_reach_need_keys() {
        let bound = |words: &[&str]| parsed("", &[&["--bind", "0.0.0.0:80"], words].concat());
        let key = "0123456789abcdef";
        let keys = |read, admin| Keys::new(read, admin).unwrap();
        let public = bound(&[]).unwrap();
        for missing in [keys(None, None), keys(Some(key), None), keys(None, Some(key))] {
            let error = public.check(&missing).unwrap_err();
            assert!(error.contains("--read-key-file") && error.contains("127.0.0.1:80"), "{error}");
        }
        assert!(public.check(&keys(Some(key), Some(key))).is_ok());
        assert!(bound(&["--read-only"]).unwrap().check(&keys(Some(key), None)).is_ok());
        assert!(parsed("", &[]).unwrap().check(&keys(None, None)).is_ok());
    }

    #[test]
    fn a_setting_may_have_several_values() {
        let hosts = |toml: &str| parsed(toml, &[]).map(|config| config.host);
        let named = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect();
        assert_eq!(hosts("host = ['a.example', '::1']"), Ok(named(&["a.example", "::1"])));
        assert_eq!(hosts("host = 'a.example'"), Ok(named(&["a.example"])));
        let toml = "cors_origin = ['https://a.example', 'http://b.example:1']\npath_prefix = '/a'";
        let config = parsed(toml, &[]).unwrap();
        assert_eq!((config.cors_origin.len(), config.path_prefix.as_str()), (2, "/a"));
        assert!(hosts("host = [1]").unwrap_err().contains("no text"));
        assert!(hosts("host = ['a.example:80']").unwrap_err().contains("without scheme and port"));
    }

    #[test]
    fn half_of_tls_is_refused_wherever_it_is_set() {
        for (toml, missing) in [("tls_cert = 'c'", "--tls-key"), ("tls_key = 'k'", "--tls-cert")] {
            let error = parsed(toml, &[]).unwrap().check(&Keys::default()).unwrap_err();
            assert!(error.contains(missing), "{error}");
        }
        let whole = parsed("tls_cert = 'c'", &["--tls-key", "k", "--tls-cert", "d"]).unwrap();
        assert!(whole.check(&Keys::default()).is_ok() && whole.tls().is_some());
    }

    #[test]
    fn any_host_name_needs_a_key_for_searching() {
        let config = parsed("host = '*'", &[]).unwrap();
        let key = Some("0123456789abcdef");
        let keys = |read, admin| Keys::new(read, admin).unwrap();
        assert!(config.check(&keys(None, None)).unwrap_err().contains("--read-key-file"));
        assert!(config.check(&keys(None, key)).unwrap_err().contains("--host"));
        assert!(config.check(&keys(key, None)).is_ok());
    }

    #[test]
    fn every_flag_has_an_environment_twin() {
        let command = Cli::command();
        let flags = command
            .get_arguments()
            .chain(command.get_subcommands().flat_map(|c| c.get_arguments()));
        for flag in flags.filter(|flag| flag.get_id() != "help" && flag.get_id() != "version") {
            let variable = flag.get_env().and_then(|name| name.to_str()).unwrap_or_default();
            assert!(variable.starts_with("DHIH_"), "{}", flag.get_id());
        }
    }
}
