//! The annotation file, in the format of COCO instances.

use serde::Serialize;

use super::canvas::Canvas;
use super::layout::Scene;
use super::outline;
use super::render::{FIRST_FIGURE, SWARM};
use super::shapes::CATEGORIES;

/// Figures of which fewer pixels are seen are left without an annotation.
const LEAST_AREA: f64 = 60.0;

#[derive(Debug, Serialize)]
pub struct Instances {
    pub info: Info,
    pub images: Vec<Image>,
    pub annotations: Vec<Annotation>,
    pub categories: Vec<NamedCategory>,
}

#[derive(Debug, Serialize)]
pub struct Info {
    pub description: String,
    pub version: &'static str,
}

#[derive(Debug, Serialize)]
pub struct Image {
    pub id: u32,
    pub file_name: String,
    pub width: usize,
    pub height: usize,
}

#[derive(Debug, Serialize)]
pub struct Annotation {
    pub id: u32,
    pub image_id: u32,
    pub category_id: u32,
    pub segmentation: Segmentation,
    pub area: f64,
    pub bbox: [f64; 4],
    pub iscrowd: u8,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Segmentation {
    /// Flat lists of coordinates, `x` and `y` in turn.
    Polygons(Vec<Vec<f64>>),
    /// The lengths of the runs outside and inside, in turn, down the columns; `[height, width]`.
    Runs { counts: Vec<u32>, size: [usize; 2] },
}

#[derive(Debug, Serialize)]
pub struct NamedCategory {
    pub id: u32,
    pub name: &'static str,
    pub supercategory: &'static str,
}

/// The categories as the file lists them.
pub fn named_categories() -> Vec<NamedCategory> {
    CATEGORIES
        .iter()
        .map(|category| NamedCategory {
            id: category.id,
            name: category.name,
            supercategory: category.supercategory,
        })
        .collect()
}

/// Annotates what is seen of the figures. The ids count up from 1 in each image.
pub fn annotate(scene: &Scene, canvas: &Canvas, image_id: u32) -> Vec<Annotation> {
    let swarm = scene.swarm.first().and_then(|member| {
        let category_id = CATEGORIES[member.category].id;
        crowd(canvas, image_id, category_id)
    });
    let figures = (FIRST_FIGURE..).zip(&scene.figures);
    let single = figures.filter_map(|(owner, figure)| {
        let category_id = CATEGORIES[figure.category].id;
        outlined(canvas, owner, image_id, category_id)
    });
    let mut annotations: Vec<Annotation> = swarm.into_iter().chain(single).collect();
    for (id, annotation) in (1..).zip(&mut annotations) {
        annotation.id = id;
    }
    annotations
}

fn outlined(canvas: &Canvas, owner: u16, image_id: u32, category_id: u32) -> Option<Annotation> {
    let polygons = outline::polygons(&canvas.owners, canvas.width, owner);
    let area = polygons.iter().map(|polygon| outline::area(polygon)).sum();
    if area < LEAST_AREA {
        return None;
    }
    let corners = polygons.iter().flatten();
    let places = corners.map(|corner| (f64::from(corner.x), f64::from(corner.y)));
    let flat = polygons.iter().map(|polygon| {
        let coordinates = polygon.iter().flat_map(|corner| [corner.x, corner.y]);
        coordinates.map(f64::from).collect()
    });
    Some(Annotation {
        id: 0,
        image_id,
        category_id,
        segmentation: Segmentation::Polygons(flat.collect()),
        area,
        bbox: bounds(places),
        iscrowd: 0,
    })
}

fn crowd(canvas: &Canvas, image_id: u32, category_id: u32) -> Option<Annotation> {
    let width = canvas.width;
    let pixels = canvas.owners.iter().enumerate();
    let shown: Vec<usize> = pixels
        .filter_map(|(index, &owner)| (owner == SWARM).then_some(index))
        .collect();
    if (shown.len() as f64) < LEAST_AREA {
        return None;
    }
    let corners = shown.iter().flat_map(|index| {
        let (column, row) = ((index % width) as f64, (index / width) as f64);
        [(column, row), (column + 1.0, row + 1.0)]
    });
    Some(Annotation {
        id: 0,
        image_id,
        category_id,
        segmentation: Segmentation::Runs {
            counts: outline::run_lengths(&canvas.owners, width, SWARM),
            size: [canvas.height, width],
        },
        area: shown.len() as f64,
        bbox: bounds(corners),
        iscrowd: 1,
    })
}

/// The box `[x, y, width, height]` around some points.
fn bounds(points: impl Iterator<Item = (f64, f64)>) -> [f64; 4] {
    let empty = [f64::MAX, f64::MAX, f64::MIN, f64::MIN];
    let [left, top, right, bottom] = points.fold(empty, |[left, top, right, bottom], (x, y)| {
        [left.min(x), top.min(y), right.max(x), bottom.max(y)]
    });
    [left, top, right - left, bottom - top]
}
