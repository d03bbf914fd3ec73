//! From a composed sample to its entries in the annotation file.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::composer::Composed;
use super::folder::IMAGES_FOLDER;
use super::outline::outlines;
use super::record::{AnnotationEntry, ImageEntry, Record, SourceEntry};
use super::{Annotations, Style};
use crate::annotations::rle::Rle;
use crate::bank::Scene;
use crate::compose::{InstanceSource, SampleView};
use crate::sampler::Sampler;

/// COCO's run lengths, compressed.
#[derive(Serialize)]
struct RunLengths {
    /// Height and width.
    size: [u32; 2],
    counts: String,
}

/// Makes the entries of one sample.
pub(super) struct Annotator<'a> {
    pub sampler: &'a Sampler,
    pub annotations: Annotations,
    pub style: Style,
}

impl Annotator<'_> {
    /// The record of sample `number`, whose image's file has that name and as many bytes.
    pub fn record(
        &self,
        number: u64,
        composed: Composed,
        view: &SampleView<'_>,
        (file_name, bytes): (String, u64),
    ) -> Record {
        let mut record = Record {
            image: self.image(number, &composed, file_name),
            annotations: Vec::with_capacity(view.labels.len()),
            bytes,
            replaced: composed.replaced,
            fallbacks: 0,
            crowds_left_out: 0,
            ignored_left_out: 0,
        };
        for instance in 0..view.labels.len() {
            let ignored = view.layers[instance].is_some_and(|layer| {
                let flag = composed.drawn.ignored.get(usize::from(layer));
                flag.copied().unwrap_or(false)
            });
            self.add(&mut record, view, instance, ignored);
        }
        // What is in the image after pasting is no longer absent from it.
        if let Some(negative) = &mut record.image.neg_category_ids {
            negative.retain(|category| !view.labels.contains(category));
        }
        record
    }

    fn image(&self, number: u64, composed: &Composed, file_name: String) -> ImageEntry {
        let canvas = self.sampler.ground().canvas;
        let [width, height] = [canvas.width(), canvas.height()];
        let scene = scene_of(self.sampler, composed);
        // The LVIS form always has the lists, even where the scene's data set has none.
        let lvis = |ids: fn(&Scene<'_>) -> Vec<i64>| {
            (self.style == Style::Lvis).then(|| scene.as_ref().map(ids).unwrap_or_default())
        };
        ImageEntry {
            id: number,
            width,
            height,
            coco_url: (self.style == Style::Lvis).then(|| format!("{IMAGES_FOLDER}/{file_name}")),
            file_name,
            scene: composed.drawn.plan.scene.index,
            scene_image_id: scene.map_or(-1, |scene| scene.image),
            scene_file_name: scene.map_or(String::new(), |scene| scene.file_name()),
            before: self.before(composed),
            neg_category_ids: lvis(|scene| scene.negative_categories().collect()),
            not_exhaustive_category_ids: lvis(|scene| scene.not_exhaustive_categories().collect()),
        }
    }

    /// By category, the scene's own instances were nothing pasted; LVIS has no crowds.
    fn before(&self, composed: &Composed) -> BTreeMap<i64, u64> {
        let mut counts = BTreeMap::new();
        for own in &composed.own {
            if self.style == Style::Coco || !own.is_crowd {
                *counts.entry(own.category).or_default() += 1;
            }
        }
        counts
    }

    fn add(&self, record: &mut Record, view: &SampleView<'_>, instance: usize, ignored: bool) {
        let category = view.labels[instance];
        let is_crowd = view.iscrowd[instance] != 0;
        if (is_crowd || ignored) && self.style == Style::Lvis {
            // LVIS has neither: it says that a category is not annotated exhaustively, and then
            // detections of it that match no annotation count for nothing.
            record.crowds_left_out += u64::from(is_crowd);
            record.ignored_left_out += u64::from(ignored && !is_crowd);
            if let Some(ids) = &mut record.image.not_exhaustive_category_ids
                && !ids.contains(&category)
            {
                ids.push(category);
            }
            return;
        }
        let Some(mask) = view.run_lengths.get(instance) else {
            return;
        };
        // An instance that stays has pixels, so it has a box.
        let Some(bbox) = mask.bounding_box() else {
            return;
        };
        let Some(segmentation) = self.segmentation(mask, is_crowd, &mut record.fallbacks) else {
            return;
        };
        record.annotations.push(AnnotationEntry {
            id: 0,
            image_id: record.image.id,
            category_id: category,
            bbox,
            area: mask.area(),
            iscrowd: (self.style == Style::Coco).then_some(u8::from(is_crowd)),
            ignore: ignored.then_some(1),
            segmentation,
            source: self.source(view, instance),
        });
    }

    fn segmentation(
        &self,
        mask: &Rle,
        is_crowd: bool,
        fallbacks: &mut u64,
    ) -> Option<Box<RawValue>> {
        if self.annotations == Annotations::Polygons && !is_crowd {
            if let Some(polygons) = outlines(mask) {
                return to_raw_value(&polygons).ok();
            }
            *fallbacks += 1;
        }
        let run_lengths = RunLengths {
            size: [mask.height(), mask.width()],
            counts: mask.compressed(),
        };
        to_raw_value(&run_lengths).ok()
    }

    fn source(&self, view: &SampleView<'_>, instance: usize) -> SourceEntry {
        match view.sources[instance] {
            InstanceSource::Annotation(annotation) => SourceEntry {
                cutout: None,
                image: None,
                annotation,
                layer: None,
            },
            InstanceSource::Cutout(row) => {
                let cutout = usize::try_from(row).ok();
                let cutout = cutout.and_then(|row| self.sampler.ground().bank.get(row));
                SourceEntry {
                    cutout: Some(row),
                    image: Some(cutout.map_or(-1, |cutout| cutout.image)),
                    annotation: cutout.map_or(-1, |cutout| cutout.annotation),
                    layer: view.layers[instance],
                }
            }
        }
    }
}

