//! Charts as SVG text: lines, bars and a matrix, in colours that colour-blind readers can distinguish.

use std::ops::Range;

use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use super::png;
use crate::error::{Error, Result};

/// Width and height of a chart, in pixels.
const SIZE: (u32, u32) = (560, 340);
const FONT: &str = "sans-serif";

/// The palette of Okabe and Ito (2008), the strongest colours first.
const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(120, 120, 120),
    RGBColor(0, 0, 0),
];

/// The titles of a chart and its axes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Titles<'a> {
    pub(super) title: &'a str,
    pub(super) x: &'a str,
    pub(super) y: &'a str,
}

/// A named sequence of points.
#[derive(Debug, Clone)]
pub(super) struct Series {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// How the x axis is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    /// The axis is from 0 to 1.
    Unit,
    /// The axis has integers.
    Whole,
    Logarithmic,
}

/// Lines through points. The y axis covers the range `y`, or that of the points where `y` is absent.
pub(super) fn lines(
    titles: Titles<'_>,
    series: &[Series],
    scale: Scale,
    y: Option<(f64, f64)>,
) -> Result<String> {
    let at =
        |x: f64| if scale == Scale::Logarithmic { x.max(f64::MIN_POSITIVE).log10() } else { x };
    let points = || series.iter().flat_map(|series| &series.points);
    let xs = match scale {
        Scale::Unit => (0.0, 1.0),
        _ => range(points().map(|(x, _)| at(*x))),
    };
    let (low, high) = y.unwrap_or_else(|| range(points().map(|(_, y)| *y)));
    drawn(|root| {
        let mut chart = frame(root, titles, (xs.0..xs.1, low..high))?;
        let is_whole = |x: f64| (x - x.round()).abs() < 1e-6;
        let label = |x: &f64| match scale {
            Scale::Unit => short(*x),
            Scale::Whole if !is_whole(*x) => String::new(),
            Scale::Whole => short(x.round()),
            Scale::Logarithmic if !is_whole(*x) => String::new(),
            Scale::Logarithmic => short(10f64.powf(x.round())),
        };
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .x_desc(titles.x)
            .y_desc(titles.y)
            .x_label_formatter(&label)
            .y_label_formatter(&|y| short(*y))
            .draw()?;
        for (Series { name, points }, colour) in series.iter().zip(COLOURS.iter().cycle()) {
            let line = points.iter().map(|(x, y)| (at(*x), *y));
            let drawn = chart.draw_series(LineSeries::new(line, colour.stroke_width(2)))?;
            if series.len() > 1 {
                let mark = move |(x, y)| {
                    PathElement::new(vec![(x, y), (x + 14, y)], colour.stroke_width(2))
                };
                drawn.label(name).legend(mark);
            }
        }
        if series.len() > 1 {
            legend(&mut chart)?;
        }
        Ok(())
    })
}

/// Bars at 0, 1, 2 and so on. Those of several series overlap.
pub(super) fn bars(titles: Titles<'_>, series: &[(&str, Vec<f64>)]) -> Result<String> {
    let count = series.iter().map(|(_, values)| values.len()).max().unwrap_or(0).max(1);
    let highest = series.iter().flat_map(|(_, values)| values).copied().fold(0.0, f64::max);
    drawn(|root| {
        let area = (-0.5..count as f64 - 0.5, 0.0..(highest * 1.05).max(1e-9));
        let mut chart = frame(root, titles, area)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(WHITE)
            .x_desc(titles.x)
            .y_desc(titles.y)
            .x_label_formatter(&|x| short(x.round()))
            .y_label_formatter(&|y| short(*y))
            .draw()?;
        for ((name, values), colour) in series.iter().zip(&COLOURS) {
            let style = colour.mix(0.6).filled();
            let bar = |(i, value): (usize, &f64)| {
                Rectangle::new([(i as f64 - 0.45, 0.0), (i as f64 + 0.45, *value)], style)
            };
            let drawn = chart.draw_series(values.iter().enumerate().map(bar))?;
            if series.len() > 1 {
                drawn
                    .label(*name)
                    .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], style));
            }
        }
        if series.len() > 1 {
            legend(&mut chart)?;
        }
        Ok(())
    })
}

/// A square matrix of values from -1 to 1: blue below 0, orange above, white at 0. Its cells are the pixels of one picture: a rectangle for each of
/// them would make a page of 100 MB for codes of 1,024 bits.
pub(super) fn matrix(titles: Titles<'_>, values: &[Vec<f64>]) -> Result<String> {
    let n = values.len() as f64;
    let pixels: Vec<u8> = values.iter().flatten().flat_map(|value| colour_of(*value)).collect();
    let picture = png::data_uri(&pixels, [values.len(), values.len(), 3])?;
    let mut place = (0..0, 0..0);
    let svg = drawn(|root| {
        let mut chart = frame(root, titles, (0.0..n, n..0.0))?;
        chart
            .configure_mesh()
            .disable_mesh()
            .x_desc(titles.x)
            .y_desc(titles.y)
            .x_label_formatter(&|x| short(*x))
            .y_label_formatter(&|y| short(*y))
            .draw()?;
        place = chart.plotting_area().get_pixel_range();
        Ok(())
    })?;
    let (x, y) = place;
    let image = format!(
        "<image x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" preserveAspectRatio=\"none\" style=\"image-rendering:pixelated\" href=\"{picture}\"/>\n",
        x.start,
        y.start,
        x.len(),
        y.len()
    );
    Ok(svg.replace("</svg>", &format!("{image}</svg>")))
}

