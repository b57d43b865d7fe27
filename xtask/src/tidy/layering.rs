//! Dependencies point one way: images -> dataset -> model -> codes -> index -> serve. Read from each Cargo.toml, so
//! that a wrong one is found before it compiles.

use toml::{Table, Value};

use super::{Finding, Source};

/// HTTP servers and clients.
const HTTP: [&str; 12] = [
    "actix-web",
    "axum",
    "hf-hub",
    "hyper",
    "isahc",
    "reqwest",
    "rocket",
    "tiny_http",
    "tonic",
    "tower-http",
    "ureq",
    "warp",
];

/// What the package called `package` may not depend on, and why; `None` where `dependency` is welcome.
fn forbidden(package: &str, dependency: &str) -> Option<&'static str> {
    let ours = dependency.starts_with("dhih-") || (dependency == "xtask" && package != "xtask");
    let download = dependency == "dhih-download" && ["dhih-train", "xtask"].contains(&package);
    let programs = ["dhih-index", "dhih-serve", "dhih-train"];
    let manual = dependency == "dhih-manual" && programs.contains(&package);
    let tensors = dependency.starts_with("candle");
    let http = HTTP.contains(&dependency);
    match package {
        // Itself, with the features that its tests need.
        _ if package == dependency => None,
        // Behind a feature, which `xtask/tests/compiled_once.rs` sees to.
        _ if download => None,
        _ if manual => None,
        "dhih-download" if ours || tensors => Some("dhih-download knows files and addresses"),
        "dhih-manual" if ours || tensors || http => {
            Some("dhih-manual knows a command line and nothing else")
        }
        "dhih-model" if ours => Some("dhih-model knows no other crate of the workspace"),
        "dhih-index" if ours => Some("dhih-index knows no other crate of the workspace"),
        "dhih-index" if tensors => Some("dhih-index knows bits, no tensors"),
        "dhih-train" if ours && !["dhih-model", "dhih-index"].contains(&dependency) => {
            Some("dhih-train joins dhih-model and dhih-index alone")
        }
        "dhih-serve" if ours && !["dhih-model", "dhih-index"].contains(&dependency) => {
            Some("dhih-serve joins dhih-model and dhih-index alone")
        }
        "dhih-python"
            if ours && !["dhih-model", "dhih-index", "dhih-train"].contains(&dependency) =>
        {
            Some("dhih-python joins dhih-model, dhih-index and dhih-train alone")
        }
        "dhih-python" if tensors => Some("dhih-python knows arrays, no tensors"),
        "dhih-model" | "dhih-index" | "dhih-train" | "dhih-python" | "xtask" if http => {
            Some("HTTP belongs to dhih-serve and dhih-download")
        }
        "xtask" if tensors => Some("xtask spawns the binaries that know tensors"),
        "xtask" if ours => Some("xtask spawns the binaries, it does not link their crates"),
        _ => None,
    }
}

pub(super) fn check(source: &Source) -> Vec<Finding> {
    if !source.path.ends_with("Cargo.toml") {
        return Vec::new();
    }
    let manifest: Table = match source.text.parse() {
        Ok(manifest) => manifest,
        Err(error) => {
            return vec![Finding::new(
                &source.path,
                1,
                format!("not valid TOML: {}", error.message()),
            )];
        }
    };
    let name =
        manifest.get("package").and_then(|package| package.get("name")).and_then(Value::as_str);
    let package = name.unwrap_or_default();
    let breach = |(key, dependency): (String, String)| {
        let reason = forbidden(package, &dependency)?;
        let message = format!("{package} may not depend on {dependency}: {reason}");
        Some(Finding::new(&source.path, line_of(&source.text, &key), message))
    };
    dependencies(&manifest).into_iter().filter_map(breach).collect()
}

/// Every dependency as (key, name of the package), of all kinds and targets.
fn dependencies(manifest: &Table) -> Vec<(String, String)> {
    let targets = manifest.get("target").and_then(Value::as_table);
    let scopes =
        targets.into_iter().flat_map(|targets| targets.values().filter_map(Value::as_table));
    let tables = scopes.chain([manifest]).flat_map(|scope| {
        let kinds = ["dependencies", "dev-dependencies", "build-dependencies"];
        kinds.into_iter().filter_map(|kind| scope.get(kind)?.as_table())
    });
    let named = |(key, value): (&String, &Value)| {
        let renamed = value.get("package").and_then(Value::as_str);
        (key.clone(), renamed.unwrap_or(key).to_owned())
    };
    tables.flat_map(|table| table.iter().map(named)).collect()
}

