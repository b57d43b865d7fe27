//! Rules that need one file's text alone: length, opening line, unsafe blocks, left-overs, paths of one machine.

use super::{Finding, Source};

/// The longest a source file may be.
const MAX_LINES: usize = 400;

/// How many lines above an unsafe block its reason may end, for a block in the middle of a statement.
const SAFETY_REACH: usize = 4;

/// Written in pieces, so that this file passes its own rules.
const LEFT_OVERS: [&str; 4] = [
    concat!("to", "do!("),
    concat!("unimple", "mented!("),
    concat!("FIX", "ME"),
    concat!("XX", "X:"),
];

/// Folders that exist on one machine only. The temporary folder counts in documents alone.
const MACHINE_PATHS: [&str; 2] = [concat!("/wo", "rk"), concat!("/ro", "ot")];
const DOCUMENT_PATHS: [&str; 1] = [concat!("/tm", "p")];

pub(super) fn check(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    if source.path.ends_with(".rs") {
        length(source, &mut findings);
        opening(source, &mut findings);
        unsafe_blocks(source, &mut findings);
    }
    left_overs(source, &mut findings);
    machine_paths(source, &mut findings);
    findings
}

fn length(source: &Source, findings: &mut Vec<Finding>) {
    let lines = source.text.lines().count();
    if lines > MAX_LINES {
        let message = format!("{lines} lines; split it, {MAX_LINES} is the most");
        findings.push(Finding::new(&source.path, MAX_LINES + 1, message));
    }
}

fn opening(source: &Source, findings: &mut Vec<Finding>) {
    let first = source.text.lines().position(|line| !line.trim().is_empty()).unwrap_or(0);
    if !source.text.lines().nth(first).is_some_and(|line| line.starts_with("//!")) {
        let message = "open the file with `//!`: what lives here and what does not";
        findings.push(Finding::new(&source.path, first + 1, message));
    }
}

fn unsafe_blocks(source: &Source, findings: &mut Vec<Finding>) {
    let lines: Vec<&str> = source.text.lines().collect();
    for (number, line) in lines.iter().enumerate() {
        if opens_unsafe(line) && !has_reason(&lines, number) {
            let message = "unsafe without a `// SAFETY:` comment just above";
            findings.push(Finding::new(&source.path, number + 1, message));
        }
    }
}

/// Whether a line of code opens an unsafe block or implementation.
fn opens_unsafe(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    let follows = |(at, word): (usize, &str)| {
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].trim_start();
        let whole_word = !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '"');
        whole_word && (after.starts_with('{') || after.starts_with("impl"))
    };
    code.match_indices("unsafe").any(follows)
}

/// Whether the comment that ends at most [`SAFETY_REACH`] lines above says why. Another block ends the search: a
/// reason counts for one block.
fn has_reason(lines: &[&str], number: usize) -> bool {
    if lines[number].contains("SAFETY:") {
        return true;
    }
    let mut code = 0;
    for line in lines[..number].iter().rev().map(|line| line.trim()) {
        if line.contains("SAFETY:") {
            return true;
        }
        if !line.starts_with("//") && !line.starts_with("#[") {
            code += 1;
        }
        if code >= SAFETY_REACH || opens_unsafe(line) {
            return false;
        }
    }
    false
}

fn left_overs(source: &Source, findings: &mut Vec<Finding>) {
    for (number, line) in source.text.lines().enumerate() {
        for left_over in LEFT_OVERS.iter().filter(|&&left_over| line.contains(left_over)) {
            let message = format!("`{left_over}` left over; finish it or file an issue");
            findings.push(Finding::new(&source.path, number + 1, message));
        }
    }
}

fn machine_paths(source: &Source, findings: &mut Vec<Finding>) {
    let document = source.path.ends_with(".md");
    let paths = MACHINE_PATHS.iter().chain(DOCUMENT_PATHS.iter().filter(|_| document));
    for path in paths {
        for (number, line) in source.text.lines().enumerate() {
            if line.match_indices(path).any(|(at, _)| stands_alone(line, at, path.len())) {
                let message =
                    format!("`{path}` is a path of one machine; say it relative to the repository");
                findings.push(Finding::new(&source.path, number + 1, message));
            }
        }
    }
}

/// Whether the path at `at` is absolute and a whole name, not the middle of another path or an address.
fn stands_alone(line: &str, at: usize, length: usize) -> bool {
    let part_of_name = |c: char| c.is_alphanumeric() || "_-.".contains(c);
    let before = line[..at].chars().next_back();
    let after = line[at + length..].chars().next();
    !before.is_some_and(|c| part_of_name(c) || "/*}~".contains(c))
        && !after.is_some_and(part_of_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(path: &str, text: &str) -> Vec<usize> {
        let source = Source { path: path.to_owned(), text: text.to_owned() };
        check(&source).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn length_counts_from_the_first_line_too_many() {
        let text = |lines: usize| "//! A.\n".to_owned() + &"fn a() {}\n".repeat(lines - 1);
        assert_eq!(lines_of("a.rs", &text(400)), [0; 0]);
        assert_eq!(lines_of("a.rs", &text(401)), [401]);
        assert_eq!(lines_of("a.md", &text(401)), [0; 0]);
    }

    #[test]
    fn a_rust_file_opens_with_its_purpose() {
        assert_eq!(lines_of("a.rs", ""), [1]);
        assert_eq!(lines_of("a.rs", "\n// A.\n//! B.\n"), [2]);
        assert_eq!(lines_of("a.rs", "\n//! A.\n"), [0; 0]);
        assert_eq!(lines_of("a.toml", "[a]\n"), [0; 0]);
    }

    #[test]
    fn every_unsafe_block_has_its_own_reason() {
        let open = concat!("un", "safe {");
        let good = format!(
            "//! A.\n// SAFETY: the pointer\n// is valid.\n#[inline]\nlet a = f(\n    {open} g() }},\n);\n"
        );
        assert_eq!(lines_of("a.rs", &good), [0; 0]);
        let shared = format!("//! A.\n// SAFETY: valid.\n{open} a() }}\n{open} b() }}\n");
        assert_eq!(lines_of("a.rs", &shared), [4]);
        let far = format!("//! A.\n// SAFETY: valid.\na();\nb();\nc();\nd();\n{open} e() }}\n");
        assert_eq!(lines_of("a.rs", &far), [7]);
        assert_eq!(lines_of("a.rs", concat!("//! A.\nun", "safe impl Send for A {}\n")), [2]);
        assert_eq!(
            lines_of("a.rs", &format!("//! A.\nlet not_{open} a() }}; // {open}\n")),
            [0; 0]
        );
    }

    #[test]
    fn left_overs_are_found_in_every_kind_of_file() {
        assert_eq!(lines_of("a.rs", concat!("//! A.\nto", "do!()\n// FIX", "ME\n")), [2, 3]);
        assert_eq!(lines_of("a.md", concat!("FIX", "ME later\n")), [1]);
    }

    #[test]
    fn machine_paths_are_whole_absolute_names() {
        let (work, root, tmp) = (MACHINE_PATHS[0], MACHINE_PATHS[1], DOCUMENT_PATHS[0]);
        assert_eq!(lines_of("a.md", &format!("see {work}/a\n`{root}`\n({tmp}/b)\n")), [1, 2, 3]);
        assert_eq!(lines_of("a.sh", &format!("ls {tmp}/b\n")), [0; 0]);
        assert_eq!(
            lines_of("a.md", &format!("../a{work}/b {work}er https://a.b{root}/c\n")),
            [0; 0]
        );
    }
}
