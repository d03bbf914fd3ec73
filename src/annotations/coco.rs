//! COCO and LVIS instance files, read in one pass.
//!
//! Such files grow past a gigabyte, nearly all of it outlines. Reading keeps one small record per
//! annotation in memory; the `segmentation` texts go to an unnamed temporary file, from which they
//! are read back image by image. Numbers are parsed to the nearest double, as Python does, since
//! outlines must give pycocotools' masks to the bit.

mod json;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::hash::Hasher;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::de::DeserializeSeed;
use serde_json::{Map, Value};
use twox_hash::XxHash3_64;

use super::problems::{Problem, ProblemKind, Problems};
use super::rle::Rle;
use super::segmentation;
use crate::bank::Category;
use json::{AnnotationJson, TopLevel};

/// An annotated data set, read and indexed; its outlines stay on disk.
#[derive(Debug)]
pub struct DataSet {
    /// The images, in the file's order.
    pub images: Vec<ImageRecord>,
    /// The categories, with all their keys.
    pub categories: Vec<Category>,
    /// The file's `info` and `licenses`, if it has them.
    pub other: Map<String, Value>,
    /// What was wrong with ids and keys.
    pub problems: Problems,
    /// XXH3-64 of the whole file, as 16 hexadecimal digits.
    pub xxh3: String,
    /// Sorted by image, else in the file's order.
    annotations: Vec<AnnotationRecord>,
    segmentations: Mutex<File>,
}

/// One image of a data set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImageRecord {
    /// Its id.
    pub id: i64,
    /// `file_name`, or what stands for it.
    pub file_name: String,
    /// `coco_url`, where there is one: LVIS names its files by it.
    pub coco_url: Option<String>,
    /// Annotated width and height, where both are given.
    pub size: Option<[u32; 2]>,
    /// LVIS: categories that were looked for and are not there.
    pub neg_category_ids: Vec<i64>,
    /// LVIS: categories that are not annotated exhaustively.
    pub not_exhaustive_category_ids: Vec<i64>,
    first_annotation: usize,
    end_annotation: usize,
}

/// One annotation, but for its outline.
#[derive(Clone, Debug, PartialEq)]
pub struct AnnotationRecord {
    /// Its id.
    pub id: i64,
    /// The category's id.
    pub category_id: i64,
    /// COCO's crowd flag.
    pub iscrowd: bool,
    /// A model's score, or NaN.
    pub score: f32,
    /// The annotated box x, y, width, height, where there is one.
    pub bbox: Option<[f32; 4]>,
    image_id: i64,
    /// Where the outline's text lies in the temporary file; no length means there is none.
    offset: u64,
    length: u32,
    crowd_key: CrowdKey,
}

/// How an annotation spells `iscrowd`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum CrowdKey {
    #[default]
    Missing,
    Misspelt,
    Right,
}

/// An annotation file that cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum DataSetError {
    /// The file or the temporary file failed.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The annotation file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The file is no JSON, or no instance file.
    #[error("{}: {source}", path.display())]
    Json {
        /// The annotation file.
        path: PathBuf,
        /// What was found where, by line and column.
        source: serde_json::Error,
    },
}

impl DataSet {
    /// Reads the instance file at `path`; outlines go to a temporary file in `temporary`, which
    /// vanishes with the process.
    ///
    /// # Errors
    /// [`DataSetError`] with line and column if the file is not of COCO's form. Single wrong
    /// entries are [`DataSet::problems`] instead.
    pub fn read(path: &Path, temporary: &Path) -> Result<DataSet, DataSetError> {
        let read_error = |source| DataSetError::Read {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(read_error)?;
        let spool = tempfile::tempfile_in(temporary).map_err(read_error)?;
        let mut parts = Parts::new(spool);
        let mut reader = HashingReader {
            inner: file,
            hasher: XxHash3_64::new(),
        };
        let mut deserializer =
            serde_json::Deserializer::from_reader(BufReader::with_capacity(1 << 20, &mut reader));
        TopLevel(&mut parts)
            .deserialize(&mut deserializer)
            .and_then(|()| deserializer.end())
            .map_err(|source| DataSetError::Json {
                path: path.to_owned(),
                source,
            })?;
        drop(deserializer);
        let xxh3 = format!("{:016x}", reader.hasher.finish());
        parts.finish(xxh3).map_err(read_error)
    }

    /// The annotations of an image, in the file's order.
    pub fn annotations_of(&self, image: &ImageRecord) -> &[AnnotationRecord] {
        &self.annotations[image.first_annotation..image.end_annotation]
    }

    /// Annotations over all images.
    pub fn annotation_count(&self) -> usize {
        self.annotations.len()
    }

    /// The mask of an annotation in an image of `size`, as pycocotools makes it; `None`, with the
    /// reason given to `report`, if it has none.
    pub fn mask(
        &self,
        image: &ImageRecord,
        annotation: &AnnotationRecord,
        size: [u32; 2],
        mut report: impl FnMut(Problem),
    ) -> Option<Rle> {
        let mut report = |kind, text| {
            report(segmentation::of_annotation(
                annotation.id,
                &image.file_name,
                kind,
                text,
            ));
        };
        match self.segmentation_text(annotation) {
            Ok(text) if text.is_empty() => {
                let text = "it has no segmentation".to_owned();
                report(ProblemKind::MalformedSegmentation, text);
                None
            }
            Ok(text) => segmentation::mask(&text, size, report),
            Err(error) => {
                let text = format!("its segmentation cannot be read back: {error}");
                report(ProblemKind::MalformedSegmentation, text);
                None
            }
        }
    }

    fn segmentation_text(&self, annotation: &AnnotationRecord) -> std::io::Result<String> {
        let mut bytes = vec![0; annotation.length as usize];
        // The lock covers two short calls; reads come from the page cache.
        let mut file = self
            .segmentations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(annotation.offset))?;
        file.read_exact(&mut bytes)?;
        String::from_utf8(bytes).map_err(std::io::Error::other)
    }
}

