use std::collections::HashMap;

use super::*;
use crate::sampler::random::Draws;
use crate::sampler::test_packs::{TestCutout, TestPacks, TestScene, assert_shares, packs};

const DRAWS: usize = 20_000;
const CANVAS: u32 = 64;

/// Cutouts of these categories, in this order, over one scene of each set of categories.
fn with_categories(cutouts: &[i64], scenes: &[&[i64]]) -> TestPacks {
    let cutouts: Vec<TestCutout> = cutouts
        .iter()
        .map(|&category| TestCutout::new([4, 4], category))
        .collect();
    let scenes: Vec<TestScene> = scenes
        .iter()
        .map(|categories| TestScene {
            size: [8, 8],
            instances: categories
                .iter()
                .map(|&category| (category, -1, 0, [0, 0, 4, 4]))
                .collect(),
            ..TestScene::default()
        })
        .collect();
    packs(&scenes, &cutouts, &[])
}

fn ground(packs: &TestPacks, categories: &CategorySampling) -> Result<Ground, SamplerError> {
    let canvas = Size::canvas(CANVAS, CANVAS).unwrap();
    Ground::new(packs.scenes.clone(), packs.bank.clone(), canvas, categories)
}

/// How often each row is drawn.
fn row_counts(ground: &Ground) -> Vec<u64> {
    let mut draw = Draws::new(5, 0, 0).stream(0);
    let mut counts = vec![0; ground.bank.len()];
    for _ in 0..DRAWS {
        counts[ground.draw_cutout(&mut draw).unwrap() as usize] += 1;
    }
    counts
}

#[test]
fn rows_are_grouped_by_category() {
    let packs = with_categories(&[5, -2, 5, 9, 5, -2], &[&[]]);
    let ground = ground(&packs, &CategorySampling::Uniform).unwrap();
    assert!(ground.categories().eq([-2, 5, 9]));
    assert_eq!(ground.rows_of(5), [0, 2, 4]);
    assert_eq!(ground.rows_of(-2), [1, 5]);
    assert!(ground.rows_of(6).is_empty());
}

#[test]
fn each_way_of_sampling_has_its_shares() {
    // Category 1 has one cutout and is in every scene, 2 has two and is in a quarter, 3 has five
    // and is in none.
    let cutouts = [1, 2, 2, 3, 3, 3, 3, 3];
    let packs = with_categories(&cutouts, &[&[1, 2], &[1], &[1], &[1]]);
    let given = BTreeMap::from([(1, 3.0), (3, 1.0), (77, 5.0)]);
    let cases = [
        (CategorySampling::Uniform, [1.0, 1.0, 1.0]),
        (CategorySampling::ByInstance, [1.0, 2.0, 5.0]),
        (CategorySampling::Weights(given), [3.0, 0.0, 1.0]),
        // r: max(1, sqrt(0.5 / f)); a category in no scene counts as one in a single scene.
        (
            CategorySampling::RepeatFactor { threshold: 0.5 },
            [1.0, 2f64.sqrt(), 2f64.sqrt()],
        ),
    ];
    for (sampling, shares) in cases {
        let counts = row_counts(&ground(&packs, &sampling).unwrap());
        let of_row = |&category: &i64| {
            let rows = cutouts.iter().filter(|&&other| other == category).count();
            shares[category as usize - 1] / rows as f64
        };
        assert_shares(&counts, &cutouts.iter().map(of_row).collect::<Vec<_>>());
    }
}

#[test]
fn weights_multiply_categories_and_cutouts_within_them() {
    let packs = with_categories(&[1, 2, 1, 2, 1, 3], &[&[]]);
    let sampling = CategorySampling::ByInstance;
    let mut ground = ground(&packs, &sampling).unwrap();
    let cutouts: Arc<[f32]> = Arc::new([1.0, 3.0, 0.0, 1.0, 4.0, 9.0]);
    let weights = Weights {
        categories: BTreeMap::from([(2, 2.5), (3, 0.0)]),
        cutouts: Some(cutouts),
    };
    ground.set_weights(weights.clone(), &sampling).unwrap();
    assert_eq!(ground.weights(), &weights);
    // Category 1: 3 cutouts; 2: 2 times 2.5; 3: nothing.
    let shares = [
        3.0 / 5.0,
        5.0 * 3.0 / 4.0,
        0.0,
        5.0 / 4.0,
        3.0 * 4.0 / 5.0,
        0.0,
    ];
    assert_shares(&row_counts(&ground), &shares);
    ground.set_weights(Weights::default(), &sampling).unwrap();
    assert_shares(&row_counts(&ground), &[1.0; 6]);
}

