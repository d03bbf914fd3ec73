//! Galleries as one HTML file that needs nothing else: no network, no other file.
//!
//! The page is written as the pictures come; what stays in memory of each is its entry of the
//! index. Each picture is a JPEG and its masks as COCO run lengths in a JSON element of its own, which the
//! script decodes only while the picture is near the window. All that filters and charts need is
//! in one more JSON element, the index.
//!
//! Names of categories and files are data: they reach the page through JSON in which no `<` is
//! left, or escaped, and the script sets them as text only.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::codecs::jpeg::JpegEncoder;
use image::{ImageError, RgbImage};
use serde::Serialize;
use serde_json::{Value, json};

use super::gallery::{Instance, Picture, Source};
use super::statistics::{COVERAGE_SIDE, Coverage, SizeHistogram, Statistics};
use super::{Style, ViewError, for_each_picture};
use crate::bank::BankError;
use crate::bank::write::replace_file_with;

const PAGE: &str = include_str!("html/page.html");
const STYLE: &str = include_str!("html/style.css");
const GUARD: &str = include_str!("html/guard.js");
/// The parts of the page's one script, in their order.
const SCRIPT: [&str; 6] = [
    include_str!("html/state.js"),
    include_str!("html/picture.js"),
    include_str!("html/grid.js"),
    include_str!("html/filters.js"),
    include_str!("html/charts.js"),
    include_str!("html/start.js"),
];

/// Quality of the pictures in the page, of 100.
const JPEG_QUALITY: u8 = 82;

/// Writes at most `count` pictures of `source` as one HTML file, each with its longer side at most
/// `longest` pixels. `style` says what is switched on at first; `columns` fixes the cards in a row
/// on wide windows. No picture at all gives a page that says so. Returns what was counted.
///
/// # Errors
/// [`ViewError`] if the file cannot be written, or `progress`, which is told how many pictures are
/// done, answers to stop: then nothing is left of the file.
pub fn write_page(
    source: &mut dyn Source,
    count: u64,
    longest: u32,
    columns: Option<u32>,
    style: Style,
    path: &Path,
    progress: &mut dyn FnMut(u64) -> bool,
) -> Result<Statistics, ViewError> {
    if path.file_name().is_none() {
        return Err(ViewError::NoFileName {
            path: path.to_owned(),
        });
    }
    let mut statistics = Statistics::default();
    replace_file_with(path, |file| {
        let mut page = Page {
            out: BufWriter::with_capacity(1 << 20, file),
            path,
            entries: Vec::new(),
            statistics: Statistics::default(),
        };
        page.write(source, (count, longest), columns, style, progress)?;
        statistics = page.finish()?;
        Ok::<_, ViewError>(())
    })?;
    Ok(statistics)
}

/// A page in the making.
struct Page<'a> {
    out: BufWriter<&'a File>,
    path: &'a Path,
    /// One entry a picture, for the index.
    entries: Vec<Value>,
    statistics: Statistics,
}

