//! Batches as large as the device has memory for.

use std::error::Error;

use super::models::ModelError;

/// Runs a model over `items`, at most `size` at once. When the device runs out of memory, `size` is
/// halved, for good, and the same items are tried again in smaller batches. Results come in the
/// items' order.
///
/// # Errors
/// What `run` fails with; running out of memory when one item alone is too much.
pub fn in_batches<T, R>(
    items: &[T],
    size: &mut usize,
    mut run: impl FnMut(&[T]) -> Result<Vec<R>, ModelError>,
) -> Result<Vec<R>, ModelError> {
    let mut results = Vec::with_capacity(items.len());
    let mut rest = items;
    while !rest.is_empty() {
        *size = (*size).max(1);
        let (batch, later) = rest.split_at((*size).min(rest.len()));
        match run(batch) {
            Ok(batch_results) => {
                results.extend(batch_results);
                rest = later;
            }
            Err(error) if batch.len() > 1 && is_out_of_memory(&error) => {
                // A last, smaller batch that does not fit says that far less does.
                *size = batch.len() / 2;
                log::warn!("{error}; batches of {size} from here on");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(results)
}

/// Whether a device had not memory enough. candle boxes what CUDA says into errors of many kinds,
/// some of which carry words alone, so words are what is looked for.
pub fn is_out_of_memory(error: &ModelError) -> bool {
    const WORDS: [&str; 4] = [
        // Of the driver, for memory and for kernels.
        "CUDA_ERROR_OUT_OF_MEMORY",
        "out of memory",
        // Of cuBLAS and cuDNN, whose workspaces are allocated late.
        "CUBLAS_STATUS_ALLOC_FAILED",
        "CUDNN_STATUS_ALLOC_FAILED",
    ];
    let ModelError::Compute { source, .. } = error else {
        return false;
    };
    let mut link: Option<&(dyn Error + 'static)> = Some(source);
    while let Some(error) = link {
        let words = error.to_string();
        if WORDS.iter().any(|word| words.contains(word)) {
            return true;
        }
        link = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says what cudarc's `DriverError` says, boxed as candle boxes it.
    #[derive(Debug, thiserror::Error)]
    #[error("DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")")]
    struct DriverError;

    fn failed(source: candle_core::Error) -> ModelError {
        ModelError::Compute {
            model: "model".into(),
            source,
        }
    }

    fn out_of_memory() -> ModelError {
        failed(candle_core::Error::Cuda(Box::new(DriverError)).bt())
    }

    #[test]
    fn batches_shrink_until_they_fit_and_stay_small() {
        for memory in 1..=9 {
            let (mut size, mut sizes) = (8, Vec::new());
            let items: Vec<u32> = (0..21).collect();
            let results = in_batches(&items, &mut size, |batch| {
                sizes.push(batch.len());
                match batch.len() <= memory {
                    true => Ok(batch.iter().map(|item| item * 2).collect()),
                    false => Err(out_of_memory()),
                }
            });
            let doubled: Vec<u32> = items.iter().map(|item| item * 2).collect();
            assert_eq!(results.unwrap(), doubled);
            assert!(
                size <= memory && size * 2 > memory.min(7),
                "{size} of {memory}"
            );
            assert!(
                sizes.is_sorted_by(|former, later| former >= later),
                "{sizes:?}"
            );
            // The smaller size is kept for the next call.
            let mut first = 0;
            let next = in_batches(&items, &mut size, |batch| {
                first = first.max(batch.len());
                Ok(batch.to_vec())
            });
            assert_eq!(next.unwrap(), items);
            assert_eq!(first, size);
        }
    }

    #[test]
    fn one_item_that_does_not_fit_is_the_error() {
        let mut size = 4;
        let mut sizes = Vec::new();
        let error = in_batches(&[1, 2, 3, 4], &mut size, |batch| {
            sizes.push(batch.len());
            Err::<Vec<()>, _>(out_of_memory())
        });
        assert!(is_out_of_memory(&error.unwrap_err()));
        assert_eq!((sizes, size), (vec![4, 2, 1], 1));
    }

    #[test]
    fn other_errors_end_at_once() {
        let mut size = 4;
        let mut calls = 0;
        let error = in_batches(&[1, 2], &mut size, |_| {
            calls += 1;
            Err::<Vec<()>, _>(failed(candle_core::Error::Msg("shape mismatch".into())))
        });
        assert!(!is_out_of_memory(&error.unwrap_err()));
        assert_eq!((calls, size), (1, 4));
        let none: [u8; 0] = [];
        let nothing = in_batches(&none, &mut size, |_| Ok(vec![0]));
        assert!(nothing.unwrap().is_empty());
        size = 0;
        let all = in_batches(&[1, 2], &mut size, |batch| Ok(batch.to_vec()));
        assert_eq!(all.unwrap(), [1, 2]);
    }

    #[test]
    fn memory_is_recognised_however_candle_wraps_it() {
        use candle_core::Error;
        let wrapped = |error: Error| is_out_of_memory(&failed(error));
        let cuda = || Error::Cuda(Box::new(DriverError));
        assert!(wrapped(cuda().context("conv2d").with_path("x")));
        assert!(wrapped(Error::wrap(DriverError)));
        assert!(wrapped(Error::Msg(
            "CublasError(CUBLAS_STATUS_ALLOC_FAILED)".into()
        )));
        assert!(wrapped(
            std::io::Error::from(std::io::ErrorKind::OutOfMemory).into()
        ));
        assert!(!wrapped(Error::Msg(
            "DriverError(CUDA_ERROR_INVALID_VALUE)".into()
        )));
        let setting = ModelError::Setting {
            model: "out of memory".into(),
            problem: "out of memory".into(),
        };
        assert!(!is_out_of_memory(&setting));
    }
}
