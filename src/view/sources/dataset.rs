//! Pictures of a COCO or LVIS data set, and of a folder that `pastebank compose` wrote.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use image::RgbImage;
use serde::Deserialize;
use serde_json::Value;

use super::{SourceError, origin, read_json, unknown};
use crate::annotations::coco::{DataSet, ImageRecord};
use crate::annotations::problems::{Problem, ProblemKind, Problems};
use crate::annotations::rle::Rle;
use crate::pack::decode::photograph;
use crate::pack::{DEFAULT_MAX_PIXELS, find_image};
use crate::view::gallery::{Instance, Origin, Picture, Reduction, Source};

/// The annotation file of a composed folder.
const COMPOSED_ANNOTATIONS: &str = "instances.json";
/// The folder of its pictures.
const COMPOSED_IMAGES: &str = "images";

/// No scene has more instances of a category than this, whatever a damaged file says.
const MOST_BEFORE: u64 = 1 << 16;

/// The pictures of a data set, in the file's order.
#[derive(Debug)]
pub struct DataSetPictures {
    data: DataSet,
    title: String,
    images: PathBuf,
    names: BTreeMap<i64, String>,
    provenance: HashMap<i64, Provenance>,
    /// By the image's id: the scene's own instances where nothing is pasted, by category. `None`
    /// for a plain data set, where nothing is.
    before: Option<HashMap<i64, BTreeMap<i64, u64>>>,
    wanted: BTreeSet<i64>,
    position: usize,
    problems: Problems,
}

/// What a composed data set says of an annotation beyond COCO's keys.
#[derive(Clone, Copy, Debug)]
struct Provenance {
    origin: Origin,
    ignored: bool,
}

/// The part of a composed data set's file that is read a second time.
#[derive(Deserialize)]
struct ProvenanceFile {
    images: Vec<ImageEntry>,
    annotations: Vec<ProvenanceEntry>,
}

#[derive(Deserialize)]
struct ImageEntry {
    id: Option<i64>,
    before: Option<BTreeMap<i64, u64>>,
}

#[derive(Deserialize)]
struct ProvenanceEntry {
    id: Option<i64>,
    #[serde(default = "unknown", rename = "source", deserialize_with = "origin")]
    origin: Origin,
    #[serde(default)]
    ignore: Value,
}

impl DataSetPictures {
    /// The data set of an annotation file and a folder of images, from its picture `first` on.
    ///
    /// # Errors
    /// [`SourceError`] if the annotation file is not of COCO's form. Pictures that cannot be had
    /// and annotations that cannot be drawn are [`Source::problems`].
    pub fn open(
        annotations: &Path,
        images: &Path,
        first: u64,
    ) -> Result<DataSetPictures, SourceError> {
        let data = DataSet::read(annotations, &std::env::temp_dir())?;
        let names = data.categories.iter();
        Ok(DataSetPictures {
            title: annotations.display().to_string(),
            images: images.to_owned(),
            names: names
                .map(|category| (category.id, category.name.clone()))
                .collect(),
            provenance: HashMap::new(),
            before: None,
            wanted: BTreeSet::new(),
            position: usize::try_from(first).unwrap_or(usize::MAX),
            problems: data.problems.clone(),
            data,
        })
    }

    /// A folder of `images/` and `instances.json` whose annotations carry their provenance, from
    /// its picture `first` on.
    ///
    /// # Errors
    /// As [`DataSetPictures::open`].
    pub fn open_composed(folder: &Path, first: u64) -> Result<DataSetPictures, SourceError> {
        let annotations = folder.join(COMPOSED_ANNOTATIONS);
        let mut pictures =
            DataSetPictures::open(&annotations, &folder.join(COMPOSED_IMAGES), first)?;
        pictures.title = folder.display().to_string();
        let file: ProvenanceFile = read_json(&annotations)?;
        let entries = file.annotations.into_iter().filter_map(|entry| {
            let provenance = Provenance {
                origin: entry.origin,
                ignored: entry.ignore == 1 || entry.ignore == true,
            };
            Some((entry.id?, provenance))
        });
        pictures.provenance = entries.collect();
        let images = file.images.into_iter();
        let images = images.filter_map(|image| Some((image.id?, image.before?)));
        pictures.before = Some(images.collect());
        Ok(pictures)
    }

