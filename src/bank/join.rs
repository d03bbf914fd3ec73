//! Several packs as one: their rows one after another, nothing copied.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::cutouts::first_rows;
use super::error::BankError;
use super::manifest::{MANIFEST_FILE, Manifest, SizeStatistics};
use super::{CutoutBank, ScenePack};

/// One of the packs that were joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The folder it was opened from.
    pub directory: PathBuf,
    /// Its rows in the joined pack.
    pub rows: Range<usize>,
}

impl CutoutBank {
    /// One bank of all the rows of `banks`, in that order. Nothing is copied. Where one is given,
    /// it is returned as it is.
    ///
    /// # Errors
    /// [`BankError::Manifest`] if no bank is given, or two of them name a category id differently.
    pub fn join(banks: Vec<CutoutBank>) -> Result<CutoutBank, BankError> {
        let manifest = join_manifests(banks.iter().map(|b| (b.directory.as_path(), &b.manifest)))?;
        let parts = parts(banks.iter().flat_map(|bank| bank.parts()));
        let mut banks = banks.into_iter();
        let Some(mut joined) = banks.next() else {
            return Err(nothing_to_join());
        };
        joined.shards.extend(banks.flat_map(|bank| bank.shards));
        joined.first_rows = first_rows(joined.shards.iter().map(|shard| shard.shard.rows()));
        joined.manifest = manifest;
        joined.parts = parts;
        Ok(joined)
    }

    /// The banks that were joined; one, of all rows, for a bank that was opened.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }
}

impl ScenePack {
    /// One pack of all the scenes of `packs`, in that order. Nothing is copied. Where one is given,
    /// it is returned as it is.
    ///
    /// # Errors
    /// [`BankError::Manifest`] if no pack is given, or two of them name a category id differently.
    pub fn join(packs: Vec<ScenePack>) -> Result<ScenePack, BankError> {
        let manifest = join_manifests(packs.iter().map(|p| (p.directory.as_path(), &p.manifest)))?;
        let parts = parts(packs.iter().flat_map(|pack| pack.parts()));
        let mut packs = packs.into_iter();
        let Some(mut joined) = packs.next() else {
            return Err(nothing_to_join());
        };
        joined.shards.extend(packs.flat_map(|pack| pack.shards));
        joined.first_rows = first_rows(joined.shards.iter().map(|shard| shard.shard.rows()));
        joined.manifest = manifest;
        joined.parts = parts;
        Ok(joined)
    }

    /// The packs that were joined; one, of all scenes, for a pack that was opened.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }
}

/// The parts with their rows moved behind those of the parts before them.
fn parts<'a>(parts: impl Iterator<Item = &'a Part>) -> Vec<Part> {
    let mut end = 0;
    let place = |part: &Part| {
        let start = end;
        end += part.rows.len();
        Part {
            directory: part.directory.clone(),
            rows: start..end,
        }
    };
    parts.map(place).collect()
}

fn nothing_to_join() -> BankError {
    BankError::manifest(
        Path::new(MANIFEST_FILE),
        "shards",
        "no pack was given; at least one was expected".to_owned(),
    )
}

/// All shards and categories, and the statistics of all instances together.
fn join_manifests<'a>(
    mut manifests: impl Iterator<Item = (&'a Path, &'a Manifest)>,
) -> Result<Manifest, BankError> {
    let Some((_, first)) = manifests.next() else {
        return Err(nothing_to_join());
    };
    let mut joined = first.clone();
    for (directory, manifest) in manifests {
        joined.shards.extend_from_slice(&manifest.shards);
        for category in &manifest.categories {
            match joined.categories.iter().find(|c| c.id == category.id) {
                None => joined.categories.push(category.clone()),
                Some(known) if known.name == category.name => {}
                Some(known) => {
                    let problem = format!(
                        "category id {} is {:?} here and {:?} in a pack given before; one name for \
                         one id was expected",
                        category.id, category.name, known.name
                    );
                    let path = directory.join(MANIFEST_FILE);
                    return Err(BankError::manifest(&path, "categories", problem));
                }
            }
        }
        for added in &manifest.statistics {
            let known = joined.statistics.iter_mut();
            let same = |known: &&mut SizeStatistics| known.category_id == added.category_id;
            match known.into_iter().find(same) {
                Some(known) => *known = known.pooled_with(added),
                None => joined.statistics.push(*added),
            }
        }
    }
    Ok(joined)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bank::test_banks::{category, instance, row, write_bank, write_scenes};

    #[test]
    fn rows_follow_one_another_and_names_must_agree() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["a", "b", "c"].map(|name| folder.path().join(name));
        let [cat, dog] = [category(1, "cat"), category(2, "dog")];
        let rows = [vec![row(8, 1, 5)], vec![row(9, 1, 6), row(7, 1, 7)]];
        write_bank(&paths[0], std::slice::from_ref(&cat), &rows);
        write_bank(&paths[1], &[dog, cat], &[vec![row(12, 2, 8)]]);
        write_bank(&paths[2], &[category(1, "cow")], &[vec![row(8, 1, 9)]]);
        let open = |index: usize| CutoutBank::open(&paths[index]).unwrap();
        let joined = CutoutBank::join(vec![open(0), open(1), open(0)]).unwrap();
        let widths = (0..joined.len()).map(|index| joined.get(index).unwrap().size.width());
        assert_eq!(widths.collect::<Vec<_>>(), [8, 9, 7, 12, 8, 9, 7]);
        assert!(joined.get(7).is_none());
        let ranges = joined.parts().iter().map(|part| part.rows.clone());
        assert_eq!(ranges.collect::<Vec<_>>(), [0..3, 3..4, 4..7]);
        assert_eq!(joined.parts()[1].directory, paths[1]);
        assert_eq!(joined.manifest().categories.len(), 2);
        assert_eq!(joined.manifest().rows(), 7);
        let error = CutoutBank::join(vec![open(1), open(2)])
            .unwrap_err()
            .to_string();
        assert!(error.contains("1 is \"cow\" here and \"cat\""), "{error}");
        assert!(CutoutBank::join(Vec::new()).is_err());
        assert_ne!(
            open(0).manifest().fingerprint(),
            joined.manifest().fingerprint()
        );
    }

    #[test]
    fn scenes_follow_one_another() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["a", "b"].map(|name| folder.path().join(name));
        let categories = [category(1, "cat")];
        write_scenes(
            &paths[0],
            &categories,
            &[4, 5],
            &[instance(1, [0, 0, 2, 2], 0)],
        );
        write_scenes(&paths[1], &categories, &[6], &[]);
        let open = |index: usize| ScenePack::open(&paths[index]).unwrap();
        let joined = ScenePack::join(vec![open(0), open(1)]).unwrap();
        let counts = (0..3).map(|index| {
            let scene = joined.get(index).unwrap();
            (scene.size.width(), scene.instance_count())
        });
        assert_eq!(counts.collect::<Vec<_>>(), [(4, 1), (5, 1), (6, 0)]);
        assert_eq!(joined.parts()[1].rows, 2..3);
    }
}
