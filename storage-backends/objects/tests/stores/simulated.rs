//! What only a simulated store can do.

use std::time::Duration;

use aquifer_objects::{Effect, ErrorKind, RetryLimits, SimulatedStore, StoreFaults, StoreOptions};
use aquifer_runtime::{Clock, Random};
use bytes::Bytes;
use tokio::time::{sleep, timeout};

fn store(faults: StoreFaults) -> SimulatedStore {
    SimulatedStore::new(5, faults, Clock::simulated(1_000).0)
}

fn once() -> StoreOptions {
    let retry = RetryLimits { attempts: 1, ..RetryLimits::default() };
    StoreOptions { retry, ..StoreOptions::default() }
}

#[tokio::test(start_paused = true)]
async fn a_put_that_was_given_up_arrives_all_the_same() {
    let simulated = store(StoreFaults { latency_ms: 60_000, ..StoreFaults::default() });
    let (store, _) = simulated.attach(&once(), Clock::system(), Random::seeded(1));
    let mut late = 0;
    for key in ["a", "b", "c", "d", "e", "f"] {
        match store.put_new(key, vec![Bytes::from_static(b"x")]).await {
            Ok(()) => {}
            Err(error) => {
                assert_eq!((error.kind, error.effect), (ErrorKind::Timeout, Effect::Unknown), "{error}");
                late += 1;
            }
        }
    }
    assert!((1..6).contains(&late), "{late}");
    sleep(Duration::from_secs(60)).await;
    assert_eq!(simulated.objects().len(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_killed_process_reaches_the_store_no_more() {
    let simulated = store(StoreFaults { latency_ms: 10, ..StoreFaults::default() });
    let (store, process) = simulated.attach(&once(), Clock::system(), Random::seeded(1));
    simulated.kill(process);
    store.put_new("a", vec![Bytes::from_static(b"x")]).await.expect_err("nobody answers");
    assert!(simulated.objects().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_silent_and_passes() {
    let simulated = store(StoreFaults { down: true, ..StoreFaults::default() });
    let (store, _) = simulated.attach(&StoreOptions::default(), Clock::system(), Random::seeded(1));
    let put = store.put_new("a", vec![Bytes::from_static(b"x")]);
    tokio::pin!(put);
    timeout(Duration::from_secs(5), &mut put).await.expect_err("nobody answers");
    simulated.set_faults(StoreFaults::default());
    put.await.expect("a later attempt arrives");
}
