use super::*;
use crate::sampler::recipe::ScheduleStep;
use crate::sampler::test_packs::{assert_shares, assert_uniform, packs};
use crate::sampler::{At, Order};

const CANVAS: [u32; 2] = [300, 200];

/// Two scenes with one object each that is in the bank as category 2, beside one of category 1.
fn mixed() -> TestPacks {
    let mut scenes = [plain_scene(), plain_scene()];
    let mut cutouts = vec![square(1)];
    for (image, scene) in scenes.iter_mut().enumerate() {
        scene.instances.push((2, 5, 0, [10, 10, 20, 20]));
        cutouts.push(TestCutout {
            image: image as i64,
            annotation: 5,
            origin: [10, 10],
            source_size: [100, 80],
            ..TestCutout::new([20, 20], 2)
        });
    }
    packs(&scenes, &cutouts, &[])
}

/// One layer of category 1, or one object, or both.
fn one_each(name: &str) -> RecipeSettings {
    let mut settings = RecipeSettings::built_in(name).unwrap();
    settings.bank = steady().bank;
    settings.bank.count = [1, 1];
    settings.bank.categories = crate::sampler::recipe::Categories::Weights(
        crate::sampler::recipe::CategoryWeights([(1, 1.0)].into()),
    );
    // Not cropped, so that the object is always there.
    (settings.copy.objects, settings.copy.scale) = ([1, 1], [0.1, 1.0]);
    settings
}

/// Shares of samples without layers, with one of the bank, with an object, with both.
fn kinds(samples: &[Sample]) -> Vec<u64> {
    let kind = |sample: &Sample| match &sample.plan.layers[..] {
        [] => 0,
        [layer] => 1 + usize::from(layer.cutout > 0),
        [below, above] => {
            assert!(below.cutout == 0 && above.cutout > 0, "objects go on top");
            3
        }
        more => panic!("{} layers", more.len()),
    };
    tally(4, samples.iter().map(kind))
}

#[test]
fn layers_come_as_often_as_the_probability_says() {
    let packs = mixed();
    let shares = [
        ("xpaste", [0.0, 1.0, 0.0, 0.0]),
        ("simple-copy-paste", [0.0, 0.0, 1.0, 0.0]),
        ("both", [0.0, 0.0, 0.0, 1.0]),
        ("p:0.3", [0.0, 0.7, 0.3, 0.0]),
        ("p:0", [0.0, 1.0, 0.0, 0.0]),
        ("p:1", [0.0, 0.0, 1.0, 0.0]),
    ];
    for (name, shares) in shares {
        let mut settings = one_each(name);
        assert_shares(&kinds(&samples(&packs, &settings, CANVAS, 2000)), &shares);
        settings.probability = 0.4;
        let mut shares = shares.map(|share| 0.4 * share);
        shares[0] = 0.6;
        assert_shares(&kinds(&samples(&packs, &settings, CANVAS, 2000)), &shares);
    }
}

#[test]
fn expected_layers_are_the_mean_of_those_drawn() {
    let packs = mixed();
    for name in ["xpaste", "simple-copy-paste", "both", "p:0.3"] {
        let mut settings = RecipeSettings::built_in(name).unwrap();
        (settings.bank, settings.probability) = (steady().bank, 0.5);
        settings.copy.scale = [0.1, 1.0];
        let sampler = sampler(&packs, &settings, CANVAS);
        let expected: f64 = settings.expected_layers(sampler.ground()).iter().sum();
        let mean = layers(&drawn(&sampler, 4000)).count() as f64 / 4000.0;
        // A sample's number has a deviation below 7.
        assert!(
            (mean - expected).abs() < 4.0 * 7.0 / 4000f64.sqrt(),
            "{mean}, not {expected}"
        );
    }
}

fn at(step: u64, epoch: u64, epochs: Option<u64>) -> At {
    At {
        seed: 1,
        epoch,
        index: 0,
        step,
        epochs,
        scene: 0,
        attempt: 0,
    }
}

