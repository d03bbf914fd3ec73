//! Which cutouts of the bank are a scene's own objects.

use crate::bank::{Cutout, CutoutBank, ScenePack};

/// For each scene the rows of its own objects in the bank: four bytes a scene and a link.
#[derive(Debug)]
pub(super) struct SceneLinks {
    starts: Vec<u32>,
    rows: Vec<u32>,
}

/// A cutout's source: image and annotation, with its row.
type Source = (i64, i64, u32);

impl SceneLinks {
    /// Finds each scene's instances that are no crowds among the cutouts: by image, annotation,
    /// category, the size of the picture that they were cut from and their box in it. Where
    /// several cutouts were made from one annotation, the first is taken.
    ///
    /// Ids alone do not do: data sets that were joined may both have image 1 and annotation 1.
    pub fn new(scenes: &ScenePack, bank: &CutoutBank) -> SceneLinks {
        let sources = sources(bank);
        let mut links = SceneLinks {
            starts: vec![0],
            rows: Vec::new(),
        };
        for index in 0..scenes.len() {
            links.append(&sources, scenes, bank, index);
            links.starts.push(links.rows.len() as u32);
        }
        links.rows.shrink_to_fit();
        links
    }

    fn append(&mut self, sources: &[Source], scenes: &ScenePack, bank: &CutoutBank, index: usize) {
        let Some(scene) = scenes.get(index) else {
            return;
        };
        let size = [scene.size.width(), scene.size.height()];
        let own = scene.instances().filter(|instance| instance.iscrowd == 0);
        self.rows.extend(own.filter_map(|instance| {
            let key = (scene.image, instance.annotation);
            let first =
                sources.partition_point(|&(image, annotation, _)| (image, annotation) < key);
            let same = sources[first..]
                .iter()
                .take_while(|&&(image, annotation, _)| (image, annotation) == key);
            let mut rows = same.map(|&(_, _, row)| row);
            rows.find(|&row| {
                bank.get(row as usize).is_some_and(|cutout| {
                    cutout.category == instance.category
                        && cutout.source_size.map(u32::from) == size
                        && is_at(&cutout, instance.bounding_box)
                })
            })
        }));
    }

    /// The rows of a scene's own objects, in the scene's order.
    pub fn of(&self, scene: usize) -> &[u32] {
        let bounds = scene.checked_add(1).and_then(|next| {
            let [start, end] = [self.starts.get(scene)?, self.starts.get(next)?];
            self.rows.get(*start as usize..*end as usize)
        });
        bounds.unwrap_or_default()
    }
}

/// Whether the cutout's box in its source is this one, x, y, width and height, with a pixel to
/// spare at each edge for makers that round otherwise.
fn is_at(cutout: &Cutout<'_>, bounding_box: [u32; 4]) -> bool {
    let [x, y, width, height] = cutout.bounding_box.map(i64::from);
    let [left, top] = cutout.origin.map(i64::from);
    let found = [left + x, top + y, left + x + width, top + y + height];
    let [x, y, width, height] = bounding_box.map(i64::from);
    let expected = [x, y, x + width, y + height];
    let mut edges = found.into_iter().zip(expected);
    edges.all(|(found, expected)| found.abs_diff(expected) <= 1)
}

/// The cutouts that have a source, sorted.
fn sources(bank: &CutoutBank) -> Vec<Source> {
    let mut sources: Vec<Source> = (0..bank.len())
        .filter_map(|row| {
            let cutout = bank.get(row)?;
            let has_source = cutout.image >= 0 && cutout.annotation >= 0;
            has_source.then_some((cutout.image, cutout.annotation, row as u32))
        })
        .collect();
    sources.sort_unstable();
    sources
}
