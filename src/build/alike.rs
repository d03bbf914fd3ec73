//! Directions of embeddings: which of those seen so far is as good as the same.

use rayon::prelude::*;

/// Products that are summed side by side. Their number is fixed, and so is the order of all sums:
/// a cosine is the same on every machine.
const LANES: usize = 16;
/// Vectors that one thread compares at least, so that short lists are not shared out.
const VECTORS_PER_THREAD: usize = 256;

/// Unit vectors of one length, one after another.
#[derive(Default)]
pub(super) struct Directions {
    length: usize,
    values: Vec<f32>,
}

impl Directions {
    /// The first vector whose cosine to `embedding` is at least `least`, with that cosine. Where
    /// there is none, `embedding` becomes the last vector.
    ///
    /// # Errors
    /// In words, if the embedding has another length than those before, or no direction.
    pub fn add_unless_alike(
        &mut self,
        embedding: &[f32],
        least: f32,
    ) -> Result<Option<(usize, f32)>, String> {
        if self.values.is_empty() {
            self.length = embedding.len();
        }
        if embedding.len() != self.length {
            return Err(format!(
                "{} values; {} were expected, as others of the category have",
                embedding.len(),
                self.length
            ));
        }
        let unit = unit(embedding)?;
        let found = self
            .values
            .par_chunks_exact(self.length)
            .with_min_len(VECTORS_PER_THREAD)
            .position_first(|other| cosine(other, &unit) >= least);
        if found.is_none() {
            self.values.extend_from_slice(&unit);
        }
        Ok(found.map(|index| {
            let other = &self.values[index * self.length..][..self.length];
            (index, cosine(other, &unit))
        }))
    }
}

fn unit(embedding: &[f32]) -> Result<Vec<f32>, String> {
    let squares = embedding.iter().map(|&value| f64::from(value).powi(2));
    let norm = squares.sum::<f64>().sqrt();
    if norm.is_finite() && norm > 0.0 {
        let unit = |&value: &f32| (f64::from(value) / norm) as f32;
        return Ok(embedding.iter().map(unit).collect());
    }
    Err(format!(
        "its length as a vector is {norm}; a finite one above 0 was expected"
    ))
}

/// The product of two unit vectors of one length.
fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let (a_lanes, a_rest) = a.as_chunks::<LANES>();
    let (b_lanes, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0.0f32; LANES];
    for (a, b) in a_lanes.iter().zip(b_lanes) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    let rest = a_rest.iter().zip(b_rest).map(|(a, b)| a * b);
    sums.iter().sum::<f32>() + rest.sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_vector_that_is_near_enough_is_found() {
        let mut directions = Directions::default();
        let mut add = |values: &[f32]| directions.add_unless_alike(values, 0.8).unwrap();
        assert_eq!(add(&[2.0, 0.0]), None);
        assert_eq!(add(&[0.0, 3.0]), None);
        // The cosines to the first two are 0.6 and 0.8: only one is near.
        let found = add(&[6.0, 8.0]).map(|(index, cosine)| (index, (cosine * 1e6).round()));
        assert_eq!(found, Some((1, 800_000.0)));
        // Half way between them, and then between that and the first: of two that are near the
        // first counts, though the other may be nearer.
        assert_eq!(add(&[1.0, 1.0]), None);
        assert_eq!(add(&[1.0, 0.5]).map(|(index, _)| index), Some(0));
        assert_eq!(add(&[5.0, 0.0]), Some((0, 1.0)));
        assert_eq!(add(&[-5.0, 0.0]), None);
    }

    #[test]
    fn cosines_are_those_of_double_precision() {
        let vector = |seed: u32| -> Vec<f32> {
            let value = |index: u32| ((index * 37 + seed * 101) % 97) as f32 - 48.0;
            (0..769).map(value).collect()
        };
        let exact = |a: &[f32], b: &[f32]| {
            let product = |a: &[f32], b: &[f32]| {
                let products = a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b));
                products.sum::<f64>()
            };
            product(a, b) / (product(a, a) * product(b, b)).sqrt()
        };
        for seed in 1..20 {
            let (a, b) = (vector(0), vector(seed));
            let ours = cosine(&unit(&a).unwrap(), &unit(&b).unwrap());
            assert!((f64::from(ours) - exact(&a, &b)).abs() < 1e-6);
        }
    }

    #[test]
    fn what_has_no_direction_is_refused() {
        let mut directions = Directions::default();
        let mut add = |values: &[f32]| directions.add_unless_alike(values, 0.9);
        for values in [
            &[0.0, 0.0][..],
            &[f32::NAN, 1.0],
            &[f32::INFINITY, 1.0],
            &[],
        ] {
            let error = add(values).unwrap_err();
            assert!(error.contains("above 0 was expected"), "{error}");
        }
        assert_eq!(add(&[1.0, 0.0]), Ok(None));
        let error = add(&[1.0, 0.0, 0.0]).unwrap_err();
        assert!(error.contains("3 values; 2 were expected"), "{error}");
    }
}
