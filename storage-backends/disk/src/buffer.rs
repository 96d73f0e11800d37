#![expect(
    unsafe_code,
    reason = "O_DIRECT needs memory at a 4 KiB boundary, which std's vectors do not promise"
)]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};

use crate::BLOCK;

/// Memory for one I/O: starts at a [`BLOCK`] boundary, its capacity is whole blocks, and it goes back
/// to its [`BufferPool`] when dropped.
///
/// All of the capacity is initialised at all times (with zeros or with what an earlier use left), so
/// that growing is never a read of uninitialised memory.
pub struct AlignedBuf {
    memory: NonNull<u8>,
    capacity: usize,
    len: usize,
    pool: Arc<Shelves>,
}

// SAFETY: the memory is owned by this value alone, like a `Box<[u8]>`; nothing in it is tied to a thread.
unsafe impl Send for AlignedBuf {}
// SAFETY: `&AlignedBuf` only reads plain bytes; writing needs `&mut`.
unsafe impl Sync for AlignedBuf {}

impl AlignedBuf {
    fn layout(capacity: usize) -> Layout {
        Layout::from_size_align(capacity, BLOCK)
            .expect("a shelf's capacity is small and BLOCK a power of two")
    }

    fn allocate(capacity: usize, pool: Arc<Shelves>) -> Self {
        let layout = Self::layout(capacity);
        assert!(layout.size() > 0, "a buffer has at least one block");
        // SAFETY: the layout's size is not zero, as asserted above.
        let memory = unsafe { alloc_zeroed(layout) };
        let Some(memory) = NonNull::new(memory) else { handle_alloc_error(layout) };
        Self { memory, capacity, len: 0, pool }
    }

    /// Bytes that fit.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Appends `bytes`.
    ///
    /// # Panics
    /// If they do not fit.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        let start = self.len;
        self.set_len(start + bytes.len());
        self[start..].copy_from_slice(bytes);
    }

    /// Appends `count` zeros.
    ///
    /// # Panics
    /// If they do not fit.
    pub fn extend_zeros(&mut self, count: usize) {
        let start = self.len;
        self.set_len(start + count);
        self[start..].fill(0);
    }

    /// Sets the length; bytes beyond the old one are whatever an earlier use left there.
    ///
    /// # Panics
    /// If `len` exceeds the capacity.
    pub fn set_len(&mut self, len: usize) {
        assert!(len <= self.capacity, "{len} bytes do not fit into a buffer of {}", self.capacity);
        self.len = len;
    }

    /// The first byte's address, for the kernel to read from.
    pub(crate) fn address(&self) -> *const u8 {
        self.memory.as_ptr()
    }

    /// The first byte's address, for the kernel to write to.
    pub(crate) fn address_mut(&mut self) -> *mut u8 {
        self.memory.as_ptr()
    }
}

impl Deref for AlignedBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `memory` is valid for `capacity >= len` bytes, all initialised since `alloc_zeroed`, and
        // only `&mut self` can change them.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr(), self.len) }
    }
}

impl DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `&mut self` makes this the only reference.
        unsafe { std::slice::from_raw_parts_mut(self.memory.as_ptr(), self.len) }
    }
}

impl Drop for AlignedBuf {
    fn drop(&mut self) {
        if !self.pool.put_back(self.memory, self.capacity) {
            // SAFETY: allocated by `allocate` with the same layout, and not used after this.
            unsafe { dealloc(self.memory.as_ptr(), Self::layout(self.capacity)) };
        }
    }
}

impl fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlignedBuf({} of {} bytes)", self.len, self.capacity)
    }
}

/// Buffers that were used before, kept by size: a fresh megabyte costs 256 page faults.
///
/// Cheap to clone. It never waits and never refuses: what is bounded is what it keeps
/// ([`BufferPool::KEPT_BYTES`]), while its users bound how much they take.
#[derive(Clone, Debug)]
pub struct BufferPool(Arc<Shelves>);

