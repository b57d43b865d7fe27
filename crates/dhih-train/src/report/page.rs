//! The frame of a page: HTML and style in one file that loads nothing from elsewhere.

/// A whole page.
pub(crate) fn page(title: &str, body: &str) -> String {
    let title = escape(title);
    format!(
        "<!doctype html>\n<html lang=en>\n<meta charset=utf-8>\n<meta name=viewport content=\"width=device-width\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n<h1>{title}</h1>\n{body}</html>\n"
    )
}

/// Charts side by side.
pub(super) fn charts(charts: &[String]) -> String {
    let figures: String = charts.iter().map(|svg| format!("<figure>{svg}</figure>\n")).collect();
    format!("<div class=charts>\n{figures}</div>\n")
}

/// A table of names and values.
pub(crate) fn facts(rows: &[(&str, String)]) -> String {
    let row = |(name, value): &(&str, String)| {
        format!("<tr><th>{}</th><td>{}</td></tr>\n", escape(name), escape(value))
    };
    format!("<table class=facts>\n{}</table>\n", rows.iter().map(row).collect::<String>())
}

/// A table with a header; the first column is text, the others are numbers.
pub(super) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let cells = |cells: &mut dyn Iterator<Item = &str>, tag: &str| {
        let cells = cells.map(|cell| format!("<{tag}>{}</{tag}>", escape(cell)));
        format!("<tr>{}</tr>\n", cells.collect::<String>())
    };
    let rows = rows.iter().map(|row| cells(&mut row.iter().map(String::as_str), "td"));
    let header = cells(&mut header.iter().copied(), "th");
    format!("<table class=runs>\n{header}{}</table>\n", rows.collect::<String>())
}

/// Text with HTML's special characters escaped.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

const STYLE: &str = "
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 1180px; padding: 0 1rem; color: #222; background: #fff }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2rem } h3 { font-size: 1rem }
table { border-collapse: collapse } th, td { padding: .2rem .8rem .2rem 0; text-align: left; vertical-align: top }
.facts th { font-weight: 500; color: #555; white-space: nowrap } .facts td { overflow-wrap: anywhere }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(26rem, 1fr)); gap: 0 2rem }
.runs { display: block; overflow-x: auto } .runs th { border-bottom: 1px solid #999; white-space: nowrap }
.runs td + td { font-variant-numeric: tabular-nums }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(24rem, 1fr)); gap: 1rem }
.charts figure { margin: 0 } .charts svg { width: 100%; height: auto; border: 1px solid #ddd }
.row { display: flex; gap: .3rem; margin: .3rem 0; overflow-x: auto } .row figure { margin: 0; text-align: center; font-size: 12px }
.row img { width: 64px; height: 64px; object-fit: contain; image-rendering: pixelated; border: 3px solid #ddd; display: block }
.row .query { margin-right: 1rem; width: 90px } .right img { border-color: #0072b2 } .wrong img { border-color: #d55e00 }
.note { border-left: 4px solid #d55e00; padding: .2rem .8rem; background: #fdf3ec }
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text() {
        let page = page("<script>", &facts(&[("a", "\"b\" & <c>".to_owned())]));
        assert!(!page.contains("<script>") && !page.contains("<c>"), "{page}");
        assert!(page.contains("&quot;b&quot; &amp; &lt;c&gt;"));
    }
}
