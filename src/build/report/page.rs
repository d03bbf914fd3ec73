//! The report as a page: the table of counts, and the sheets below it.

use super::{FilterReport, cells, heads};

const STYLE: &str = "body{background:#18191d;color:#e8eaed;font:15px/1.5 system-ui,sans-serif;\
    margin:2rem}table{border-collapse:collapse}td,th{padding:.2rem .8rem;text-align:right;\
    border-bottom:1px solid #383b40}td:first-child,th:first-child{text-align:left}\
    a{color:#8ab4f8}img{display:block;max-width:100%;margin:1rem 0}";

/// The page; `sheets` are the names of each category's sheets, which lie beside it.
pub(super) fn page(report: &FilterReport, sheets: &[Vec<String>]) -> String {
    let rules = report.rules();
    let total = report.total();
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <title>Choosing and filtering</title><style>{STYLE}</style></head><body>\n\
         <h1>{} of {} images kept</h1>\n<table>\n",
        total.kept, total.came
    );
    page += &row("th", heads(&rules).map(str::to_owned));
    for category in &report.categories {
        let mut cells = cells(category, &rules)
            .into_iter()
            .map(|cell| escaped(&cell));
        let name = cells.next().unwrap_or_default();
        let link = format!("<a href=\"#c{}\">{name}</a>", category.id);
        page += &row("td", std::iter::once(link).chain(cells));
    }
    page += &row("th", cells(&total, &rules).into_iter());
    page += "</table>\n";
    for (category, sheets) in report.categories.iter().zip(sheets) {
        let (id, name) = (category.id, escaped(&category.name));
        page += &format!("<h2 id=\"c{id}\">{name}</h2>\n");
        for sheet in sheets {
            let sheet = escaped(sheet);
            page += &format!("<img loading=\"lazy\" src=\"{sheet}\" alt=\"{sheet}\">\n");
        }
    }
    page + "</body></html>\n"
}

fn row(cell: &str, texts: impl Iterator<Item = String>) -> String {
    let cells: String = texts
        .map(|text| format!("<{cell}>{text}</{cell}>"))
        .collect();
    format!("<tr>{cells}</tr>\n")
}

fn escaped(text: &str) -> String {
    let escape = |letter: char| match letter {
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        '"' => "&quot;".to_owned(),
        other => other.to_string(),
    };
    text.chars().map(escape).collect()
}
