//! The loader on a GPU: its batches are those of the loader on the CPU, in every byte of every output,
//! whatever the ring, the cache, the arenas, the order of the device's work and what fails.
//!
//! Without a GPU the kernels run on the CPU, and a driver that delays all work as long as it may stands
//! for the device.

#![cfg(feature = "cuda")]

mod common;

use common::equal::difference;
use common::gpus;
use common::host_driver::kernels;
use common::loaders::{
    CANVAS, Packs, SCENES, cache, caches, expect_all, expect_step, host, open, options, packs,
    sampler,
};
use common::packs::{write_distinct_bank, write_scenes};
use common::{ChaCha8Rng, SeedableRng};
use pastebank::compose::{Batch, ElementType, Layout, MaskOutput, OutputSpec};
use pastebank::cuda::memory::Gpu;
use pastebank::cuda::{Cuda, CudaLoader, CudaOptions};
use pastebank::loader::{LoadedBatch, Loader, LoaderError, LoaderOptions, LoaderState, Tail};
use pastebank::sampler::Weights;

#[test]
fn batches_are_those_of_the_cpu_for_any_cache_and_ring() {
    if !kernels("the loader's batches") {
        return;
    }
    let packs = packs(1);
    let mut compared = 0;
    for (number, cuda) in caches().into_iter().enumerate() {
        for (threads, prefetch) in [(1, 1), (2, 2), (5, 3), (3, 7)] {
            let (driver, gpu) = host(number as u64);
            let options = LoaderOptions {
                prefetch,
                tail: [Tail::Drop, Tail::Pad][number % 2],
                ..options(4, threads)
            };
            let what = format!("{cuda:?}, {threads} threads, {prefetch} ahead");
            let found = CudaLoader::on_gpu(gpu, sampler(&packs), options, cuda).unwrap();
            let expected = Loader::new(sampler(&packs), options).unwrap();
            compared += expect_all(found, expected, &what);
            driver.assert_nothing_left();
        }
    }
    println!("{compared} batches equal to those of the CPU");
}

#[test]
fn batches_are_those_of_the_cpu_on_every_gpu() {
    let packs = packs(2);
    for gpu in gpus::all("the loader on a GPU") {
        let mut compared = 0;
        for cuda in caches() {
            let options = options(4, 2);
            let found = CudaLoader::on_gpu(gpu.gpu.clone(), sampler(&packs), options, cuda);
            let expected = Loader::new(sampler(&packs), options).unwrap();
            compared += expect_all(found.unwrap(), expected, &format!("{}: {cuda:?}", gpu.name));
        }
        println!("{}: {compared} batches equal to those of the CPU", gpu.name);
    }
}

#[test]
fn every_form_of_output_is_that_of_the_cpu() {
    if !kernels("the loader's outputs") {
        return;
    }
    let packs = packs(3);
    let elements = [
        ElementType::U8,
        ElementType::F16,
        ElementType::BF16,
        ElementType::F32,
    ];
    let masks = [MaskOutput::Bits, MaskOutput::Rle, MaskOutput::None];
    for number in 0..12 {
        let options = LoaderOptions {
            output: OutputSpec {
                element: elements[number % 4],
                layout: [Layout::Chw, Layout::Hwc][number % 2],
                masks: masks[number % 3],
                mean: [0.485, 0.456, 0.406],
                std: [0.229, 0.224, 0.225],
            },
            epochs: Some(1),
            twins: number % 2 == 0,
            ..options(5, 2)
        };
        let (driver, gpu) = host(9);
        let found = CudaLoader::on_gpu(gpu, sampler(&packs), options, CudaOptions::default());
        let expected = Loader::new(sampler(&packs), options).unwrap();
        expect_all(found.unwrap(), expected, &format!("{:?}", options.output));
        driver.assert_nothing_left();
    }
}

#[test]
fn arenas_that_are_too_small_grow_and_nothing_else_changes() {
    if !kernels("growing arenas") {
        return;
    }
    let packs = packs(4);
    for (number, cache) in caches().into_iter().enumerate() {
        let cuda = CudaOptions {
            arena_bytes: Some([1, 4096, 20_000][number % 3]),
            ..cache
        };
        let options = LoaderOptions {
            twins: number % 2 == 0,
            ..options(4, 3)
        };
        let (driver, gpu) = host(5);
        let mut found = CudaLoader::on_gpu(gpu, sampler(&packs), options, cuda).unwrap();
        let mut expected = Loader::new(sampler(&packs), options).unwrap();
        for _ in 0..5 {
            let (found, expected) = (found.next().unwrap(), expected.next().unwrap());
            expect_step(&found.unwrap(), &expected.unwrap(), &format!("{cuda:?}"));
        }
        let figures = found.statistics().device.unwrap();
        assert!(figures.arena_growths > 0, "{figures:?}");
        expect_all(found, expected, &format!("{cuda:?}"));
        driver.assert_nothing_left();
    }
}

