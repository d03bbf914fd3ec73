//! What the CPU does: copying memory, composing.

use std::num::NonZero;
use std::thread;

use super::report::{ceiling, percent};
use super::spread::seconds_of;
use super::{Bench, BenchError, Composing, OneThread, Spread, Work};
use crate::compose::{Backend, Batch, CpuBackend, Encoded, OutputSpec, Simd};

/// How fast one thread copies memory, and all together: bytes read and written.
pub(super) fn copy_bandwidth(bench: &mut Bench<'_>) -> Result<(), BenchError> {
    let bytes = bench.options.effort.copied_bytes / 2;
    let (from, mut to) = (memory(bytes)?, memory(bytes)?);
    for (name, threads) in [
        (ceiling::COPY_ONE_THREAD, NonZero::<usize>::MIN),
        (ceiling::COPY_ALL_THREADS, bench.threads),
    ] {
        let piece = bytes.div_ceil(threads.get()).max(1);
        let copied = bench.repeat(|| {
            let seconds = seconds_of(|| {
                copy(&from, &mut to, piece);
                Ok::<_, BenchError>(())
            })?;
            Ok(2.0 * bytes as f64 / seconds / 1e9)
        })?;
        bench.add_ceiling(name, copied);
    }
    Ok(())
}

/// Copies pieces side by side.
fn copy(from: &[u8], to: &mut [u8], piece: usize) {
    thread::scope(|scope| {
        for (to, from) in to.chunks_mut(piece).zip(from.chunks(piece)) {
            scope.spawn(|| to.copy_from_slice(from));
        }
    });
    // Else a compiler may leave out what nobody reads.
    std::hint::black_box(to);
}

fn memory(bytes: usize) -> Result<Vec<u8>, BenchError> {
    let mut memory = Vec::new();
    let reserved = memory.try_reserve_exact(bytes);
    reserved.map_err(|_| BenchError::Memory { bytes })?;
    memory.resize(bytes, 1);
    Ok(memory)
}

/// Composes the batch on all threads; `one_thread` is what one composes.
pub(super) fn compose(
    bench: &mut Bench<'_>,
    work: &Work<'_>,
    one_thread: Spread,
) -> Result<Composing, BenchError> {
    let mut backend = CpuBackend::new(Some(bench.threads));
    let mut batch = Batch::new(bench.options.output);
    let spread = bench.repeat(|| {
        seconds_of(|| Ok::<_, BenchError>(backend.compose(&work.encoded, &mut batch)?))
    })?;
    bench.check("composing on all threads", &batch, &work.expected)?;
    let rate = spread.map(|seconds| bench.options.batch as f64 / seconds);
    let bytes = work.floor.bytes();
    let [all, one] = [ceiling::COPY_ALL_THREADS, ceiling::COPY_ONE_THREAD];
    let [all, one] = [all, one].map(|name| bench.ceiling(name));
    let [moved, moved_by_one] = [rate, one_thread].map(|rate| rate.median * bytes / 1e9);
    Ok(Composing {
        images_per_second: rate,
        images_per_second_per_core: rate.median / bench.cores,
        threads: bench.threads.get(),
        gigabytes_per_second: moved,
        percent_of_ceiling: percent(moved, all),
        ceiling_images_per_second: all * 1e9 / bytes.max(1.0),
        scaling: rate.median / one_thread.median.max(f64::MIN_POSITIVE),
        one_thread: OneThread {
            images_per_second: one_thread,
            gigabytes_per_second: moved_by_one,
            percent_of_ceiling: percent(moved_by_one, one),
            ceiling_images_per_second: one * 1e9 / bytes.max(1.0),
        },
    })
}

/// The batch that everything is compared with: composed by a back end of its own, on one thread, with
/// the instruction set that any machine has.
pub(super) fn reference(output: OutputSpec, encoded: &Encoded<'_>) -> Result<Batch, BenchError> {
    let mut batch = Batch::new(output);
    let one = Some(NonZero::<usize>::MIN);
    CpuBackend::with_simd(one, Simd::Baseline).compose(encoded, &mut batch)?;
    Ok(batch)
}
