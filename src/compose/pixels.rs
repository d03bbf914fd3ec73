//! Image memory of a batch: one run of bytes that is lent out piece by piece.
//!
//! Threads that outlive a batch cannot borrow from it, and copying a finished image into the batch
//! would move every byte twice. So each sample's piece is split off, owned, sent to whichever
//! thread composes it, and joined again in place.

use bytemuck::Pod;
use bytes::{Bytes, BytesMut};

use super::error::ComposeError;

/// Images begin at a multiple of this many bytes: a cache line, and more than any element needs.
const ALIGNMENT: usize = 64;

/// The images of a batch, one after another.
#[derive(Debug, Default)]
pub(crate) struct Pixels {
    /// All of the memory, or what is left of it while pieces are lent out.
    bytes: BytesMut,
    /// Bytes that the batch's images take, from the first on.
    used: usize,
}

/// One sample's image, owned.
#[derive(Debug, Default)]
pub(crate) struct Piece(BytesMut);

impl Pixels {
    /// Makes room for `count` images of `length` bytes; memory that is large enough is kept.
    pub fn reserve(&mut self, count: usize, length: usize) -> Result<(), ComposeError> {
        let bytes = count.saturating_mul(length);
        if self.bytes.len() < bytes {
            // The old memory goes first: the two never exist side by side.
            self.bytes = BytesMut::new();
            self.bytes = allocate(bytes)?;
        }
        self.used = bytes;
        Ok(())
    }

    /// Forgets the images but keeps the memory.
    pub fn clear(&mut self) {
        self.used = 0;
    }

    /// Splits off the next `length` bytes. All pieces come back through [`Pixels::join`] in the same
    /// order.
    pub fn split(&mut self, length: usize) -> Piece {
        let length = length.min(self.bytes.len());
        Piece(self.bytes.split_to(length))
    }

    /// Joins pieces, in the order they were split off, and what was left. Touches no pixel.
    pub fn join<'a>(&mut self, pieces: impl Iterator<Item = &'a mut Piece>) {
        let mut whole = BytesMut::new();
        for piece in pieces {
            whole.unsplit(std::mem::take(&mut piece.0));
        }
        whole.unsplit(std::mem::take(&mut self.bytes));
        self.bytes = whole;
    }

    /// The images as values of type `T`.
    pub fn values<T: Pod>(&self) -> &[T] {
        // Never empty for misalignment: memory begins at a multiple of ALIGNMENT.
        let used = self.bytes.get(..self.used).unwrap_or_default();
        bytemuck::try_cast_slice(used).unwrap_or_default()
    }
}

impl Piece {
    /// The image as values of type `T`.
    pub fn values_mut<T: Pod>(&mut self) -> &mut [T] {
        bytemuck::try_cast_slice_mut(&mut self.0).unwrap_or_default()
    }
}

/// Zeroed memory that begins at a multiple of [`ALIGNMENT`].
fn allocate(bytes: usize) -> Result<BytesMut, ComposeError> {
    let padded = bytes.saturating_add(ALIGNMENT);
    let mut memory: Vec<u8> = Vec::new();
    memory
        .try_reserve_exact(padded)
        .map_err(|_| ComposeError::Memory {
            what: "images",
            bytes,
        })?;
    memory.resize(padded, 0);
    // Bytes of a single owner become writable again without a copy.
    let mut memory = BytesMut::from(Bytes::from(memory));
    let start = memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
    let _ = memory.split_to(start);
    memory.truncate(bytes);
    Ok(memory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_joined_where_they_were() {
        let mut pixels = Pixels::default();
        for (count, length) in [(3, 8), (2, 12), (5, 4), (1, 0), (4, 64)] {
            pixels.reserve(count, length).unwrap();
            let start = pixels.bytes.as_ptr();
            assert_eq!(start.align_offset(ALIGNMENT), 0);
            let mut pieces: Vec<Piece> = (0..count).map(|_| pixels.split(length)).collect();
            std::thread::scope(|scope| {
                for (number, piece) in (1..).zip(&mut pieces) {
                    scope.spawn(move || piece.values_mut::<u32>().fill(number));
                }
            });
            pixels.join(pieces.iter_mut());
            // The same memory: nothing was copied.
            assert_eq!(pixels.bytes.as_ptr(), start);
            let expected: Vec<u32> = (1..=count as u32)
                .flat_map(|number| vec![number; length / 4])
                .collect();
            assert_eq!(pixels.values::<u32>(), expected);
        }
    }
}