fn scene_of<'a>(sampler: &'a Sampler, composed: &Composed) -> Option<Scene<'a>> {
    let row = usize::try_from(composed.drawn.plan.scene.index).ok()?;
    sampler.ground().scenes.get(row)
}

#[cfg(test)]
pub(in crate::dataset) mod tests {
    use super::*;
    use crate::bank::test_banks::{category, instance, row, write_bank, write_scenes};
    use crate::bank::{CutoutBank, ScenePack};
    use crate::compose::MaskOutput;
    use crate::dataset::composer::Composer;
    use crate::dataset::counts::Counts;
    use crate::sampler::RecipeSettings;
    use std::sync::Arc;

    /// Samples over one scene with an object and a crowd, and two cutouts.
    pub fn with_sampler(test: impl Fn(&Sampler)) {
        let folder = tempfile::tempdir().unwrap();
        let [scenes, bank] = ["scenes", "bank"].map(|name| folder.path().join(name));
        let categories = [category(1, "cup"), category(2, "fork")];
        let objects = [
            instance(1, [2, 3, 30, 20], 0),
            instance(2, [0, 30, 60, 30], 1),
        ];
        write_scenes(&scenes, &categories, &[64], &objects);
        write_bank(&bank, &categories, &[vec![row(20, 1, 5), row(24, 2, 6)]]);
        let scenes = ScenePack::open(&scenes).unwrap();
        let bank = CutoutBank::open(&bank).unwrap();
        let mut recipe = RecipeSettings::xpaste();
        (recipe.bank.count, recipe.scene.scale) = ([6, 6], [1.0, 1.0]);
        let (scenes, bank) = (Arc::new(scenes), Arc::new(bank));
        test(&Sampler::new(scenes, bank, Arc::new(recipe), [320, 320], 1).unwrap());
    }

