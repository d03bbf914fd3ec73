//! What a sampler's samples depend on, as JSON.

use serde_json::{Map, Value, json};

use super::Sampler;

impl Sampler {
    /// All that the samples depend on besides their epoch and place: the packs' fingerprints, the
    /// recipe's settings, order, canvas and seed. Samplers of equal identities draw equal samples,
    /// as long as no [`Weights`](super::Weights) are set.
    pub fn identity(&self) -> Map<String, Value> {
        let ground = self.ground();
        let parts = ground.parts().iter();
        let parts: Vec<Value> = parts
            .map(|(rows, weight)| json!({"rows": [rows.start, rows.end], "weight": weight}))
            .collect();
        let recipe = self.recipe();
        let fields = [
            ("scenes", json!(ground.scenes.manifest().fingerprint())),
            ("bank", json!(ground.bank.manifest().fingerprint())),
            ("bank_parts", json!(parts)),
            ("first_synthetic_scene", json!(ground.real_scenes())),
            (
                "canvas",
                json!([ground.canvas.width(), ground.canvas.height()]),
            ),
            ("seed", json!(self.seed())),
            // An order is made of names and numbers.
            (
                "order",
                serde_json::to_value(self.order()).unwrap_or_default(),
            ),
            ("pad", json!(recipe.pad())),
            ("recipe", recipe.settings()),
        ];
        let fields = fields.into_iter();
        fields.map(|(key, value)| (key.to_owned(), value)).collect()
    }
}
