//! The form of COCO's JSON: lists that are handed on entry by entry, so that none is ever whole in
//! memory.

use std::collections::HashSet;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::{CrowdKey, ImageRecord, Parts};
use crate::bank::Category;

/// The file's outermost object.
pub(super) struct TopLevel<'a>(pub &'a mut Parts);

impl<'de> DeserializeSeed<'de> for TopLevel<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for TopLevel<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object with images, annotations and categories")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let parts = self.0;
        let mut missing: HashSet<&str> = ["images", "annotations", "categories"].into();
        while let Some(key) = map.next_key::<String>()? {
            missing.remove(key.as_str());
            match key.as_str() {
                "images" => map.next_value_seed(list_of("images", |image: ImageJson| {
                    parts.images.push(image.into_record());
                    Ok(())
                }))?,
                "categories" => {
                    map.next_value_seed(list_of("categories", |category: Category| {
                        parts.categories.push(category);
                        Ok(())
                    }))?
                }
                "annotations" => {
                    map.next_value_seed(list_of("annotations", |annotation| parts.add(annotation)))?
                }
                "info" | "licenses" => {
                    let value = map.next_value()?;
                    parts.other.insert(key, value);
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        match missing.into_iter().min() {
            None => Ok(()),
            Some(key) => Err(A::Error::custom(format!("no `{key}` in the file"))),
        }
    }
}

/// A list whose elements are handed on one by one, so that it is never whole in memory.
struct List<T, F: FnMut(T) -> std::io::Result<()>> {
    name: &'static str,
    take: F,
    element: PhantomData<T>,
}

fn list_of<T, F: FnMut(T) -> std::io::Result<()>>(name: &'static str, take: F) -> List<T, F> {
    List {
        name,
        take,
        element: PhantomData,
    }
}

impl<'de, T: Deserialize<'de>, F: FnMut(T) -> std::io::Result<()>> DeserializeSeed<'de>
    for List<T, F>
{
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, T: Deserialize<'de>, F: FnMut(T) -> std::io::Result<()>> Visitor<'de> for List<T, F> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "a list of {}", self.name)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        for index in 0.. {
            let element = list
                .next_element()
                .map_err(|error| A::Error::custom(format!("{}[{index}]: {error}", self.name)))?;
            match element {
                Some(element) => (self.take)(element).map_err(A::Error::custom)?,
                None => break,
            }
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct ImageJson {
    id: i64,
    file_name: Option<String>,
    coco_url: Option<String>,
    width: Option<u32>,
    height: Option<u32>,
    #[serde(default)]
    neg_category_ids: Vec<i64>,
    #[serde(default)]
    not_exhaustive_category_ids: Vec<i64>,
}

impl ImageJson {
    fn into_record(self) -> ImageRecord {
        let coco_url = self.coco_url.filter(|url| !url.is_empty());
        let file_name = self.file_name.or_else(|| {
            // LVIS v1 has no file names: the last part of the address is one.
            let url = coco_url.as_deref()?;
            Some(url.rsplit('/').next().unwrap_or(url).to_owned())
        });
        ImageRecord {
            id: self.id,
            file_name: file_name.unwrap_or_default(),
            coco_url,
            size: self.width.zip(self.height).map(Into::into),
            neg_category_ids: self.neg_category_ids,
            not_exhaustive_category_ids: self.not_exhaustive_category_ids,
            ..ImageRecord::default()
        }
    }
}

/// An annotation's keys as they come, unknown ones passed over.
#[derive(Default)]
pub(super) struct AnnotationJson {
    pub id: Option<i64>,
    pub image_id: Option<i64>,
    pub category_id: Option<i64>,
    pub bbox: Option<[f32; 4]>,
    pub score: Option<f32>,
    pub iscrowd: bool,
    pub crowd_key: CrowdKey,
    pub segmentation: Option<Box<RawValue>>,
}

impl<'de> Deserialize<'de> for AnnotationJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(AnnotationVisitor)
    }
}

struct AnnotationVisitor;

impl<'de> Visitor<'de> for AnnotationVisitor {
    type Value = AnnotationJson;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an annotation")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<AnnotationJson, A::Error> {
        let mut annotation = AnnotationJson::default();
        while let Some(key) = map.next_key::<String>()? {
            let in_key = |error| A::Error::custom(format!("`{key}`: {error}"));
            match key.as_str() {
                "id" => annotation.id = map.next_value().map_err(in_key)?,
                "image_id" => annotation.image_id = map.next_value().map_err(in_key)?,
                "category_id" => annotation.category_id = map.next_value().map_err(in_key)?,
                "score" => annotation.score = map.next_value().map_err(in_key)?,
                "segmentation" => annotation.segmentation = map.next_value()?,
                "bbox" => {
                    // A box of another form cannot be compared with the image; the mask counts.
                    let value: Value = map.next_value()?;
                    annotation.bbox = serde_json::from_value(value).ok();
                }
                name if is_like_iscrowd(name) => {
                    let value: Value = map.next_value()?;
                    annotation.set_crowd(name, &value);
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        for (name, value) in [
            ("id", annotation.id),
            ("image_id", annotation.image_id),
            ("category_id", annotation.category_id),
        ] {
            if value.is_none() {
                return Err(A::Error::custom(format!("missing field `{name}`")));
            }
        }
        Ok(annotation)
    }
}

/// `iscrowd` itself, or what is it but for underscores, case and an ending.
fn is_like_iscrowd(key: &str) -> bool {
    let letters: String = key
        .chars()
        .filter(char::is_ascii_alphabetic)
        .map(|letter| letter.to_ascii_lowercase())
        .collect();
    matches!(
        letters.as_str(),
        "iscrowd" | "iscrowded" | "iscrowed" | "crowd" | "iscroud"
    )
}

impl AnnotationJson {
    fn set_crowd(&mut self, name: &str, value: &Value) {
        if self.crowd_key == CrowdKey::Right {
            return;
        }
        self.crowd_key = match name {
            "iscrowd" => CrowdKey::Right,
            _ => CrowdKey::Misspelt,
        };
        self.iscrowd = match value {
            Value::Bool(flag) => *flag,
            Value::Number(number) => number.as_f64().is_some_and(|number| number != 0.0),
            _ => false,
        };
    }
}
