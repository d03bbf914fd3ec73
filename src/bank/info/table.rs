//! The summaries as text.

use std::fmt::{self, Display, Formatter};

use super::counts::{CategoryInfo, Frequency, GroupInfo, Quantiles};
use super::{BankInfo, SceneInfo, ShardInfo};

/// Rows of a table that `{}` shows.
const SHORT_TABLE: usize = 20;

impl Display for BankInfo {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (cutouts, bytes) = (self.cutouts, human_bytes(self.bytes as f64));
        let mean = human_bytes(self.mean_bytes);
        writeln!(f, "{cutouts} cutouts, {bytes}, {mean} each")?;
        write_shards(f, &self.shards)?;
        write_categories(f, "cutouts", &self.categories, self.categories_without)?;
        write_groups(f, "cutouts", &self.groups)?;
        let scores = format!("score ({} have one)", self.scored);
        let rows = [
            ("side, px", &self.sides),
            ("area, texels", &self.areas),
            (&scores, &self.scores),
        ];
        write_quantiles(f, &rows)
    }
}

impl Display for SceneInfo {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (scenes, bytes) = (self.scenes, human_bytes(self.bytes as f64));
        let mean = human_bytes(self.mean_bytes);
        writeln!(f, "{scenes} scenes, {bytes}, {mean} each")?;
        writeln!(f, "{} raw, {} as JPEG", self.raw, self.jpeg)?;
        let (instances, crowds) = (self.instances, self.crowds);
        writeln!(f, "{instances} instances, {crowds} of them crowds")?;
        write_shards(f, &self.shards)?;
        write_categories(f, "instances", &self.categories, self.categories_without)?;
        write_groups(f, "instances", &self.groups)?;
        let scores = format!("score ({} have one)", self.scored);
        let rows = [
            ("scene side, px", &self.scene_sides),
            ("instance side, px", &self.instance_sides),
            (&scores, &self.scores),
        ];
        write_quantiles(f, &rows)
    }
}

fn write_shards(f: &mut Formatter<'_>, shards: &[ShardInfo]) -> fmt::Result {
    let row = |shard: &ShardInfo| {
        vec![
            shard.file.clone(),
            shard.rows.to_string(),
            human_bytes(shard.bytes as f64),
            human_bytes(shard.mean_bytes),
        ]
    };
    let rows = shards.iter().map(row).collect();
    write_table(f, &["shard", "rows", "bytes", "a row"], rows)
}

fn write_categories(
    f: &mut Formatter<'_>,
    what: &str,
    categories: &[CategoryInfo],
    without: u64,
) -> fmt::Result {
    let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.3}"));
    let row = |category: &CategoryInfo| {
        let name = category.name.as_deref();
        vec![
            name.unwrap_or("(not in the manifest)").to_owned(),
            category.id.to_string(),
            category.count.to_string(),
            category.images.to_string(),
            number(category.size_mean),
            number(category.size_std),
            name_of(category.frequency).to_owned(),
        ]
    };
    let header = [
        "category",
        "id",
        what,
        "images",
        "mean size",
        "std",
        "group",
    ];
    write_table(f, &header, categories.iter().map(row).collect())?;
    writeln!(f, "{without} categories without {what}")
}

fn write_groups(f: &mut Formatter<'_>, what: &str, groups: &[GroupInfo]) -> fmt::Result {
    let row = |group: &GroupInfo| {
        vec![
            name_of(group.frequency).to_owned(),
            group.categories.to_string(),
            group.count.to_string(),
        ]
    };
    let header = ["group", "categories", what];
    write_table(f, &header, groups.iter().map(row).collect())
}

fn write_quantiles(f: &mut Formatter<'_>, rows: &[(&str, &Option<Quantiles>)]) -> fmt::Result {
    let row = |&(name, quantiles): &(&str, &Option<Quantiles>)| {
        let values = quantiles.as_ref().map(Quantiles::values);
        let cells =
            (0..7).map(|index| values.map_or("-".to_owned(), |values| number(values[index])));
        std::iter::once(name.to_owned()).chain(cells).collect()
    };
    let header = ["", "min", "5 %", "25 %", "median", "75 %", "95 %", "max"];
    write_table(f, &header, rows.iter().map(row).collect())
}

fn name_of(frequency: Frequency) -> &'static str {
    match frequency {
        Frequency::Rare => "rare",
        Frequency::Common => "common",
        Frequency::Frequent => "frequent",
    }
}

/// Three digits behind the point for small numbers such as scores, one for sizes.
fn number(value: f64) -> String {
    if value.abs() < 2.0 {
        format!("{value:.3}")
    } else {
        format!("{value:.1}")
    }
}

fn human_bytes(bytes: f64) -> String {
    let mut value = bytes;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            let digits = usize::from(unit != "B");
            return format!("{value:.digits$} {unit}");
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

/// An empty line and a table: the first column to the left, the others to the right.
fn write_table(f: &mut Formatter<'_>, header: &[&str], rows: Vec<Vec<String>>) -> fmt::Result {
    let shown = if f.alternate() {
        rows.len()
    } else {
        rows.len().min(SHORT_TABLE)
    };
    let header: Vec<String> = header.iter().map(|&cell| cell.to_owned()).collect();
    let lines = || std::iter::once(&header).chain(&rows[..shown]);
    let width = |column: usize| lines().map(|line| line[column].chars().count()).max();
    let widths: Vec<usize> = (0..header.len()).filter_map(width).collect();
    writeln!(f)?;
    for line in lines() {
        for (column, (cell, &width)) in line.iter().zip(&widths).enumerate() {
            match column {
                0 => write!(f, "{cell:<width$}")?,
                _ => write!(f, "  {cell:>width$}")?,
            }
        }
        writeln!(f)?;
    }
    match rows.len() - shown {
        0 => Ok(()),
        more => writeln!(f, "… and {more} more"),
    }
}
