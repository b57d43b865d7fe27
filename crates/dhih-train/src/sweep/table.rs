//! The table of a sweep, in Markdown and as comma-separated values; `mod.rs` computes its content.

use super::Point;
use crate::error::{Error, Result};

/// The mean, and for two or more values the sample standard deviation.
fn mean_and_spread(values: &[f64]) -> (f64, Option<f64>) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let square = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    (mean, (values.len() > 1).then(|| (square / (n - 1.0)).sqrt()))
}

/// The table in Markdown: a line for each combination, with means over its seeds and their standard deviations.
pub fn markdown(points: &[Point]) -> String {
    let names = points.first().map_or(&[][..], |point| &point.settings);
    let names = names.iter().map(|(name, _)| format!(" {name} |")).collect::<String>();
    let rule = "---|".repeat(names.matches('|').count());
    let mut text = format!(
        "|{names} runs | validation mAP | mAP | class code | posterior | accuracy | seconds |\n\
         |{rule}---:|---:|---:|---:|---:|---:|---:|\n"
    );
    for point in points {
        let figure = |values: &[Option<f64>]| {
            let known: Vec<f64> = values.iter().flatten().copied().collect();
            let (mean, spread) = mean_and_spread(&known);
            match (known.len(), spread) {
                (0, _) => "-".to_owned(),
                (_, None) => format!("{mean:.4}"),
                (_, Some(spread)) => format!("{mean:.4} +- {spread:.4}"),
            }
        };
        let diverged = point.map.iter().filter(|map| map.is_none()).count();
        let runs = match diverged {
            0 => point.map.len().to_string(),
            diverged => format!("{} ({diverged} diverged)", point.map.len()),
        };
        let seconds = match point.seconds.is_empty() {
            true => "-".to_owned(),
            false => format!("{:.0}", mean_and_spread(&point.seconds).0),
        };
        let settings = point.settings.iter().map(|(_, value)| format!(" {value} |"));
        text += &format!(
            "|{} {runs} | {} | {} | {} | {} | {} | {seconds} |\n",
            settings.collect::<String>(),
            figure(&point.validation_map),
            figure(&point.map),
            figure(&point.class_code_map),
            figure(&point.posterior_map),
            figure(&point.accuracy)
        );
    }
    text
}

/// A header, and a line for each run. Values with a comma or a quote are quoted.
pub(super) fn csv(points: &[Point]) -> Result<String> {
    let wrong = |error: String| Error::Codes { reason: error };
    let mut writer = ::csv::Writer::from_writer(Vec::new());
    let names = points.first().map_or(&[][..], |point| &point.settings);
    let header = names.iter().map(|(name, _)| name.as_str());
    let figures = ["seed", "validation_map", "map", "class_code_map", "posterior_map", "accuracy"];
    let mut write = |row: Vec<String>| writer.write_record(row).map_err(|e| wrong(e.to_string()));
    write(header.chain(figures).map(str::to_owned).collect())?;
    for point in points {
        for (run, seed) in point.seeds.iter().enumerate() {
            let settings = point.settings.iter().map(|(_, value)| value.clone());
            let figures = [
                &point.validation_map,
                &point.map,
                &point.class_code_map,
                &point.posterior_map,
                &point.accuracy,
            ];
            let figures =
                figures.map(|values| values[run].map(|x| x.to_string()).unwrap_or_default());
            write(settings.chain([seed.to_string()]).chain(figures).collect())?;
        }
    }
    let bytes = writer.into_inner().map_err(|error| wrong(error.to_string()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_table_has_means_spreads_and_what_diverged() {
        let point = |loss: &str, map: &[Option<f64>]| Point {
            settings: vec![("loss".to_owned(), loss.to_owned())],
            seeds: (0..map.len() as u64).collect(),
            map: map.to_vec(),
            validation_map: map.iter().map(|map| map.map(|map| map - 0.1)).collect(),
            class_code_map: vec![None; map.len()],
            posterior_map: vec![None; map.len()],
            accuracy: map.to_vec(),
            seconds: vec![10.0, 20.0],
        };
        let points = [point("hi", &[Some(0.5), Some(0.7)]), point("csq", &[Some(0.25), None])];
        let text = markdown(&points);
        assert!(
            text.contains(
                "| hi | 2 | 0.5000 +- 0.1414 | 0.6000 +- 0.1414 | - | - | 0.6000 +- 0.1414 | 15 |"
            ),
            "{text}"
        );
        assert!(
            text.contains("| csq | 2 (1 diverged) | 0.1500 | 0.2500 | - | - | 0.2500 | 15 |"),
            "{text}"
        );
        let quoted = point("a, \"b\"", &[None]);
        let table = csv(&[points[0].clone(), points[1].clone(), quoted]).unwrap();
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines[4..], ["csq,1,,,,,", "\"a, \"\"b\"\"\",0,,,,,"]);
        assert_eq!(points[0].name(3), Path::new("loss-hi_seed-3"));
    }
}
