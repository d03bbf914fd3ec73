//! How large objects of a category are: mean and deviation of sqrt(box area / image area).

use std::collections::HashMap;

use crate::bank::{Manifest, SizeStatistics};

/// A normal distribution of sqrt(box area / image area).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RelativeSize {
    /// Mean, 0..=1.
    pub mean: f64,
    /// Standard deviation.
    pub std: f64,
}

/// Sizes by category, with what is taken for categories that nobody measured.
#[derive(Debug)]
pub(super) struct Sizes {
    categories: HashMap<i64, RelativeSize>,
    pooled: RelativeSize,
}

/// Where no pack has any statistics: about those of COCO over all categories.
const UNMEASURED: RelativeSize = RelativeSize {
    mean: 0.2,
    std: 0.15,
};

impl Sizes {
    /// From the packs' manifests; the first that has a category is taken.
    pub fn new(manifests: [&Manifest; 2]) -> Sizes {
        let mut categories = HashMap::new();
        let usable = |entry: &&SizeStatistics| {
            entry.instances > 0 && entry.size_mean.is_finite() && entry.size_std >= 0.0
        };
        for manifest in manifests {
            for entry in manifest.statistics.iter().filter(usable) {
                categories.entry(entry.category_id).or_insert(RelativeSize {
                    mean: entry.size_mean,
                    std: entry.size_std,
                });
            }
        }
        let pooled = manifests
            .into_iter()
            .map(|manifest| manifest.statistics.iter().filter(usable))
            .find_map(pool);
        Sizes {
            categories,
            pooled: pooled.unwrap_or(UNMEASURED),
        }
    }

    /// The category's sizes, where it was measured.
    pub fn of(&self, category: i64) -> Option<RelativeSize> {
        self.categories.get(&category).copied()
    }

    /// The sizes of all categories together.
    pub fn pooled(&self) -> RelativeSize {
        self.pooled
    }
}

/// Mean and deviation over the instances of all categories.
fn pool<'a>(entries: impl Iterator<Item = &'a SizeStatistics>) -> Option<RelativeSize> {
    let (mut count, mut sum, mut squares) = (0.0, 0.0, 0.0);
    for entry in entries {
        let n = entry.instances as f64;
        count += n;
        sum += n * entry.size_mean;
        squares += n * (entry.size_std.powi(2) + entry.size_mean.powi(2));
    }
    (count > 0.0).then(|| {
        let mean = sum / count;
        RelativeSize {
            mean,
            std: (squares / count - mean * mean).max(0.0).sqrt(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bank::Kind;

    fn manifest(entries: &[(i64, u64, f64, f64)]) -> Manifest {
        let mut manifest = Manifest::new(Kind::Scenes, Vec::new(), Vec::new());
        let entry = |&(category_id, instances, size_mean, size_std): &_| SizeStatistics {
            category_id,
            instances,
            size_mean,
            size_std,
        };
        manifest.statistics = entries.iter().map(entry).collect();
        manifest
    }

    #[test]
    fn a_category_has_its_own_sizes_or_those_of_all() {
        let scenes = manifest(&[(1, 3, 0.2, 0.0), (2, 1, 0.6, 0.0), (9, 0, 0.9, 0.9)]);
        let bank = manifest(&[(1, 5, 0.5, 0.5), (3, 5, 0.4, 0.1)]);
        let sizes = Sizes::new([&scenes, &bank]);
        assert_eq!(sizes.of(1).unwrap().mean, 0.2);
        assert_eq!(sizes.of(3).unwrap().std, 0.1);
        assert_eq!(sizes.of(9), None);
        let pooled = sizes.pooled();
        assert!((pooled.mean - 0.3).abs() < 1e-12);
        assert!((pooled.std - 0.03f64.sqrt()).abs() < 1e-12);
        let empty = manifest(&[]);
        assert_eq!(Sizes::new([&empty, &empty]).pooled(), UNMEASURED);
    }
}
