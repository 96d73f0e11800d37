//! A disk in memory that does to its user what a bad day does, from a seed.

mod engine;
mod state;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use engine::Attachment;
use state::State;

use crate::{Disk, DiskError};

/// What a [`SimulatedDisk`] does beyond reordering. Nothing by default.
#[derive(Clone, Debug)]
pub struct SimulatedFaults {
    /// The longest time an operation takes, in milliseconds of tokio's clock; each draws 0 to this.
    pub latency_ms: u64,
    /// Of 1000 writes, so many fail, which kills the device.
    pub write_errors_per_mille: u64,
    /// The device acknowledges a write and may still lose it in a crash: a lie that a test must notice.
    pub lies: bool,
    /// Bytes that its files may take together.
    pub capacity_bytes: u64,
}

impl Default for SimulatedFaults {
    fn default() -> Self {
        Self { latency_ms: 3, write_errors_per_mille: 0, lies: false, capacity_bytes: u64::MAX }
    }
}

/// The machine's side of a simulated disk: it outlives the processes that [`attach`](Self::attach) to it.
///
/// Everything is a function of the seed and of the calls, when it runs in one thread with tokio's clock paused.
/// Writes in flight end in any order. In a [`crash`](Self::crash) each 512-byte sector of each of
/// them is old or new.
#[derive(Clone, Debug)]
pub struct SimulatedDisk(Arc<Mutex<State>>);

impl SimulatedDisk {
    /// An empty disk.
    pub fn new(seed: u64, faults: SimulatedFaults) -> Self {
        Self(Arc::new(Mutex::new(State::new(seed, faults))))
    }

    /// A process takes the disk.
    ///
    /// # Errors
    /// [`DiskError::Locked`] while another one has it.
    pub fn attach(&self) -> Result<Arc<dyn Disk>, DiskError> {
        Ok(Attachment::new(self.clone())?)
    }

    /// Power is cut: what is in flight is torn, the process that had the disk gets only errors from now on, and
    /// a next one may attach.
    pub fn crash(&self) {
        self.state().crash();
    }

    /// The process is killed, the machine goes on: what is in flight is written, in any order, and the process gets
    /// only errors from now on.
    pub fn kill(&self) {
        self.state().kill();
    }

    /// Flips a bit of every byte in `position..position + length`, silently.
    ///
    /// # Panics
    /// If the file is not there or shorter.
    pub fn rot(&self, name: &str, position: u64, length: u64) {
        self.state().rot(name, position, length);
    }

    /// From now on reads that touch `position..position + length` of this file fail.
    pub fn fail_reads(&self, name: &str, position: u64, length: u64) {
        self.state().fail_reads(name, position, length);
    }

    /// The next write fails, which kills the device.
    pub fn fail_next_write(&self) {
        self.state().fail_next_write = true;
    }

    /// Sets what its files may take together.
    pub fn set_capacity(&self, bytes: u64) {
        self.state().faults.capacity_bytes = bytes;
    }

    /// Sets how often writes fail.
    pub fn set_write_errors_per_mille(&self, errors: u64) {
        self.state().faults.write_errors_per_mille = errors;
    }

    /// Sets the longest time that an operation takes from now on.
    pub fn set_latency_ms(&self, latency_ms: u64) {
        self.state().faults.latency_ms = latency_ms;
    }

    /// The durable bytes of a file.
    ///
    /// # Panics
    /// If the file is not there or shorter.
    pub fn bytes(&self, name: &str, position: u64, length: usize) -> Vec<u8> {
        self.state().bytes(name, position, length)
    }

    /// Writes bytes into a file behind everybody's back.
    ///
    /// # Panics
    /// If the file is not there or shorter.
    pub fn overwrite(&self, name: &str, position: u64, bytes: &[u8]) {
        self.state().overwrite(name, position, bytes);
    }

    /// Names and lengths of all files.
    pub fn files(&self) -> Vec<crate::FileEntry> {
        self.state().list()
    }

    /// How many writes are in flight.
    pub fn writes_in_flight(&self) -> usize {
        self.state().writes_in_flight()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A test that panicked with the lock held has failed already.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
