//! The page for reviewing duplicates: one HTML file with thumbnails. The groups are one below the other, and the pictures of a group side by
//! side. The reviewer can change which pictures should go, and take the list from the page.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dhih_model::InputShape;
use dhih_model::image::PictureReader;
use dhih_model::walk::{self, text_of};
use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;
use rayon::prelude::*;

use crate::dedup::groups::{DuplicateGroup, Duplicates, Member};
use crate::dedup::hashes::Picture;
use crate::report::page::{escape, facts, page as frame};

/// The longest side of a thumbnail, in pixels.
const SIDE: usize = 160;
/// The quality of its JPEG.
const QUALITY: u8 = 75;
/// PDQ's own programs do not compare pictures of lower quality.
const LOW_QUALITY: u32 = 50;

/// The content of a page.
pub struct Review<'a> {
    /// The title.
    pub title: &'a str,
    /// Names and values at the top.
    pub facts: &'a [(&'a str, String)],
    /// The pictures that were grouped.
    pub pictures: &'a [Picture],
    /// The pictures from which the kept ones are; the same list where pictures were compared among themselves.
    pub kept: &'a [Picture],
    /// The groups of duplicates.
    pub duplicates: &'a Duplicates,
    /// The most groups that are shown. The page tells how many more there are.
    pub most_groups: usize,
    /// The decoder for thumbnails.
    pub reader: &'a PictureReader,
}

/// The page as HTML. A picture that can no longer be read is named but not shown.
pub fn page(review: &Review) -> String {
    let groups = &review.duplicates.groups;
    let shown = &groups[..groups.len().min(review.most_groups)];
    let sections: Vec<String> =
        (1..=shown.len()).into_par_iter().map(|number| section(review, number)).collect();
    let note = match groups.len() - shown.len() {
        0 => String::new(),
        more => format!(
            "<p class=note>{more} more groups are not shown here; the list has them. <code>--show</code> shows more.</p>\n"
        ),
    };
    let body = match groups.is_empty() {
        true => "<p>No duplicates were found.</p>\n".to_owned(),
        false => format!("{TOOLS}{}{note}<script>{SCRIPT}</script>\n", sections.concat()),
    };
    frame(review.title, &format!("<style>{STYLE}</style>\n{}{body}", facts(review.facts)))
}

/// A group, with its number from 1.
fn section(review: &Review, number: usize) -> String {
    let DuplicateGroup { kept, others, diameter } = &review.duplicates.groups[number - 1];
    let kept = figure(review, &review.kept[*kept], None);
    let others: String = others
        .iter()
        .map(|member| figure(review, &review.pictures[member.picture], Some(member)))
        .collect();
    let count = 1 + review.duplicates.groups[number - 1].others.len();
    format!(
        "<section><h2>Group {number}: {count} pictures, diameter {diameter}</h2>\n<div class=group>{kept}{others}</div></section>\n"
    )
}

/// A picture with its name and properties; the kept one where it is not a member.
fn figure(review: &Review, picture: &Picture, member: Option<&Member>) -> String {
    let name = escape(&text_of(picture.path.as_os_str()));
    let image = match thumbnail(&picture.path, review.reader) {
        Some(jpeg) => {
            let data = STANDARD.encode(jpeg);
            format!("<img src=\"data:image/jpeg;base64,{data}\" alt=\"\" loading=lazy>")
        }
        None => "<span class=missing>cannot be shown</span>".to_owned(),
    };
    let Picture { width, height, bytes, quality, .. } = picture;
    let low = quality.is_some_and(|quality| quality < LOW_QUALITY);
    let quality = quality.map(|quality| format!(", quality {quality}")).unwrap_or_default();
    let low = if low { " (there is little to see in it)" } else { "" };
    let facts = format!("{width} × {height}, {}{quality}{low}", size(*bytes));
    match member {
        None => format!(
            "<figure class=kept>{image}<figcaption><b>kept</b> <span class=name>{name}</span><br>{facts}</figcaption></figure>"
        ),
        Some(Member { distance, .. }) => format!(
            "<figure>{image}<figcaption><label><input type=checkbox checked data-path=\"{name}\"> distance {distance}</label> \
             <span class=name>{name}</span><br>{facts}</figcaption></figure>"
        ),
    }
}

/// A thumbnail as JPEG; `None` where the file is no longer a picture.
fn thumbnail(path: &Path, reader: &PictureReader) -> Option<Vec<u8>> {
    let bytes = walk::read_picture(path, reader.limits()).ok()?;
    let square = InputShape::new(SIDE, SIDE, 3);
    let picture = reader.picture(&bytes, square).ok()?;
    let (width, height) = (picture.width(), picture.height());
    let longest = width.max(height);
    let scaled = |side: usize| if longest > SIDE { (side * SIDE / longest).max(1) } else { side };
    let shape = InputShape::new(scaled(height), scaled(width), 3);
    let (pixels, mut jpeg) = (picture.fit(shape), Vec::new());
    let encoder = JpegEncoder::new_with_quality(&mut jpeg, QUALITY);
    let mut encoder = encoder;
    let (width, height) = (shape.width as u32, shape.height as u32);
    encoder.encode(&pixels, width, height, ExtendedColorType::Rgb8).ok()?;
    Some(jpeg)
}

/// A file size for people.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.0} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

const TOOLS: &str = "<p class=tools><button type=button id=save>Save the list of ticked pictures</button> <span id=count></span></p>\n";

const SCRIPT: &str = "
const boxes = [...document.querySelectorAll('input[data-path]')];
const ticked = () => [...new Set(boxes.filter(box => box.checked).map(box => box.dataset.path))];
const count = () => document.getElementById('count').textContent = ticked().length + ' pictures are ticked';
boxes.forEach(box => box.addEventListener('change', count));
count();
document.getElementById('save').addEventListener('click', () => {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([ticked().map(path => path + '\\n').join('')], { type: 'text/plain' }));
  link.download = 'delete.txt';
  link.click();
  URL.revokeObjectURL(link.href);
});
";

const STYLE: &str = "
.tools { position: sticky; top: 0; background: #fff; padding: .5rem 0; border-bottom: 1px solid #ddd }
section { border-top: 1px solid #ddd } section h2 { margin: 1rem 0 .5rem }
.group { display: grid; grid-template-columns: repeat(auto-fill, minmax(180px, 1fr)); gap: .8rem; margin-bottom: 1.2rem }
.group figure { margin: 0; padding: .5rem; border: 2px solid #ddd; border-radius: 4px; font-size: 12px }
.group figure.kept { border-color: #0072b2; background: #eef6fb } .group img { max-width: 100%; height: 160px; object-fit: contain; display: block }
.group .name { overflow-wrap: anywhere } .group figcaption { margin-top: .4rem; color: #555 } .group b { color: #0072b2 }
.missing { display: block; height: 160px; color: #999 }
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_readable() {
        assert_eq!([999, 1_500, 2_340_000].map(size), ["999 B", "2 kB", "2.3 MB"]);
    }
}