/// The line on which the dependency is declared.
fn line_of(text: &str, key: &str) -> usize {
    let declares = |line: &str| {
        let rest = line.trim_start().trim_start_matches('"').strip_prefix(key);
        let in_table = rest
            .is_some_and(|rest| rest.trim_start_matches('"').trim_start().starts_with(['=', '.']));
        in_table || line.trim_end().ends_with(&format!("dependencies.{key}]"))
    };
    text.lines().position(declares).map_or(1, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(package: &str, rest: &str) -> Vec<(usize, String)> {
        let text = format!("[package]\nname = \"{package}\"\n{rest}\n");
        let source = Source { path: "crates/a/Cargo.toml".to_owned(), text };
        check(&source).into_iter().map(|finding| (finding.line, finding.message)).collect()
    }

    #[test]
    fn every_wrong_direction_is_found() {
        let cases = [
            ("dhih-model", "dhih-index"),
            ("dhih-model", "axum"),
            ("dhih-index", "dhih-model"),
            ("dhih-index", "candle-core"),
            ("dhih-index", "hyper"),
            ("dhih-train", "dhih-serve"),
            ("dhih-train", "hf-hub"),
            ("dhih-train", "xtask"),
            ("dhih-download", "dhih-model"),
            ("dhih-model", "dhih-download"),
            ("dhih-serve", "dhih-download"),
            ("xtask", "hf-hub"),
            ("dhih-serve", "dhih-train"),
            ("dhih-serve", "dhih-python"),
            ("dhih-train", "dhih-python"),
            ("dhih-python", "dhih-serve"),
            ("dhih-python", "candle-core"),
            ("dhih-python", "reqwest"),
            ("xtask", "candle-core"),
            ("xtask", "dhih-index"),
            ("xtask", "dhih-manual"),
            ("dhih-model", "dhih-manual"),
            ("dhih-manual", "dhih-index"),
            ("dhih-manual", "candle-core"),
            ("dhih-manual", "hyper"),
        ];
        for (package, dependency) in cases {
            let found = findings(
                package,
                &format!("[dependencies]\nanyhow.workspace = true\n{dependency}.workspace = true"),
            );
            assert_eq!(found.len(), 1, "{package} -> {dependency}: {found:?}");
            assert_eq!(found[0].0, 5);
            assert!(
                found[0].1.contains(&format!("{package} may not depend on {dependency}")),
                "{found:?}"
            );
        }
    }

    #[test]
    fn the_right_directions_are_welcome() {
        let joined = "[dependencies]\ndhih-model.workspace = true\ndhih-index.workspace = true";
        assert_eq!(findings("dhih-train", joined), []);
        assert_eq!(
            findings("dhih-python", &format!("{joined}\ndhih-train = \"0\"\npyo3 = \"0\"")),
            []
        );
        assert_eq!(
            findings("dhih-serve", &format!("{joined}\naxum = \"0\"\ncandle-core = \"0\"")),
            []
        );
        assert_eq!(findings("dhih-model", "[dependencies]\ncandle-nn = \"0\""), []);
        assert_eq!(
            findings(
                "xtask",
                "[dependencies]\ndhih-download = \"0\"\n[dev-dependencies]\nxtask.path = \".\""
            ),
            []
        );
    }

    #[test]
    fn other_tables_and_renamed_packages_count_too() {
        let dev = "[dev-dependencies.dhih-model]\npath = \"../dhih-model\"";
        assert_eq!(findings("dhih-index", dev)[0].0, 3);
        let renamed = "[target.'cfg(unix)'.dependencies]\ntensor = { package = \"candle-core\", version = \"0\" }";
        assert_eq!(findings("dhih-index", renamed)[0].0, 4);
        let build = "[build-dependencies]\ncandle-core = \"0\"";
        assert_eq!(findings("xtask", build)[0].0, 4);
    }

    #[test]
    fn a_broken_manifest_is_a_finding() {
        assert!(findings("a", "[").iter().any(|(_, message)| message.contains("not valid TOML")));
    }
}
