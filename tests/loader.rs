//! The loader: the same batches whatever the threads, ranks, prefetch and interruptions.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::packs::{write_bank, write_scenes};
use common::{ChaCha8Rng, SeedableRng};
use pastebank::bank::{CutoutBank, ScenePack};
use pastebank::compose::{
    Backend, Batch, CpuBackend, ElementType, Encoded, InstanceSource, MaskOutput, OutputSpec,
};
use pastebank::loader::{LoadedBatch, Loader, LoaderError, LoaderOptions, LoaderState, Tail};
use pastebank::plan::{CheckedPlan, Keep, Plan};
use pastebank::sampler::recipe::KeepRule;
use pastebank::sampler::{
    At, Ground, Order, Recipe, RecipeSettings, Sample, Sampler, SamplerError, Weights,
};
use safetensors::SafeTensors;
use xxhash_rust::xxh3::xxh3_64;

const SCENES: u64 = 23;
const CANVAS: [u32; 2] = [61, 47];

/// Packs in a folder of their own, which goes with them.
struct Packs {
    folder: tempfile::TempDir,
    scenes: Arc<ScenePack>,
    bank: Arc<CutoutBank>,
}

fn packs(seed: u64) -> Packs {
    let folder = tempfile::tempdir().unwrap();
    let mut draw = ChaCha8Rng::seed_from_u64(seed);
    write_scenes(&folder.path().join("scenes"), &mut draw, SCENES as usize, 1);
    write_bank(&folder.path().join("bank"), &mut draw, 40, 2);
    let (scenes, bank) = open(folder.path());
    Packs {
        folder,
        scenes,
        bank,
    }
}

fn open(folder: &Path) -> (Arc<ScenePack>, Arc<CutoutBank>) {
    let scenes = ScenePack::open(&folder.join("scenes")).unwrap();
    let bank = CutoutBank::open(&folder.join("bank")).unwrap();
    (Arc::new(scenes), Arc::new(bank))
}

fn xpaste() -> Arc<dyn Recipe> {
    Arc::new(RecipeSettings::xpaste())
}

fn sampler_with(packs: &Packs, recipe: Arc<dyn Recipe>, seed: u64) -> Sampler {
    let (scenes, bank) = (packs.scenes.clone(), packs.bank.clone());
    Sampler::new(scenes, bank, recipe, CANVAS, seed).unwrap()
}

fn sampler(packs: &Packs) -> Sampler {
    sampler_with(packs, xpaste(), 7)
}

fn options(batch_size: usize, threads: usize) -> LoaderOptions {
    LoaderOptions {
        batch_size,
        epochs: Some(3),
        threads: NonZero::new(threads),
        output: OutputSpec {
            element: ElementType::F16,
            ..OutputSpec::default()
        },
        ..LoaderOptions::default()
    }
}

/// Everything of one sample, as one number.
fn digest(batch: &Batch, sample: usize) -> u64 {
    let view = batch.sample(sample).unwrap();
    let length = batch.image_bytes().len() / batch.len();
    let text = format!(
        "{:016x} {} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
        xxh3_64(&batch.image_bytes()[sample * length..][..length]),
        view.image_id,
        view.boxes,
        view.labels,
        view.areas,
        view.full_areas,
        view.iscrowd,
        view.ignored,
        view.sources,
        view.layers,
        view.mask_bits,
    );
    xxh3_64(text.as_bytes())
}

/// Step, epoch, place and digest of every sample of a batch.
fn digests(batch: &LoadedBatch) -> Vec<(u64, u64, u64, u64)> {
    let samples = batch.indices().enumerate();
    let samples =
        samples.map(|(sample, index)| (batch.step(), batch.epoch(), index, digest(batch, sample)));
    samples.collect()
}

fn run(loader: Loader) -> Vec<Vec<(u64, u64, u64, u64)>> {
    loader.map(|batch| digests(&batch.unwrap())).collect()
}

