use std::fmt;
use std::future::Future;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use futures::future::join_all;
use tokio::time::Instant;

use crate::error::{ErrorKind, StoreError};
use crate::metrics::StoreSnapshot;
use crate::store::Store;

/// Writers that race for one key.
const RACERS: usize = 8;
/// Objects of the listing.
const LISTED: usize = 12;
const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
/// What is measured: name, size of an object, how many, how many at once.
const LOADS: [(&str, usize, usize, usize); 3] = [
    ("4 KiB, one at a time", 4 * KIB, 20, 1),
    ("1 MiB, one at a time", MIB, 10, 1),
    ("8 MiB, four at once", 8 * MIB, 8, 4),
];

/// What a store can and cannot do, and how fast it is from here.
#[derive(Clone, Debug)]
pub struct ProbeReport {
    /// The store's URL.
    pub url: String,
    /// What was tried, in order. If the first one fails, the others are not tried.
    pub checks: Vec<Check>,
    /// What was measured.
    pub measurements: Vec<Measurement>,
}

/// One property of a store.
#[derive(Clone, Debug)]
pub struct Check {
    /// What was tried.
    pub name: &'static str,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it should be.
    Works,
    /// Not as on the best of stores, and not needed; with what it means.
    Limited(String),
    /// Aquifer cannot use this store; with the reason.
    Fails(String),
}

/// How fast something was.
#[derive(Clone, Debug)]
pub struct Measurement {
    /// What: `put` or `get`, size and concurrency.
    pub name: String,
    /// How many requests.
    pub requests: usize,
    /// Half of them were faster.
    pub p50: Duration,
    /// The slowest one.
    pub max: Duration,
    /// Bytes per second divided by a million, over all of them together.
    pub megabytes_per_second: f64,
}

impl ProbeReport {
    /// Whether Aquifer can keep its objects here.
    pub fn usable(&self) -> bool {
        !self.checks.iter().any(|check| matches!(check.outcome, Outcome::Fails(_)))
    }
}

impl fmt::Display for ProbeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Store {}\n", self.url)?;
        for check in &self.checks {
            let (mark, detail) = match &check.outcome {
                Outcome::Works => ("ok     ", ""),
                Outcome::Limited(detail) => ("limited", detail.as_str()),
                Outcome::Fails(detail) => ("FAILS  ", detail.as_str()),
            };
            writeln!(f, "  {mark}  {}", check.name)?;
            if !detail.is_empty() {
                writeln!(f, "           {detail}")?;
            }
        }
        if !self.measurements.is_empty() {
            writeln!(f, "\n  {:<28}{:>9}{:>12}{:>12}{:>10}", "", "requests", "p50", "max", "MB/s")?;
        }
        for m in &self.measurements {
            let (p50, max) = (milliseconds(m.p50), milliseconds(m.max));
            writeln!(
                f,
                "  {:<28}{:>9}{p50:>12}{max:>12}{:>10.1}",
                m.name, m.requests, m.megabytes_per_second
            )?;
        }
        match self.usable() {
            true => write!(f, "\nAquifer can use this store."),
            false => write!(f, "\nAquifer cannot use this store: see what FAILS above."),
        }
    }
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1e3)
}

