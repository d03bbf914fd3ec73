//! The bank's rows by category and part, and how likely each is drawn.

use std::collections::BTreeMap;
use std::ops::Range;

use rand::{Rng, RngExt};

use super::{SamplerError, Weights};
use crate::bank::CutoutBank;

/// The rows of a bank, grouped by category: four bytes a cutout.
#[derive(Debug)]
pub(super) struct Groups {
    /// By category id.
    pub categories: Vec<Group>,
    /// All rows, category after category, each category's in the bank's order.
    pub rows: Vec<u32>,
}

/// A category's rows, or those of them that lie in one part of the bank.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub category: i64,
    /// Where they lie in [`Groups::rows`].
    pub range: Range<usize>,
    /// Where the category's rows begin there.
    category_start: usize,
}

impl Group {
    /// The running sum of the category's rows before this group.
    fn sum_before(&self, sums: &[f64]) -> f64 {
        if self.range.start > self.category_start {
            sums[self.range.start - 1]
        } else {
            0.0
        }
    }
}

impl Groups {
    /// Two passes over the bank's column of categories.
    pub fn new(bank: &CutoutBank) -> Groups {
        let mut counts: BTreeMap<i64, usize> = BTreeMap::new();
        for category in bank.category_ids() {
            *counts.entry(category).or_default() += 1;
        }
        let mut start = 0;
        let mut groups: BTreeMap<i64, Range<usize>> = BTreeMap::new();
        for (category, count) in counts {
            groups.insert(category, start..start);
            start += count;
        }
        let mut rows = vec![0; start];
        for (row, category) in (0u32..).zip(bank.category_ids()) {
            // A mapped file that others change under us may show other categories this time.
            let slot = groups.get_mut(&category).and_then(|range| {
                range.end += 1;
                rows.get_mut(range.end - 1)
            });
            if let Some(slot) = slot {
                *slot = row;
            }
        }
        let group = |(category, range): (i64, Range<usize>)| Group {
            category,
            category_start: range.start,
            range,
        };
        Groups {
            categories: groups.into_iter().map(group).collect(),
            rows,
        }
    }

    /// The rows of a category; none if the bank has none.
    pub fn rows_of(&self, category: i64) -> &[u32] {
        let found = self
            .categories
            .binary_search_by_key(&category, |group| group.category);
        found.map_or(&[], |index| self.rows_in(&self.categories[index].range))
    }

    fn rows_in(&self, range: &Range<usize>) -> &[u32] {
        self.rows.get(range.clone()).unwrap_or_default()
    }

    /// The categories that have rows in a part of the bank.
    fn part(&self, part: &Range<usize>) -> Vec<Group> {
        let groups = self.categories.iter().filter_map(|group| {
            let rows = self.rows_in(&group.range);
            let below = |end: usize| rows.partition_point(|&row| (row as usize) < end);
            let range = group.range.start + below(part.start)..group.range.start + below(part.end);
            (!range.is_empty()).then_some(Group {
                range,
                ..group.clone()
            })
        });
        groups.collect()
    }
}

/// How likely each part, category and cutout is drawn. Sums are kept only where something is not
/// equally likely.
#[derive(Debug)]
pub(super) struct Chances {
    parts: Vec<Part>,
    /// Running sums of the parts' weights.
    part_sums: Option<Vec<f64>>,
    /// Running sums of the cutouts' weights, in the order of [`Groups::rows`], from 0 in each
    /// category.
    row_sums: Option<Vec<f64>>,
}

/// One of several banks that were joined.
#[derive(Debug)]
struct Part {
    groups: Vec<Group>,
    /// Running sums of the categories' probabilities.
    sums: Option<Vec<f64>>,
}

/// A category of a part with the running sum of its probability: what a layer may be drawn from
/// when only some categories may come.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    group: Group,
    sum: f64,
}

/// What [`Chances`] are made from.
pub(super) struct Inputs<'a> {
    pub groups: &'a Groups,
    /// Row ranges with their weights; the whole bank where there are none.
    pub parts: &'a [(Range<usize>, f64)],
    pub weights: &'a Weights,
    /// A category's probability before weights, up to a factor; `None` where all are equal.
    pub base: Option<&'a dyn Fn(&Group) -> f64>,
}

impl Chances {
    /// # Errors
    /// [`SamplerError::Value`] where the weights leave nothing to draw from a bank that has rows.
    pub fn new(inputs: &Inputs<'_>) -> Result<Chances, SamplerError> {
        let groups = inputs.groups;
        let row_sums = inputs
            .weights
            .cutouts
            .as_deref()
            .map(|weights| row_sums(groups, weights));
        let mut chances = Chances {
            parts: Vec::new(),
            part_sums: None,
            row_sums,
        };
        let whole = [(0..usize::MAX, 1.0)];
        let ranges = if inputs.parts.is_empty() {
            &whole
        } else {
            inputs.parts
        };
        let mut masses = Vec::new();
        for (range, weight) in ranges {
            let part = chances.part(inputs, groups.part(range));
            let can_be_drawn = match &part.sums {
                Some(sums) => sums.last().is_some_and(|&sum| is_of_use(sum)),
                None => !part.groups.is_empty(),
            };
            masses.push(if can_be_drawn { *weight } else { 0.0 });
            chances.parts.push(part);
        }
        let sums = running_sums(masses.into_iter());
        let total = sums.last().copied().unwrap_or(0.0);
        if !groups.rows.is_empty() && !is_of_use(total) {
            let problem = format!("their sum is {total}; a finite sum above 0 was expected");
            return Err(SamplerError::value("weights of what can be drawn", problem));
        }
        chances.part_sums = (ranges.len() > 1).then_some(sums);
        Ok(chances)
    }