/// Hashes what passes through.
struct HashingReader<R> {
    inner: R,
    hasher: XxHash3_64,
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hasher.write(&buffer[..read]);
        Ok(read)
    }
}

/// What the file's keys gave, in whatever order they came.
struct Parts {
    images: Vec<ImageRecord>,
    categories: Vec<Category>,
    annotations: Vec<AnnotationRecord>,
    other: Map<String, Value>,
    spool: BufWriter<File>,
    spooled: u64,
}

impl Parts {
    fn new(spool: File) -> Parts {
        Parts {
            images: Vec::new(),
            categories: Vec::new(),
            annotations: Vec::new(),
            other: Map::new(),
            spool: BufWriter::with_capacity(1 << 20, spool),
            spooled: 0,
        }
    }

    fn finish(mut self, xxh3: String) -> std::io::Result<DataSet> {
        let mut problems = Problems::default();
        self.leave_out_duplicates(&mut problems);
        self.leave_out_unknown(&mut problems);
        self.report_crowd_keys(&mut problems);
        let positions: HashMap<i64, usize> = self.image_positions();
        self.annotations
            .sort_by_key(|annotation| positions[&annotation.image_id]);
        let mut end = 0;
        for image in &mut self.images {
            image.first_annotation = end;
            let mine = |annotation: &AnnotationRecord| annotation.image_id == image.id;
            end += self.annotations[end..]
                .iter()
                .take_while(|a| mine(a))
                .count();
            image.end_annotation = end;
        }
        Ok(DataSet {
            images: self.images,
            categories: self.categories,
            other: self.other,
            problems,
            xxh3,
            annotations: self.annotations,
            segmentations: Mutex::new(self.spool.into_inner().map_err(|e| e.into_error())?),
        })
    }

    fn image_positions(&self) -> HashMap<i64, usize> {
        let ids = self.images.iter().map(|image| image.id);
        ids.enumerate().map(|(index, id)| (id, index)).collect()
    }

    fn leave_out_duplicates(&mut self, problems: &mut Problems) {
        let mut seen = HashSet::new();
        self.images.retain(|image| {
            let text = || format!("image {} ({}) comes again", image.id, image.file_name);
            first_time(
                &mut seen,
                image.id,
                ProblemKind::DuplicateImageId,
                text,
                problems,
            )
        });
        seen.clear();
        self.categories.retain(|category| {
            let text = || format!("category {} ({}) comes again", category.id, category.name);
            let kind = ProblemKind::DuplicateCategoryId;
            first_time(&mut seen, category.id, kind, text, problems)
        });
        seen.clear();
        self.annotations.retain(|annotation| {
            let text = || format!("annotation {} comes again", annotation.id);
            let kind = ProblemKind::DuplicateAnnotationId;
            first_time(&mut seen, annotation.id, kind, text, problems)
        });
    }

    fn leave_out_unknown(&mut self, problems: &mut Problems) {
        let images: HashSet<i64> = self.images.iter().map(|image| image.id).collect();
        let categories: HashSet<i64> = self.categories.iter().map(|c| c.id).collect();
        self.annotations.retain(|annotation| {
            let (kind, what, id) = if !images.contains(&annotation.image_id) {
                (ProblemKind::UnknownImage, "image", annotation.image_id)
            } else if !categories.contains(&annotation.category_id) {
                let id = annotation.category_id;
                (ProblemKind::UnknownCategory, "category", id)
            } else {
                return true;
            };
            let text = format!("annotation {} is of {what} {id}", annotation.id);
            problems.add(Problem::new(kind, text));
            false
        });
    }