/// Tries and measures `store` below a key of its own, about 80 MB written and read, and removes what it wrote.
pub async fn probe(store: &Store) -> ProbeReport {
    let probe =
        Probe { store, prefix: format!("aquifer-probe-{:016x}", store.inner.attempts.random.next_u64()) };
    let mut report =
        ProbeReport { url: store.url().to_owned(), checks: Vec::new(), measurements: Vec::new() };
    if let Some(end_ms) = store.inner.backend.credentials_end_ms() {
        let left = Left { end_ms, now_ms: store.inner.clock.wall_ms() };
        report.checks.push(Check { name: "Kerberos ticket", outcome: left.outcome() });
    }
    let checks = &mut report.checks;
    check(checks, "write and read back", probe.write_and_read()).await;
    if report.usable() {
        let checks = &mut report.checks;
        check(checks, "create once: a second writer is refused", probe.create_once()).await;
        check(checks, "create once: of racing writers one wins", probe.race()).await;
        check(checks, "ranges: exact, and an error past the end", probe.ranges()).await;
        check(checks, "listing: whole and in order", probe.listing()).await;
        check(checks, "delete: at once, and of what is absent", probe.delete()).await;
        check(checks, "streaming upload: appears at the end, replaces nothing", probe.upload()).await;
        check(checks, "left-overs of crashed uploads: can be found", probe.orphans()).await;
        check(checks, "conditional delete (not used)", probe.conditional_delete()).await;
        for load in LOADS {
            match probe.measure(load).await {
                Ok(measured) => report.measurements.extend(measured),
                Err(error) => {
                    let outcome = Outcome::Fails(error.to_string());
                    report.checks.push(Check { name: "sustained load", outcome });
                    break;
                }
            }
        }
        let steady = Troubles::of(&store.metrics()).outcome();
        report.checks.push(Check { name: "steady: no request had to be repeated", outcome: steady });
    }
    // What never answered is not asked again.
    if report.checks.iter().any(|check| check.outcome == Outcome::Works)
        && let Err(error) = probe.clean().await
    {
        let outcome = Outcome::Limited(format!("objects below {} are left: {error}", probe.prefix));
        report.checks.push(Check { name: "tidy up", outcome });
    }
    report
}

/// What the probe's requests went through.
struct Troubles {
    retries: u64,
    reduced_writes: u64,
    /// How often each kind of failure was met.
    kinds: Vec<(ErrorKind, u64)>,
}

impl Troubles {
    fn of(metrics: &StoreSnapshot) -> Self {
        // That a second writer is refused, and what is absent not found, is what was tried.
        let expected = [ErrorKind::AlreadyExists, ErrorKind::NotFound, ErrorKind::Truncated];
        let count = |kind: ErrorKind| {
            metrics.operations.iter().map(|operation| operation.failures[kind as usize].1).sum::<u64>()
        };
        let met = ErrorKind::ALL.into_iter().filter(|kind| !expected.contains(kind));
        let kinds = met.map(|kind| (kind, count(kind))).filter(|(_, count)| *count > 0).collect();
        Self { retries: metrics.retries, reduced_writes: metrics.reduced_writes, kinds }
    }

    fn outcome(&self) -> Outcome {
        if self.retries == 0 && self.reduced_writes == 0 {
            return Outcome::Works;
        }
        let kinds: Vec<String> =
            self.kinds.iter().map(|(kind, count)| format!("{} {count} times", kind.label())).collect();
        let mut told = format!("{} requests were repeated: {}", self.retries, kinds.join(", "));
        if self.reduced_writes > 0 {
            told.push_str(&format!(
                "; {} objects were written with fewer copies because a DataNode fails: see hdfs dfsadmin -report, and set \
                 dfs.namenode.avoid.write.stale.datanode",
                self.reduced_writes
            ));
        }
        Outcome::Limited(told)
    }
}

/// How long a login lasts that nobody here renews.
struct Left {
    end_ms: i64,
    now_ms: i64,
}

impl Left {
    fn outcome(&self) -> Outcome {
        let at = UNIX_EPOCH + Duration::from_millis(self.end_ms.max(0).unsigned_abs());
        let at = humantime::format_rfc3339_seconds(at);
        match u64::try_from(self.end_ms - self.now_ms) {
            Ok(left_ms @ 1..) => {
                let left = humantime::format_duration(Duration::from_secs(left_ms / 1000));
                Outcome::Limited(format!(
                    "it ends at {at}, in {left}, and every call fails from then on: renew it before, or give a keytab \
                     (store.hdfs.keytab)"
                ))
            }
            _ => Outcome::Fails(format!(
                "it has expired at {at}: log in again (kinit), or give a keytab (store.hdfs.keytab)"
            )),
        }
    }
}

/// What a check finds: Ok(None) if all is well, Ok(Some) a limit, Err the store's error or our finding.
type Finding = Result<Option<String>, String>;

async fn check(checks: &mut Vec<Check>, name: &'static str, finding: impl Future<Output = Finding>) {
    let outcome = match Box::pin(finding).await {
        Ok(None) => Outcome::Works,
        Ok(Some(limit)) => Outcome::Limited(limit),
        Err(reason) => Outcome::Fails(reason),
    };
    checks.push(Check { name, outcome });
}

struct Probe<'a> {
    store: &'a Store,
    prefix: String,
}

