//! Host memory that stands for a device's, or for pinned memory.

use std::alloc::{Layout, alloc, dealloc};
use std::collections::BTreeMap;

/// What freed memory is filled with where it is kept.
const FREED: u8 = 0xDD;

struct Block {
    layout: Layout,
    freed: bool,
}

/// Allocations by address. New ones are full of garbage, each of another.
#[derive(Default)]
pub struct Heap {
    blocks: BTreeMap<usize, Block>,
    live_bytes: u64,
    garbage: u64,
}

impl Heap {
    /// What is allocated now.
    pub fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// How many allocations there are now.
    pub fn live(&self) -> usize {
        self.blocks.values().filter(|block| !block.freed).count()
    }

    /// The address of `bytes` bytes of garbage.
    pub fn allocate(&mut self, bytes: usize, alignment: usize) -> usize {
        assert!(bytes > 0, "an allocation of no bytes");
        let layout = Layout::from_size_align(bytes, alignment).unwrap();
        // SAFETY: the layout has bytes.
        let pointer = unsafe { alloc(layout) };
        assert!(!pointer.is_null(), "no {bytes} bytes on the host");
        self.garbage = self.garbage.wrapping_add(0x9E37_79B9_7F4A_7C15) | 1;
        let mut word = self.garbage;
        // SAFETY: the allocation of just now, of that many bytes, which nothing else knows yet; all
        // are written, through a slice of bytes that need no value before.
        let memory = unsafe {
            pointer.write_bytes(FREED, bytes);
            std::slice::from_raw_parts_mut(pointer, bytes)
        };
        for part in memory.chunks_mut(8) {
            word = word.wrapping_mul(0xD134_2543_DE82_EF95).wrapping_add(1);
            part.copy_from_slice(&word.rotate_left(21).to_ne_bytes()[..part.len()]);
        }
        let address = pointer as usize;
        let block = Block {
            layout,
            freed: false,
        };
        self.blocks.insert(address, block);
        self.live_bytes += bytes as u64;
        address
    }

    /// Gives an allocation back. One that is kept is filled, never given out again, and touching it is
    /// found.
    ///
    /// # Errors
    /// Words for an address that is no live allocation's.
    pub fn free(&mut self, address: usize, keep: bool) -> Result<(), String> {
        let block = match self.blocks.get_mut(&address) {
            None => return Err(format!("freed {address:#x}, which was never allocated")),
            Some(block) if block.freed => return Err(format!("freed {address:#x} twice")),
            Some(block) => block,
        };
        self.live_bytes -= block.layout.size() as u64;
        if keep {
            block.freed = true;
            // SAFETY: an allocation of that size that is still ours.
            unsafe { (address as *mut u8).write_bytes(FREED, block.layout.size()) };
        } else {
            // SAFETY: allocated with that layout, and forgotten on the next line.
            unsafe { dealloc(address as *mut u8, block.layout) };
            self.blocks.remove(&address);
        }
        Ok(())
    }

    /// The allocation that has this address: where it begins, how long it is and whether it was freed.
    pub fn block_of(&self, address: usize) -> Option<(usize, usize, bool)> {
        let (&start, block) = self.blocks.range(..=address).next_back()?;
        let bytes = block.layout.size();
        (address - start < bytes).then_some((start, bytes, block.freed))
    }

    /// Holds a range against the allocations.
    ///
    /// # Errors
    /// Words, if it is not within one that is live.
    pub fn check(&self, address: usize, bytes: usize) -> Result<(), String> {
        if bytes == 0 {
            return Ok(());
        }
        match self.block_of(address) {
            None => Err(format!(
                "{bytes} bytes at {address:#x}, which is no allocation"
            )),
            Some((start, _, true)) => Err(format!(
                "{bytes} bytes at {address:#x}, in the freed allocation at {start:#x}"
            )),
            Some((start, size, false)) if bytes > size - (address - start) => Err(format!(
                "{bytes} bytes at {address:#x}, past the end of {size} bytes at {start:#x}"
            )),
            Some(_) => Ok(()),
        }
    }

    /// Holds freed memory that was kept against what it was filled with.
    ///
    /// # Errors
    /// Words, if something wrote there.
    pub fn check_freed(&self) -> Result<(), String> {
        for (&start, block) in self.blocks.iter().filter(|(_, block)| block.freed) {
            // SAFETY: an allocation of that size that is still ours and that was filled.
            let memory =
                unsafe { std::slice::from_raw_parts(start as *const u8, block.layout.size()) };
            if let Some(at) = memory.iter().position(|&byte| byte != FREED) {
                return Err(format!(
                    "the freed allocation at {start:#x} was written at {at}"
                ));
            }
        }
        Ok(())
    }
}

impl Drop for Heap {
    fn drop(&mut self) {
        for (&start, block) in &self.blocks {
            // SAFETY: allocated with that layout and never given back.
            unsafe { dealloc(start as *mut u8, block.layout) };
        }
    }
}
