//! The bill of materials, as CycloneDX 1.6 in JSON: the programs, all that is linked into them, and what needs what.

use serde_json::{Value, json};

use super::Program;
use super::parts::{Key, Part};

/// What is linked and is no crate.
#[derive(Debug, Clone)]
pub(super) struct Runtime {
    pub(super) name: String,
    pub(super) version: String,
    /// An SPDX expression.
    pub(super) licence: &'static str,
}

/// A release, as far as its bill tells of it.
#[derive(Debug)]
pub(super) struct Contents<'a> {
    pub(super) version: &'a str,
    pub(super) target: &'a str,
    /// When, in seconds since 1970.
    pub(super) epoch: u64,
    pub(super) programs: &'a [Program],
    pub(super) parts: &'a [Part],
    pub(super) runtimes: &'a [Runtime],
}

/// The bill as pretty JSON; the same contents give the same bytes.
pub(super) fn bill(contents: &Contents) -> String {
    let whole = format!("dhih@{}", contents.version);
    let runtimes: Vec<String> = contents.runtimes.iter().map(runtime_reference).collect();
    let programs = contents.programs.iter().map(|program| &program.package);
    let mut dependencies: Vec<Value> = contents
        .parts
        .iter()
        .map(|part| {
            let mut needs: Vec<String> = part.needs.iter().map(reference).collect();
            // Linked once a program, whatever crate asks for it.
            if programs.clone().any(|program| *program == part.key.0) {
                needs.extend(runtimes.clone());
            }
            json!({ "ref": reference(&part.key), "dependsOn": needs })
        })
        .collect();
    let roots: Vec<String> = contents
        .parts
        .iter()
        .filter(|part| programs.clone().any(|program| *program == part.key.0))
        .map(|part| reference(&part.key))
        .collect();
    dependencies.insert(0, json!({ "ref": whole, "dependsOn": roots }));
    dependencies.extend(runtimes.iter().map(|runtime| json!({ "ref": runtime, "dependsOn": [] })));

    let components = contents.parts.iter().map(|part| component(part, contents.programs));
    let components: Vec<Value> = components.chain(contents.runtimes.iter().map(runtime)).collect();
    let bill = json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": timestamp(contents.epoch),
            "tools": { "components": [{ "type": "application", "name": "cargo xtask dist", "version": contents.version }] },
            "component": {
                "type": "application", "bom-ref": whole, "name": "dhih", "version": contents.version,
                "licenses": [{ "expression": "MIT OR Apache-2.0" }],
                "properties": [{ "name": "dhih:target", "value": contents.target }],
            },
        },
        "components": components,
        "dependencies": dependencies,
    });
    format!("{bill:#}\n")
}

fn component(part: &Part, programs: &[Program]) -> Value {
    let (name, version) = &part.key;
    let program = programs.iter().find(|program| program.package == *name);
    let digest = program.map(|program| &program.sha256).or(part.checksum.as_ref());
    let mut component = json!({
        "type": if program.is_some() { "application" } else { "library" },
        "bom-ref": reference(&part.key),
        "name": name,
        "version": version,
        "purl": reference(&part.key),
    });
    if !part.description.is_empty() {
        component["description"] = json!(part.description);
    }
    if let Some(digest) = digest {
        component["hashes"] = json!([{ "alg": "SHA-256", "content": digest }]);
    }
    if let Some(licence) = &part.licence {
        component["licenses"] = json!([{ "expression": licence }]);
    }
    component
}

fn runtime(runtime: &Runtime) -> Value {
    json!({
        "type": "library",
        "bom-ref": runtime_reference(runtime),
        "name": runtime.name,
        "version": runtime.version,
        "purl": runtime_reference(runtime),
        "licenses": [{ "expression": runtime.licence }],
    })
}

/// The package's address, which also is its name in the bill.
fn reference((name, version): &Key) -> String {
    format!("pkg:cargo/{name}@{}", version.replace('+', "%2B"))
}

fn runtime_reference(runtime: &Runtime) -> String {
    format!("pkg:generic/{}@{}", runtime.name, runtime.version)
}

/// RFC 3339, in UTC. Years and days by counting, in the proleptic Gregorian calendar.
fn timestamp(epoch: u64) -> String {
    let (mut days, seconds) = (epoch / 86_400, epoch % 86_400);
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", days + 1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (epoch, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(timestamp(epoch), expected);
        }
    }

    fn part(name: &str, needs: &[&str]) -> Part {
        let key = |name: &str| (name.to_owned(), "1.0.0+x".to_owned());
        Part {
            key: key(name),
            description: String::new(),
            licence: Some("MIT".to_owned()),
            checksum: Some("00".repeat(32)),
            folder: "f".into(),
            needs: needs.iter().map(|name| key(name)).collect::<BTreeSet<_>>(),
        }
    }

    #[test]
    fn every_part_is_there_once_and_every_need_is_a_part() {
        let program =
            Program { package: "p".to_owned(), path: "p".into(), sha256: "ff".repeat(32) };
        let runtime = Runtime { name: "libc".to_owned(), version: "2".to_owned(), licence: "MIT" };
        let contents = Contents {
            version: "1.0.0",
            target: "t",
            epoch: 0,
            programs: &[program],
            parts: &[part("a", &[]), part("p", &["a"])],
            runtimes: &[runtime],
        };
        let text = bill(&contents);
        assert_eq!(text, bill(&contents));
        let bill: Value = serde_json::from_str(&text).unwrap();
        let references: Vec<_> = bill["components"].as_array().unwrap().iter().collect();
        assert_eq!(references.len(), 3);
        assert_eq!(references[1]["type"], "application");
        assert_eq!(references[1]["hashes"][0]["content"], "ff".repeat(32));
        assert_eq!(references[0]["hashes"][0]["content"], "00".repeat(32));
        let known: BTreeSet<_> =
            references.iter().map(|c| c["bom-ref"].as_str().unwrap()).collect();
        for dependency in bill["dependencies"].as_array().unwrap() {
            for need in dependency["dependsOn"].as_array().unwrap() {
                assert!(known.contains(need.as_str().unwrap()), "{need}");
            }
        }
        assert_eq!(bill["dependencies"][0]["dependsOn"][0], "pkg:cargo/p@1.0.0%2Bx");
        assert_eq!(
            bill["dependencies"][2]["dependsOn"],
            json!(["pkg:cargo/a@1.0.0%2Bx", "pkg:generic/libc@2"])
        );
    }
}
