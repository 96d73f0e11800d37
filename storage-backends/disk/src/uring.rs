#![expect(unsafe_code, reason = "the kernel is given addresses; this is where they are kept alive")]

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use io_uring::squeue::{Entry, Flags};
use io_uring::{IoUring, opcode, types};

use crate::mailbox::{Mailbox, Operation};
use crate::{DeviceFailure, DiskError, SyncStrategy};

/// Operations in flight at most; more wait in the thread's backlog. A device shows no more parallelism to one log.
const FLIGHTS: usize = 28;
/// Each flight takes at most two entries (a write and its sync), and the event one.
const ENTRIES: u32 = 64;
/// Marks the completion of the event's read.
const EVENT: u64 = u64::MAX;

/// A ring and what is in flight on it, used by one thread.
pub(crate) struct Ring {
    ring: IoUring,
    flights: Flights,
    event: File,
    /// Where the kernel puts the event's counter. Leaked, so that no order of shutting down can free it too early.
    counter: *mut u64,
    armed: bool,
}

/// What the kernel works on. Memory and files stay here until it has answered.
struct Flights {
    slots: Vec<Option<Flight>>,
    count: usize,
}

struct Flight {
    operation: Operation,
    /// The result of the read or write, once known.
    result: Option<i32>,
    /// The result of the linked sync; known from the start if there is none.
    sync_result: Option<i32>,
}

impl Drop for Flights {
    fn drop(&mut self) {
        if self.count > 0 {
            // Only when this thread panics. The kernel may still use the memory: better lost than reused.
            std::mem::forget(std::mem::take(&mut self.slots));
        }
    }
}

impl Ring {
    /// Sets up a ring for the calling thread.
    pub(crate) fn new(event: File) -> Result<Self, DiskError> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .build(ENTRIES)
            // Kernels before 6.1 do not know these two.
            .or_else(|error| match error.raw_os_error() {
                Some(libc::EINVAL) => IoUring::new(ENTRIES),
                _ => Err(error),
            })
            .map_err(|error| DiskError::RingUnavailable { cause: error.to_string() })?;
        let slots = (0..FLIGHTS).map(|_| None).collect();
        let counter = Box::leak(Box::new(0_u64));
        Ok(Self { ring, flights: Flights { slots, count: 0 }, event, counter, armed: false })
    }

    /// Serves a mailbox until it is closed and everything in it is done.
    pub(crate) fn serve(mut self, mailbox: &Mailbox, strategy: SyncStrategy) {
        let mut backlog = VecDeque::new();
        loop {
            // Armed before looking, so that whatever is posted after the look rings a bell that is heard.
            self.arm();
            let closed = mailbox.take(&mut backlog);
            while self.flights.count < FLIGHTS
                && let Some(operation) = backlog.pop_front()
            {
                match mailbox.failure() {
                    Some(failure) => operation.refuse(failure.clone().into()),
                    None => self.start(operation, strategy),
                }
            }
            if closed && backlog.is_empty() && self.flights.count == 0 {
                return;
            }
            if let Err(error) = self.turn(mailbox) {
                // The ring itself is broken: whatever is in flight is unknown, so nothing may be acknowledged.
                mailbox.fail(DeviceFailure::new("the ring", "io_uring_enter", error.to_string()));
                return;
            }
        }
    }

    /// Nothing is in flight.
    pub(crate) fn idle(&self) -> bool {
        self.flights.count == 0
    }

    fn arm(&mut self) {
        if !self.armed {
            let event = types::Fd(self.event.as_raw_fd());
            let read = opcode::Read::new(event, self.counter.cast(), size_of::<u64>() as u32)
                .build()
                .user_data(EVENT);
            self.push(&read);
            self.armed = true;
        }
    }

    /// Begins an operation; needs a free slot.
    pub(crate) fn start(&mut self, operation: Operation, strategy: SyncStrategy) {
        let slot =
            self.flights.slots.iter().position(Option::is_none).expect("the caller counts the flights");
        let file = types::Fd(operation.file().file.as_raw_fd());
        let user_data = (slot as u64) << 1;
        let linked = strategy == SyncStrategy::LinkedSync && matches!(operation, Operation::Write { .. });
        let flight = Flight { operation, result: None, sync_result: if linked { None } else { Some(0) } };
        // In its slot before the kernel learns the address, which does not move with the `Flight`.
        let flight = self.flights.slots[slot].insert(flight);
        self.flights.count += 1;
        let entry = match &mut flight.operation {
            Operation::Read { position, buffer, .. } => {
                opcode::Read::new(file, buffer.address_mut(), length(buffer.len())).offset(*position).build()
            }
            Operation::Write { position, blocks, .. } => {
                let flags = if linked { 0 } else { libc::RWF_DSYNC };
                opcode::Write::new(file, blocks.address(), length(blocks.len()))
                    .offset(*position)
                    .rw_flags(flags)
                    .build()
            }
        };
        if linked {
            self.push(&entry.flags(Flags::IO_LINK).user_data(user_data));
            let sync = opcode::Fsync::new(file).flags(types::FsyncFlags::DATASYNC).build();
            self.push(&sync.user_data(user_data | 1));
        } else {
            self.push(&entry.user_data(user_data));
        }
    }

    fn push(&mut self, entry: &Entry) {
        // SAFETY: the kernel may use an entry's memory and descriptor until it completes. Buffers and files are owned
        // by a `Flight`, which leaves its slot only in `Flights::land`, after the kernel has answered all its entries, and is
        // never freed if this thread panics; a buffer is heap memory that does not move with its owner, a write's
        // buffer is shared but not mutable while shared, and a read's buffer is touched by nobody else. The
        // event's counter is leaked and touched by the kernel only; the event's descriptor lives as long as `self.ring`
        // and is referenced by the kernel from submission on.
        let pushed = unsafe { self.ring.submission().push(entry) };
        pushed.expect("the queue has room for all flights and the event");
    }

    /// Hands everything begun to the kernel, waits for at least one answer and lands all there are.
    pub(crate) fn turn(&mut self, mailbox: &Mailbox) -> io::Result<()> {
        match self.ring.submit_and_wait(1) {
            Ok(_) => {}
            // A signal, or a moment's lack of kernel memory: what was not submitted is still queued.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN | libc::EBUSY)) => {}
            Err(error) => return Err(error),
        }
        for completion in self.ring.completion() {
            if completion.user_data() == EVENT {
                self.armed = false;
            } else {
                self.flights.land(mailbox, completion.user_data(), completion.result());
            }
        }
        Ok(())
    }
}