#[test]
fn batches_are_the_same_for_any_threads_and_prefetch() {
    let packs = packs(1);
    let expected = run(Loader::new(sampler(&packs), options(4, 1)).unwrap());
    assert_eq!(expected.len(), 3 * (SCENES as usize / 4));
    let mut compared = 0;
    for (threads, prefetch) in [(1, 1), (2, 1), (2, 3), (5, 2), (8, 7)] {
        let options = LoaderOptions {
            prefetch,
            ..options(4, threads)
        };
        let found = run(Loader::new(sampler(&packs), options).unwrap());
        assert_eq!(found, expected, "{threads} threads, {prefetch} ahead");
        compared += found.len();
    }
    println!("{compared} batches equal over threads and prefetch");
    // The epochs differ in order and in draws.
    let steps: BTreeSet<u64> = expected.iter().flatten().map(|sample| sample.3).collect();
    assert_eq!(steps.len(), 3 * 20);
}

#[test]
fn samples_are_what_the_sampler_and_the_back_end_make_of_them() {
    let packs = packs(2);
    let sampler = sampler(&packs);
    let loader = Loader::new(sampler.clone(), options(5, 2)).unwrap();
    let mut backend = CpuBackend::new(NonZero::new(1));
    for batch in loader {
        let batch = batch.unwrap();
        let mut plan = sampler.plan(0..0);
        for index in batch.indices() {
            let mut sample = Sample::default();
            let epochs = Some(3);
            sampler.draw(batch.epoch(), index, batch.step(), epochs, 0, &mut sample);
            plan.samples.push(sample.plan);
        }
        assert_eq!(compose(&packs, &plan, &mut backend), all(&batch));
    }
}

fn compose(packs: &Packs, plan: &Plan, backend: &mut CpuBackend) -> Vec<u64> {
    let checked = CheckedPlan::new(plan, &packs.scenes, &packs.bank).unwrap();
    let mut batch = Batch::new(options(1, 1).output);
    let encoded = Encoded::new(&checked).unwrap();
    backend.compose(&encoded, &mut batch).unwrap();
    all(&batch)
}

fn all(batch: &Batch) -> Vec<u64> {
    (0..batch.len())
        .map(|sample| digest(batch, sample))
        .collect()
}

#[test]
fn ranks_share_every_epoch_and_padding_is_told() {
    let packs = packs(3);
    let one = LoaderOptions {
        tail: Tail::Pad,
        ..options(1, 2)
    };
    let alone = run(Loader::new(sampler(&packs), one).unwrap());
    let alone: BTreeMap<(u64, u64), u64> = alone
        .into_iter()
        .flatten()
        .map(|(_, epoch, index, digest)| ((epoch, index), digest))
        .collect();
    assert_eq!(alone.len() as u64, 3 * SCENES);
    let mut compared = 0;
    for (world_size, batch_size) in [(2, 3), (3, 1), (4, 5)] {
        let mut real = BTreeMap::new();
        let mut lengths = Vec::new();
        for rank in 0..world_size {
            let options = LoaderOptions {
                rank,
                world_size,
                tail: Tail::Pad,
                ..options(batch_size, 2)
            };
            let mut batches = 0;
            for batch in Loader::new(sampler(&packs), options).unwrap() {
                let batch = batch.unwrap();
                let samples = digests(&batch);
                for &(_, epoch, index, digest) in &samples {
                    assert_eq!(alone[&(epoch, index)], digest);
                }
                for &(_, epoch, index, digest) in &samples[..samples.len() - batch.padding()] {
                    assert!(real.insert((epoch, index), digest).is_none());
                }
                batches += 1;
            }
            lengths.push(batches);
            compared += batches;
        }
        assert_eq!(real, alone, "{world_size} ranks");
        assert!(lengths.iter().all(|&length| length == lengths[0]));
    }
    println!("{compared} batches of 9 ranks equal to those of one");
}