impl Probe<'_> {
    fn key(&self, name: impl fmt::Display) -> String {
        format!("{}/{name}", self.prefix)
    }

    async fn put(&self, name: &str, bytes: &'static [u8]) -> Result<(), StoreError> {
        self.store.put_new(&self.key(name), vec![Bytes::from_static(bytes)]).await
    }

    async fn write_and_read(&self) -> Finding {
        self.put("first", b"aquifer").await.map_err(text)?;
        let read = self.store.get(&self.key("first")).await.map_err(text)?;
        ensure(&read[..] == b"aquifer", "it reads other bytes than were written")
    }

    async fn create_once(&self) -> Finding {
        self.put("once", b"first").await.map_err(text)?;
        match self.put("once", b"second").await {
            Err(error) if error.kind == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(text(error)),
            Ok(()) => return Err("the store ignores If-None-Match: objects could be overwritten".to_owned()),
        }
        let read = self.store.get(&self.key("once")).await.map_err(text)?;
        ensure(&read[..] == b"first", "the object was replaced")
    }

    async fn race(&self) -> Finding {
        let key = self.key("race");
        let writers = (0..RACERS).map(|i| self.store.put_new(&key, vec![Bytes::from(vec![i as u8; 1000])]));
        let outcomes = join_all(writers).await;
        let winners = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        ensure(winners == 1, &format!("{winners} of {RACERS} writers were told they created the object"))
    }

    async fn ranges(&self) -> Finding {
        let key = self.key("ranges");
        self.store.put_new(&key, vec![Bytes::from_iter(0..=255)]).await.map_err(text)?;
        let read = self.store.get_range(&key, 10..20).await.map_err(text)?;
        if !read.iter().copied().eq(10..20) {
            return Err("a range has other bytes than the object".to_owned());
        }
        for range in [250..300, 300..310] {
            match self.store.get_range(&key, range.clone()).await {
                Err(error) if error.kind == ErrorKind::Truncated => {}
                Err(error) => return Err(text(error)),
                Ok(_) => return Err(format!("{range:?} of 256 bytes was answered")),
            }
        }
        Ok(None)
    }

    async fn listing(&self) -> Finding {
        let keys: Vec<String> = (0..LISTED).map(|i| self.key(format_args!("list/{i:02}"))).collect();
        let written = join_all(keys.iter().rev().map(|key| self.store.put_new(key, Vec::new()))).await;
        written.into_iter().collect::<Result<Vec<()>, _>>().map_err(text)?;
        let listed = self.store.list(&self.key("list")).await.map_err(text)?;
        ensure(listed.iter().map(|object| &object.key).eq(&keys), "the listing is not what was written")
    }

    async fn delete(&self) -> Finding {
        self.store.delete(&self.key("first")).await.map_err(text)?;
        self.store.delete(&self.key("first")).await.map_err(text)?;
        match self.store.head(&self.key("first")).await {
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(text(error)),
            Ok(_) => Err("a deleted object is still there".to_owned()),
        }
    }

    async fn upload(&self) -> Finding {
        let key = self.key("upload");
        let mut uploads =
            [self.store.upload(&key).await.map_err(text)?, self.store.upload(&key).await.map_err(text)?];
        for upload in &mut uploads {
            upload.write(Bytes::from(vec![1; MIB])).await.map_err(text)?;
        }
        if self.store.head(&key).await.is_ok() {
            return Err("an object is visible before its upload has finished".to_owned());
        }
        let [first, second] = uploads;
        first.finish().await.map_err(text)?;
        match second.finish().await {
            Err(error) if error.kind == ErrorKind::AlreadyExists => Ok(None),
            Err(error) => Err(text(error)),
            Ok(()) => Ok(Some(
                "the second of two streams replaced the first; Aquifer never uses a name twice, so this is \
                 bearable"
                    .to_owned(),
            )),
        }
    }

    /// Begins an upload, looks for its left-over as a sweep would, and removes it.
    async fn orphans(&self) -> Finding {
        let key = self.key("orphan");
        let inner = &self.store.inner;
        let session = inner.backend.begin(&key, 0).await.map_err(|failure| failure.detail)?;
        let all = inner.backend.orphans(None, i64::MAX).await.map_err(|failure| failure.detail)?;
        let own = inner.backend.orphans(Some(&key), i64::MAX).await.map_err(|failure| failure.detail)?;
        session.abort().await.map_err(|failure| failure.detail)?;
        match (all.iter().any(|orphan| orphan.key == key), own.is_empty()) {
            (true, _) => Ok(None),
            (false, false) => Ok(Some(
                "found by key only, no sweep finds all; let the store expire unfinished uploads, after a day say"
                    .to_owned(),
            )),
            (false, true) => Ok(Some("none are left behind, or they cannot be listed".to_owned())),
        }
    }

    async fn conditional_delete(&self) -> Finding {
        match self.store.inner.backend.deletes_conditionally(&self.key("once")).await {
            Ok(Some(true)) => Ok(None),
            Ok(Some(false)) => {
                Ok(Some("If-Match is ignored: the object is gone. Aquifer does not rely on it".to_owned()))
            }
            Ok(None) => Ok(Some("this kind of store has none".to_owned())),
            Err(failure) => Ok(Some(failure.detail)),
        }
    }

    async fn measure(
        &self,
        (name, size, count, at_once): (&str, usize, usize, usize),
    ) -> Result<[Measurement; 2], StoreError> {
        let bytes = Bytes::from(vec![0x5a; size]);
        let keys: Vec<String> = (0..count).map(|i| self.key(format_args!("load/{size}/{i:03}"))).collect();
        let puts =
            timed(&keys, at_once, async |key| self.store.put_new(key, vec![bytes.clone()]).await).await?;
        let gets =
            timed(&keys, at_once, async |key| self.store.get_range(key, 0..size as u64).await.map(drop))
                .await?;
        Ok([("put", puts), ("get", gets)].map(|(what, (mut each, all))| {
            each.sort_unstable();
            Measurement {
                name: format!("{what} {name}"),
                requests: count,
                p50: each[each.len() / 2],
                max: each[each.len() - 1],
                megabytes_per_second: (size * count) as f64 / 1e6 / all.as_secs_f64().max(1e-9),
            }
        }))
    }

    async fn clean(&self) -> Result<(), StoreError> {
        for object in self.store.list(&self.prefix).await? {
            self.store.delete(&object.key).await?;
        }
        Ok(())
    }
}