    fn part(&self, inputs: &Inputs<'_>, groups: Vec<Group>) -> Part {
        if inputs.base.is_none() && inputs.weights.is_default() {
            return Part { groups, sums: None };
        }
        let mass = |group: &Group| {
            let base = inputs.base.map_or(1.0, |base| base(group));
            let rows = self.row_mass(group);
            base * inputs.weights.of(group.category) * f64::from(u8::from(rows > 0.0))
        };
        let sums = running_sums(groups.iter().map(mass));
        Part {
            groups,
            sums: Some(sums),
        }
    }

    /// Sum of the weights of rows of one category, which lie one after the other.
    fn row_mass(&self, group: &Group) -> f64 {
        match &self.row_sums {
            None => group.range.len() as f64,
            Some(sums) => sums[group.range.end - 1] - group.sum_before(sums),
        }
    }

    /// A cutout: its part by weight, its category, itself; `None` if there are none.
    pub fn draw(&self, groups: &Groups, draw: &mut impl Rng) -> Option<u32> {
        let part = self
            .parts
            .get(pick(self.part_sums.as_deref(), self.parts.len(), draw)?)?;
        let group = part
            .groups
            .get(pick(part.sums.as_deref(), part.groups.len(), draw)?)?;
        self.draw_row(groups, group, draw)
    }

    /// A cutout of a group.
    fn draw_row(&self, groups: &Groups, group: &Group, draw: &mut impl Rng) -> Option<u32> {
        let rows = groups.rows_in(&group.range);
        let Some(sums) = &self.row_sums else {
            return rows.get(uniform(rows.len(), draw)?).copied();
        };
        let start = group.sum_before(sums);
        let sums = sums.get(group.range.clone())?;
        let at = between(start, *sums.last()?, draw)?;
        rows.get(sums.partition_point(|&sum| sum <= at)).copied()
    }

    /// Lists what the categories `wanted`, in ascending order, can be drawn from: parts as likely
    /// as by weight among those that have any, categories within a part as likely as else.
    pub fn candidates(&self, wanted: &[i64], candidates: &mut Vec<Candidate>) {
        candidates.clear();
        let mut sum = 0.0;
        for (number, part) in self.parts.iter().enumerate() {
            let weight = mass_at(self.part_sums.as_deref(), number);
            let found = || {
                wanted.iter().filter_map(|category| {
                    let at = part.groups.binary_search_by_key(category, |g| g.category);
                    let index = at.ok()?;
                    Some((index, mass_at(part.sums.as_deref(), index)))
                })
            };
            let total: f64 = found().map(|(_, mass)| mass).sum();
            for (index, mass) in found().filter(|(_, mass)| *mass > 0.0) {
                sum += weight * (mass / total);
                candidates.push(Candidate {
                    group: part.groups[index].clone(),
                    sum,
                });
            }
        }
        if sum <= 0.0 {
            candidates.clear();
        }
    }

    /// A cutout of the candidates; `None` if there are none.
    pub fn draw_among(
        &self,
        groups: &Groups,
        candidates: &[Candidate],
        draw: &mut impl Rng,
    ) -> Option<u32> {
        let at = between(0.0, candidates.last()?.sum, draw)?;
        let index = candidates.partition_point(|candidate| candidate.sum <= at);
        self.draw_row(groups, &candidates.get(index)?.group, draw)
    }
}

/// An index by running sums, or a uniform one below `length`; `None` if there is none.
fn pick(sums: Option<&[f64]>, length: usize, draw: &mut impl Rng) -> Option<usize> {
    let Some(sums) = sums else {
        return uniform(length, draw);
    };
    let at = between(0.0, *sums.last()?, draw)?;
    Some(sums.partition_point(|&sum| sum <= at))
}

/// Whether something can be drawn by weights of that sum.
fn is_of_use(sum: f64) -> bool {
    sum > 0.0 && sum.is_finite()
}

/// A uniform number in `start`..`end`; `None` if there is none.
fn between(start: f64, end: f64, draw: &mut impl Rng) -> Option<f64> {
    (start < end && (end - start).is_finite()).then(|| draw.random_range(start..end))
}

/// A uniform index below `length`; `None` if there is none.
pub(super) fn uniform(length: usize, draw: &mut impl Rng) -> Option<usize> {
    // Drawn as 64 bits on every platform.
    (length > 0).then(|| draw.random_range(0..length as u64) as usize)
}

/// The weight of one entry of running sums; 1 where there are none.
fn mass_at(sums: Option<&[f64]>, index: usize) -> f64 {
    let Some(sums) = sums else {
        return 1.0;
    };
    let before = index.checked_sub(1).map_or(0.0, |before| sums[before]);
    sums[index] - before
}

fn running_sums(masses: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut sum = 0.0;
    masses
        .map(|mass| {
            sum += mass;
            sum
        })
        .collect()
}

fn row_sums(groups: &Groups, weights: &[f32]) -> Vec<f64> {
    let mut sums = Vec::with_capacity(groups.rows.len());
    for group in &groups.categories {
        let rows = groups.rows_in(&group.range).iter();
        let weight = |&row: &u32| weights.get(row as usize).map_or(0.0, |&w| f64::from(w));
        sums.extend(running_sums(rows.map(weight)));
    }
    sums
}
