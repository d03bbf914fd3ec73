//! Galleries as contact sheets: as many numbered PNG files as are needed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::gallery::{Bits, Instance, Origin, Picture, Source, bits_of};
use super::placement::Placement;
use super::{Overlay, Sheet, Style, ViewError, for_each_picture, tile_in_style};

/// How sheets are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Tiles in a row.
    pub columns: u32,
    /// Side of a tile in pixels.
    pub tile: u32,
    /// Most tiles of a sheet; 0 counts as 1.
    pub per_sheet: u32,
}

impl Default for Grid {
    fn default() -> Grid {
        Grid {
            columns: 4,
            tile: 400,
            per_sheet: 48,
        }
    }
}

/// Draws at most `count` pictures of `source` with their instances and writes them as one sheet
/// at `path`, or, where one does not hold them, as `NAME-1.png`, `NAME-2.png` and so on. A label
/// says where its instance comes from: `+cup` was pasted, `(cup)` counts for nothing. No picture
/// at all gives a sheet that says so. Returns the files written.
///
/// # Errors
/// [`ViewError`] if a sheet would be too large or cannot be written, or `progress`, which is told
/// how many pictures are done, answers to stop. Sheets that are finished stay.
pub fn write_sheets(
    source: &mut dyn Source,
    count: u64,
    grid: &Grid,
    style: Style,
    path: &Path,
    progress: &mut dyn FnMut(u64) -> bool,
) -> Result<Vec<PathBuf>, ViewError> {
    let (title, names) = (source.title(), source.names().clone());
    let mut sheets = Sheets {
        title,
        grid: *grid,
        path,
        sheet: Sheet::new("", grid.columns, (grid.tile, grid.tile)),
        shown: 0,
        written: Vec::new(),
    };
    for_each_picture(source, count, grid.tile, progress, |picture| {
        // A full sheet is written when there is more to come, since only then it has a number.
        if sheets.sheet.len() >= grid.per_sheet.max(1) as usize {
            sheets.write(true)?;
        }
        let tile = draw_tile(&picture, &names, grid.tile, style);
        sheets.sheet.add(&tile, &captions(&picture));
        sheets.shown += 1;
        Ok(())
    })?;
    sheets.write(!sheets.written.is_empty())?;
    Ok(sheets.written)
}

/// The sheet in hand and those that are written.
struct Sheets<'a> {
    title: String,
    grid: Grid,
    path: &'a Path,
    sheet: Sheet,
    shown: u64,
    written: Vec<PathBuf>,
}

impl Sheets<'_> {
    /// Writes the sheet in hand and begins the next one.
    fn write(&mut self, numbered: bool) -> Result<(), ViewError> {
        let tiles = self.sheet.len() as u64;
        let what = match (numbered, self.shown) {
            (_, 0) => "no pictures".to_owned(),
            (false, 1) => "1 picture".to_owned(),
            (false, shown) => format!("{shown} pictures"),
            (true, shown) => format!("pictures {} to {shown}", shown - tiles + 1),
        };
        self.sheet.set_title(&format!("{}: {what}", self.title));
        let path = match numbered {
            true => numbered_path(self.path, self.written.len() + 1),
            false => self.path.to_owned(),
        };
        self.sheet.save(&path)?;
        self.written.push(path);
        self.sheet = Sheet::new("", self.grid.columns, (self.grid.tile, self.grid.tile));
        Ok(())
    }
}

/// `sheet.png` becomes `sheet-3.png`.
fn numbered_path(path: &Path, number: usize) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let ending = path.extension().map(|ending| ending.to_string_lossy());
    let ending = ending.map_or(String::new(), |ending| format!(".{ending}"));
    path.with_file_name(format!("{stem}-{number}{ending}"))
}

fn draw_tile(
    picture: &Picture,
    names: &BTreeMap<i64, String>,
    tile: u32,
    style: Style,
) -> image::RgbImage {
    let instances = &picture.instances;
    let labels: Vec<String> = instances.iter().map(|i| label(i, names)).collect();
    let bits: Vec<Bits> = instances.iter().map(|i| bits_of(&i.mask)).collect();
    let drawn = instances.iter().zip(&labels).zip(&bits);
    let overlays: Vec<Overlay> = drawn
        .map(|((instance, label), bits)| Overlay {
            mask: bits.mask(),
            box_xyxy: reduced_box(picture, instance.box_xyxy),
            label,
            tint: instance.tint,
        })
        .collect();
    tile_in_style(&picture.image, &overlays, (tile, tile), style)
}

/// A box of the true size in pixels of the picture as it is held.
fn reduced_box(picture: &Picture, box_xyxy: [u32; 4]) -> [u32; 4] {
    let [width, height] = picture.size;
    let placement = Placement {
        source: (width.max(1), height.max(1)),
        drawn: picture.image.dimensions(),
        left: 0,
        top: 0,
    };
    let area = placement.area(box_xyxy);
    [area.left, area.top, area.right, area.bottom].map(|edge| u32::try_from(edge).unwrap_or(0))
}

/// The category's name, marked by where the instance comes from.
fn label(instance: &Instance, names: &BTreeMap<i64, String>) -> String {
    let name = match names.get(&instance.category) {
        Some(name) => name.clone(),
        None => instance.category.to_string(),
    };
    let plus = match instance.origin {
        Origin::Pasted => "+",
        Origin::Scene | Origin::Unknown => "",
    };
    let crowd = if instance.crowd { " crowd" } else { "" };
    match instance.ignored {
        true => format!("({plus}{name}{crowd})"),
        false => format!("{plus}{name}{crowd}"),
    }
}

fn captions(picture: &Picture) -> [String; 2] {
    if let Some(problem) = &picture.problem {
        return [picture.title.clone(), problem.clone()];
    }
    let [width, height] = picture.size;
    let of = |origin| picture.instances.iter().filter(move |i| i.origin == origin);
    let (scene, pasted) = (of(Origin::Scene).count(), of(Origin::Pasted).count());
    let instances = match (scene + pasted, picture.instances.len()) {
        (0, 1) => "1 instance".to_owned(),
        (0, all) => format!("{all} instances"),
        _ => format!("{scene} of the scene, {pasted} pasted (+)"),
    };
    let size = format!("{width}x{height}");
    [picture.title.clone(), format!("{size}, {instances}")]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::gallery::Reduction;
    use crate::view::gallery::tests::block;

    #[test]
    fn labels_say_where_an_instance_comes_from() {
        let names = BTreeMap::from([(3, "cup".to_owned())]);
        let mask = block([8, 8], [0, 0, 4, 4]);
        let reduction = Reduction::new([8, 8], 8);
        let mut instance = reduction.instance(3, Origin::Pasted, &mask, 0).unwrap();
        assert_eq!(label(&instance, &names), "+cup");
        instance.ignored = true;
        assert_eq!(label(&instance, &names), "(+cup)");
        instance.origin = Origin::Scene;
        instance.ignored = false;
        instance.crowd = true;
        instance.category = 9;
        assert_eq!(label(&instance, &names), "9 crowd");
    }

    #[test]
    fn names_of_sheets_keep_folder_and_ending() {
        assert_eq!(
            numbered_path(Path::new("a/b.c.png"), 2),
            Path::new("a/b.c-2.png")
        );
        assert_eq!(numbered_path(Path::new("plain"), 1), Path::new("plain-1"));
    }
}