#[test]
fn weights_hold_from_the_next_batch_and_runs_resume_on_either_side() {
    if !kernels("weights and states") {
        return;
    }
    let packs = packs(5);
    let only = |category: i64| Weights {
        categories: (1..4)
            .map(|id| (id, f64::from(u8::from(id == category))))
            .collect(),
        ..Weights::default()
    };
    for (number, cuda) in caches().into_iter().enumerate() {
        let options = LoaderOptions {
            prefetch: 1 + number,
            ..options(3, 2)
        };
        let what = format!("{cuda:?}");
        let (driver, gpu) = host(6);
        let mut found = CudaLoader::on_gpu(gpu.clone(), sampler(&packs), options, cuda).unwrap();
        let mut expected = Loader::new(sampler(&packs), options).unwrap();
        for step in 0..9 {
            let (found_batch, expected_batch) = (found.next().unwrap(), expected.next().unwrap());
            expect_step(&found_batch.unwrap(), &expected_batch.unwrap(), &what);
            if step % 3 == 2 {
                let weights = only(1 + step / 3);
                let from = found.set_weights(weights.clone()).unwrap();
                assert_eq!(from, expected.set_weights(weights).unwrap());
            }
        }
        // A state of the one is a state of the other.
        assert_eq!(found.state(), expected.state());
        let text = found.state().to_json();
        let state = LoaderState::from_json(text.as_bytes()).unwrap();
        let on_cpu = Loader::resume(sampler(&packs), options, &state).unwrap();
        expect_all(found, on_cpu, &what);
        let on_gpu = CudaLoader::resume_on_gpu(gpu, sampler(&packs), options, cuda, &state);
        expect_all(on_gpu.unwrap(), expected, &what);
        driver.assert_nothing_left();
    }
}

#[test]
fn a_whole_bank_goes_through_a_small_window() {
    if !kernels("a resident bank") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut draw = ChaCha8Rng::seed_from_u64(8);
    write_scenes(&folder.path().join("scenes"), &mut draw, SCENES, 1);
    // 22 MB: more than one window of 16 MiB.
    write_distinct_bank(&folder.path().join("bank"), 1000);
    let packs = open(folder);
    let cuda = CudaOptions {
        resident: true,
        ..CudaOptions::default()
    };
    let (driver, gpu) = host(3);
    let options = options(4, 2);
    let loader = CudaLoader::on_gpu(gpu.clone(), sampler(&packs), options, cuda).unwrap();
    let figures = loader.statistics().device.unwrap();
    assert!(figures.resident_bytes > 21_000_000, "{figures:?}");
    let expected = Loader::new(sampler(&packs), options).unwrap();
    expect_all(loader, expected, "a resident bank");
    driver.limit_device(20_000_000);
    let error = CudaLoader::on_gpu(gpu, sampler(&packs), options, cuda).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("bytes of a resident bank on the host as a device: 20000000 of"),
        "{text}"
    );
    assert!(text.contains("use the cutout cache instead"), "{text}");
    driver.assert_nothing_left();
}

#[test]
fn figures_say_what_crossed_the_link() {
    if !kernels("figures") {
        return;
    }
    let packs = packs(7);
    let run = |cuda: CudaOptions| {
        let (driver, gpu) = host(1);
        let options = LoaderOptions {
            epochs: Some(6),
            ..options(4, 2)
        };
        let mut loader = CudaLoader::on_gpu(gpu, sampler(&packs), options, cuda).unwrap();
        assert_eq!(loader.by_ref().map(Result::unwrap).count(), 30);
        let statistics = loader.statistics();
        assert_eq!((statistics.batches, statistics.samples), (30, 120));
        let images = 120 * 3 * u64::from(CANVAS[0] * CANVAS[1]);
        assert_eq!(statistics.bytes, images);
        let line = statistics.to_string();
        assert!(line.contains(" MB an image, "), "{line}");
        drop(loader);
        driver.assert_nothing_left();
        statistics.device.unwrap()
    };
    let [none, tiny, _, large, resident] = caches().map(run);
    assert_eq!(
        (none.cache_hits, none.cache_misses, none.resident_bytes),
        (0, 0, 0)
    );
    assert!(tiny.cache_misses > tiny.cache_hits && tiny.resident_bytes <= 6 << 10);
    // 40 cutouts of a few levels each: nearly all is there after an epoch.
    assert!(large.hit_rate() > 0.8, "{large:?}");
    assert_eq!(resident.hit_rate(), 1.0);
    assert_eq!(
        large.cache_hits + large.cache_misses,
        resident.cache_hits,
        "both look every layer up once"
    );
    assert!(resident.shipped_bytes < large.shipped_bytes);
    assert!(large.shipped_bytes < none.shipped_bytes);
}