#[test]
fn the_schedule_goes_in_steps_or_straight() {
    let mut settings = RecipeSettings::xpaste();
    settings.probability = 0.8;
    let step = |from, probability| ScheduleStep { from, probability };
    settings.schedule.steps = vec![step(100, 0.4), step(300, 1.0)];
    settings.schedule.without_last_epochs = 2;
    let of = |settings: &RecipeSettings, step| settings.probability_at(&at(step, 0, None));
    for (step, expected) in [
        (0, 0.8),
        (99, 0.8),
        (100, 0.4),
        (299, 0.4),
        (300, 1.0),
        (1 << 60, 1.0),
    ] {
        assert_eq!(of(&settings, step), expected, "{step}");
    }
    for (epoch, epochs, expected) in [
        (7, Some(10), 0.8),
        (8, Some(10), 0.0),
        (9, Some(10), 0.0),
        (9, None, 0.8),
        (0, Some(1), 0.0),
    ] {
        assert_eq!(
            settings.probability_at(&at(0, epoch, epochs)),
            expected,
            "{epoch}"
        );
    }
    settings.schedule.linear = true;
    for (step, expected) in [
        (0, 0.8),
        (50, 0.6),
        (100, 0.4),
        (200, 0.7),
        (300, 1.0),
        (900, 1.0),
    ] {
        assert!((of(&settings, step) - expected).abs() < 1e-12, "{step}");
    }
}

#[test]
fn samples_follow_the_schedule() {
    let packs = mixed();
    let mut settings = one_each("xpaste");
    settings.schedule.steps = vec![ScheduleStep {
        from: 2000,
        probability: 0.25,
    }];
    settings.schedule.without_last_epochs = 1;
    let sampler = sampler(&packs, &settings, CANVAS);
    let mut sample = Sample::default();
    for (epochs, step, shares) in [
        (None, 1999, [0.0, 1.0, 0.0, 0.0]),
        (None, 2000, [0.75, 0.25, 0.0, 0.0]),
        (Some(5001), 2000, [0.75, 0.25, 0.0, 0.0]),
        (Some(1), 0, [1.0, 0.0, 0.0, 0.0]),
    ] {
        let drawn: Vec<Sample> = (0..2000)
            .map(|epoch| {
                sampler.draw(epoch, 0, step, epochs, 0, &mut sample);
                sample.clone()
            })
            .collect();
        assert_shares(&kinds(&drawn), &shares);
    }
}

#[test]
fn synthetic_scenes_are_mixed_in() {
    let packs = packs(&vec![plain_scene(); 7], &[square(1)], &[]);
    let mut settings = steady();
    settings.synthetic.probability = 0.2;
    settings.schedule.without_last_epochs = 1;
    let sampler = sampler(&packs, &settings, CANVAS)
        .with_synthetic(4)
        .unwrap();
    assert_eq!(sampler.epoch_length(), 4);
    let samples = drawn(&sampler, 4000);
    let scenes = tally(
        7,
        samples
            .iter()
            .map(|sample| sample.plan.scene.index as usize),
    );
    let [real, synthetic] = [0.8 / 4.0, 0.2 / 3.0];
    assert_shares(
        &scenes,
        &[real, real, real, real, synthetic, synthetic, synthetic],
    );
    let mut sample = Sample::default();
    for index in 0..400 {
        sampler.draw(9, index % 4, index, Some(10), 0, &mut sample);
        assert_eq!(sample.plan.scene.index, sampler.scene_at(9, index % 4));
    }
}

#[test]
fn scenes_are_scaled_cropped_and_padded() {
    let packs = packs(&[plain_scene()], &[square(1)], &[]);
    let mut settings = steady();
    (settings.scene.scale, settings.scene.flip) = ([0.8, 1.25], 0.3);
    let samples = samples(&packs, &settings, CANVAS, 2000);
    // The height fits first: 200 of 80.
    let height = |sample: &Sample| f64::from(sample.plan.scene.resized[1]) / 200.0;
    assert_uniform(
        samples
            .iter()
            .map(|sample| (height(sample) - 0.8) / 0.45)
            .collect(),
    );
    let flips = samples
        .iter()
        .map(|sample| usize::from(sample.plan.scene.flip));
    assert_shares(&tally(2, flips), &[0.7, 0.3]);
    for sample in &samples {
        let room = sample.plan.scene.resized[1] as i32 - 200;
        let offset = sample.plan.scene.offset;
        assert!((-room.max(0)..=0).contains(&offset[1]), "{sample:?}");
        assert!(offset[0] <= 0);
    }
}

