//! Links to the originals of items on other servers, by a URL template with placeholders for id, external id and source.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// The characters of a name that need no percent-encoding in a URL.
const NAME: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// In a path, the slashes between names are kept as well.
const PATH: &AsciiSet = &NAME.remove(b'/');

/// A URL template with placeholders for an item, such as `https://photos.example/{source}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkTemplate(Arc<[Part]>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Id,
    ExternalId,
    Source,
}

/// The values of an item for the placeholders.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Linked<'a> {
    pub(crate) id: u64,
    pub(crate) external_id: Option<&'a str>,
    pub(crate) source: Option<&'a str>,
}

impl LinkTemplate {
    /// The link to an item; `None` if the item lacks a value that the template needs.
    pub(crate) fn link(&self, item: Linked<'_>) -> Option<String> {
        let mut link = String::new();
        for part in self.0.iter() {
            match part {
                Part::Text(text) => link.push_str(text),
                Part::Id => link.push_str(&item.id.to_string()),
                Part::ExternalId => link.extend(utf8_percent_encode(item.external_id?, NAME)),
                Part::Source => link.extend(utf8_percent_encode(item.source?, PATH)),
            }
        }
        Some(link)
    }

    /// Whether links need the external id of an item.
    pub(crate) fn needs_external_id(&self) -> bool {
        self.0.contains(&Part::ExternalId)
    }

    /// Whether links need the source of an item.
    pub(crate) fn needs_source(&self) -> bool {
        self.0.contains(&Part::Source)
    }
}

impl FromStr for LinkTemplate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // The page shows these links, so they must lead to a page and must not run scripts (`javascript:`).
        let leads = ["https://", "http://", "/"].iter().any(|start| text.starts_with(start));
        let is_plain =
            text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>\\^`|".contains(&byte));
        let wrong = || {
            Err("give a URL such as https://photos.example/{source}, with {id}, {external_id} or {source} in it".into())
        };
        if !leads || !is_plain {
            return wrong();
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once('{') {
            let Some((name, behind)) = behind.split_once('}') else { return wrong() };
            parts.push(Part::Text(before.to_owned()));
            parts.push(match name {
                "id" => Part::Id,
                "external_id" => Part::ExternalId,
                "source" => Part::Source,
                _ => return wrong(),
            });
            rest = behind;
        }
        // A template without placeholders would link all items to the same page.
        if parts.is_empty() || rest.contains('}') {
            return wrong();
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Self(parts.into()))
    }
}

impl fmt::Display for LinkTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(text),
            Part::Id => f.write_str("{id}"),
            Part::ExternalId => f.write_str("{external_id}"),
            Part::Source => f.write_str("{source}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_an_item_is_put_in() {
        let link = |template: &str, external_id, source| {
            template.parse::<LinkTemplate>().unwrap().link(Linked { id: 7, external_id, source })
        };
        let all = link(
            "https://a.example/{id}?x={external_id}#{source}",
            Some("a/b c"),
            Some("d e/f?.jpg"),
        );
        assert_eq!(all.unwrap(), "https://a.example/7?x=a%2Fb%20c#d%20e/f%3F.jpg");
        assert_eq!(link("/photos/{source}", None, Some("é.png")).unwrap(), "/photos/%C3%A9.png");
        assert_eq!(
            link("/{external_id}", None, Some("a")),
            None,
            "an item without one has no link"
        );
        let text = "http://a/{id}/{source}.html";
        assert_eq!(text.parse::<LinkTemplate>().unwrap().to_string(), text);
    }

    #[test]
    fn what_is_no_template_of_links_is_refused() {
        for wrong in [
            "",
            "photos/{id}",
            "javascript:alert({id})",
            "ftp://a/{id}",
            "https://a.example/",
            "https://a.example/{name}",
            "https://a.example/{id",
            "https://a.example/{id}}",
            "https://a.example/{id} b",
            "https://a.example/\"{id}",
        ] {
            let error = wrong.parse::<LinkTemplate>().unwrap_err();
            assert!(error.contains("{external_id}"), "{wrong}: {error}");
        }
    }
}