impl Flights {
    fn land(&mut self, mailbox: &Mailbox, user_data: u64, result: i32) {
        let slot = &mut self.slots[(user_data >> 1) as usize];
        let flight = slot.as_mut().expect("the kernel answers each entry once");
        *(if user_data & 1 == 0 { &mut flight.result } else { &mut flight.sync_result }) = Some(result);
        let (Some(result), Some(sync_result)) = (flight.result, flight.sync_result) else { return };
        let flight = slot.take().expect("taken once");
        self.count -= 1;
        answer(mailbox, flight.operation, result, sync_result);
    }
}

/// Tells who asked how it went.
fn answer(mailbox: &Mailbox, operation: Operation, result: i32, sync_result: i32) {
    let what = operation.describe();
    let outcome = |expected: usize| {
        if result < 0 {
            Err(io::Error::from_raw_os_error(-result))
        } else if result as usize != expected {
            Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("only {result} bytes were done")))
        } else {
            Ok(())
        }
    };
    // Who asked may be gone; nobody else wants to know.
    match operation {
        Operation::Read { file, buffer, reply, .. } => {
            let _ = reply.send(match (outcome(buffer.len()), mailbox.failure()) {
                (_, Some(failure)) => Err(failure.clone().into()),
                (Ok(()), None) => Ok(buffer),
                (Err(error), None) => Err(DiskError::io(&file.path, what, &error)),
            });
        }
        Operation::Write { file, blocks, reply, .. } => {
            let mut outcome = outcome(blocks.len()).map_err(|error| (what, error));
            if outcome.is_ok() && sync_result < 0 {
                outcome = Err(("fdatasync".to_owned(), io::Error::from_raw_os_error(-sync_result)));
            }
            if let Err((what, error)) = outcome {
                mailbox.fail(DeviceFailure::new(&file.path, what, error.to_string()));
            }
            // Also what succeeded is not acknowledged once something failed.
            let _ = reply.send(mailbox.failure().map_or(Ok(()), |failure| Err(failure.clone().into())));
        }
    }
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("one operation is far below 4 GiB")
}
