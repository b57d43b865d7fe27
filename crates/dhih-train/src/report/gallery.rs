//! Queries with their nearest neighbours, relevant and not, as pictures within the page.

use dhih_index::{CodeSet, Flat, Labels};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;

use super::page::escape;
use super::png;
use crate::error::{Error, Result};
use crate::run::run_dir::RunDir;

/// The number of neighbours that are shown for a query.
const NEIGHBOURS: usize = 10;
/// The number of queries that are shown at even distances.
const SPACED: usize = 12;
/// The number of queries that are shown because they have the fewest relevant neighbours.
const WORST: usize = 6;

/// The gallery as HTML. It says so where the run has no pictures.
pub(super) fn gallery(run: &RunDir, database: &CodeSet, queries: &CodeSet) -> Result<String> {
    let path = run.file(RunDir::GALLERY);
    let Ok(bytes) = std::fs::read(&path) else {
        return Ok(format!("<p>The run has no {}.</p>", RunDir::GALLERY));
    };
    let damaged = |error: &dyn std::fmt::Display| Error::Run {
        path: path.clone(),
        reason: error.to_string(),
    };
    let tensors = SafeTensors::deserialize(&bytes).map_err(|error| damaged(&error))?;
    let part = |name: &str, codes: usize| {
        let tensor = tensors.tensor(name).map_err(|error| damaged(&error))?;
        match *tensor.shape() {
            [n, height, width, channels @ (1 | 3)] if n == codes || n == 0 => {
                Ok(Pictures { tensor, count: n, height, width, channels })
            }
            _ => Err(damaged(&format!("its pictures {name:?} are not one a code"))),
        }
    };
    let pictures = part("database", database.codes.len())?;
    let asked = part("queries", queries.codes.len())?;

    let flat = Flat::new(&database.codes);
    let hits = flat.knn_batch(&queries.codes, NEIGHBOURS)?;
    let is_right = |query: usize, item: u64| shares_label(queries, query, database, item as usize);
    let right: Vec<usize> = hits
        .iter()
        .enumerate()
        .map(|(query, hits)| hits.iter().filter(|hit| is_right(query, hit.id)).count())
        .collect();
    let row = |query: &usize| -> Result<String> {
        let label = name_of(queries, *query);
        let mut html = format!(
            "<div class=row><figure class=query>{}<figcaption>{}</figcaption></figure>",
            asked.html(*query, &label)?,
            escape(&label)
        );
        for hit in &hits[*query] {
            let label = name_of(database, hit.id as usize);
            let class = if is_right(*query, hit.id) { "right" } else { "wrong" };
            let picture = pictures.html(hit.id as usize, &label)?;
            html += &format!(
                "<figure class={class}>{picture}<figcaption>{}</figcaption></figure>",
                hit.distance
            );
        }
        Ok(html + "</div>\n")
    };
    let n = queries.codes.len();
    let spaced: Vec<usize> = (0..SPACED.min(n)).map(|i| i * n / SPACED.min(n)).collect();
    let mut worst: Vec<usize> = (0..n).collect();
    worst.sort_by_key(|query| right[*query]);
    worst.truncate(WORST);
    let rows = |queries: &[usize]| queries.iter().map(row).collect::<Result<String>>();
    Ok(format!(
        "<p>Left the query, then its {NEIGHBOURS} nearest neighbours with their Hamming distances; blue: a label is \
         shared, orange: none is.</p>\n{}<h3>Queries with the fewest right neighbours</h3>\n{}",
        rows(&spaced)?,
        rows(&worst)?
    ))
}

struct Pictures<'a> {
    tensor: TensorView<'a>,
    count: usize,
    height: usize,
    width: usize,
    channels: usize,
}

impl Pictures<'_> {
    fn html(&self, i: usize, label: &str) -> Result<String> {
        let Self { tensor, count, height, width, channels } = self;
        if i >= *count {
            // A run with many images keeps thumbnails of its queries only.
            return Ok(format!("<span>{}</span>", escape(label)));
        }
        let pixels = &tensor.data()[i * height * width * channels..][..height * width * channels];
        let (uri, label) = (png::data_uri(pixels, [*height, *width, *channels])?, escape(label));
        Ok(format!("<img src=\"{uri}\" alt=\"{label}\" title=\"{label}\">"))
    }
}

fn shares_label(queries: &CodeSet, query: usize, database: &CodeSet, item: usize) -> bool {
    match (&queries.labels, &database.labels) {
        (Some(Labels::Single(queries)), Some(Labels::Single(items))) => {
            queries[query] != Labels::NONE && queries[query] == items[item]
        }
        (
            Some(Labels::MultiHot { classes, values: queries }),
            Some(Labels::MultiHot { values: items, .. }),
        ) => {
            let of = |values: &'_ [u8], i: usize| values[i * classes..][..*classes].to_vec();
            of(queries, query).iter().zip(of(items, item)).any(|(a, b)| a & b != 0)
        }
        _ => false,
    }
}

/// The names of an item's classes, or their numbers.
fn name_of(set: &CodeSet, item: usize) -> String {
    let name = |class: usize| set.classes.get(class).cloned().unwrap_or_else(|| class.to_string());
    match &set.labels {
        Some(Labels::Single(labels)) => {
            usize::try_from(labels[item]).map_or_else(|_| "no label".to_owned(), name)
        }
        Some(Labels::MultiHot { classes, values }) => {
            let row = &values[item * classes..][..*classes];
            let set = row.iter().enumerate().filter(|(_, bit)| **bit != 0);
            set.map(|(class, _)| name(class)).collect::<Vec<_>>().join(", ")
        }
        Some(_) | None => String::new(),
    }
}
