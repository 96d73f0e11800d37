//! The object that says whose store this is.

use std::time::Duration;

use aquifer_image::{Image, ObjectState};
use aquifer_objects::{ErrorKind, Store, StoreError};
use aquifer_types::ClusterId;
use bytes::Bytes;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::OpenError;

/// Key of the marker.
pub(crate) const MARKER: &str = "cluster";
const TITLE: &str = "# Aquifer: the objects beside this one belong to this cluster.";
const ID_NAME: &str = "cluster.id=";

/// How long a start that has something to serve from looks at the store: an outage of the store is not to be one of
/// the node.
const LATER_LOOK: Duration = Duration::from_secs(1);
/// The pause between two looks at a store that does not answer.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often the log says that the start waits.
const SAY_EVERY: Duration = Duration::from_secs(5);

/// What could be found out about a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ownership {
    /// It is ours.
    Checked,
    /// It does not answer; to be checked before anything is written to it.
    Unknown,
}

enum Finding {
    Store(StoreError),
    Not(OpenError),
}

impl From<StoreError> for Finding {
    fn from(error: StoreError) -> Self {
        Finding::Store(error)
    }
}

/// Checks that the store is ours. What is definite (another cluster's store, no such bucket, bad credentials) is told at
/// once. For a store that does not answer the first start of a node waits until `limit`; a later one has a WAL and
/// metadata to serve from, looks for a moment only, and leaves the check to the first upload.
pub(crate) async fn check(
    store: &Store,
    image: &Image,
    cluster: ClusterId,
    first_start: bool,
    limit: Duration,
) -> Result<Ownership, OpenError> {
    let limit = if first_start { limit } else { limit.min(LATER_LOOK) };
    let mut last = "it has said nothing yet".to_owned();
    if let Ok(found) = tokio::time::timeout(limit, until_known(store, image, cluster, &mut last)).await {
        return found.map(|()| Ownership::Checked);
    }
    if first_start {
        return Err(OpenError::SilentStore { store: store.url().to_owned(), waited: limit, reason: last });
    }
    warn!(store = store.url(), reason = last, "the store was not checked; the first upload will do it");
    Ok(Ownership::Unknown)
}

/// Looks until the store gives a definite answer; `last` is what it said before.
async fn until_known(
    store: &Store,
    image: &Image,
    cluster: ClusterId,
    last: &mut String,
) -> Result<(), OpenError> {
    let (began, mut waits) = (Instant::now(), false);
    let mut words = tokio::time::interval_at(began + SAY_EVERY, SAY_EVERY);
    loop {
        let looking = look_once(store, image, cluster);
        tokio::pin!(looking);
        let found = loop {
            tokio::select! {
                found = &mut looking => break found,
                _ = words.tick() => {
                    let waited_s = began.elapsed().as_secs();
                    warn!(store = store.url(), waited_s, reason = last, "waiting for the object store to answer");
                }
            }
        };
        match found {
            Ok(()) => return Ok(()),
            Err(Finding::Not(error)) => return Err(error),
            Err(Finding::Store(error)) if !error.kind.is_transient() => {
                return Err(OpenError::Store(error.to_string()));
            }
            Err(Finding::Store(error)) if waits => *last = error.to_string(),
            Err(Finding::Store(error)) => {
                warn!(%error, "the object store does not answer yet");
                (*last, waits) = (error.to_string(), true);
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The same check without a limit and with the store's errors as they are, for the first upload.
pub(crate) async fn check_now(store: &Store, image: &Image, cluster: ClusterId) -> Result<(), String> {
    look(store, image, cluster).await.map_err(|finding| match finding {
        Finding::Store(error) => error.to_string(),
        Finding::Not(error) => error.to_string(),
    })
}

/// As [`look`], and a store that does not answer is told soon.
async fn look_once(store: &Store, image: &Image, cluster: ClusterId) -> Result<(), Finding> {
    match store.head_once(MARKER).await {
        Err(error) if error.kind.is_transient() => Err(error.into()),
        _ => look(store, image, cluster).await,
    }
}

async fn look(store: &Store, image: &Image, cluster: ClusterId) -> Result<(), Finding> {
    match store.get(MARKER).await {
        Ok(content) => compare(store, &content, cluster).map_err(Finding::Not),
        Err(error) if error.kind == ErrorKind::NotFound => create(store, image, cluster).await,
        Err(error) => Err(error.into()),
    }
}

async fn create(store: &Store, image: &Image, cluster: ClusterId) -> Result<(), Finding> {
    let committed = |state: &ObjectState| matches!(state, ObjectState::Committed { .. });
    let objects = image.objects().filter(|(_, state)| committed(state)).count() as u64;
    if objects > 0 {
        let (store, cluster) = (store.url().to_owned(), cluster.to_string());
        return Err(Finding::Not(OpenError::BlankStore { store, marker: MARKER, cluster, objects }));
    }
    let content = Bytes::from(format!("{TITLE}\n{ID_NAME}{cluster}\n"));
    match store.put_new(MARKER, vec![content]).await {
        Ok(()) => {
            info!(store = store.url(), %cluster, "the store is ours from now on");
            Ok(())
        }
        Err(error) if error.kind == ErrorKind::AlreadyExists => {
            // Another node of this cluster, or of another one, was faster.
            let content = store.get(MARKER).await?;
            compare(store, &content, cluster).map_err(Finding::Not)
        }
        Err(error) => Err(error.into()),
    }
}

fn compare(store: &Store, content: &[u8], cluster: ClusterId) -> Result<(), OpenError> {
    let text = String::from_utf8_lossy(content);
    let found = text.lines().find_map(|line| line.strip_prefix(ID_NAME)).unwrap_or("unknown").trim();
    let expected = cluster.to_string();
    if found == expected {
        return Ok(());
    }
    // What is in the store is shown to people: not more of it than an id has.
    let found = found.chars().take(64).collect();
    Err(OpenError::ForeignStore { store: store.url().to_owned(), found, expected })
}
