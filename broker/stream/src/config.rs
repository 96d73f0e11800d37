use std::time::Duration;

/// What makes a record durable: what moves the high watermark and answers producers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// As many copies of the WAL's segment as it takes.
    Wal,
    /// A committed object (`wal.mode=object`). The WAL is a buffer then, and not listed in the metadata: whatever a process of
    /// this kind leaves in it was never acknowledged, and is dropped.
    Store,
}

/// The limits of a broker's streams. `Default` is what a small broker runs with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamsConfig {
    /// What makes a record durable. With [`Durability::Store`] producers wait for the upload: it should start soon.
    pub durability: Durability,
    /// Un-offloaded bytes at most: what a recovery has to read and hold (`wal.unoffloaded.max.bytes`).
    /// The effective cap is the smaller of this and the WAL's capacity.
    pub unoffloaded_max_bytes: u64,
    /// An upload starts when this many bytes wait for it.
    pub upload_bytes: u64,
    /// An upload starts when the oldest waiting byte has this age.
    pub upload_age: Duration,
    /// Uploads whose PUT may be in flight at once; their commits stay in order.
    pub uploads_in_flight: usize,
    /// How long a prepared object may take until it is committed; then it is swept.
    pub prepared_limit: Duration,
    /// How long offloaded bytes stay in the WAL (`wal.retain.after.offload`): some stores can lose a PUT that
    /// they just acknowledged in a power cut. Gives way when the WAL is half full, or a mirror's window a quarter.
    pub retain_after_offload: Duration,
    /// Memory for the tail of the streams beyond what is un-offloaded: what was offloaded lately and
    /// consumers near the end still read.
    pub tail_cache_bytes: u64,
    /// Memory for blocks of objects, used by consumers that catch up.
    pub block_cache_bytes: u64,
    /// Memory for the indexes of objects.
    pub index_cache_bytes: u64,
    /// How long the first start of a node waits for a store that does not answer (`store.start.wait.ms`).
    pub store_wait: Duration,
    /// Start although the WAL directory is blank and records on the lost disk were not offloaded
    /// (`wal.accept.blank`): an operator gives them up.
    pub accept_blank_wal: bool,
    /// How long an object that nobody needs stays, for readers that still hold an older image.
    pub removal_delay_ms: i64,
    /// How often objects that nobody needs are looked for.
    pub sweep_interval: Duration,
    /// How often the store itself is searched for what no metadata know: left-overs of uploads, and objects.
    pub leftover_interval: Duration,
}

impl Default for StreamsConfig {
    fn default() -> Self {
        StreamsConfig {
            durability: Durability::Wal,
            unoffloaded_max_bytes: 256 << 20,
            upload_bytes: 32 << 20,
            upload_age: Duration::from_secs(30),
            uploads_in_flight: 4,
            prepared_limit: Duration::from_secs(3600),
            retain_after_offload: Duration::from_secs(60),
            tail_cache_bytes: 32 << 20,
            block_cache_bytes: 64 << 20,
            index_cache_bytes: 8 << 20,
            store_wait: Duration::from_secs(60),
            accept_blank_wal: false,
            removal_delay_ms: 180_000,
            sweep_interval: Duration::from_secs(10),
            leftover_interval: Duration::from_secs(3600),
        }
    }
}
