//! The C side: `shim.cpp`.

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_ulonglong, c_void};
use std::sync::{Mutex, PoisonError};

use crate::Order;

/// A kernel's entry in the table that the build script makes.
#[repr(C)]
struct Kernel {
    _opaque: [u8; 0],
}

unsafe extern "C" {
    fn shim_find(name: *const c_char) -> *const Kernel;
    fn shim_parameter_bytes(kernel: *const Kernel) -> usize;
    fn shim_most_threads(kernel: *const Kernel) -> c_uint;
    fn shim_launch(
        kernel: *const Kernel,
        parameters: *const c_void,
        order: *const c_uint,
        blocks: c_uint,
        threads: c_uint,
        schedule: c_int,
        seed: c_ulonglong,
        message: *mut c_char,
        message_bytes: usize,
    ) -> bool;
    fn shim_layout_entry(index: usize, value: *mut usize) -> *const c_char;
}

/// There is one scheduler and one set of shared variables.
static LAUNCH: Mutex<()> = Mutex::new(());

/// Bytes of an error message.
const MESSAGE_BYTES: usize = 1024;

/// [`crate::launch`], with its conditions.
pub unsafe fn launch(
    kernel: &str,
    blocks: u32,
    threads: u32,
    parameters: &[u8],
    order: Order,
) -> Result<(), String> {
    let entry = find(kernel).ok_or_else(|| format!("there is no kernel {kernel}"))?;
    check(kernel, entry, blocks, threads, parameters)?;
    // Structs have 8-byte fields at most.
    let mut aligned = vec![0u128; parameters.len().div_ceil(16)];
    // SAFETY: the vector has at least as many bytes, and is not part of the slice.
    unsafe {
        std::ptr::copy_nonoverlapping(
            parameters.as_ptr(),
            aligned.as_mut_ptr().cast(),
            parameters.len(),
        );
    }
    let mut draws = Draws::new(order);
    let (schedule, seed) = (draws.schedule(), draws.next());
    let block_order = draws.block_order(blocks);
    let mut message = [0u8; MESSAGE_BYTES];
    let _one_at_a_time = LAUNCH.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: the lock is held, the numbers were checked, all pointers are to what lives here, and
    // what the parameters refer to is the caller's promise.
    let fine = unsafe {
        shim_launch(
            entry,
            aligned.as_ptr().cast(),
            block_order.as_ptr(),
            blocks,
            threads,
            schedule,
            seed,
            message.as_mut_ptr().cast(),
            MESSAGE_BYTES,
        )
    };
    if fine {
        return Ok(());
    }
    let text = CStr::from_bytes_until_nul(&message).unwrap_or_default();
    Err(text.to_string_lossy().into_owned())
}

fn find(kernel: &str) -> Option<*const Kernel> {
    let name = CString::new(kernel).ok()?;
    // SAFETY: a string that ends; the function looks it up in a constant table.
    let entry = unsafe { shim_find(name.as_ptr()) };
    (!entry.is_null()).then_some(entry)
}

fn check(
    kernel: &str,
    entry: *const Kernel,
    blocks: u32,
    threads: u32,
    parameters: &[u8],
) -> Result<(), String> {
    // SAFETY: an entry of the table.
    let (bytes, most) = unsafe { (shim_parameter_bytes(entry), shim_most_threads(entry)) };
    if parameters.len() != bytes {
        let found = parameters.len();
        return Err(format!("kernel {kernel} takes {bytes} bytes, not {found}"));
    }
    if blocks == 0 || blocks >= 1 << 31 {
        return Err(format!("kernel {kernel}: {blocks} blocks"));
    }
    if threads == 0 || !threads.is_multiple_of(32) || threads > most.min(1024) {
        return Err(format!(
            "kernel {kernel}: {threads} threads, of {most} at most"
        ));
    }
    Ok(())
}

/// [`crate::most_threads`].
pub fn most_threads(kernel: &str) -> Option<u32> {
    // SAFETY: an entry of the table.
    find(kernel).map(|entry| unsafe { shim_most_threads(entry) })
}

/// [`crate::layout`].
pub fn layout() -> Vec<(String, usize)> {
    let mut entries = Vec::new();
    loop {
        let mut value = 0;
        // SAFETY: any index may be asked for, and the value is written before a name is returned.
        let name = unsafe { shim_layout_entry(entries.len(), &mut value) };
        if name.is_null() {
            return entries;
        }
        // SAFETY: a string literal of the table.
        let name = unsafe { CStr::from_ptr(name) };
        entries.push((name.to_string_lossy().into_owned(), value));
    }
}

/// What an [`Order`] stands for.
struct Draws {
    order: Order,
    state: u64,
}

impl Draws {
    fn new(order: Order) -> Draws {
        let state = match order {
            Order::Shuffled(seed) => seed,
            _ => 0,
        };
        Draws { order, state }
    }

    fn schedule(&self) -> c_int {
        match self.order {
            Order::Forward => 0,
            Order::Reverse => 1,
            Order::Shuffled(_) => 2,
        }
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn block_order(&mut self, blocks: u32) -> Vec<u32> {
        let mut order: Vec<u32> = (0..blocks).collect();
        match self.order {
            Order::Forward => {}
            Order::Reverse => order.reverse(),
            Order::Shuffled(_) => {
                for last in (1..order.len()).rev() {
                    order.swap(last, (self.next() % (last as u64 + 1)) as usize);
                }
            }
        }
        order
    }
}
