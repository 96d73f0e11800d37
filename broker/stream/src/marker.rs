//! The object that says whose store this is.

use std::time::Duration;

use aquifer_image::{Image, ObjectState};
use aquifer_objects::{ErrorKind, Store, StoreError};
use aquifer_types::ClusterId;
use bytes::Bytes;
use tracing::{info, warn};

use crate::OpenError;

/// Key of the marker.
pub(crate) const MARKER: &str = "cluster";
const TITLE: &str = "# Aquifer: the objects beside this one belong to this cluster.";
const ID_NAME: &str = "cluster.id=";

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

/// Checks that the store is ours. A store that does not answer within `limit` delays nobody, unless nothing was ever
/// written (`first_start`): then it is more likely a wrong option than an outage.
pub(crate) async fn check(
    store: &Store,
    image: &Image,
    cluster: ClusterId,
    first_start: bool,
    limit: Duration,
) -> Result<Ownership, OpenError> {
    let reason = match tokio::time::timeout(limit, look(store, image, cluster)).await {
        Ok(Ok(())) => return Ok(Ownership::Checked),
        Ok(Err(Finding::Not(error))) => return Err(error),
        Ok(Err(Finding::Store(error))) if !error.kind.is_transient() => {
            return Err(OpenError::Store(error.to_string()));
        }
        Ok(Err(Finding::Store(error))) => error.to_string(),
        Err(_) => format!("the store '{}' did not answer within {limit:?}", store.url()),
    };
    if first_start {
        return Err(OpenError::Store(reason));
    }
    warn!(%reason, "the store was not checked; the first upload will do it");
    Ok(Ownership::Unknown)
}

/// The same check without a limit and with the store's errors as they are, for the first upload.
pub(crate) async fn check_now(store: &Store, image: &Image, cluster: ClusterId) -> Result<(), String> {
    look(store, image, cluster).await.map_err(|finding| match finding {
        Finding::Store(error) => error.to_string(),
        Finding::Not(error) => error.to_string(),
    })
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