#[test]
fn a_category_without_weight_in_its_cutouts_is_never_drawn() {
    let packs = with_categories(&[1, 2, 1], &[&[]]);
    let mut ground = ground(&packs, &CategorySampling::Uniform).unwrap();
    let weights = Weights {
        categories: BTreeMap::new(),
        cutouts: Some(Arc::new([0.0, 1.0, 0.0])),
    };
    ground
        .set_weights(weights, &CategorySampling::Uniform)
        .unwrap();
    assert_shares(&row_counts(&ground), &[0.0, 1.0, 0.0]);
}

#[test]
fn parts_of_a_bank_are_drawn_by_weight_and_then_their_categories() {
    // Part 0 has categories 1, 1, 2; part 1 has 2, 3; row 5 is in no part.
    let packs = with_categories(&[1, 1, 2, 2, 3, 1], &[&[]]);
    let uniform = CategorySampling::Uniform;
    let mut ground = ground(&packs, &uniform).unwrap();
    ground
        .set_parts(vec![(0..3, 1.0), (3..5, 3.0)], &uniform)
        .unwrap();
    let shares = [
        0.25 / 4.0,
        0.25 / 4.0,
        0.25 / 2.0,
        0.75 / 2.0,
        0.75 / 2.0,
        0.0,
    ];
    assert_shares(&row_counts(&ground), &shares);
    let weights = Weights {
        categories: BTreeMap::from([(3, 4.0)]),
        cutouts: Some(Arc::new([1.0, 3.0, 7.0, 2.0, 1.0, 5.0])),
    };
    ground.set_weights(weights, &uniform).unwrap();
    let weighted = [
        0.25 / 8.0,
        0.25 * 3.0 / 8.0,
        0.25 / 2.0,
        0.75 / 5.0,
        0.75 * 0.8,
        0.0,
    ];
    assert_shares(&row_counts(&ground), &weighted);
    // Of what only category 2 and one that no part has may give, the parts keep their weights.
    let mut candidates = Vec::new();
    ground.candidates(&[2, 8], &mut candidates);
    let mut draw = Draws::new(6, 0, 0).stream(0);
    let mut counts = vec![0; 6];
    for _ in 0..DRAWS {
        counts[ground.draw_among(&candidates, &mut draw).unwrap() as usize] += 1;
    }
    assert_shares(&counts, &[0.0, 0.0, 1.0, 3.0, 0.0, 0.0]);
}

#[test]
fn useless_weights_and_parts_are_refused_and_change_nothing() {
    let packs = with_categories(&[1, 2], &[&[]]);
    let uniform = CategorySampling::Uniform;
    let mut ground = ground(&packs, &uniform).unwrap();
    let categories = |id, weight| Weights {
        categories: BTreeMap::from([(id, weight)]),
        cutouts: None,
    };
    let cutouts = |weights: &[f32]| Weights {
        categories: BTreeMap::new(),
        cutouts: Some(weights.into()),
    };
    let nothing = Weights {
        categories: BTreeMap::from([(1, 0.0), (2, 0.0)]),
        cutouts: None,
    };
    let too_much = Weights {
        categories: BTreeMap::from([(1, f64::MAX), (2, f64::MAX)]),
        cutouts: None,
    };
    for (weights, expected) in [
        (categories(1, -1.0), "category 1"),
        (categories(2, f64::NAN), "NaN"),
        (categories(2, f64::INFINITY), "category 2"),
        (cutouts(&[1.0]), "1 weights"),
        (cutouts(&[1.0, -2.0]), "cutout 1"),
        (cutouts(&[0.0, 0.0]), "above 0"),
        (nothing, "above 0"),
        (too_much, "finite sum"),
    ] {
        let error = ground.set_weights(weights, &uniform).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(expected), "{text}");
        assert!(ground.weights().is_default());
    }
    for parts in [
        vec![(0..3, 1.0)],
        vec![(0..1, f64::NAN)],
        vec![(0..1, 0.0), (1..2, 0.0)],
        vec![(0..1, -1.0)],
        vec![(1..1, 1.0)],
    ] {
        assert!(
            ground.clone().set_parts(parts.clone(), &uniform).is_err(),
            "{parts:?}"
        );
    }
}