    /// Whether `folder` is one that `pastebank compose` wrote.
    pub fn is_composed(folder: &Path) -> bool {
        folder.join(COMPOSED_ANNOTATIONS).is_file()
    }

    fn is_wanted(&self, image: &ImageRecord) -> bool {
        let mut annotations = self.data.annotations_of(image).iter();
        self.wanted.is_empty() || annotations.any(|a| self.wanted.contains(&a.category_id))
    }

    fn picture(&self, image: &ImageRecord, longest: u32, problems: &mut Problems) -> Picture {
        let title = match image.file_name.as_str() {
            "" => format!("image {}", image.id),
            name => name.to_owned(),
        };
        let path = find_image(&self.images, image);
        let photograph = photograph(&path, image.size, DEFAULT_MAX_PIXELS).and_then(|photograph| {
            let (width, height) = (photograph.size.width(), photograph.size.height());
            RgbImage::from_raw(width, height, photograph.pixels).ok_or_else(|| {
                let text = format!("{}: fewer pixels than {width}x{height}", path.display());
                Problem::new(ProblemKind::UndecodableImage, text)
            })
        });
        let photograph = match photograph {
            Ok(photograph) => photograph,
            Err(problem) => {
                let picture = Picture::missing(title, problem.to_string());
                problems.add(problem);
                return picture;
            }
        };
        let size = [photograph.width(), photograph.height()];
        let reduction = Reduction::new(size, longest);
        let mut instances = Vec::new();
        for annotation in self.data.annotations_of(image) {
            let mask = self
                .data
                .mask(image, annotation, size, |problem| problems.add(problem));
            instances.extend(mask.and_then(|mask| {
                let number = instances.len();
                self.instance(annotation, &mask, &reduction, number)
            }));
        }
        Picture {
            title,
            size,
            image: reduction.image(photograph),
            before: self.before(image, &instances),
            instances,
            problem: None,
        }
    }

    /// What a composed folder says of the scene; in a plain data set all that is there.
    fn before(&self, image: &ImageRecord, instances: &[Instance]) -> Option<Vec<i64>> {
        let Some(composed) = &self.before else {
            return Some(instances.iter().map(|i| i.category).collect());
        };
        let counts = composed.get(&image.id)?.iter();
        let repeated =
            counts.flat_map(|(&id, &count)| (0..count.min(MOST_BEFORE)).map(move |_| id));
        Some(repeated.collect())
    }

    fn instance(
        &self,
        annotation: &crate::annotations::coco::AnnotationRecord,
        mask: &Rle,
        reduction: &Reduction,
        number: usize,
    ) -> Option<Instance> {
        let provenance = self.provenance.get(&annotation.id);
        let origin = provenance.map_or(Origin::Unknown, |provenance| provenance.origin);
        let mut instance = reduction.instance(annotation.category_id, origin, mask, number)?;
        instance.crowd = annotation.iscrowd;
        instance.ignored = provenance.is_some_and(|provenance| provenance.ignored);
        Some(instance)
    }
}

impl Source for DataSetPictures {
    fn title(&self) -> String {
        self.title.clone()
    }

    fn names(&self) -> &BTreeMap<i64, String> {
        &self.names
    }

    fn total(&self) -> Option<u64> {
        Some(self.data.images.len() as u64)
    }

    fn choose(&mut self, categories: BTreeSet<i64>) {
        self.wanted = categories;
    }

    fn next(&mut self, longest: u32) -> Option<Picture> {
        let mut problems = std::mem::take(&mut self.problems);
        let mut picture = None;
        while let Some(image) = self.data.images.get(self.position) {
            self.position += 1;
            if self.is_wanted(image) {
                picture = Some(self.picture(image, longest, &mut problems));
                break;
            }
        }
        self.problems = problems;
        let mut picture = picture?;
        picture.keep_categories(&self.wanted);
        Some(picture)
    }

    fn problems(&self) -> &Problems {
        &self.problems
    }
}