#[test]
fn batches_outlive_their_loader_and_come_back_in_any_order() {
    if !kernels("holding batches") {
        return;
    }
    let packs = packs(9);
    let (driver, gpu) = host(2);
    let options = LoaderOptions {
        twins: true,
        ..options(2, 2)
    };
    let loader = |cuda| CudaLoader::on_gpu(gpu.clone(), sampler(&packs), options, cuda).unwrap();
    let expected: Vec<LoadedBatch> = Loader::new(sampler(&packs), options)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let held: Vec<_> = loader(cache(9 << 10)).map(Result::unwrap).collect();
    assert_eq!(held.len(), expected.len());
    for (found, expected) in held.iter().zip(&expected).rev() {
        expect_step(found, expected, "all held");
    }
    drop(held);
    driver.assert_nothing_left();
    // Some are held, others are dropped at once, and the oldest goes last.
    let mut held = Vec::new();
    let mut running = loader(cache(64 << 10));
    for expected in &expected {
        let batch = running.next().unwrap().unwrap();
        expect_step(&batch, expected, "some held");
        match batch.step() % 5 {
            0 | 1 => held.insert(0, (batch, expected)),
            2 => drop(held.pop()),
            3 => held.truncate(1),
            _ => {}
        }
    }
    for (found, expected) in &held {
        expect_step(found, expected, "held to the end");
    }
    let last = held.pop();
    drop((running, held));
    if let Some((found, expected)) = &last {
        expect_step(found, expected, "after the loader");
    }
    drop(last);
    driver.assert_nothing_left();
    // Dropped in the middle of everything.
    for batches in 0..6 {
        let mut running = loader(cache(64 << 10));
        let held: Vec<_> = running.by_ref().take(batches).map(Result::unwrap).collect();
        drop(running);
        for (found, expected) in held.iter().zip(&expected) {
            expect_step(found, expected, "after an early end");
        }
    }
    driver.assert_nothing_left();
}

/// Runs a short epoch, holding one batch all the time, and says how it ended: how many batches were
/// right, and the error.
fn run_to_failure(
    gpu: &Gpu,
    packs: &Packs,
    (options, cuda): (LoaderOptions, CudaOptions),
    expected: &[LoadedBatch],
) -> (usize, Option<LoaderError>) {
    let mut loader = match CudaLoader::on_gpu(gpu.clone(), sampler(packs), options, cuda) {
        Ok(loader) => loader,
        Err(error) => return (0, Some(error)),
    };
    let stream = gpu.stream();
    let mut held = None;
    let mut count = 0;
    while let Some(batch) = loader.next() {
        let batch = match batch {
            Ok(batch) => batch,
            Err(error) => {
                assert!(loader.next().is_none(), "nothing comes after {error}");
                assert!(loader.next().is_none());
                drop(loader);
                return (count, Some(error));
            }
        };
        if let Ok(stream) = &stream {
            // What this fails with the next launch tells, or nothing was enqueued.
            let _ = batch.wait_on(stream.raw());
        }
        let mut found = Batch::new(options.output);
        if batch.download(&mut found).is_ok() {
            assert_eq!(difference(&found, &expected[count]), None);
        }
        held = Some(batch);
        count += 1;
    }
    drop(held);
    (count, None)
}

fn failing() -> LoaderOptions {
    // Three batches of two samples each.
    LoaderOptions {
        epochs: Some(1),
        world_size: 3,
        twins: true,
        output: OutputSpec {
            element: ElementType::F16,
            ..OutputSpec::default()
        },
        ..options(2, 1)
    }
}

fn expected_batches(packs: &Packs) -> Vec<LoadedBatch> {
    let loader = Loader::new(sampler(packs), failing()).unwrap();
    loader.map(Result::unwrap).collect()
}

#[test]
fn a_call_that_fails_ends_the_run_and_leaves_nothing_behind() {
    if !kernels("failing calls") {
        return;
    }
    let packs = packs(10);
    let expected = expected_batches(&packs);
    let options = (failing(), cache(20 << 10));
    let mut told = 0;
    // Where one call fails and where all fail from there on: every call for the one, every third for
    // the other.
    for (sticky, step) in [(false, 1), (true, 3)] {
        for call in (1..).step_by(step) {
            let (driver, gpu) = host(call);
            driver.fail_at(call, 700, sticky);
            let (count, error) = run_to_failure(&gpu, &packs, options, &expected);
            drop(gpu);
            driver.assert_nothing_left();
            let Some(error) = error else {
                assert_eq!(count, expected.len());
                if driver.calls() < call {
                    println!("{} calls refused, sticky: {sticky}", call - 1);
                    break;
                }
                continue;
            };
            told += 1;
            let text = error.to_string();
            match error {
                LoaderError::Batch { step, .. } => {
                    assert!(
                        text.starts_with(&format!("the batch of step {step}, ")),
                        "{text}"
                    );
                    assert!(step >= count as u64, "{text} after {count} batches");
                }
                LoaderError::Target { .. } => assert_eq!(count, 0),
                _ => panic!("{text}"),
            }
            assert!(text.contains(" on the host as a device: cu"), "{text}");
        }
    }
    assert!(told > 200, "only {told} failures were told");
}

