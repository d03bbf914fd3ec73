//! Counting by category, frequency groups and quantiles.

use std::collections::{HashMap, HashSet};

use serde::Serialize;

use crate::bank::manifest::{Category, Manifest};

/// Most source images of a rare category (LVIS).
const RARE_IMAGES: u64 = 10;
/// Most source images of a common category (LVIS).
const COMMON_IMAGES: u64 = 100;

/// One category's share of a pack.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CategoryInfo {
    /// Its id.
    pub id: i64,
    /// Its name, or `None` where the manifest does not have the id.
    pub name: Option<String>,
    /// Cutouts, or instances that are no crowds.
    pub count: u64,
    /// Distinct source images; a cutout without an image id counts as from one of its own.
    pub images: u64,
    /// Mean of sqrt(box area / image area), if the manifest has statistics.
    pub size_mean: Option<f64>,
    /// Standard deviation of the same.
    pub size_std: Option<f64>,
    /// The group it belongs to.
    pub frequency: Frequency,
}

/// LVIS's groups of categories, by the number of images that have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Frequency {
    /// In 1 to 10 images.
    #[serde(rename = "r")]
    Rare,
    /// In 11 to 100 images.
    #[serde(rename = "c")]
    Common,
    /// In more than 100 images.
    #[serde(rename = "f")]
    Frequent,
}

/// One frequency group's share of a pack.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct GroupInfo {
    /// Which group.
    pub frequency: Frequency,
    /// Categories in it that have cutouts or instances.
    pub categories: u64,
    /// Their cutouts, or instances that are no crowds.
    pub count: u64,
}

/// Where values lie, interpolated linearly between neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quantiles {
    /// The least.
    pub minimum: f64,
    /// 5 % are below.
    pub percent_5: f64,
    /// 25 % are below.
    pub percent_25: f64,
    /// Half are below.
    pub median: f64,
    /// 75 % are below.
    pub percent_75: f64,
    /// 95 % are below.
    pub percent_95: f64,
    /// The greatest.
    pub maximum: f64,
}

/// The image that a cutout or an instance comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    /// The image of this id.
    Image(i64),
    /// The scene in this row, or the unnamed image of the cutout in this row.
    Row(u64),
}

impl Source {
    /// -1 says that the image is not known.
    pub fn of_image(image: i64, row: u64) -> Source {
        match image {
            -1 => Source::Row(row),
            id => Source::Image(id),
        }
    }
}

/// Counts pairs of category id and source; the largest category first, then by id.
pub(super) fn count_categories(
    mut sources: Vec<(i64, Source)>,
    manifest: &Manifest,
) -> Vec<CategoryInfo> {
    sources.sort_unstable();
    let categories: HashMap<i64, &Category> =
        manifest.categories.iter().map(|c| (c.id, c)).collect();
    let statistics: HashMap<i64, _> = manifest
        .statistics
        .iter()
        .map(|s| (s.category_id, s))
        .collect();
    let mut counted: Vec<CategoryInfo> = sources
        .chunk_by(|a, b| a.0 == b.0)
        .map(|of_category| {
            let id = of_category[0].0;
            let images = of_category.chunk_by(|a, b| a == b).count() as u64;
            let category = categories.get(&id);
            let sizes = statistics.get(&id);
            CategoryInfo {
                id,
                name: category.map(|category| category.name.clone()),
                count: of_category.len() as u64,
                images,
                size_mean: sizes.map(|sizes| sizes.size_mean),
                size_std: sizes.map(|sizes| sizes.size_std),
                frequency: category
                    .and_then(|category| Frequency::stated(category))
                    .unwrap_or(Frequency::of_images(images)),
            }
        })
        .collect();
    counted.sort_by_key(|category| (std::cmp::Reverse(category.count), category.id));
    counted
}

/// How many of the manifest's categories are not among those that were counted.
pub(super) fn categories_without(counted: &[CategoryInfo], manifest: &Manifest) -> u64 {
    let counted: HashSet<i64> = counted.iter().map(|category| category.id).collect();
    let categories = manifest.categories.iter();
    categories.filter(|c| !counted.contains(&c.id)).count() as u64
}

/// Sums of the categories in each group.
pub(super) fn group(categories: &[CategoryInfo]) -> [GroupInfo; 3] {
    [Frequency::Rare, Frequency::Common, Frequency::Frequent].map(|frequency| {
        let members = || categories.iter().filter(|c| c.frequency == frequency);
        GroupInfo {
            frequency,
            categories: members().count() as u64,
            count: members().map(|category| category.count).sum(),
        }
    })
}

impl Frequency {
    /// What LVIS says of the category: over its whole training set, not over this pack.
    fn stated(category: &Category) -> Option<Frequency> {
        match category.other.get("frequency")?.as_str()? {
            "r" => Some(Frequency::Rare),
            "c" => Some(Frequency::Common),
            "f" => Some(Frequency::Frequent),
            _ => None,
        }
    }

    /// The group of a category that so many images have.
    pub(crate) fn of_images(images: u64) -> Frequency {
        if images <= RARE_IMAGES {
            Frequency::Rare
        } else if images <= COMMON_IMAGES {
            Frequency::Common
        } else {
            Frequency::Frequent
        }
    }
}

impl Quantiles {
    /// `None` where there are no values.
    pub(super) fn of(mut values: Vec<f64>) -> Option<Quantiles> {
        values.sort_unstable_by(f64::total_cmp);
        let last = values.len().checked_sub(1)?;
        let at = |share: f64| {
            let position = share * last as f64;
            let below = values[position as usize];
            let above = values[(position as usize + 1).min(last)];
            // Infinite scores have no distance.
            if below == above {
                below
            } else {
                below + (above - below) * position.fract()
            }
        };
        Some(Quantiles {
            minimum: at(0.0),
            percent_5: at(0.05),
            percent_25: at(0.25),
            median: at(0.5),
            percent_75: at(0.75),
            percent_95: at(0.95),
            maximum: at(1.0),
        })
    }

    /// From the least to the greatest.
    pub(super) fn values(&self) -> [f64; 7] {
        [
            self.minimum,
            self.percent_5,
            self.percent_25,
            self.median,
            self.percent_75,
            self.percent_95,
            self.maximum,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_interpolate() {
        let quantiles = Quantiles::of((0..=100).map(f64::from).rev().collect()).unwrap();
        assert_eq!(
            quantiles.values(),
            [0.0, 5.0, 25.0, 50.0, 75.0, 95.0, 100.0]
        );
        assert_eq!(Quantiles::of(vec![3.0]).unwrap().values(), [3.0; 7]);
        assert_eq!(Quantiles::of(vec![]), None);
    }

    #[test]
    fn groups_end_where_those_of_lvis_end() {
        let groups = [0, 10, 11, 100, 101].map(Frequency::of_images);
        use Frequency::{Common, Frequent, Rare};
        assert_eq!(groups, [Rare, Rare, Common, Common, Frequent]);
    }
}