#[test]
fn scenes_are_linked_to_their_own_objects() {
    let scene = |instances: &[(i64, i64, u8)]| TestScene {
        size: [100, 80],
        instances: instances
            .iter()
            .map(|&(category, annotation, crowd)| (category, annotation, crowd, [0, 0, 4, 4]))
            .collect(),
        ..TestScene::default()
    };
    let scenes = [
        scene(&[(1, 10, 0), (2, 11, 0), (1, 12, 1)]),
        scene(&[]),
        scene(&[(1, 20, 0), (3, 10, 0), (1, 21, 0)]),
    ];
    let cutout = |image, annotation, category, source_size| TestCutout {
        image,
        annotation,
        source_size,
        ..TestCutout::new([4, 4], category)
    };
    let cutouts = [
        cutout(2, 21, 1, [100, 80]),
        cutout(0, 11, 2, [100, 80]),
        cutout(0, 10, 1, [100, 80]),
        // A crowd's, one of another category, one from a picture of another size, a second one of
        // the same object, one without a source.
        cutout(0, 12, 1, [100, 80]),
        cutout(2, 10, 2, [100, 80]),
        cutout(2, 20, 1, [80, 100]),
        cutout(0, 11, 2, [100, 80]),
        cutout(-1, -1, 1, [100, 80]),
    ];
    let packs = packs(&scenes, &cutouts, &[]);
    let ground = ground(&packs, &CategorySampling::Uniform).unwrap();
    assert_eq!(ground.cutouts_of_scene(0), [2, 1]);
    assert!(ground.cutouts_of_scene(1).is_empty());
    assert_eq!(ground.cutouts_of_scene(2), [0]);
    for past in [3, u64::from(u32::MAX), u64::MAX] {
        assert!(ground.cutouts_of_scene(past).is_empty());
    }
}

#[test]
fn joined_data_sets_with_the_same_ids_link_their_own_cutouts() {
    // Image 0 and annotation 1 twice, of one size and category: only the boxes differ.
    let boxes = [[10u32, 20, 30, 40], [50, 5, 12, 9]];
    let scene = TestScene {
        size: [100, 80],
        instances: vec![(1, 1, 0, boxes[1])],
        ..TestScene::default()
    };
    let cutout = |[x, y, width, height]: [u32; 4]| TestCutout {
        image: 0,
        annotation: 1,
        origin: [x as i32, y as i32],
        source_size: [100, 80],
        ..TestCutout::new([width, height], 1)
    };
    let linked = |cutouts: &[TestCutout]| {
        let packs = packs(std::slice::from_ref(&scene), cutouts, &[]);
        let ground = ground(&packs, &CategorySampling::Uniform).unwrap();
        ground.cutouts_of_scene(0).to_vec()
    };
    assert_eq!(linked(&boxes.map(cutout)), [1]);
    assert!(linked(&[cutout(boxes[0])]).is_empty());
    // A pixel is forgiven, two are not.
    assert_eq!(linked(&[cutout([51, 4, 12, 9])]), [0]);
    assert!(linked(&[cutout([52, 5, 12, 9])]).is_empty());
    assert!(linked(&[cutout([50, 5, 12, 11])]).is_empty());
}

#[test]
fn repeat_factors_are_those_of_lvis() {
    let packs = with_categories(&[1], &[&[1, 2, 2], &[1], &[1], &[1, 3]]);
    let mut ground = ground(&packs, &CategorySampling::Uniform).unwrap();
    let factors = ground.category_repeat_factors(0.5);
    let expected = HashMap::from([(1, 1.0), (2, 2f64.sqrt()), (3, 2f64.sqrt())]);
    assert_eq!(factors.into_iter().collect::<HashMap<_, _>>(), expected);
    let root = 2f64.sqrt();
    assert_eq!(ground.scene_repeat_factors(0.5), [root, 1.0, 1.0, root]);
    ground.set_synthetic(2, &CategorySampling::Uniform).unwrap();
    assert_eq!(ground.scene_repeat_factors(0.5), [1.0, 1.0]);
    assert_eq!(ground.synthetic_scenes(), 2..4);
}