/// The colour of a value from -1 to 1 on a white ground.
fn colour_of(value: f64) -> [u8; 3] {
    let RGBColor(red, green, blue) = if value < 0.0 { COLOURS[0] } else { COLOURS[1] };
    let part = value.abs().min(1.0);
    [red, green, blue].map(|strong| (255.0 - part * (255.0 - f64::from(strong))).round() as u8)
}

type Root<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'r, 'a> = ChartContext<'r, SVGBackend<'a>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;
type Failure = Box<dyn std::error::Error>;

/// A chart with its title, axes and margins around the area of `x` and `y`.
fn frame<'r, 'a>(
    root: &'r Root<'a>,
    titles: Titles<'_>,
    (x, y): (Range<f64>, Range<f64>),
) -> Result<Chart<'r, 'a>, Failure> {
    let mut builder = ChartBuilder::on(root);
    builder.caption(titles.title, (FONT, 16)).margin(12);
    builder.x_label_area_size(38).y_label_area_size(52);
    Ok(builder.build_cartesian_2d(x, y)?)
}

/// Draws the names of the series.
fn legend<'r, 'a: 'r>(chart: &mut Chart<'r, 'a>) -> Result<(), Failure> {
    let mut labels = chart.configure_series_labels();
    Ok(labels.background_style(WHITE.mix(0.8)).label_font((FONT, 12)).draw()?)
}

/// The SVG of what `draw` draws.
fn drawn(draw: impl FnOnce(&Root<'_>) -> Result<(), Failure>) -> Result<String> {
    let mut text = String::new();
    let painted = {
        let root = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        let painted = root.fill(&WHITE).map_err(Failure::from);
        painted.and_then(|()| draw(&root)).and_then(|()| Ok(root.present()?))
    };
    painted.map_err(|error| Error::Chart { reason: error.to_string() })?;
    Ok(text)
}

/// The least and the greatest value, moved apart where they are equal.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let finite = values.filter(|value| value.is_finite());
    let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    match low.partial_cmp(&high) {
        Some(std::cmp::Ordering::Less) => (low, high),
        Some(std::cmp::Ordering::Equal) => (low - 0.5, high + 0.5),
        _ => (0.0, 1.0),
    }
}

/// Three digits, with an abbreviation for thousands.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 1e6 => format!("{:.1}M", value / 1e6).replace(".0M", "M"),
        size if size >= 1e3 => format!("{:.1}k", value / 1e3).replace(".0k", "k"),
        size if size >= 10.0 || value == value.round() => format!("{value:.0}"),
        size if size >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TITLES: Titles<'_> = Titles { title: "A & B", x: "rank", y: "precision" };

    #[test]
    fn every_kind_is_drawn_with_its_titles_and_legend() {
        let series = ["first", "second"].map(|name| Series {
            name: name.to_owned(),
            points: vec![(1.0, 0.5), (10.0, 0.25), (1000.0, 0.1)],
        });
        let line = lines(TITLES, &series, Scale::Logarithmic, Some((0.0, 1.0))).unwrap();
        let bar = bars(TITLES, &[("first", vec![0.1, 0.9]), ("second", vec![0.5])]).unwrap();
        for svg in [&line, &bar] {
            assert!(svg.contains("first") && svg.contains("second") && svg.contains("rank"));
            assert!(svg.contains("A &amp; B") && svg.ends_with("</svg>\n"), "{svg}");
        }
        assert!(line.contains("polyline") && bar.contains("rect"));
    }

    #[test]
    fn a_matrix_is_one_picture_of_its_cells() {
        let strip = |svg: &str| svg.lines().filter(|line| !line.contains("<image")).count();
        let small = matrix(TITLES, &[vec![1.0, -0.5], vec![-0.5, 1.0]]).unwrap();
        assert!(small.contains("A &amp; B") && small.ends_with("</svg>\n"), "{small}");
        let wanted = "href=\"data:image/png;base64,";
        assert_eq!(small.matches(wanted).count(), 1, "{small}");
        let (_, data) = small.split_once(wanted).unwrap();
        let png = base64::Engine::decode(
            &base64::engine::general_purpose::STANDARD,
            data.split_once('"').unwrap().0,
        );
        let picture = image::load_from_memory(&png.unwrap()).unwrap().into_rgb8();
        let expected = [[213, 94, 0], [128, 185, 217], [128, 185, 217], [213, 94, 0]];
        assert_eq!(picture.as_raw()[..], expected.concat()[..]);
        // A large one has no more elements, and the page stays small.
        let noise = |i: usize| ((i * 7919) % 1009) as f64 / 1009.0 - 0.5;
        let values: Vec<Vec<f64>> = (0..1024)
            .map(|row| (0..1024).map(|column| noise(row * 1024 + column)).collect())
            .collect();
        let large = matrix(TITLES, &values).unwrap();
        assert!(large.len() < 5_000_000, "{} bytes", large.len());
        assert!(strip(&large) < strip(&small) + 40);
    }

    #[test]
    fn nothing_and_single_points_have_axes_too() {
        for points in [vec![], vec![(3.0, 0.7)], vec![(1.0, f64::NAN)]] {
            let series = [Series { name: String::new(), points }];
            assert!(lines(TITLES, &series, Scale::Whole, None).unwrap().contains("svg"));
        }
        assert!(bars(TITLES, &[]).is_ok());
    }

    #[test]
    fn labels_are_short() {
        let values = [0.0, 1.0, 0.25, 0.003, 50.0, 2500.0, 1e4, 2e6];
        let expected = ["0", "1", "0.25", "0.003", "50", "2.5k", "10k", "2M"];
        assert_eq!(values.map(short), expected);
    }
}
