//! One list of categories, of statistics and of further keys out of several.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::{MergeError, Renumbered};
use crate::bank::manifest::PACK_SETTINGS_KEY;
use crate::bank::manifest::{Category, Manifest, SizeStatistics};

/// The categories of all banks so far: no id and no name is in it twice.
#[derive(Debug, Default)]
pub(super) struct Union {
    categories: Vec<Category>,
    /// The bank that each came from.
    banks: Vec<PathBuf>,
    by_id: HashMap<i64, usize>,
    by_name: HashMap<String, usize>,
    /// For each bank added, which id its ids became.
    ids: Vec<HashMap<i64, i64>>,
    renumbered: Vec<Renumbered>,
}

impl Union {
    /// Adds a bank's categories and says which id each of its ids becomes.
    pub fn add(
        &mut self,
        bank: &Path,
        categories: &[Category],
    ) -> Result<HashMap<i64, i64>, MergeError> {
        let mut names: HashMap<i64, &str> = HashMap::new();
        let mut ids = HashMap::new();
        for category in categories {
            // Within one bank an id must have one name, or its rows would have no one category.
            let name = *names.entry(category.id).or_insert(&category.name);
            if name != category.name {
                return Err(conflict(bank, name, bank, category));
            }
            let id = self.place(bank, category)?;
            if ids.insert(category.id, id).is_none() && id != category.id {
                self.renumbered.push(Renumbered {
                    bank: bank.to_owned(),
                    name: category.name.clone(),
                    from: category.id,
                    to: id,
                });
            }
        }
        self.ids.push(ids.clone());
        Ok(ids)
    }

    /// The id of a category in the union, which it joins if its name is new.
    fn place(&mut self, bank: &Path, category: &Category) -> Result<i64, MergeError> {
        if let Some(&index) = self.by_name.get(&category.name) {
            let known = &mut self.categories[index];
            for (key, value) in &category.other {
                let known = known.other.entry(key.clone());
                known.or_insert_with(|| value.clone());
            }
            return Ok(known.id);
        }
        if let Some(&index) = self.by_id.get(&category.id) {
            let name = &self.categories[index].name;
            return Err(conflict(&self.banks[index], name, bank, category));
        }
        let index = self.categories.len();
        self.by_id.insert(category.id, index);
        self.by_name.insert(category.name.clone(), index);
        self.categories.push(category.clone());
        self.banks.push(bank.to_owned());
        Ok(category.id)
    }

    pub fn categories(&self) -> &[Category] {
        &self.categories
    }

    pub fn into_categories(self) -> Vec<Category> {
        self.categories
    }

    pub fn renumbered(&self) -> &[Renumbered] {
        &self.renumbered
    }
}

fn conflict(first: &Path, name: &str, second: &Path, category: &Category) -> MergeError {
    MergeError::CategoryConflict {
        id: category.id,
        first_bank: first.to_owned(),
        first_name: name.to_owned(),
        second_bank: second.to_owned(),
        second_name: category.name.clone(),
    }
}

/// The statistics of all instances together, for the categories of which any bank has some.
/// `manifests` are those of the banks in the order in which they were added to `union`.
pub(super) fn pool_statistics(manifests: &[&Manifest], union: &Union) -> Vec<SizeStatistics> {
    let mut pooled: HashMap<i64, SizeStatistics> = HashMap::new();
    for (manifest, ids) in manifests.iter().zip(&union.ids) {
        for statistics in &manifest.statistics {
            // Statistics of a category that the manifest does not have belong to none.
            let Some(&category_id) = ids.get(&statistics.category_id) else {
                continue;
            };
            let added = SizeStatistics {
                category_id,
                ..*statistics
            };
            pooled
                .entry(category_id)
                .and_modify(|sum| *sum = sum.pooled_with(&added))
                .or_insert(added);
        }
    }
    let in_order = union.categories.iter();
    in_order
        .filter_map(|category| pooled.get(&category.id).copied())
        .collect()
}

/// The further keys that all manifests have with the same value, and the names of the others.
pub(super) fn common_keys(manifests: &[&Manifest]) -> (Map<String, Value>, Vec<String>) {
    let mut kept = Map::new();
    let mut dropped: Vec<String> = Vec::new();
    for (key, value) in manifests.iter().flat_map(|manifest| &manifest.other) {
        let in_all = manifests.iter().all(|m| m.other.get(key) == Some(value));
        // How one source was packed is not how the merged bank was made.
        if in_all && key != PACK_SETTINGS_KEY {
            kept.insert(key.clone(), value.clone());
        } else if !dropped.contains(key) {
            dropped.push(key.clone());
        }
    }
    dropped.sort_unstable();
    (kept, dropped)
}
