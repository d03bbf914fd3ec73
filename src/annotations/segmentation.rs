//! From an annotation's `segmentation` to its mask, as pycocotools does it.

use serde::Deserialize;

use super::polygon::polygon_to_rle;
use super::problems::{Problem, ProblemKind};
use super::rle::Rle;

/// COCO's run lengths: a list, or compressed text.
#[derive(Deserialize)]
struct RunLengths {
    size: [u32; 2],
    counts: Counts,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Counts {
    List(Vec<u32>),
    Text(String),
}

/// Numbers of a polygon part that pycocotools takes for a polygon: three points.
const LEAST_NUMBERS: usize = 6;

/// The mask that a segmentation's JSON text gives in an image of that size. Degenerate polygon
/// parts are reported and left out; `None`, with a reported problem, if nothing is left.
pub(crate) fn mask(
    text: &str,
    [width, height]: [u32; 2],
    mut report: impl FnMut(ProblemKind, String),
) -> Option<Rle> {
    let result = if text.trim_start().starts_with('{') {
        run_lengths(text, width, height)
    } else {
        match polygons(text, width, height, &mut report) {
            Ok(None) => return None,
            Ok(Some(mask)) => Ok(mask),
            Err(problem) => Err(problem),
        }
    };
    match result {
        Ok(mask) if mask.area() == 0 => {
            report(ProblemKind::EmptyMask, "the mask has no pixel".into());
            None
        }
        Ok(mask) => Some(mask),
        Err(problem) => {
            report(ProblemKind::MalformedSegmentation, problem);
            None
        }
    }
}

fn run_lengths(text: &str, width: u32, height: u32) -> Result<Rle, String> {
    let run_lengths: RunLengths = serde_json::from_str(text)
        .map_err(|error| format!("no run lengths of the form {{size, counts}}: {error}"))?;
    if run_lengths.size != [height, width] {
        return Err(format!(
            "run lengths of size {:?}; [{height}, {width}] was expected",
            run_lengths.size
        ));
    }
    let mask = match run_lengths.counts {
        Counts::List(counts) => Rle::from_counts(width, height, counts),
        Counts::Text(text) => Rle::from_string(width, height, &text),
    };
    mask.map_err(|error| error.to_string())
}

fn polygons(
    text: &str,
    width: u32,
    height: u32,
    report: &mut impl FnMut(ProblemKind, String),
) -> Result<Option<Rle>, String> {
    let parts: Vec<Vec<f64>> = serde_json::from_str(text)
        .map_err(|error| format!("no list of polygons, each a list of numbers: {error}"))?;
    if parts.is_empty() {
        report(
            ProblemKind::EmptyMask,
            "the list of polygons is empty".into(),
        );
        return Ok(None);
    }
    let mut masks = Vec::with_capacity(parts.len());
    for (number, part) in parts.iter().enumerate() {
        if part.len() < LEAST_NUMBERS {
            let problem = format!("part {number} has {} points; 3 are needed", part.len() / 2);
            report(ProblemKind::DegeneratePolygon, problem);
            continue;
        }
        let mask = polygon_to_rle(part, width, height)
            .map_err(|error| format!("part {number}: {error}"))?;
        masks.push(mask);
    }
    if masks.is_empty() {
        report(ProblemKind::EmptyMask, "no polygon part is left".into());
        return Ok(None);
    }
    Rle::union(&masks)
        .map(Some)
        .map_err(|error| error.to_string())
}

/// A problem's text with the annotation in front.
pub(super) fn of_annotation(id: i64, image: &str, kind: ProblemKind, text: String) -> Problem {
    Problem::new(kind, format!("annotation {id} of {image}: {text}"))
}
