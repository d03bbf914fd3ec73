use super::*;
use crate::sampler::test_packs::{TestCutout, TestPacks, TestScene, assert_shares, packs};
use crate::sampler::{RecipeSettings, Sampler};

/// 100 scenes: all have category 1, the first ten 2, the first of all 3.
fn rare_packs() -> TestPacks {
    let scenes: Vec<TestScene> = (0..100)
        .map(|index| {
            let has = [true, index < 10, index == 0];
            let ids = (1..).zip(has).filter(|(_, has)| *has);
            TestScene {
                size: [4, 4],
                instances: ids.map(|(id, _)| (id, -1, 0, [0, 0, 2, 2])).collect(),
                ..TestScene::default()
            }
        })
        .collect();
    packs(&scenes, &[TestCutout::new([4, 4], 1)], &[])
}

fn sampler(packs: &TestPacks, order: Order) -> Sampler {
    let recipe = Arc::new(RecipeSettings::xpaste());
    Sampler::new(packs.scenes.clone(), packs.bank.clone(), recipe, [8, 8], 3)
        .and_then(|sampler| sampler.with_order(order))
        .unwrap()
}

fn counts(sampler: &Sampler, epoch: u64) -> Vec<u64> {
    let mut counts = vec![0; sampler.ground().scenes.len()];
    (0..sampler.epoch_length()).for_each(|index| {
        counts[sampler.scene_at(epoch, index) as usize] += 1;
    });
    counts
}

#[test]
fn permutations_and_the_packs_order_have_each_scene_once() {
    let packs = rare_packs();
    let sequential = sampler(&packs, Order::Sequential);
    assert!((0..100).all(|index| sequential.scene_at(7, index) == index));
    let shuffled = sampler(&packs, Order::Permutation);
    assert_eq!(shuffled.epoch_length(), 100);
    assert!((0..5).all(|epoch| counts(&shuffled, epoch) == [1; 100]));
    let order = |epoch| (0..100).map(move |index| (epoch, index));
    let [first, second] = [0, 1].map(|epoch| {
        order(epoch)
            .map(|(epoch, index)| shuffled.scene_at(epoch, index))
            .collect::<Vec<_>>()
    });
    assert_ne!(first, second);
}

#[test]
fn scenes_come_as_often_as_their_repeat_factors() {
    let packs = rare_packs();
    let sampler = sampler(&packs, Order::RepeatFactor { threshold: 0.5 });
    // f: 1, 0.1 and 0.01; r: 1, sqrt(5) and sqrt(50).
    let mut factors = vec![1.0; 100];
    factors[..10].fill(5f64.sqrt());
    factors[0] = 50f64.sqrt();
    let length = factors.iter().sum::<f64>().round();
    assert_eq!(sampler.epoch_length(), length as u64);
    let scale = length / factors.iter().sum::<f64>();
    let mut sums = vec![0; 100];
    for epoch in 0..2000 {
        for (scene, count) in counts(&sampler, epoch).into_iter().enumerate() {
            let expected = factors[scene] * scale;
            let bounds = [expected.floor(), expected.ceil()];
            assert!(
                bounds.contains(&(count as f64)),
                "{scene}: {count}, not {expected}"
            );
            sums[scene] += count;
        }
    }
    for (scene, &sum) in sums.iter().enumerate() {
        // The offset is uniform: the count's deviation is at most 1/2, its mean's 1/2/√2000.
        let mean = sum as f64 / 2000.0;
        let expected = factors[scene] * scale;
        assert!(
            (mean - expected).abs() < 4.0 * 0.5 / 2000f64.sqrt(),
            "{scene}: {mean}"
        );
    }
    assert_shares(&sums[..10], &factors[..10]);
}

#[test]
fn repeated_scenes_lie_anywhere_in_an_epoch() {
    let packs = rare_packs();
    let sampler = sampler(&packs, Order::RepeatFactor { threshold: 0.5 });
    let mut thirds = [0; 3];
    for epoch in 0..300 {
        for index in 0..sampler.epoch_length() {
            if sampler.scene_at(epoch, index) == 0 {
                thirds[(index * 3 / sampler.epoch_length()) as usize] += 1;
            }
        }
    }
    let length = sampler.epoch_length();
    let shares = [0, 1, 2].map(|third| {
        (0..length)
            .filter(|index| index * 3 / length == third)
            .count() as f64
    });
    assert_shares(&thirds, &shares);
}

#[test]
fn synthetic_scenes_are_in_no_order_and_thresholds_are_shares() {
    let packs = rare_packs();
    for order in [
        Order::Permutation,
        Order::Sequential,
        Order::RepeatFactor { threshold: 0.5 },
    ] {
        let sampler = sampler(&packs, order).with_synthetic(60).unwrap();
        let length = sampler.epoch_length();
        assert!((0..length).all(|index| sampler.scene_at(0, index) < 60));
        assert!((60..70).contains(&length) || order != Order::Permutation);
    }
    for first in [0, 101, u64::MAX] {
        let sampler = sampler(&packs, Order::Sequential);
        let error = sampler.with_synthetic(first).unwrap_err().to_string();
        assert!(error.contains(&first.to_string()), "{error}");
    }
    for threshold in [-0.1, 1.1, f64::NAN] {
        let order = Order::RepeatFactor { threshold };
        let error = sampler(&packs, Order::Sequential)
            .with_order(order)
            .unwrap_err();
        assert!(error.to_string().contains("0..=1"), "{error}");
    }
}
