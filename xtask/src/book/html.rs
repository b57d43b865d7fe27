//! Rendered pages as a browser finds them: the ids that can be jumped to, and the links, which must end at a file or an id. Links
//! to other sites are passed over. It reads the HTML that mdBook writes, not any HTML.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// What a page has to do with links.
#[derive(Debug, Default, PartialEq, Eq)]
struct Page {
    ids: BTreeSet<String>,
    links: Vec<String>,
}

/// The folder that mdBook wrote.
#[derive(Debug)]
pub(super) struct Site {
    /// All files, relative to the folder, with `/`.
    files: BTreeSet<String>,
    pages: BTreeMap<String, Page>,
}

impl Site {
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let files = files(folder)?;
        let mut pages = BTreeMap::new();
        for name in files.iter().filter(|name| name.ends_with(".html")) {
            let path = folder.join(name);
            let text = fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            pages.insert(name.clone(), parse(&text));
        }
        Ok(Self { files, pages })
    }

    pub(super) fn pages(&self) -> usize {
        self.pages.len()
    }

    /// How many links do not leave the site.
    pub(super) fn links(&self) -> usize {
        self.pages.values().flat_map(|page| &page.links).filter(|link| is_internal(link)).count()
    }

    /// Every link without an end, as `PAGE: LINK: MESSAGE`.
    pub(super) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (name, page) in &self.pages {
            for link in page.links.iter().filter(|link| is_internal(link)) {
                let fault = self.fault(name, link);
                faults.extend(fault.map(|message| format!("{name}: {link}: {message}")));
            }
        }
        faults
    }

    fn fault(&self, from: &str, link: &str) -> Option<&'static str> {
        let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
        let file = file.split('?').next().unwrap_or_default();
        let Some(end) = resolved(from, file) else { return Some("it leads out of the book") };
        if !self.files.contains(&end) {
            return Some("there is no such file");
        }
        let page = self.pages.get(&end).filter(|_| !anchor.is_empty())?;
        (!page.ids.contains(anchor)).then_some("there is no such heading")
    }
}

/// All files below a folder, relative to it, with `/`.
pub(super) fn files(folder: &Path) -> Result<BTreeSet<String>> {
    let cannot = || format!("cannot list {}", folder.display());
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(folder).with_context(cannot)? {
        let entry = entry.with_context(cannot)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type().with_context(cannot)?.is_dir() {
            names.extend(files(&entry.path())?.iter().map(|below| format!("{name}/{below}")));
        } else {
            names.insert(name);
        }
    }
    Ok(names)
}

/// Whether a link stays on the site: it has no scheme and no host.
fn is_internal(link: &str) -> bool {
    let scheme = link.split(['/', '#', '?']).next().unwrap_or_default().contains(':');
    !scheme && !link.starts_with("//")
}

/// The file that `file` means on the page `from`; `None` outside the site.
fn resolved(from: &str, file: &str) -> Option<String> {
    if file.is_empty() {
        return Some(from.to_owned());
    }
    let folder = from.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    if file.starts_with('/') {
        parts.clear();
    }
    for part in file.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    if file.ends_with('/') {
        parts.push("index.html");
    }
    Some(parts.join("/"))
}

/// The ids and links of all tags outside comments and scripts.
fn parse(html: &str) -> Page {
    let mut page = Page::default();
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        if let Some(comment) = rest.strip_prefix("!--") {
            rest = comment.split_once("-->").map_or("", |(_, after)| after);
            continue;
        }
        let name: String = rest.chars().take_while(char::is_ascii_alphanumeric).collect();
        let (attributes, after) = attributes(&rest[name.len()..]);
        rest = after;
        for (attribute, value) in attributes {
            match attribute {
                "id" => drop(page.ids.insert(value)),
                "href" | "src" => page.links.push(value),
                _ => {}
            }
        }
        if name == "script" {
            rest = rest.split_once("</script").map_or("", |(_, after)| after);
        }
    }
    page
}

/// The attributes of a tag with their values, and what is behind the tag.
fn attributes(mut rest: &str) -> (Vec<(&str, String)>, &str) {
    let mut found = Vec::new();
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '/');
        let length = rest.find(|c: char| c.is_whitespace() || "=/>".contains(c));
        let (name, after) = rest.split_at(length.unwrap_or(rest.len()));
        let Some(value) = after.strip_prefix('=') else {
            if name.is_empty() {
                return (found, after.strip_prefix('>').unwrap_or(after));
            }
            rest = after;
            continue;
        };
        let quote = value.chars().next().filter(|c| "\"'".contains(*c));
        let (value, after) = match quote {
            Some(quote) => value[1..].split_once(quote).unwrap_or((&value[1..], "")),
            None => value.split_at(
                value.find(|c: char| c.is_whitespace() || c == '>').unwrap_or(value.len()),
            ),
        };
        found.push((name, unescaped(value)));
        rest = after;
    }
}

/// The characters that mdBook escapes in values, and in names of files.
fn unescaped(value: &str) -> String {
    [
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&#x27;", "'"),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&amp;", "&"),
    ]
    .iter()
    .fold(value.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(files: &[(&str, &str)]) -> Site {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Site::read(folder.path()).unwrap()
    }

    #[test]
    fn ids_and_links_of_tags_are_read_and_nothing_else() {
        let page = parse(
            "<!-- <a href=\"comment\"> --><script src='s.js'>x = '<a href=\"script\">';</script>\
             <h2 id=\"a-b\"><a class=header href=\"#a-b\">A</a></h2><br/><img src=i.png alt=\"a > b\">&lt;a href=\"text\"&gt;\
             <a href=\"x?a=1&amp;b=2\" disabled>",
        );
        assert_eq!(page.ids, BTreeSet::from(["a-b".to_owned()]));
        assert_eq!(page.links, ["s.js", "#a-b", "i.png", "x?a=1&b=2"]);
    }

    #[test]
    fn every_link_needs_a_file_and_its_anchor_an_id() {
        let good = site(&[
            ("index.html", "<a href=\"sub/b.html#x\"><a href=\"#own\" id=own><img src=\"i.png\">"),
            ("sub/b.html", "<p id='x'><a href=\"../index.html?q=1\"><a href=\"/index.html\">"),
            ("i.png", ""),
            (
                "c.html",
                "<a href=\"https://example.org/none.html\"><a href=\"mailto:a@b\"><a href=\"sub/b.html\">",
            ),
        ]);
        assert_eq!(good.faults(), [""; 0]);
        assert_eq!((good.pages(), good.links()), (3, 6));
        let bad = site(&[
            (
                "a.html",
                "<a href=\"b.html#y\"><a href=\"c.html\"><a href=\"../d.md\"><a href=\"#z\">",
            ),
            ("b.html", "<p id=x>"),
        ]);
        assert_eq!(
            bad.faults(),
            [
                "a.html: b.html#y: there is no such heading",
                "a.html: c.html: there is no such file",
                "a.html: ../d.md: it leads out of the book",
                "a.html: #z: there is no such heading",
            ]
        );
    }
}