#[test]
fn a_redraw_takes_a_uniform_other_scene_and_the_first_draw_does_not_change() {
    let packs = packs(&vec![plain_scene(); 6], &[square(1)], &[]);
    let sampler = sampler(&packs, &steady(), CANVAS);
    let [mut sample, mut again] = [Sample::default(), Sample::default()];
    let mut scenes = Vec::new();
    for epoch in 0..2000 {
        sampler.draw(epoch, 1, 0, None, 1, &mut sample);
        scenes.push(sample.plan.scene.index as usize);
    }
    assert_shares(&tally(6, scenes), &[1.0; 6]);
    for attempt in 0..5 {
        sampler.draw(3, 2, 0, None, attempt, &mut again);
        sampler.draw(3, 2, 0, None, attempt, &mut sample);
        assert_eq!(sample, again);
        sampler.draw(4, 2, 0, None, attempt, &mut again);
        assert_ne!(sample.plan, again.plan);
    }
}

#[test]
fn one_setting_does_not_reshuffle_the_others() {
    let packs = mixed();
    let plain = RecipeSettings::both();
    let changed = |change: fn(&mut RecipeSettings)| {
        let mut settings = plain.clone();
        change(&mut settings);
        settings
    };
    let first = samples(&packs, &plain, CANVAS, 60);
    // Of the scene: the layers stay.
    let settings = changed(|settings| {
        settings.scene.scale = [0.3, 0.9];
        settings.scene.flip = 0.1;
        settings.scene.color.hue = 0.2;
        settings.synthetic.probability = 0.5;
    });
    for (one, other) in first.iter().zip(samples(&packs, &settings, CANVAS, 60)) {
        assert_eq!(one.plan.layers, other.plan.layers);
    }
    // Of a layer: its cutout, size, place and all other layers stay.
    let settings = changed(|settings| {
        settings.bank.flip = 0.1;
        settings.bank.angle = [0.0, 0.1];
        settings.bank.color.contrast = 0.4;
        settings.bank.ignore.probability = 0.5;
        settings.copy.color.contrast = 0.4;
    });
    for (one, other) in first.iter().zip(samples(&packs, &settings, CANVAS, 60)) {
        assert_eq!(one.plan.scene, other.plan.scene);
        assert_eq!(one.plan.layers.len(), other.plan.layers.len());
        for (one, other) in one.plan.layers.iter().zip(&other.plan.layers) {
            assert_eq!((one.cutout, one.resized), (other.cutout, other.resized));
        }
    }
}

#[test]
fn the_order_decides_on_scenes_alone() {
    let packs = mixed();
    let sampler = sampler(&packs, &steady(), CANVAS);
    let sequential = sampler.clone().with_order(Order::Sequential).unwrap();
    for index in 0..20 {
        let [one, other] = [&sampler, &sequential].map(|sampler| sampler.sample(index).plan);
        assert_eq!(one.layers, other.layers);
        assert_eq!(other.scene.index, index % 2);
    }
}

#[test]
fn drawing_reuses_its_memory() {
    let packs = mixed();
    let mut settings = RecipeSettings::both();
    settings.bank.categories = crate::sampler::recipe::Categories::Present;
    settings.bank.matching = 1.0;
    settings.bank.placement = crate::sampler::placement::PlacementMode::Overlap {
        most: 0.5,
        attempts: 3,
    };
    let sampler = sampler(&packs, &settings, CANVAS);
    let mut sample = Sample::default();
    let capacities = |sample: &Sample| {
        let scratch = &sample.scratch;
        let lists = [&sample.plan.layers.capacity(), &sample.ignored.capacity()];
        let more = [
            &scratch.candidates.capacity(),
            &scratch.categories.capacity(),
        ];
        [lists, more]
            .concat()
            .into_iter()
            .copied()
            .collect::<Vec<usize>>()
    };
    (0..300).for_each(|epoch| sampler.draw(epoch, 0, 0, None, 0, &mut sample));
    let before = capacities(&sample);
    (300..900).for_each(|epoch| sampler.draw(epoch, 1, 0, None, 0, &mut sample));
    assert_eq!(capacities(&sample), before);
}