#[test]
fn memory_that_runs_out_anywhere_is_named() {
    if !kernels("running out of memory") {
        return;
    }
    let packs = packs(11);
    let expected = expected_batches(&packs);
    // With one slot in flight there is never another one to do with.
    let one_ahead = LoaderOptions {
        prefetch: 1,
        ..failing()
    };
    let mut named = std::collections::BTreeSet::new();
    for cuda in [cache(20 << 10), caches()[4]] {
        for allocation in 1.. {
            let (driver, gpu) = host(allocation);
            driver.fail_allocation(allocation);
            let (_, error) = run_to_failure(&gpu, &packs, (one_ahead, cuda), &expected);
            drop(gpu);
            driver.assert_nothing_left();
            let text = error.map_or_else(String::new, |error| error.to_string());
            if let Some((_, what)) = text.split_once(" bytes of ") {
                named.extend(what.split(" on ").next().map(str::to_owned));
            }
            if driver.allocations() < allocation {
                break;
            }
        }
    }
    for what in [
        "a resident bank",
        "an arena",
        "boxes and labels",
        "images",
        "instance counts",
        "masks",
        "scratch memory",
        "the cutout cache",
        "the look-up table",
        "uploading a bank",
    ] {
        assert!(named.contains(what), "{what} is not in {named:?}");
    }
    println!("out of memory for {named:?}");
}

#[test]
fn fewer_slots_do_where_memory_runs_out() {
    if !kernels("too little memory for all slots") {
        return;
    }
    let packs = packs(11);
    let expected = expected_batches(&packs);
    let run = |bytes, prefetch| {
        let (driver, gpu) = host(bytes);
        driver.limit_device(bytes);
        let options = LoaderOptions {
            prefetch,
            ..failing()
        };
        let options = (options, cache(1 << 20));
        let (count, error) = run_to_failure(&gpu, &packs, options, &expected);
        drop(gpu);
        driver.assert_nothing_left();
        assert!(error.is_some() || count == expected.len());
        error.map(|error| error.to_string())
    };
    // What is enough for one batch ahead is enough, however many are wished for.
    let mut ends = [0, 0];
    for bytes in (0..6_000_000).step_by(200_000) {
        let few = run(bytes, 1);
        let many = run(bytes, 3);
        assert!(few.is_some() || many.is_none(), "{bytes}: {many:?}");
        ends[usize::from(few.is_some())] += 1;
        for error in few.iter().chain(&many) {
            assert!(error.contains("no memory for "), "{error}");
        }
    }
    assert!(ends.iter().all(|&count| count > 3), "{ends:?}");
}

/// An allocation that fails, any one, ends no run in which there is another slot already.
#[test]
fn a_slot_without_memory_is_given_up_and_no_batch_is_lost() {
    if !kernels("a slot without memory") {
        return;
    }
    let packs = packs(11);
    let options = LoaderOptions {
        epochs: Some(1),
        prefetch: 3,
        ..options(4, 2)
    };
    let mut survived = 0;
    for allocation in 1.. {
        let (driver, gpu) = host(allocation);
        driver.fail_allocation(allocation);
        // Of a loader that has just begun there is no other slot.
        let found = CudaLoader::on_gpu(gpu, sampler(&packs), options, cache(20 << 10));
        if let Ok(mut found) = found {
            let what = format!("allocation {allocation} fails");
            for expected in Loader::new(sampler(&packs), options).unwrap() {
                let (found, expected) = (found.next().unwrap().unwrap(), expected.unwrap());
                let mut batch = Batch::new(options.output);
                // It may be an allocation of the download's own; a second one is not refused.
                if found.download(&mut batch).is_err() {
                    found.download(&mut batch).unwrap();
                }
                assert_eq!(difference(&batch, &expected), None, "{what}");
            }
            assert!(found.next().is_none(), "{what}");
            survived += 1;
        }
        driver.assert_nothing_left();
        if driver.allocations() < allocation {
            break;
        }
    }
    assert!(survived > 10, "{survived}");
}

#[test]
fn loaders_and_batches_move_between_threads() {
    fn moves<T: Send + 'static>() {}
    moves::<CudaLoader>();
    moves::<LoadedBatch<Cuda>>();
}