#[test]
fn a_run_resumes_bit_for_bit_after_any_step() {
    let packs = packs(4);
    let mut compared = 0;
    for tail in [Tail::Drop, Tail::Pad] {
        let options = |threads| LoaderOptions {
            tail,
            ..options(4, threads)
        };
        let whole = run(Loader::new(sampler(&packs), options(2)).unwrap());
        for stop in 0..=whole.len() {
            let mut loader = Loader::new(sampler(&packs), options(2)).unwrap();
            for expected in &whole[..stop] {
                assert_eq!(digests(&loader.next().unwrap().unwrap()), *expected);
            }
            let text = loader.state().to_json();
            assert!(text.len() < 10_000, "a state is small: {}", text.len());
            drop(loader);
            let state = LoaderState::from_json(text.as_bytes()).unwrap();
            assert_eq!(state.step(), stop as u64);
            assert_eq!(state.epoch(), whole.get(stop).map_or(3, |batch| batch[0].1));
            let options = LoaderOptions {
                prefetch: 1 + stop % 3,
                ..options(1 + stop % 4)
            };
            let rest = run(Loader::resume(sampler(&packs), options, &state).unwrap());
            assert_eq!(rest, whole[stop..], "resumed after {stop}");
            compared += rest.len();
        }
    }
    println!("{compared} batches equal after resuming");
}

#[test]
fn a_recipe_that_changes_over_the_run_resumes_only_at_the_same_pace() {
    let packs = packs(16);
    let mut recipe = RecipeSettings::xpaste();
    recipe.schedule.without_last_epochs = 1;
    let recipe: Arc<dyn Recipe> = Arc::new(recipe);
    let sampler = || sampler_with(&packs, recipe.clone(), 7);
    let whole = run(Loader::new(sampler(), options(4, 2)).unwrap());
    let mut loader = Loader::new(sampler(), options(4, 2)).unwrap();
    (0..6).for_each(|_| drop(loader.next().unwrap().unwrap()));
    let state = loader.state();
    let rest = run(Loader::resume(sampler(), options(4, 3), &state).unwrap());
    assert_eq!(rest, whole[6..]);
    let refusal = |options| {
        let refused = Loader::resume(sampler(), options, &state);
        refused.unwrap_err().to_string()
    };
    let text = refusal(options(2, 2));
    assert!(
        text.contains("`schedule.samples_of_a_step`: 4 was saved"),
        "{text}"
    );
    let text = refusal(LoaderOptions {
        epochs: Some(5),
        ..options(4, 2)
    });
    assert!(
        text.contains("`schedule.epochs`: 3 was saved, this run has 5"),
        "{text}"
    );
}

/// A recipe that leaves what an earlier sample set, and sets something only now and then.
#[derive(Debug)]
struct Forgetful(Arc<dyn Recipe>);

impl Recipe for Forgetful {
    fn draw(&self, ground: &Ground, at: &At, sample: &mut Sample) {
        if at.index.is_multiple_of(3) {
            self.0.draw(ground, at, sample);
        }
    }
    fn keep(&self) -> Keep {
        self.0.keep()
    }
    fn pad(&self) -> [u8; 3] {
        self.0.pad()
    }
    fn settings(&self) -> serde_json::Value {
        "forgetful".into()
    }
    fn check(&self, ground: &Ground) -> Result<(), SamplerError> {
        self.0.check(ground)
    }
}

#[test]
fn what_an_earlier_sample_left_does_not_show() {
    let packs = packs(17);
    let run_with = |threads| {
        let recipe = Arc::new(Forgetful(xpaste()));
        run(Loader::new(sampler_with(&packs, recipe, 7), options(4, threads)).unwrap())
    };
    let expected = run_with(1);
    assert_eq!(run_with(4), expected);
    let loader = Loader::new(
        sampler_with(&packs, Arc::new(Forgetful(xpaste())), 7),
        options(4, 3),
    );
    for batch in loader.unwrap() {
        let batch = batch.unwrap();
        for (sample, index) in batch.indices().enumerate() {
            let pasted = batch
                .sample(sample)
                .unwrap()
                .layers
                .iter()
                .flatten()
                .count();
            assert!(index.is_multiple_of(3) || pasted == 0);
        }
    }
}

