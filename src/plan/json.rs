//! Reading a plan's JSON as strictly as the specification words it: objects are objects, not lists
//! of their values, and nothing is null.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Blend, Keep, LayerPlan, Plan, SamplePlan, ScenePlan};

/// Derived readers also take a list of a struct's values. These types derive theirs with
/// `remote = "Self"`, which makes them inherent functions, and let only objects through to them.
macro_rules! only_objects {
    ($($type:ty),*) => {$(
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$type, D::Error> {
                struct Object;
                impl<'de> Visitor<'de> for Object {
                    type Value = $type;

                    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                        formatter.write_str("an object")
                    }

                    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<$type, A::Error> {
                        <$type>::deserialize(MapAccessDeserializer::new(map))
                    }
                }
                deserializer.deserialize_map(Object)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                <$type>::serialize(self, serializer)
            }
        }
    )*};
}
only_objects!(
    Plan,
    Keep,
    SamplePlan,
    ScenePlan,
    LayerPlan,
    GaussianBlend,
    BoxBlend
);

#[derive(Deserialize, Serialize)]
#[serde(remote = "Self", deny_unknown_fields)]
struct GaussianBlend {
    sigma: f64,
}

#[derive(Deserialize, Serialize)]
#[serde(remote = "Self", deny_unknown_fields)]
struct BoxBlend {
    radius: u32,
}

impl<'de> Deserialize<'de> for Blend {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Blend, D::Error> {
        deserializer.deserialize_any(BlendVisitor)
    }
}

struct BlendVisitor;

const BLENDS: &str = r#""hard", "soft", {"gaussian": {"sigma": s}} or {"box": {"radius": r}}"#;

impl<'de> Visitor<'de> for BlendVisitor {
    type Value = Blend;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(BLENDS)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Blend, E> {
        match text {
            "hard" => Ok(Blend::Hard),
            "soft" => Ok(Blend::Soft),
            other => Err(E::custom(format!("found {other:?}, expected {BLENDS}"))),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Blend, A::Error> {
        let blend = match map.next_key::<String>()?.as_deref() {
            Some("gaussian") => {
                let GaussianBlend { sigma } = map.next_value()?;
                Blend::Gaussian { sigma }
            }
            Some("box") => {
                let BoxBlend { radius } = map.next_value()?;
                Blend::Box { radius }
            }
            key => {
                let found = key.map_or("an empty object".to_owned(), |key| format!("key {key:?}"));
                return Err(A::Error::custom(format!(
                    "found {found}, expected {BLENDS}"
                )));
            }
        };
        match map.next_key::<String>()? {
            None => Ok(blend),
            Some(key) => Err(A::Error::custom(format!("found a second key {key:?}"))),
        }
    }
}

/// A value that may be left out but not be null.
pub(super) fn not_null<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}
