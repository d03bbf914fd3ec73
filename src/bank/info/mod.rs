//! What is in a pack: counts, sizes and scores, from the columns alone.

mod counts;
mod table;

use serde::Serialize;

use super::cutouts::CutoutBank;
use super::manifest::Manifest;
use super::scenes::{ScenePack, ScenePixels};
pub use counts::{CategoryInfo, Frequency, GroupInfo, Quantiles};
use counts::{Source, categories_without, count_categories, group};

/// What a bank holds. `{}` prints tables of the largest categories and the first shards, `{:#}` of
/// all.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BankInfo {
    /// Cutouts in all.
    pub cutouts: u64,
    /// Bytes of all shards.
    pub bytes: u64,
    /// Bytes a cutout, mip chain and columns; 0 where there are none.
    pub mean_bytes: f64,
    /// Shard by shard.
    pub shards: Vec<ShardInfo>,
    /// The categories that have cutouts, the largest first.
    pub categories: Vec<CategoryInfo>,
    /// Categories of the manifest that have none.
    pub categories_without: u64,
    /// The categories with cutouts by frequency: rare, common, frequent.
    pub groups: [GroupInfo; 3],
    /// sqrt(width × height) of the boxes, in pixels.
    pub sides: Option<Quantiles>,
    /// Texels with alpha ≥ 128.
    pub areas: Option<Quantiles>,
    /// Cutouts that have a score.
    pub scored: u64,
    /// Their scores.
    pub scores: Option<Quantiles>,
}

/// What a scene pack holds. `{}` and `{:#}` as for [`BankInfo`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SceneInfo {
    /// Scenes in all.
    pub scenes: u64,
    /// Bytes of all shards.
    pub bytes: u64,
    /// Bytes a scene, pixels, masks and columns; 0 where there are none.
    pub mean_bytes: f64,
    /// Shard by shard.
    pub shards: Vec<ShardInfo>,
    /// Scenes stored as raw mip chains.
    pub raw: u64,
    /// Scenes stored as JPEG files.
    pub jpeg: u64,
    /// Instances in all, crowds included.
    pub instances: u64,
    /// Instances that are crowds; all that follows is without them.
    pub crowds: u64,
    /// The categories that have instances, the largest first.
    pub categories: Vec<CategoryInfo>,
    /// Categories of the manifest that have none.
    pub categories_without: u64,
    /// The categories with instances by frequency: rare, common, frequent.
    pub groups: [GroupInfo; 3],
    /// sqrt(width × height) of the scenes, in pixels.
    pub scene_sides: Option<Quantiles>,
    /// sqrt(width × height) of the instances' boxes, in pixels.
    pub instance_sides: Option<Quantiles>,
    /// Instances that have a score.
    pub scored: u64,
    /// Their scores.
    pub scores: Option<Quantiles>,
}

/// One shard's share.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ShardInfo {
    /// The file's name.
    pub file: String,
    /// Rows in it.
    pub rows: u64,
    /// Its length.
    pub bytes: u64,
    /// Bytes a row; 0 where there are none.
    pub mean_bytes: f64,
}

/// Summarises a bank. Reads all columns and no pixels.
pub fn info(bank: &CutoutBank) -> BankInfo {
    let manifest = bank.manifest();
    let (mut sources, mut sides) = (Vec::new(), Vec::new());
    let (mut areas, mut scores) = (Vec::new(), Vec::new());
    for (index, cutout) in (0..).zip((0..bank.len()).filter_map(|index| bank.get(index))) {
        let source = Source::of_image(cutout.image, index);
        sources.push((cutout.category, source));
        let [_, _, width, height] = cutout.bounding_box.map(f64::from);
        sides.push((width * height).sqrt());
        areas.push(f64::from(cutout.area));
        scores.extend(score(cutout.score));
    }
    let categories = count_categories(sources, manifest);
    BankInfo {
        cutouts: manifest.rows(),
        bytes: manifest.bytes(),
        mean_bytes: mean(manifest.bytes(), manifest.rows()),
        shards: shards(manifest),
        categories_without: categories_without(&categories, manifest),
        groups: group(&categories),
        categories,
        sides: Quantiles::of(sides),
        areas: Quantiles::of(areas),
        scored: scores.len() as u64,
        scores: Quantiles::of(scores),
    }
}

/// Summarises a scene pack. Reads all columns and no pixels.
pub fn scene_info(pack: &ScenePack) -> SceneInfo {
    let manifest = pack.manifest();
    let (mut sources, mut scores) = (Vec::new(), Vec::new());
    let (mut scene_sides, mut instance_sides) = (Vec::new(), Vec::new());
    let (mut raw, mut instances, mut crowds) = (0, 0, 0);
    for (index, scene) in (0..).zip((0..pack.len()).filter_map(|index| pack.get(index))) {
        raw += u64::from(matches!(scene.pixels, ScenePixels::Raw(_)));
        scene_sides.push((scene.size.pixels() as f64).sqrt());
        instances += scene.instance_count() as u64;
        for instance in scene.instances() {
            if instance.iscrowd != 0 {
                crowds += 1;
                continue;
            }
            sources.push((instance.category, Source::Row(index)));
            let [_, _, width, height] = instance.bounding_box.map(f64::from);
            instance_sides.push((width * height).sqrt());
            scores.extend(score(instance.score));
        }
    }
    let categories = count_categories(sources, manifest);
    SceneInfo {
        scenes: manifest.rows(),
        bytes: manifest.bytes(),
        mean_bytes: mean(manifest.bytes(), manifest.rows()),
        shards: shards(manifest),
        raw,
        jpeg: manifest.rows().saturating_sub(raw),
        instances,
        crowds,
        categories_without: categories_without(&categories, manifest),
        groups: group(&categories),
        categories,
        scene_sides: Quantiles::of(scene_sides),
        instance_sides: Quantiles::of(instance_sides),
        scored: scores.len() as u64,
        scores: Quantiles::of(scores),
    }
}

