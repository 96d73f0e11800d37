//! What every store promises: one list of cases, run against each of them.

mod create;
mod lists;
mod ranges;
mod uploads;

use std::future::Future;
use std::pin::Pin;

use aquifer_objects::{SimulatedStore, Store, StoreOptions, open};
use aquifer_runtime::{Clock, Random};
use bytes::Bytes;

/// A store under test and what it can be asked for.
pub(crate) struct Subject {
    pub(crate) store: Store,
    /// The same store as another process has it, to be left in the lurch in mid-upload.
    pub(crate) crashing: Store,
    /// How many objects the paging case writes: some stores are slow at small ones.
    pub(crate) many: usize,
    /// Which left-overs of a crash it can find.
    pub(crate) orphans: Orphans,
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Orphans {
    /// It has none: they die with the process.
    None,
    /// All of them.
    All,
}

impl Subject {
    pub(crate) async fn open(url: &str, options: &StoreOptions, many: usize, orphans: Orphans) -> Self {
        let (store, crashing) = (open_store(url, options).await, open_store(url, options).await);
        Self { store, crashing, many, orphans }
    }

    /// One store in memory, as two processes reach it.
    pub(crate) fn simulated(simulated: &SimulatedStore, options: &StoreOptions, many: usize) -> Self {
        let attach = |seed| simulated.attach(options, Clock::system(), Random::seeded(seed)).0;
        Self { store: attach(1), crashing: attach(2), many, orphans: Orphans::None }
    }
}

type Case = (&'static str, for<'a> fn(&'a Subject) -> Pin<Box<dyn Future<Output = ()> + 'a>>);

macro_rules! cases {
    ($($module:ident::$case:ident),* $(,)?) => {
        [$((stringify!($case), |subject| Box::pin($module::$case(subject)))),*]
    };
}

/// Runs all cases, one after the other; a failing one is the last that was printed.
#[expect(clippy::print_stdout, reason = "shown for a failing test only")]
pub(crate) async fn run(subject: &Subject) {
    let cases: &[Case] = &cases![
        create::an_object_is_read_as_it_was_written,
        create::an_object_is_created_once,
        create::of_racing_writers_one_wins,
        create::an_empty_object_exists,
        create::what_is_absent_is_not_found,
        create::deleting_what_is_absent_succeeds,
        create::a_deleted_key_is_free_again,
        create::a_malformed_key_is_refused,
        ranges::a_range_is_exactly_what_was_asked_for,
        ranges::a_range_past_the_end_is_an_error,
        ranges::an_empty_range_is_refused,
        ranges::a_read_larger_than_the_limit_goes_alone,
        lists::a_listing_is_whole_and_in_order,
        lists::a_prefix_is_of_whole_segments,
        uploads::a_streamed_object_appears_whole_at_the_end,
        uploads::a_streamed_object_may_be_empty_or_small,
        uploads::a_stream_is_held_in_bounded_memory,
        uploads::a_stream_never_replaces_an_object,
        uploads::of_racing_streams_one_wins,
        uploads::an_aborted_stream_leaves_nothing,
        uploads::a_crashed_stream_is_discarded_by_key,
        uploads::a_crashed_stream_is_swept_when_it_is_old,
    ];
    for (name, case) in cases {
        let start = tokio::time::Instant::now();
        println!("{name}");
        case(subject).await;
        println!("  {:?}", start.elapsed());
    }
    let metrics = subject.store.metrics();
    assert_eq!((metrics.upload_bytes_in_flight, metrics.download_bytes_in_flight), (0, 0));
}

/// Small parts, so that a streamed object has several of them without being large.
pub(crate) fn options() -> StoreOptions {
    StoreOptions { part_bytes: 5 << 20, upload_bytes_in_flight: 32 << 20, ..StoreOptions::default() }
}

pub(crate) async fn open_store(url: &str, options: &StoreOptions) -> Store {
    open(url, options, Clock::system(), Random::from_os()).await.expect("the store can be opened")
}

/// Bytes that differ at each position and with each seed.
pub(crate) fn pattern(seed: u64, length: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(length).collect::<Vec<u8>>().into()
}