impl BufferPool {
    /// The most memory that lies idle in one pool.
    pub const KEPT_BYTES: usize = 16 << 20;

    /// An empty pool.
    pub fn new() -> Self {
        Self(Arc::new(Shelves::default()))
    }

    /// An empty buffer (length 0) for at least `bytes`.
    pub fn take(&self, bytes: usize) -> AlignedBuf {
        let capacity = bytes.max(1).next_multiple_of(BLOCK).next_power_of_two();
        let kept = self.0.take(capacity);
        match kept {
            Some(memory) => AlignedBuf { memory: memory.0, capacity, len: 0, pool: self.0.clone() },
            None => AlignedBuf::allocate(capacity, self.0.clone()),
        }
    }

    /// A buffer of `bytes` zeros.
    pub fn zeros(&self, bytes: usize) -> AlignedBuf {
        let mut buffer = self.take(bytes);
        buffer.extend_zeros(bytes);
        buffer
    }
}

impl Default for BufferPool {
    fn default() -> Self {
        Self::new()
    }
}

struct Memory(NonNull<u8>);

// SAFETY: the memory on a shelf is owned by the shelf alone.
unsafe impl Send for Memory {}

#[derive(Default)]
struct Shelves(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    bytes: usize,
    /// Shelf `n` holds buffers of `BLOCK << n` bytes.
    shelves: Vec<Vec<Memory>>,
}

impl Shelves {
    fn take(&self, capacity: usize) -> Option<Memory> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let memory = kept.shelves.get_mut(shelf(capacity))?.pop()?;
        kept.bytes -= capacity;
        Some(memory)
    }

    fn put_back(&self, memory: NonNull<u8>, capacity: usize) -> bool {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.bytes + capacity > BufferPool::KEPT_BYTES {
            return false;
        }
        let shelf = shelf(capacity);
        if kept.shelves.len() <= shelf {
            kept.shelves.resize_with(shelf + 1, Vec::new);
        }
        kept.bytes += capacity;
        kept.shelves[shelf].push(Memory(memory));
        true
    }
}

impl Drop for Shelves {
    fn drop(&mut self) {
        let kept = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        for (shelf, buffers) in kept.shelves.iter_mut().enumerate() {
            for memory in buffers.drain(..) {
                // SAFETY: a buffer on shelf `n` was allocated with the layout of `BLOCK << n` bytes, and
                // nobody else holds it.
                unsafe { dealloc(memory.0.as_ptr(), AlignedBuf::layout(BLOCK << shelf)) };
            }
        }
    }
}

impl fmt::Debug for Shelves {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        write!(f, "Shelves({} bytes kept)", kept.bytes)
    }
}

fn shelf(capacity: usize) -> usize {
    debug_assert!(capacity.is_power_of_two() && capacity >= BLOCK);
    (capacity / BLOCK).trailing_zeros() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_start_at_a_block_and_come_back_from_the_pool() {
        let pool = BufferPool::new();
        let mut first = pool.take(5_000);
        assert_eq!(first.capacity(), 2 * BLOCK);
        assert_eq!(first.address() as usize % BLOCK, 0);
        first.extend_from_slice(b"abc");
        first.extend_zeros(2);
        assert_eq!(&*first, b"abc\0\0");
        let address = first.address() as usize;
        drop(first);
        let again = pool.take(8_000);
        assert_eq!((again.address() as usize, again.len()), (address, 0));
    }

    #[test]
    fn the_pool_keeps_only_so_much() {
        let pool = BufferPool::new();
        let buffers: Vec<_> = (0..40).map(|_| pool.take(1 << 20)).collect();
        drop(buffers);
        assert_eq!(pool.0.0.lock().expect("whole").bytes, BufferPool::KEPT_BYTES);
    }

    #[test]
    #[should_panic(expected = "do not fit")]
    fn a_buffer_does_not_grow() {
        BufferPool::new().take(1).extend_zeros(BLOCK + 1);
    }
}
