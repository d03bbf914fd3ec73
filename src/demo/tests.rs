use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use super::canvas::Canvas;
use super::geometry::at;
use super::layout::Scene;
use super::render::{FIRST_FIGURE, render};
use super::texture::Noise;
use super::{DrawError, DrawOptions, DrawnDataSet, draw, outline};

/// A folder that is removed at the end of a test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let own = format!("pastebank-demo-{}-{name}", std::process::id());
        Self(std::env::temp_dir().join(own))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const SMALL: DrawOptions = DrawOptions {
    images: 8,
    width: 240,
    height: 180,
    seed: 7,
};

fn drawn(name: &str, options: &DrawOptions) -> (Folder, DrawnDataSet, Value) {
    let folder = Folder::new(name);
    let data_set = draw(&folder.0, options).unwrap();
    let instances = serde_json::from_slice(&fs::read(&data_set.annotations).unwrap()).unwrap();
    (folder, data_set, instances)
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    let values = value.as_array().unwrap();
    values
        .iter()
        .map(|number| number.as_f64().unwrap())
        .collect()
}

#[test]
fn equal_seeds_draw_equal_files() {
    let options = DrawOptions { images: 3, ..SMALL };
    let (_first, one, _) = drawn("equal-one", &options);
    let (_second, two, _) = drawn("equal-two", &options);
    let bytes = |path: PathBuf| fs::read(path).unwrap();
    assert_eq!(
        bytes(one.annotations.clone()),
        bytes(two.annotations.clone())
    );
    for name in ["000001.jpg", "000002.jpg", "000003.jpg"] {
        assert_eq!(bytes(one.images.join(name)), bytes(two.images.join(name)));
    }
    let (_third, three, _) = drawn("equal-three", &DrawOptions { seed: 8, ..options });
    assert_ne!(bytes(one.annotations), bytes(three.annotations));
}

#[test]
fn an_image_does_not_depend_on_how_many_there_are() {
    let (_few, few, _) = drawn("few", &DrawOptions { images: 2, ..SMALL });
    let (_more, more, _) = drawn("more", &DrawOptions { images: 4, ..SMALL });
    let second = |data_set: &DrawnDataSet| fs::read(data_set.images.join("000002.jpg")).unwrap();
    assert_eq!(second(&few), second(&more));
}

#[test]
fn only_the_named_files_are_left() {
    let (folder, data_set, instances) = drawn("files", &DrawOptions { images: 2, ..SMALL });
    let names = |path: &PathBuf| {
        let entries = fs::read_dir(path).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&folder.0), ["annotations.json", "images"]);
    assert_eq!(names(&data_set.images), ["000001.jpg", "000002.jpg"]);
    for image in list(&instances, "images") {
        let path = data_set.images.join(image["file_name"].as_str().unwrap());
        let (width, height) = image::image_dimensions(path).unwrap();
        assert_eq!(image["width"], width);
        assert_eq!(image["height"], height);
    }
}

#[test]
fn annotations_are_well_formed() {
    let (_folder, data_set, instances) = drawn("form", &SMALL);
    let images: HashMap<u64, &Value> = list(&instances, "images")
        .iter()
        .map(|image| (image["id"].as_u64().unwrap(), image))
        .collect();
    let annotations = list(&instances, "annotations");
    assert_eq!(data_set.image_count, images.len());
    assert_eq!(data_set.annotation_count, annotations.len());
    let counts = data_set.categories.iter().map(|(_, count)| count);
    assert_eq!(counts.sum::<usize>(), annotations.len());
    let (mut crowds, mut parted) = (0, 0);
    for (id, annotation) in (1..).zip(annotations) {
        assert_eq!(annotation["id"], id);
        let image = images[&annotation["image_id"].as_u64().unwrap()];
        let category = &annotation["category_id"];
        let categories = list(&instances, "categories");
        assert!(categories.iter().any(|named| &named["id"] == category));
        if annotation["iscrowd"] == 1 {
            crowds += 1;
            check_crowd(annotation, image);
        } else {
            parted += usize::from(list(annotation, "segmentation").len() > 1);
            check_polygons(annotation, image);
        }
    }
    assert!(crowds >= 1, "no crowd");
    assert!(parted >= 1, "no annotation of several polygons");
}

fn check_crowd(annotation: &Value, image: &Value) {
    let (width, height) = (image["width"].as_f64(), image["height"].as_f64());
    let size = numbers(&annotation["segmentation"]["size"]);
    assert_eq!(size, [height.unwrap(), width.unwrap()]);
    let counts = numbers(&annotation["segmentation"]["counts"]);
    assert_eq!(counts.iter().sum::<f64>(), size[0] * size[1]);
    let inside: f64 = counts.iter().skip(1).step_by(2).sum();
    assert_eq!(annotation["area"], inside);
}