fn score(score: f32) -> Option<f64> {
    (!score.is_nan()).then_some(f64::from(score))
}

fn mean(bytes: u64, rows: u64) -> f64 {
    if rows == 0 {
        0.0
    } else {
        bytes as f64 / rows as f64
    }
}

fn shards(manifest: &Manifest) -> Vec<ShardInfo> {
    let shard = |entry: &super::ShardEntry| ShardInfo {
        file: entry.file.clone(),
        rows: entry.rows,
        bytes: entry.bytes,
        mean_bytes: mean(entry.bytes, entry.rows),
    };
    manifest.shards.iter().map(shard).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bank::SizeStatistics;
    use crate::bank::test_banks::{Row, category, instance, row, write_bank, write_scenes};

    fn lvis(id: i64, name: &str, frequency: &str) -> crate::bank::Category {
        let mut category = category(id, name);
        let value = frequency.into();
        category.other.insert("frequency".to_owned(), value);
        category
    }

    fn bank_info(categories: &[crate::bank::Category], shards: &[Vec<Row>]) -> BankInfo {
        let folder = tempfile::tempdir().unwrap();
        let mut manifest = write_bank(folder.path(), categories, shards);
        manifest.statistics = vec![SizeStatistics {
            category_id: 1,
            instances: 3,
            size_mean: 0.25,
            size_std: 0.125,
        }];
        manifest.write(folder.path()).unwrap();
        info(&CutoutBank::open(folder.path()).unwrap())
    }

    #[test]
    fn a_bank_is_counted_by_category_image_and_frequency() {
        let categories = [
            category(1, "few"),
            category(2, "many"),
            lvis(3, "said", "f"),
            category(4, "none"),
        ];
        // 12 images of `many`, one of them twice, and two pictures that have no image id.
        let many = (0..12).chain([3, -1, -1]).map(|image| row(6, 2, image));
        let shards = [
            many.collect(),
            vec![row(4, 1, 9), row(10, 1, 9), row(4, 3, 1), row(4, 8, 1)],
        ];
        let info = bank_info(&categories, &shards);
        assert_eq!(
            (info.cutouts, info.shards.len(), info.categories_without),
            (19, 2, 1)
        );
        let found: Vec<_> = info
            .categories
            .iter()
            .map(|c| (c.id, c.count, c.images))
            .collect();
        assert_eq!(found, [(2, 15, 14), (1, 2, 1), (3, 1, 1), (8, 1, 1)]);
        assert_eq!(info.categories[1].size_mean, Some(0.25));
        assert_eq!(info.categories[3].name, None);
        let groups = info.groups.map(|g| (g.categories, g.count));
        assert_eq!(groups, [(2, 3), (1, 15), (1, 1)]);
        assert_eq!(info.bytes, info.shards.iter().map(|s| s.bytes).sum::<u64>());
    }

    #[test]
    fn sizes_and_scores_are_quantiles() {
        let scored = |score| Row {
            score,
            ..row(6, 1, 1)
        };
        let rows = vec![row(4, 1, 1), scored(0.5), scored(1.0), row(12, 1, 1)];
        let info = bank_info(&[category(1, "a")], &[rows]);
        let sides = info.sides.unwrap();
        assert_eq!(
            (sides.minimum, sides.median, sides.maximum),
            (2.0, 4.0, 10.0)
        );
        assert_eq!(info.areas.unwrap().maximum, 100.0);
        assert_eq!((info.scored, info.scores.unwrap().median), (2, 0.75));
        let empty = bank_info(&[], &[]);
        assert_eq!((empty.mean_bytes, empty.sides), (0.0, None));
        assert!(empty.to_string().contains("0 cutouts"), "{empty}");
    }

    #[test]
    fn the_table_shows_the_largest_categories_and_all_if_asked() {
        let categories: Vec<_> = (1..=40)
            .map(|id| category(id, &format!("kind {id}")))
            .collect();
        let rows = (1..=40).flat_map(|id| vec![row(4, id, id); 41 - id as usize]);
        let info = bank_info(&categories, &[rows.collect()]);
        let short = info.to_string();
        assert!(
            short.contains("kind 1 ") && !short.contains("kind 40 "),
            "{short}"
        );
        assert!(short.contains("… and 20 more"), "{short}");
        let long = format!("{info:#}");
        assert!(
            long.contains("kind 40 ") && !long.contains("more"),
            "{long}"
        );
        assert!(long.contains("0.250"), "{long}");
    }

    #[test]
    fn scenes_are_counted_without_their_crowds() {
        let folder = tempfile::tempdir().unwrap();
        let instances = [instance(1, [0, 0, 4, 4], 0), instance(1, [0, 0, 9, 9], 1)];
        write_scenes(folder.path(), &[category(1, "a")], &[16, 64], &instances);
        let info = scene_info(&ScenePack::open(folder.path()).unwrap());
        assert_eq!((info.scenes, info.raw, info.jpeg), (2, 2, 0));
        assert_eq!((info.instances, info.crowds), (4, 2));
        assert_eq!(
            (info.categories[0].count, info.categories[0].images),
            (2, 2)
        );
        assert_eq!(info.scene_sides.unwrap().median, 40.0);
        assert_eq!(info.instance_sides.unwrap().maximum, 4.0);
        assert!(
            info.to_string().contains("4 instances, 2 of them crowds"),
            "{info}"
        );
    }
}