#[test]
fn a_run_resumes_with_another_world_size() {
    let packs = packs(5);
    let of_rank = |rank, world_size, batch_size| LoaderOptions {
        rank,
        world_size,
        ..options(batch_size, 2)
    };
    let samples = |loader: Loader| -> Vec<(u64, u64, u64)> {
        let samples = run(loader).into_iter().flatten();
        samples
            .map(|(_, epoch, index, digest)| (epoch, index, digest))
            .collect()
    };
    let whole = samples(Loader::new(sampler(&packs), of_rank(0, 1, 4)).unwrap());
    let mut first = Loader::new(sampler(&packs), of_rank(0, 1, 4)).unwrap();
    (0..7).for_each(|_| drop(first.next().unwrap().unwrap()));
    let state = first.state();
    let mut rest = Vec::new();
    for rank in 0..2 {
        rest.extend(samples(
            Loader::resume(sampler(&packs), of_rank(rank, 2, 2), &state).unwrap(),
        ));
    }
    rest.sort_unstable();
    let mut expected = whole[7 * 4..].to_vec();
    expected.sort_unstable();
    assert_eq!(rest, expected);
}

#[test]
fn a_state_of_another_run_is_refused_with_the_difference() {
    let (packs, others) = (packs(6), self::packs(60));
    let state = Loader::new(sampler(&packs), options(4, 1)).unwrap().state();
    let refusal = |sampler: Sampler, options: LoaderOptions| {
        Loader::resume(sampler, options, &state)
            .unwrap_err()
            .to_string()
    };
    let same = options(4, 1);
    assert!(refusal(sampler(&others), same).contains("`bank`: \""));
    assert!(refusal(sampler_with(&packs, xpaste(), 8), same).contains("`seed`: 7 was saved"));
    let ordered = sampler(&packs).with_order(Order::Sequential).unwrap();
    assert!(refusal(ordered, same).contains("`order`"));
    let recipe = RecipeSettings {
        keep: KeepRule(Keep::default()),
        ..RecipeSettings::xpaste()
    };
    let text = refusal(sampler_with(&packs, Arc::new(recipe), 7), same);
    assert!(
        text.contains("`keep.min_area`: 301 was saved, this run has 1"),
        "{text}"
    );
    let padded = LoaderOptions {
        tail: Tail::Pad,
        ..same
    };
    assert!(refusal(sampler(&packs), padded).contains("`tail`: Drop was saved"));
    let mut weighted = sampler(&packs);
    let weights = Weights {
        cutouts: Some(vec![2.0; packs.bank.len()].into()),
        ..Weights::default()
    };
    weighted.set_weights(weights).unwrap();
    let text = refusal(weighted, same);
    assert!(
        text.contains("`cutout_weights`: none held when it was saved"),
        "{text}"
    );
}

/// A recipe in code: that of X-Paste, but for one sample.
#[derive(Debug)]
struct Spoilt {
    recipe: RecipeSettings,
    at: u64,
    how: fn(&mut Sample),
    drawn: AtomicUsize,
}

impl Recipe for Spoilt {
    fn draw(&self, ground: &Ground, at: &At, sample: &mut Sample) {
        self.recipe.draw(ground, at, sample);
        self.drawn.fetch_add(1, Ordering::Relaxed);
        if at.index == self.at {
            (self.how)(sample);
        }
    }
    fn keep(&self) -> Keep {
        self.recipe.keep()
    }
    fn pad(&self) -> [u8; 3] {
        self.recipe.pad()
    }
    fn settings(&self) -> serde_json::Value {
        self.recipe.settings()
    }
    fn check(&self, ground: &Ground) -> Result<(), SamplerError> {
        self.recipe.check(ground)
    }
}