/// Calls `work` for each key, some at once; the time of each call and of all.
async fn timed(
    keys: &[String],
    at_once: usize,
    work: impl AsyncFn(&str) -> Result<(), StoreError>,
) -> Result<(Vec<Duration>, Duration), StoreError> {
    let start = Instant::now();
    let mut each = Vec::with_capacity(keys.len());
    for group in keys.chunks(at_once) {
        let calls = group.iter().map(async |key| {
            let start = Instant::now();
            work(key).await.map(|()| start.elapsed())
        });
        for took in join_all(calls).await {
            each.push(took?);
        }
    }
    Ok((each, start.elapsed()))
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn text(error: StoreError) -> String {
    error.to_string()
}

fn ensure(holds: bool, otherwise: &str) -> Finding {
    if holds { Ok(None) } else { Err(otherwise.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_had_to_be_repeated_is_told_with_its_kinds() {
        assert_eq!(Troubles { retries: 0, reduced_writes: 0, kinds: Vec::new() }.outcome(), Outcome::Works);
        let kinds = vec![(ErrorKind::Timeout, 2), (ErrorKind::Unavailable, 1)];
        let Outcome::Limited(told) = Troubles { retries: 3, reduced_writes: 1, kinds }.outcome() else {
            panic!("it is limited")
        };
        assert!(
            told.starts_with("3 requests were repeated: timeout 2 times, unavailable 1 times; 1 objects"),
            "{told}"
        );
    }

    #[test]
    fn a_ticket_is_told_with_its_end_and_what_to_do() {
        let at = |now_ms| Left { end_ms: 1_700_000_000_000, now_ms }.outcome();
        let Outcome::Limited(told) = at(1_699_999_000_000) else { panic!("it lasts") };
        assert!(told.starts_with("it ends at 2023-11-14T22:13:20Z, in 16m 40s,"), "{told}");
        for now_ms in [1_700_000_000_000, 1_800_000_000_000] {
            let Outcome::Fails(told) = at(now_ms) else { panic!("it has expired") };
            assert!(told.starts_with("it has expired at 2023-11-14T22:13:20Z: log in again"), "{told}");
        }
    }
}
