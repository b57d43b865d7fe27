//! A page taken apart: its fenced blocks, the commands in its running text, and what is to be done before. What becomes of
//! them is not decided here.
//!
//! A block says what it is: `sh` is run; `console` has commands after `$ ` and shows what they print; any other word is no command. A block of
//! commands that no test can run says why: `sh,not-run=network`. A comment that opens with `<!-- before:` holds commands that
//! the page takes for granted. A block of `toml` whose first line is `# NAME.toml` is a file that the commands find.

/// Why a block is not run. The list is closed: another reason is a mistake on the page.
pub(crate) const REASONS: [(&str, &str); 11] = [
    ("container", "needs a container engine"),
    ("cluster", "needs several machines"),
    ("compile", "compiles or tests the whole workspace"),
    ("gpu", "needs a GPU"),
    ("install", "changes the machine"),
    ("long", "trains for longer than a test may"),
    ("network", "fetches from the network"),
    ("postgres", "needs PostgreSQL servers; its own test starts them"),
    ("python", "needs Python packages; its own test installs them"),
    ("release", "needs the archive of a release"),
    ("spark", "needs Spark; its own test starts it"),
];

/// Commands of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block {
    /// Of its fence, counted from 1.
    pub(crate) line: usize,
    /// What a shell takes: no prompts, no output.
    pub(crate) commands: String,
    pub(crate) run: bool,
}

/// What a page holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    /// To be run before the blocks.
    pub(crate) before: String,
    pub(crate) blocks: Vec<Block>,
    /// Names and contents.
    pub(crate) files: Vec<(String, String)>,
    /// Code in running text, with its line.
    pub(crate) inline: Vec<(usize, String)>,
    /// Links, with their lines.
    pub(crate) links: Vec<(usize, String)>,
    /// Anchors of its headings.
    pub(crate) anchors: Vec<String>,
    /// What is wrong with it, as `LINE: MESSAGE`.
    pub(crate) faults: Vec<String>,
}

impl Page {
    /// Reads Markdown as far as the book uses it.
    pub(crate) fn parse(text: &str) -> Self {
        let mut page = Self::default();
        let mut lines = (1..).zip(text.lines());
        while let Some((number, line)) = lines.next() {
            if let Some(fence) = line.trim_start().strip_prefix("```") {
                let body = lines.by_ref().map(|(_, line)| line);
                let body: Vec<&str> = body.take_while(|line| line.trim_start() != "```").collect();
                page.block(number, fence.trim(), &body);
            } else if line.trim_start().starts_with("<!-- before:") {
                let body = lines.by_ref().map(|(_, line)| line);
                for line in body.take_while(|line| line.trim() != "-->") {
                    page.before += &format!("{line}\n");
                }
            } else {
                page.running_text(number, line);
            }
        }
        page
    }

    fn block(&mut self, line: usize, fence: &str, body: &[&str]) {
        let (language, mark) = fence.split_once(',').unwrap_or((fence, ""));
        let commands = match language {
            "" => {
                let message = "say what the block is: sh, console, text or a language";
                return self.faults.push(format!("{line}: {message}"));
            }
            "sh" => body.join("\n"),
            "console" => prompted(body),
            "toml" => {
                let name = body.first().and_then(|line| line.strip_prefix("# "));
                let name =
                    name.filter(|name| name.ends_with(".toml") && !name.contains([' ', '/']));
                return self.files.extend(name.map(|name| (name.to_owned(), body.join("\n"))));
            }
            // Marks of others, such as `rust,no_run`, are theirs.
            _ => return,
        };
        if commands.trim().is_empty() {
            self.faults.push(format!("{line}: no command in a block of commands"));
        }
        let known = mark
            .strip_prefix("not-run=")
            .is_some_and(|reason| REASONS.iter().any(|(known, _)| *known == reason));
        if !mark.is_empty() && !known {
            let reasons: Vec<_> =
                REASONS.iter().map(|(reason, why)| format!("{reason} ({why})")).collect();
            self.faults.push(format!("{line}: `{mark}`: not-run= takes {}", reasons.join(", ")));
        }
        self.blocks.push(Block { line, commands, run: mark.is_empty() });
    }

    fn running_text(&mut self, number: usize, line: &str) {
        if line.starts_with('#') {
            self.anchors.push(anchor(line.trim_start_matches('#').trim()));
        }
        let code = line.split('`').skip(1).step_by(2).filter(|code| !code.is_empty());
        self.inline.extend(code.map(|code| (number, code.to_owned())));
        let outside: String = line.split('`').step_by(2).collect::<Vec<_>>().join("");
        let ends = outside.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
        self.links.extend(ends.map(|(link, _)| (number, link.to_owned())));
    }
}

/// The commands after prompts, with the lines that continue them.
fn prompted(body: &[&str]) -> String {
    let mut commands = String::new();
    let mut goes_on = false;
    for line in body {
        let command = line.trim_start().strip_prefix("$ ").or(goes_on.then_some(line));
        goes_on = command.is_some_and(|command| command.ends_with('\\'));
        if let Some(command) = command {
            commands += &format!("{command}\n");
        }
    }
    commands
}

/// As mdBook and GitHub name a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_code_links_and_preparations_are_found() {
        let text = "# A page, so to say\n<!-- before:\nmake x\n-->\nRun `dhih-train list` or [this](b.md#c) `[no](link)`.\n\
                    ```sh\na \\\n  b # c\n```\n- item\n  ```console,not-run=network\n  $ d \\\n    e\n  printed\n  ```\n```toml\nx = 1\n```\n```toml\n# a.toml\nx = 1\n```\n";
        let page = Page::parse(text);
        assert_eq!(page.before, "make x\n");
        assert_eq!(
            page.blocks,
            [
                Block { line: 6, commands: "a \\\n  b # c".to_owned(), run: true },
                Block { line: 11, commands: "d \\\n    e\n".to_owned(), run: false },
            ]
        );
        assert_eq!(page.inline[0], (5, "dhih-train list".to_owned()));
        assert_eq!(page.links, [(5, "b.md#c".to_owned())]);
        assert_eq!(page.anchors, ["a-page-so-to-say"]);
        assert_eq!(page.files, [("a.toml".to_owned(), "# a.toml\nx = 1".to_owned())]);
        assert_eq!(page.faults, [""; 0]);
    }

    #[test]
    fn what_is_not_said_or_not_known_is_a_fault() {
        for (text, expected) in [
            ("```\nls\n```", "1: say what the block is"),
            ("\n```sh,not-run=mood\nls\n```", "2: `not-run=mood`"),
            ("```sh,ignore\nls\n```", "1: `ignore`"),
            ("```sh\n\n```", "1: no command"),
            ("```console\nprinted\n```", "1: no command"),
        ] {
            let faults = Page::parse(text).faults;
            assert!(faults.len() == 1 && faults[0].starts_with(expected), "{text}: {faults:?}");
        }
    }
}