fn spoilt(at: u64, how: fn(&mut Sample)) -> Arc<dyn Recipe> {
    Arc::new(Spoilt {
        recipe: RecipeSettings::xpaste(),
        at,
        how,
        drawn: AtomicUsize::new(0),
    })
}

#[test]
fn a_panic_ends_the_run_with_its_cause() {
    let packs = packs(7);
    let recipe = spoilt(9, |_| panic!("the recipe fell over"));
    let mut loader = Loader::new(sampler_with(&packs, recipe, 7), options(4, 3)).unwrap();
    assert!(loader.next().unwrap().is_ok() && loader.next().unwrap().is_ok());
    let error = loader.next().unwrap().unwrap_err().to_string();
    assert_eq!(
        error,
        "a loader thread panicked at sample 9 of epoch 0: the recipe fell over"
    );
    assert!(loader.next().is_none(), "and not with further batches");
}

#[test]
fn a_plan_that_fits_no_pack_ends_the_run() {
    let packs = packs(8);
    let recipe = spoilt(5, |sample| sample.plan.scene.index = 99);
    let mut loader = Loader::new(sampler_with(&packs, recipe, 7), options(4, 2)).unwrap();
    assert!(loader.next().unwrap().is_ok());
    let error = loader.next().unwrap().unwrap_err();
    assert!(
        matches!(
            error,
            LoaderError::Sample {
                epoch: 0,
                index: 5,
                ..
            }
        ),
        "{error}"
    );
    assert!(error.to_string().contains("`scene.index`: 99"), "{error}");
}

/// Makes JPEG scenes undecodable: their first bytes are overwritten.
fn spoil_jpegs(folder: &Path, rows: &[usize]) {
    let path = folder.join("scenes/part-0.safetensors");
    let mut file = std::fs::read(&path).unwrap();
    let places: Vec<usize> = {
        let (header, metadata) = SafeTensors::read_metadata(&file).unwrap();
        let start = |name: &str| header + 8 + metadata.info(name).unwrap().data_offsets.0;
        let (offset, encoding, pixels) = (start("offset"), start("encoding"), start("pixels"));
        let place = |&row: &usize| {
            assert_eq!(file[encoding + row], 1, "row {row} is no JPEG");
            let bytes = file[offset + 8 * row..][..8].try_into().unwrap();
            pixels + u64::from_le_bytes(bytes) as usize
        };
        rows.iter().map(place).collect()
    };
    for place in places {
        file[place..place + 4].fill(0);
    }
    std::fs::write(&path, file).unwrap();
}