fn check_polygons(annotation: &Value, image: &Value) {
    let (width, height) = (image["width"].as_f64(), image["height"].as_f64());
    let bounds = numbers(&annotation["bbox"]);
    assert!(annotation["area"].as_f64().unwrap() <= bounds[2] * bounds[3]);
    for polygon in list(annotation, "segmentation") {
        let polygon = numbers(polygon);
        assert!(polygon.len() >= 6 && polygon.len().is_multiple_of(2));
        for corner in polygon.chunks(2) {
            assert!((0.0..=width.unwrap()).contains(&corner[0]));
            assert!((0.0..=height.unwrap()).contains(&corner[1]));
            assert!((bounds[0]..=bounds[0] + bounds[2]).contains(&corner[0]));
            assert!((bounds[1]..=bounds[1] + bounds[3]).contains(&corner[1]));
        }
    }
}

#[test]
fn categories_have_a_long_tail() {
    let options = DrawOptions {
        images: 48,
        ..SMALL
    };
    let (_folder, data_set, _) = drawn("tail", &options);
    let most = data_set.categories.first().unwrap().1;
    let least = data_set.categories.last().unwrap().1;
    assert!(least > 0 && most >= 5 * least, "from {most} to {least}");
}

/// Whether a point is inside the polygons, by the even-odd rule.
fn inside(polygons: &[Vec<super::geometry::Point>], x: f32, y: f32) -> bool {
    let crossings = polygons.iter().flat_map(|polygon| {
        let next = polygon.iter().cycle().skip(1);
        polygon.iter().zip(next).filter(move |(from, to)| {
            let crosses = (from.y > y) != (to.y > y);
            crosses && x < from.x + (y - from.y) / (to.y - from.y) * (to.x - from.x)
        })
    });
    crossings.count() % 2 == 1
}

#[test]
fn polygons_fit_the_drawn_pixels() {
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let scene = Scene::plan(&mut random, 0, [320, 240], random_start());
    let noise = Noise::new(&mut random);
    let Canvas { width, owners, .. } = render(&scene, &noise);
    for owner in (FIRST_FIGURE..).take(scene.figures.len()) {
        let polygons = outline::polygons(&owners, width, owner);
        let (mut shared, mut either) = (0, 0);
        for (index, own) in owners.iter().enumerate() {
            let (x, y) = ((index % width) as f32 + 0.5, (index / width) as f32 + 0.5);
            let covered = inside(&polygons, x, y);
            shared += usize::from(covered && *own == owner);
            either += usize::from(covered || *own == owner);
        }
        // What differs are single pixels on the outline, and overlooked specks.
        assert!(either - shared <= 40 + either / 20, "{shared} of {either}");
    }
}

fn random_start() -> f32 {
    ChaCha8Rng::seed_from_u64(3).random()
}

#[test]
fn a_ring_is_cut_where_its_hole_is() {
    let width = 40;
    let owners: Vec<u16> = (0..width * width)
        .map(|index| {
            let place = at((index % width) as f32, (index / width) as f32) - at(20.0, 20.0);
            u16::from((8.0..16.0).contains(&place.length()))
        })
        .collect();
    let polygons = outline::polygons(&owners, width, 1);
    assert_eq!(polygons.len(), 2);
    assert!(!inside(&polygons, 20.5, 20.5));
    let pixels = owners.iter().filter(|&&owner| owner == 1).count() as f64;
    let area: f64 = polygons.iter().map(|polygon| outline::area(polygon)).sum();
    assert!((area / pixels - 1.0).abs() < 0.03);
}

#[test]
fn runs_go_down_the_columns() {
    let owners = [0, 1, 1, 0, 1, 0];
    assert_eq!(outline::run_lengths(&owners, 3, 1), [2, 3, 1]);
    assert_eq!(outline::run_lengths(&[1, 0], 1, 1), [0, 1, 1]);
}

#[test]
fn sizes_that_cannot_be_drawn_are_refused() {
    let folder = Folder::new("size");
    for (width, height) in [(0, 480), (640, 63), (5000, 480)] {
        let options = DrawOptions {
            width,
            height,
            ..SMALL
        };
        let refused = draw(&folder.0, &options);
        assert!(matches!(refused, Err(DrawError::Size { .. })));
    }
    assert!(!folder.0.exists());
}