impl<'a> Page<'a> {
    fn write(
        &mut self,
        source: &mut dyn Source,
        (count, longest): (u64, u32),
        columns: Option<u32>,
        style: Style,
        progress: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(), ViewError> {
        let mut rest = PAGE;
        while let Some((before, name, after)) = next_marker(rest) {
            self.text(before)?;
            match name {
                "title" => self.text(&escaped(&source.title()))?,
                "style" => self.text(STYLE)?,
                "guard" => self.text(GUARD)?,
                "script" => self.text(&SCRIPT.concat())?,
                "pictures" => for_each_picture(source, count, longest, progress, |picture| {
                    self.picture(&picture)
                })?,
                "index" => {
                    let entries = std::mem::take(&mut self.entries);
                    let index = index(source, entries, &self.statistics, columns, style);
                    self.json(&index)?;
                }
                _ => unreachable!("the page has no other marker"),
            }
            rest = after;
        }
        self.text(rest)
    }

    /// Writes one picture's element and remembers its entry of the index.
    fn picture(&mut self, picture: &Picture) -> Result<(), ViewError> {
        let number = self.entries.len();
        self.statistics.add(picture);
        self.entries.push(entry(picture));
        let payload = payload(picture).map_err(|source| ViewError::Encode {
            path: self.path.to_owned(),
            source,
        })?;
        self.text(&format!(
            "<script type=\"application/json\" id=\"picture-{number}\">"
        ))?;
        self.json(&payload)?;
        self.text("</script>\n")
    }

    /// Writes JSON that may stand inside a script element.
    fn json(&mut self, value: &impl Serialize) -> Result<(), ViewError> {
        let written = serde_json::to_writer(Embedding(&mut self.out), value);
        written.map_err(|source| self.error(source.into()))
    }

    fn text(&mut self, text: &str) -> Result<(), ViewError> {
        let written = self.out.write_all(text.as_bytes());
        written.map_err(|source| self.error(source))
    }

    fn error(&self, source: io::Error) -> ViewError {
        BankError::write(self.path, source).into()
    }

    fn finish(mut self) -> Result<Statistics, ViewError> {
        self.out.flush().map_err(|source| self.error(source))?;
        Ok(self.statistics)
    }
}

/// The text before the next `{{name}}` of the template, the name, and the text after it.
fn next_marker(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once("{{")?;
    let (name, after) = rest.split_once("}}")?;
    Some((before, name, after))
}

/// Passes JSON on with `<`, which only strings have, escaped: nothing ends or opens an element then.
struct Embedding<W>(W);

impl<W: Write> Write for Embedding<W> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        for (number, part) in text.split(|&byte| byte == b'<').enumerate() {
            if number > 0 {
                self.0.write_all(b"\\u003c")?;
            }
            self.0.write_all(part)?;
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Text that may stand in an element or an attribute.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            _ => safe.push(character),
        }
    }
    safe
}

/// What the script decodes when the picture comes near the window.
fn payload(picture: &Picture) -> Result<Value, ImageError> {
    let masks = picture.instances.iter();
    let masks: Vec<String> = masks.map(|instance| instance.mask.compressed()).collect();
    Ok(json!({"image": data_uri(&picture.image)?, "masks": masks}))
}

/// A JPEG as text; `None` for a picture without pixels.
fn data_uri(image: &RgbImage) -> Result<Option<String>, ImageError> {
    if image.is_empty() {
        return Ok(None);
    }
    let mut file = Vec::new();
    image.write_with_encoder(JpegEncoder::new_with_quality(&mut file, JPEG_QUALITY))?;
    let text = STANDARD.encode(&file);
    Ok(Some(format!("data:image/jpeg;base64,{text}")))
}

/// What the index has of a picture.
fn entry(picture: &Picture) -> Value {
    let instance = |instance: &Instance| {
        let [red, green, blue] = instance.tint;
        json!({
            "category": instance.category,
            "origin": instance.origin.name(),
            "ignored": instance.ignored,
            "crowd": instance.crowd,
            "area": instance.area,
            "box": instance.box_xyxy,
            "tint": format!("#{red:02x}{green:02x}{blue:02x}"),
        })
    };
    json!({
        "title": picture.title,
        "size": picture.size,
        "drawn": [picture.image.width(), picture.image.height()],
        "problem": picture.problem,
        "instances": picture.instances.iter().map(instance).collect::<Vec<_>>(),
    })
}

/// Everything that filters and charts need.
fn index(
    source: &dyn Source,
    entries: Vec<Value>,
    statistics: &Statistics,
    columns: Option<u32>,
    style: Style,
) -> Value {
    let problems = source.problems().iter().map(|(kind, counted)| {
        json!({"what": kind.words(), "count": counted.count, "examples": counted.examples})
    });
    json!({
        "title": source.title(),
        "columns": columns,
        "style": {"masks": style.masks, "boxes": style.boxes, "names": style.names},
        "totals": {
            "pictures": statistics.pictures,
            "missing": statistics.missing,
            "instances": statistics.instances,
            "pasted": statistics.pasted,
            "ignored": statistics.ignored,
            "crowds": statistics.crowds,
        },
        "categories": categories(statistics, source.names()),
        "sizes": {
            "own": histogram(&statistics.own_sizes),
            "pasted": histogram(&statistics.pasted_sizes),
        },
        "coverage": {
            "side": COVERAGE_SIDE,
            "own": cells(&statistics.own_coverage),
            "pasted": cells(&statistics.pasted_coverage),
        },
        "problems": problems.collect::<Vec<_>>(),
        "pictures": entries,
    })
}