    /// LVIS has no `iscrowd` at all, which is no problem of a single annotation.
    fn report_crowd_keys(&self, problems: &mut Problems) {
        let has_crowds = self
            .annotations
            .iter()
            .any(|annotation| annotation.crowd_key != CrowdKey::Missing);
        let is_lvis = self
            .categories
            .iter()
            .any(|category| category.other.contains_key("frequency"));
        for annotation in &self.annotations {
            let kind = match annotation.crowd_key {
                CrowdKey::Misspelt => ProblemKind::MisspeltIscrowd,
                CrowdKey::Missing if has_crowds || !is_lvis => ProblemKind::MissingIscrowd,
                _ => continue,
            };
            problems.add(Problem::new(kind, format!("annotation {}", annotation.id)));
        }
    }
}

fn first_time(
    seen: &mut HashSet<i64>,
    id: i64,
    kind: ProblemKind,
    text: impl Fn() -> String,
    problems: &mut Problems,
) -> bool {
    let first = seen.insert(id);
    if !first {
        problems.add(Problem::new(kind, text()));
    }
    first
}

impl Parts {
    fn add(&mut self, json: AnnotationJson) -> std::io::Result<()> {
        let text = json.segmentation.as_ref().map_or("", |raw| raw.get());
        self.spool.write_all(text.as_bytes())?;
        let length = u32::try_from(text.len())
            .map_err(|_| std::io::Error::other("a segmentation of more than 4 GiB"))?;
        self.annotations.push(AnnotationRecord {
            id: json.id.unwrap_or_default(),
            category_id: json.category_id.unwrap_or_default(),
            iscrowd: json.iscrowd,
            score: json.score.unwrap_or(f32::NAN),
            bbox: json.bbox,
            image_id: json.image_id.unwrap_or_default(),
            offset: self.spooled,
            length,
            crowd_key: json.crowd_key,
        });
        self.spooled += u64::from(length);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<DataSet, DataSetError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("instances.json");
        std::fs::write(&path, text).unwrap();
        DataSet::read(&path, folder.path())
    }

    #[test]
    fn annotations_come_by_image_with_their_problems() {
        let data = read(
            r#"{"annotations": [
                {"id": 1, "image_id": 8, "category_id": 3, "is_crowd": 1,
                 "segmentation": {"size": [2, 3], "counts": [1, 2, 3]}},
                {"id": 2, "image_id": 9, "category_id": 3, "iscrowd": 0, "segmentation": []},
                {"id": 2, "image_id": 8, "category_id": 3, "iscrowd": 0},
                {"id": 3, "image_id": 7, "category_id": 3, "iscrowd": 0},
                {"id": 4, "image_id": 9, "category_id": 4, "iscrowd": 0},
                {"id": 5, "image_id": 8, "category_id": 3, "segmentation": [[0, 0, 3, 0, 3, 2, 0, 2]]}],
              "images": [{"id": 9, "file_name": "a.jpg"},
                {"id": 8, "coco_url": "http://x/train2017/b.jpg", "width": 3, "height": 2}],
              "categories": [{"id": 3, "name": "cup", "synset": "cup.n.01"}]}"#,
        )
        .unwrap();
        assert_eq!(data.images[1].file_name, "b.jpg");
        assert_eq!(data.annotations_of(&data.images[0])[0].id, 2);
        let of_b = data.annotations_of(&data.images[1]);
        assert_eq!(of_b.iter().map(|a| a.id).collect::<Vec<_>>(), [1, 5]);
        assert!(of_b[0].iscrowd);
        let mask = |annotation| data.mask(&data.images[1], annotation, [3, 2], |_| ());
        assert_eq!(mask(&of_b[0]).unwrap().area(), 2);
        assert_eq!(mask(&of_b[1]).unwrap().area(), 6);
        let kinds: Vec<_> = data.problems.iter().map(|(kind, _)| kind).collect();
        assert_eq!(
            kinds,
            [
                ProblemKind::DuplicateAnnotationId,
                ProblemKind::UnknownImage,
                ProblemKind::UnknownCategory,
                ProblemKind::MissingIscrowd,
                ProblemKind::MisspeltIscrowd,
            ]
        );
        assert!(data.categories[0].other.contains_key("synset"));
    }

    #[test]
    fn errors_say_where() {
        let text = r#"{"images": [{"id": "x"}], "annotations": [], "categories": []}"#;
        let error = read(text).unwrap_err().to_string();
        assert!(
            error.contains("images[0]") && error.contains("line 1"),
            "{error}"
        );
        let text = r#"{"images": [], "annotations": [{"id": 1, "image_id": 2}], "categories": []}"#;
        let error = read(text).unwrap_err().to_string();
        assert!(
            error.contains("annotations[0]: missing field `category_id`"),
            "{error}"
        );
        let error = read("[]").unwrap_err().to_string();
        assert!(error.contains("an object with images"), "{error}");
        let error = read("{}").unwrap_err().to_string();
        assert!(error.contains("no `annotations`"), "{error}");
    }
}