#[test]
fn a_scene_that_cannot_be_decoded_is_drawn_again() {
    let mut packs = packs(9);
    spoil_jpegs(packs.folder.path(), &[4, 14]);
    (packs.scenes, packs.bank) = open(packs.folder.path());
    let lenient = |threads| LoaderOptions {
        most_replaced: 0.2,
        ..options(4, threads)
    };
    let mut loader = Loader::new(sampler(&packs), lenient(1)).unwrap();
    let expected: Vec<_> = loader
        .by_ref()
        .map(|batch| digests(&batch.unwrap()))
        .collect();
    let statistics = loader.statistics();
    // Each epoch of 20 of the 23 scenes meets 0 to 2 of the spoilt ones, and a redraw may meet one.
    assert!(
        (1..=12).contains(&statistics.replaced),
        "{}",
        statistics.replaced
    );
    let first = &statistics.first_replaced[0];
    assert!(first.problem.contains("scene 4:") || first.problem.contains("scene 14:"));
    assert!(first.problem.contains("JPEG"), "{}", first.problem);
    assert_eq!(
        run(Loader::new(sampler(&packs), lenient(4)).unwrap()),
        expected
    );

    let mut strict = Loader::new(sampler(&packs), options(4, 2)).unwrap();
    let error = strict.find_map(Result::err).unwrap();
    assert!(
        matches!(error, LoaderError::TooManyReplaced { allowed: 0, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("cannot be decoded"), "{error}");
    assert!(strict.next().is_none());
}

#[test]
fn a_dropped_loader_ends_its_threads_at_once() {
    let packs = packs(10);
    let endless = LoaderOptions {
        epochs: None,
        prefetch: 8,
        ..options(16, 3)
    };
    let padded = LoaderOptions {
        tail: Tail::Pad,
        ..endless
    };
    let large = Sampler::new(packs.scenes, packs.bank, xpaste(), [1024, 1024], 0).unwrap();
    let mut loader = Loader::new(large, padded).unwrap();
    let batch = loader.next().unwrap().unwrap();
    let clock = Instant::now();
    drop(loader);
    // Hundreds of samples were still to be composed; each thread finished the one it had.
    assert!(
        clock.elapsed() < Duration::from_secs(2),
        "{:?}",
        clock.elapsed()
    );
    assert_eq!(batch.len(), 16, "a batch outlives its loader");
}

#[test]
fn weights_hold_from_the_next_batch_whatever_was_composed_ahead() {
    let packs = packs(11);
    let only = |category: i64| Weights {
        categories: (1..4)
            .map(|id| (id, f64::from(u8::from(id == category))))
            .collect(),
        ..Weights::default()
    };
    let pasted = |batch: &Batch| -> BTreeSet<i64> {
        let views = (0..batch.len()).map(|sample| batch.sample(sample).unwrap());
        let labels = views.flat_map(|view| {
            let all = view.sources.iter().zip(view.labels);
            let cutouts = all.filter(|(source, _)| matches!(source, InstanceSource::Cutout(_)));
            cutouts.map(|(_, &label)| label).collect::<Vec<_>>()
        });
        labels.collect()
    };
    let run_with = |threads, prefetch| {
        let options = LoaderOptions {
            prefetch,
            ..options(4, threads)
        };
        let mut loader = Loader::new(sampler(&packs), options).unwrap();
        let mut all = Vec::new();
        while let Some(batch) = loader.next() {
            let batch = batch.unwrap();
            all.push(digests(&batch));
            let expected = match batch.step() {
                0..=3 => BTreeSet::from([1, 2, 3]),
                4..=9 => BTreeSet::from([2]),
                _ => BTreeSet::from([3]),
            };
            assert!(pasted(&batch).is_subset(&expected), "step {}", batch.step());
            let held_from = match batch.step() {
                3 => loader.set_weights(only(2)).unwrap(),
                9 => loader.set_weights(only(3)).unwrap(),
                _ => continue,
            };
            assert_eq!(held_from, Some(batch.step() + 1));
        }
        (all, loader.state())
    };
    let (expected, state) = run_with(1, 1);
    assert_eq!(expected.len(), 15);
    assert_eq!(run_with(4, 5).0, expected);
    // The weights are part of the state.
    let resumed = Loader::resume(sampler(&packs), options(4, 2), &state).unwrap();
    assert_eq!(resumed.sampler().weights(), &only(3));
    let mut loader = Loader::new(sampler(&packs), options(4, 2)).unwrap();
    let none = Weights {
        categories: (1..4).map(|id| (id, 0.0)).collect(),
        ..Weights::default()
    };
    assert!(loader.set_weights(none).is_err());
    assert_eq!(digests(&loader.next().unwrap().unwrap()), expected[0]);
}

#[test]
fn twins_are_the_samples_without_their_layers() {
    let packs = packs(12);
    let sampler = sampler(&packs);
    let with_twins = LoaderOptions {
        twins: true,
        ..options(4, 2)
    };
    let plain = run(Loader::new(sampler.clone(), options(4, 2)).unwrap());
    let mut backend = CpuBackend::new(NonZero::new(1));
    let loader = Loader::new(sampler.clone(), with_twins).unwrap();
    for (batch, plain) in loader.zip(plain) {
        let batch = batch.unwrap();
        assert_eq!(digests(&batch), plain);
        let twins = batch.twins().unwrap();
        let mut plan = sampler.plan(0..0);
        for index in batch.indices() {
            let mut sample = Sample::default();
            sampler.draw(batch.epoch(), index, batch.step(), Some(3), 0, &mut sample);
            sample.plan.layers.clear();
            plan.samples.push(sample.plan);
        }
        assert_eq!(all(twins), compose(&packs, &plan, &mut backend));
    }
}

#[test]
fn batches_that_are_held_cost_memory_and_nothing_else() {
    let packs = packs(13);
    let expected = run(Loader::new(sampler(&packs), options(2, 2)).unwrap());
    let held: Vec<LoadedBatch> = Loader::new(sampler(&packs), options(2, 2))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let found: Vec<_> = held.iter().map(digests).collect();
    assert_eq!(found, expected);
}

#[test]
fn options_of_no_use_are_refused() {
    let packs = packs(14);
    let refusal = |options: LoaderOptions| {
        Loader::new(sampler(&packs), options)
            .unwrap_err()
            .to_string()
    };
    let good = options(4, 1);
    for (options, field) in [
        (
            LoaderOptions {
                batch_size: 0,
                ..good
            },
            "batch_size",
        ),
        (
            LoaderOptions {
                batch_size: 24,
                ..good
            },
            "batch_size",
        ),
        (
            LoaderOptions {
                batch_size: usize::MAX,
                ..good
            },
            "batch_size",
        ),
        (
            LoaderOptions {
                prefetch: 0,
                ..good
            },
            "prefetch",
        ),
        (LoaderOptions { rank: 1, ..good }, "rank"),
        (
            LoaderOptions {
                world_size: 0,
                ..good
            },
            "world_size",
        ),
        (
            LoaderOptions {
                most_replaced: f64::NAN,
                ..good
            },
            "most_replaced",
        ),
    ] {
        let text = refusal(options);
        assert!(text.contains(&format!("`{field}`")), "{text}");
    }
    let no_deviation = OutputSpec {
        element: ElementType::F32,
        masks: MaskOutput::None,
        std: [0.0; 3],
        ..OutputSpec::default()
    };
    let text = refusal(LoaderOptions {
        output: no_deviation,
        ..good
    });
    assert!(text.contains("std"), "{text}");
}

#[test]
fn a_forged_state_is_refused_or_harmless() {
    let packs = packs(15);
    let text = Loader::new(sampler(&packs), options(4, 1))
        .unwrap()
        .state()
        .to_json();
    let good: serde_json::Value = serde_json::from_str(&text).unwrap();
    let with = |pointer: &str, value: serde_json::Value| {
        let mut forged = good.clone();
        *forged.pointer_mut(pointer).unwrap() = value;
        let state = LoaderState::from_json(forged.to_string().as_bytes())?;
        Loader::resume(sampler(&packs), options(4, 2), &state)
    };
    for (pointer, value, named) in [
        ("/version", 2.into(), "format"),
        ("/format", "else".into(), "format"),
        ("/cursor/epoch", (-1).into(), "cursor.epoch"),
        ("/cursor/position", 24.into(), "cursor.position"),
        ("/cursor/position", u64::MAX.into(), "cursor.position"),
        ("/run", serde_json::json!({}), "was saved"),
        (
            "/category_weights",
            serde_json::json!([[1, -1.0]]),
            "category 1",
        ),
        ("/tail", "short".into(), "tail"),
    ] {
        let error = with(pointer, value).unwrap_err().to_string();
        assert!(error.contains(named), "{pointer}: {error}");
    }
    for (pointer, batches) in [
        ("/cursor/epoch", 0),
        ("/cursor/step", 15),
        ("/composed", 15),
    ] {
        let found = run(with(pointer, u64::MAX.into()).unwrap());
        assert_eq!(found.len(), batches, "{pointer}");
    }
}

#[test]
fn loaders_and_batches_move_between_threads() {
    fn moves<T: Send + 'static>() {}
    moves::<Loader>();
    moves::<LoadedBatch>();
    moves::<LoaderError>();
}
