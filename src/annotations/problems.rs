//! What is wrong with a data set, counted by kind.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The kinds of problems that packing meets and goes on after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    /// Two images with one id: the later one is left out.
    DuplicateImageId,
    /// Two categories with one id: the later one is left out.
    DuplicateCategoryId,
    /// Two annotations with one id: the later one is left out.
    DuplicateAnnotationId,
    /// An annotation of an image that is not listed: left out.
    UnknownImage,
    /// An annotation of a category that is not listed: left out.
    UnknownCategory,
    /// No `iscrowd` in a data set that has it elsewhere: taken as 0.
    MissingIscrowd,
    /// A key that was surely meant to be `iscrowd`: its value is taken.
    MisspeltIscrowd,
    /// The image file is not there: the image is left out.
    MissingFile,
    /// The image file cannot be decoded: the image is left out.
    UndecodableImage,
    /// The image has more pixels than allowed: it is left out.
    TooManyPixels,
    /// The image is larger or smaller than annotated: it is left out.
    SizeMismatch,
    /// A polygon part of fewer than three points: the part is left out.
    DegeneratePolygon,
    /// A segmentation that is neither polygons nor run lengths of the image: the annotation is
    /// left out.
    MalformedSegmentation,
    /// A mask without a pixel: the annotation is left out.
    EmptyMask,
    /// The annotated box lies outside the image, wholly or by more than a pixel: the mask, which
    /// lies inside, is taken all the same.
    BoxOutside,
    /// A transparent picture without an opaque pixel: it is left out.
    NothingOpaque,
    /// So many pictures without a chosen category that no further ones were looked at.
    SearchGivenUp,
}

impl ProblemKind {
    /// The kind in words.
    pub fn words(self) -> &'static str {
        match self {
            ProblemKind::DuplicateImageId => "duplicate image ids",
            ProblemKind::DuplicateCategoryId => "duplicate category ids",
            ProblemKind::DuplicateAnnotationId => "duplicate annotation ids",
            ProblemKind::UnknownImage => "annotations of unknown images",
            ProblemKind::UnknownCategory => "annotations of unknown categories",
            ProblemKind::MissingIscrowd => "missing iscrowd",
            ProblemKind::MisspeltIscrowd => "misspelt iscrowd",
            ProblemKind::MissingFile => "missing image files",
            ProblemKind::UndecodableImage => "undecodable images",
            ProblemKind::TooManyPixels => "images with too many pixels",
            ProblemKind::SizeMismatch => "images of another size than annotated",
            ProblemKind::DegeneratePolygon => "degenerate polygon parts",
            ProblemKind::MalformedSegmentation => "malformed segmentations",
            ProblemKind::EmptyMask => "empty masks",
            ProblemKind::BoxOutside => "boxes outside their image",
            ProblemKind::NothingOpaque => "pictures without an opaque pixel",
            ProblemKind::SearchGivenUp => "searches that were given up",
        }
    }
}

/// One problem: what it is, where, and what was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// Its kind.
    pub kind: ProblemKind,
    /// The image or annotation, and what was found and expected.
    pub text: String,
}

impl Problem {
    pub(crate) fn new(kind: ProblemKind, text: impl Into<String>) -> Problem {
        Problem {
            kind,
            text: text.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.kind.words(), self.text)
    }
}

/// How many examples of each kind are kept.
const EXAMPLES: usize = 5;

/// Problems counted by kind, the first few of each in words.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Problems {
    kinds: BTreeMap<ProblemKind, Counted>,
}

/// One kind's count and its first examples.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counted {
    /// How often it was met.
    pub count: u64,
    /// The first few.
    pub examples: Vec<String>,
}

impl Problems {
    /// Counts one problem.
    pub fn add(&mut self, problem: Problem) {
        let counted = self.kinds.entry(problem.kind).or_default();
        counted.count += 1;
        if counted.examples.len() < EXAMPLES {
            counted.examples.push(problem.text);
        }
    }

    /// How often a kind was met.
    pub fn count(&self, kind: ProblemKind) -> u64 {
        self.kinds.get(&kind).map_or(0, |counted| counted.count)
    }

    /// All kinds that were met.
    pub fn iter(&self) -> impl Iterator<Item = (ProblemKind, &Counted)> {
        self.kinds.iter().map(|(&kind, counted)| (kind, counted))
    }

    /// The first example of the first kind.
    pub fn first(&self) -> Option<Problem> {
        let (&kind, counted) = self.kinds.first_key_value()?;
        let text = counted.examples.first()?.clone();
        Some(Problem { kind, text })
    }

    /// Whether there were none.
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, counted) in self.iter() {
            writeln!(formatter, "{:>8}  {}", counted.count, kind.words())?;
            for example in &counted.examples {
                writeln!(formatter, "{:>10}{example}", "")?;
            }
            if counted.count > counted.examples.len() as u64 {
                writeln!(formatter, "{:>10}…", "")?;
            }
        }
        Ok(())
    }
}