/// The categories that are there, the most frequent first.
fn categories(statistics: &Statistics, names: &BTreeMap<i64, String>) -> Vec<Value> {
    let mut counts: Vec<_> = statistics.categories.iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(count.after.max(count.before)));
    let value = |(id, count): (&i64, &super::statistics::CategoryCount)| {
        let name = names.get(id).cloned();
        json!({
            "id": id,
            "name": name.unwrap_or_else(|| id.to_string()),
            "before": (statistics.before_unknown == 0).then_some(count.before),
            "after": count.after,
            "pasted": count.pasted,
        })
    };
    counts.into_iter().map(value).collect()
}

/// Pairs of bin and count.
fn histogram(sizes: &SizeHistogram) -> Vec<(u32, u64)> {
    sizes.bins().collect()
}

/// The greatest mean coverage, and all cells in thousandths of it: rare pastes cover little anywhere.
fn cells(coverage: &Coverage) -> Value {
    let most = coverage.cells().fold(0.0, f64::max);
    let scaled = |share: f64| (1000.0 * share / most).round() as u32;
    // A cell that is covered at all stays one.
    let thousandths = coverage.cells().map(|share| match share {
        0.0 => 0,
        share => scaled(share).max(1),
    });
    json!({"most": most, "cells": thousandths.collect::<Vec<u32>>()})
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::annotations::problems::Problems;
    use crate::view::gallery::tests::block;
    use crate::view::gallery::{Origin, Reduction};

    const HOSTILE: &str = "</script><img src=x onerror=alert(1)>&\"'";

    /// Pictures from memory.
    struct Given {
        names: BTreeMap<i64, String>,
        pictures: Vec<Picture>,
        problems: Problems,
    }

    impl Source for Given {
        fn title(&self) -> String {
            HOSTILE.to_owned()
        }
        fn names(&self) -> &BTreeMap<i64, String> {
            &self.names
        }
        fn total(&self) -> Option<u64> {
            None
        }
        fn choose(&mut self, _: BTreeSet<i64>) {}
        fn next(&mut self, _: u32) -> Option<Picture> {
            (!self.pictures.is_empty()).then(|| self.pictures.remove(0))
        }
        fn problems(&self) -> &Problems {
            &self.problems
        }
    }

    fn given(count: usize) -> Given {
        let reduction = Reduction::new([20, 10], 20);
        let mask = block([20, 10], [3, 2, 9, 8]);
        let pasted = reduction.instance(4, Origin::Pasted, &mask, 0).unwrap();
        let picture = Picture {
            title: HOSTILE.to_owned(),
            size: [20, 10],
            image: RgbImage::from_pixel(20, 10, image::Rgb([200, 10, 10])),
            instances: vec![pasted],
            before: Some(vec![5]),
            problem: None,
        };
        Given {
            names: BTreeMap::from([(4, HOSTILE.to_owned())]),
            pictures: vec![picture; count],
            problems: Problems::default(),
        }
    }

    fn page(source: &mut Given) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("page.html");
        let go_on = &mut |_| true;
        write_page(source, 9, 20, None, Style::default(), &path, go_on).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        std::fs::read_to_string(&path).unwrap()
    }

    /// The JSON of the element of that id.
    fn element(page: &str, id: &str) -> Value {
        let start = format!("<script type=\"application/json\" id=\"{id}\">");
        let (_, rest) = page.split_once(&start).unwrap();
        serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
    }

    #[test]
    fn the_payload_is_the_picture_and_its_masks() {
        let page = page(&mut given(2));
        let picture = element(&page, "picture-1");
        let text = picture["image"].as_str().unwrap();
        let file = STANDARD.decode(text.strip_prefix("data:image/jpeg;base64,").unwrap());
        let decoded = image::load_from_memory(&file.unwrap()).unwrap().to_rgb8();
        assert_eq!(decoded.dimensions(), (20, 10));
        assert!(decoded.get_pixel(9, 5).0[0] > 190);
        let counts = picture["masks"][0].as_str().unwrap();
        let mask = crate::annotations::rle::Rle::from_string(20, 10, counts).unwrap();
        assert_eq!(mask, block([20, 10], [3, 2, 9, 8]));
    }

    #[test]
    fn the_index_has_counts_sizes_and_instances() {
        let page = page(&mut given(2));
        let index = element(&page, "index");
        assert_eq!(index["totals"]["pictures"], 2);
        assert_eq!(index["totals"]["pasted"], 2);
        let categories = index["categories"].as_array().unwrap();
        assert_eq!(categories.len(), 2);
        assert_eq!(
            categories[0],
            json!({"id": 4, "name": HOSTILE, "before": 0, "after": 2, "pasted": 2})
        );
        assert_eq!(categories[1]["name"], "5");
        assert_eq!(index["sizes"], json!({"own": [], "pasted": [[5, 2]]}));
        let cells = index["coverage"]["pasted"]["cells"].as_array().unwrap();
        assert_eq!(cells.len(), 4096);
        assert_eq!((&cells[0], &cells[32 * 64 + 20]), (&json!(0), &json!(1000)));
        let instance = &index["pictures"][1]["instances"][0];
        assert_eq!(instance["box"], json!([3, 2, 9, 8]));
        assert_eq!(instance["origin"], "pasted");
        assert_eq!(instance["tint"], "#47a3ff");
    }

    #[test]
    fn rare_pastes_are_not_rounded_away() {
        let mut rare = given(1);
        let bare = Picture {
            instances: Vec::new(),
            image: RgbImage::new(1, 1),
            ..rare.pictures[0].clone()
        };
        rare.pictures.extend(vec![bare; 2999]);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("page.html");
        let style = Style::default();
        write_page(&mut rare, 3000, 20, None, style, &path, &mut |_| true).unwrap();
        let index = element(&std::fs::read_to_string(&path).unwrap(), "index");
        let pasted = &index["coverage"]["pasted"];
        assert_eq!(pasted["most"], json!(1.0 / 3000.0));
        assert_eq!(pasted["cells"][32 * 64 + 20], 1000);
        assert_eq!(pasted["cells"][0], 0);
        assert_eq!(index["coverage"]["own"]["most"], 0.0);
    }

    #[test]
    fn what_was_before_is_not_told_where_one_picture_does_not_know() {
        let mut source = given(2);
        source.pictures[1].before = None;
        let index = element(&page(&mut source), "index");
        assert_eq!(index["categories"][0]["before"], Value::Null);
        assert_eq!(index["categories"][0]["after"], 2);
    }

    #[test]
    fn hostile_names_stay_text() {
        let page = page(&mut given(1));
        assert!(!page.contains("<img src=x"), "a name became an element");
        assert!(page.contains("&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;&amp;&quot;&#39;"));
        // Guard, one picture, the index and the script; the names closed none of them.
        assert_eq!(page.matches("</script>").count(), 4);
        assert_eq!(page.matches("<script").count(), 4);
        assert_eq!(element(&page, "index")["categories"][0]["name"], HOSTILE);
    }

    #[test]
    fn the_page_needs_nothing_from_outside() {
        let page = page(&mut given(1));
        // The one address is a namespace's name, which nobody loads.
        let addresses = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!addresses.contains("http:") && !addresses.contains("https:"));
        assert!(!page.contains("<link") && !page.contains(" src=\"") && !page.contains("@import"));
        assert!(page.contains("default-src 'none'"));
        assert!(!page.contains("{{"), "a marker is left");
    }

    #[test]
    fn an_empty_gallery_is_a_page_and_a_stopped_one_leaves_nothing() {
        assert_eq!(
            element(&page(&mut given(0)), "index")["pictures"],
            json!([])
        );
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("page.html");
        let stop = &mut |done| done < 1;
        let style = Style::default();
        let result = write_page(&mut given(3), 3, 20, None, style, &path, stop);
        assert!(matches!(result, Err(ViewError::Stopped { pictures: 1 })));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