    pub fn record(sampler: &Sampler, style: Style, ignored: &[usize]) -> Record {
        let mut composer = Composer::new(MaskOutput::Rle);
        let mut composed = composer.compose_drawn(sampler, 0).unwrap();
        for &layer in ignored {
            composed.drawn.ignored[layer] = true;
        }
        let annotator = Annotator {
            sampler,
            annotations: Annotations::Polygons,
            style,
        };
        let view = composer.batch().sample(0).unwrap();
        let file = ("0.jpg".to_owned(), 9);
        annotator.record(0, composed, &view, file)
    }

    #[test]
    fn dropped_labels_are_marked_in_the_coco_form() {
        with_sampler(|sampler| {
            let record = record(sampler, Style::Coco, &[1, 4]);
            let mut marked = Vec::new();
            for annotation in &record.annotations {
                match annotation.source.layer {
                    Some(layer) if annotation.ignore == Some(1) => marked.push(layer),
                    _ => assert_eq!(annotation.ignore, None),
                }
            }
            assert_eq!(marked, [1, 4]);
            let mut counts = Counts::default();
            counts.add(&record);
            assert_eq!((counts.report.ignored, record.ignored_left_out), (2, 0));
        });
    }

    #[test]
    fn dropped_labels_leave_the_lvis_form_and_make_their_category_not_exhaustive() {
        with_sampler(|sampler| {
            let whole = record(sampler, Style::Lvis, &[]);
            let dropped: Vec<i64> = whole
                .annotations
                .iter()
                .filter(|annotation| [Some(1), Some(4)].contains(&annotation.source.layer))
                .map(|annotation| annotation.category_id)
                .collect();
            assert_eq!(dropped.len(), 2);
            let record = record(sampler, Style::Lvis, &[1, 4]);
            let layers: Vec<u16> = record
                .annotations
                .iter()
                .filter_map(|annotation| annotation.source.layer)
                .collect();
            assert!(!layers.contains(&1) && !layers.contains(&4), "{layers:?}");
            assert_eq!(record.annotations.len(), whole.annotations.len() - 2);
            let ids = record.image.not_exhaustive_category_ids.clone().unwrap();
            assert!(dropped.iter().all(|category| ids.contains(category)));
            assert!(record.annotations.iter().all(|a| a.ignore.is_none()));
            // They are in the report, but in no category's count.
            let mut counts = Counts::default();
            counts.add(&record);
            assert_eq!((counts.report.ignored, record.ignored_left_out), (2, 2));
            assert_eq!(counts.report.crowds_left_out, 1);
            let packs = [category(1, "cup"), category(2, "fork")];
            let written = counts.categories(Style::Lvis, packs.to_vec());
            let count = |category: &crate::bank::Category| {
                category.other["instance_count"].as_u64().unwrap()
            };
            let labelled: u64 = written.iter().map(count).sum();
            assert_eq!(labelled, record.annotations.len() as u64);
        });
    }

    #[test]
    fn sources_are_named_and_crowds_are_run_lengths() {
        with_sampler(|sampler| {
            let coco = record(sampler, Style::Coco, &[]);
            let mut layers = Vec::new();
            for annotation in &coco.annotations {
                let is_crowd = annotation.iscrowd == Some(1);
                assert_eq!(annotation.segmentation.get().starts_with('{'), is_crowd);
                let source = &annotation.source;
                match source.cutout {
                    // The bank's annotation ids are ten times the image's.
                    Some(row) => {
                        let image = 5 + row as i64;
                        assert_eq!((source.image, source.annotation), (Some(image), 10 * image));
                        layers.extend(source.layer);
                    }
                    None => assert_eq!((source.image, source.annotation), (None, 7)),
                }
            }
            assert!(layers.len() > 3 && layers.is_sorted(), "{layers:?}");
            let crowds = coco.annotations.iter().filter(|a| a.iscrowd == Some(1));
            assert_eq!((crowds.count(), coco.crowds_left_out), (1, 0));
            let lvis = record(sampler, Style::Lvis, &[]);
            assert_eq!(lvis.annotations.len(), coco.annotations.len() - 1);
            assert_eq!(lvis.crowds_left_out, 1);
            assert_eq!(lvis.image.not_exhaustive_category_ids, Some(vec![2]));
        });
    }
}
