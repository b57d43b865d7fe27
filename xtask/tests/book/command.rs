//! Shell text taken apart into commands and words, as far as the book uses a shell; and from a command to the program and the
//! words it is given. Nothing is run here.

/// The programs of the workspace.
pub(crate) const PROGRAMS: [&str; 3] = ["dhih-train", "dhih-index", "dhih-serve"];

/// A program of ours (or `xtask`) and its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) program: String,
    pub(crate) words: Vec<String>,
}

/// The calls of our programs in shell text; an error where cargo is asked to run a package that has no program.
pub(crate) fn calls(text: &str) -> Result<Vec<Call>, String> {
    let commands = commands(text).into_iter().map(call);
    commands.filter_map(Result::transpose).collect()
}

/// Simple commands: words between line ends, `;`, `|` and `&`. Comments are left out, quotes taken off.
fn commands(text: &str) -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    let mut word = None::<String>;
    let mut quote = None::<char>;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match (letter, quote) {
            ('\\', None | Some('"')) => match letters.next() {
                Some('\n') | None => {}
                Some(next) => word.get_or_insert_default().push(next),
            },
            (_, Some(open)) if letter == open => quote = None,
            ('\'' | '"', None) => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            ('#', None) if word.is_none() => {
                while letters.next_if(|&next| next != '\n').is_some() {}
            }
            ('\n' | ';' | '|' | '&' | ' ' | '\t', None) => {
                let last = commands.len() - 1;
                commands[last].extend(word.take());
                if !" \t".contains(letter) {
                    commands.push(Vec::new());
                }
            }
            _ => word.get_or_insert_default().push(letter),
        }
    }
    let last = commands.len() - 1;
    commands[last].extend(word);
    commands.retain(|command| !command.is_empty());
    commands
}

/// The call behind assignments, words of the shell's grammar, and cargo.
fn call(words: Vec<String>) -> Result<Option<Call>, String> {
    let grammar = ["do", "then", "else", "if", "while", "!", "{", "(", "time", "exec", "sudo"];
    let assignment = |word: &str| {
        let name = word.split('=').next().unwrap_or_default();
        word.contains('=') && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let mut words =
        words.into_iter().skip_while(|word| grammar.contains(&&**word) || assignment(word));
    let Some(program) = words.next() else { return Ok(None) };
    let words: Vec<String> = words.collect();
    if PROGRAMS.contains(&&*program) {
        return Ok(Some(Call { program, words }));
    }
    let first = words.first().map(String::as_str);
    match (&*program, first) {
        ("cargo", Some("xtask")) => {
            Ok(Some(Call { program: "xtask".to_owned(), words: words[1..].to_vec() }))
        }
        ("cargo", Some("run")) => {
            let own = words.iter().position(|word| word == "--").unwrap_or(words.len());
            let package = words[..own].iter().position(|word| word == "-p");
            let package = package.and_then(|at| words[..own].get(at + 1)).cloned();
            match package.filter(|package| PROGRAMS.contains(&&**package)) {
                Some(program) => {
                    let words = words.get(own + 1..).unwrap_or_default().to_vec();
                    Ok(Some(Call { program, words }))
                }
                None => Err(format!("`cargo {}` names no program with -p", words.join(" "))),
            }
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(program: &str, words: &[&str]) -> Call {
        let words = words.iter().map(|&word| word.to_owned()).collect();
        Call { program: program.to_owned(), words }
    }

    #[test]
    fn our_programs_are_found_wherever_a_shell_runs_them() {
        let text = "export X=1\nA=b dhih-train --x 'a b' \"c\\\"d\" # dhih-train --not\n\
                    for i in 1 2; do\n  cargo run --release -p dhih-index -- build \\\n    --out idx\ndone\n\
                    ls | dhih-serve && cargo xtask demo; cargo test -p dhih-train -- --ignored\ncargo run -p dhih-train";
        let expected = [
            call("dhih-train", &["--x", "a b", "c\"d"]),
            call("dhih-index", &["build", "--out", "idx"]),
            call("dhih-serve", &[]),
            call("xtask", &["demo"]),
            call("dhih-train", &[]),
        ];
        assert_eq!(calls(text).unwrap(), expected);
    }

    #[test]
    fn cargo_runs_programs_of_ours_alone() {
        assert!(calls("cargo run --release -p dhih-trian -- list").is_err());
        assert!(calls("cargo run --release -- list").is_err());
        assert_eq!(calls("see crates/dhih-train/src dhih-train").unwrap(), []);
    }
}
