//! Budgets of memory that fit what the process may use.
//!
//! With as much as [`FULL_BYTES`] each budget has its default. With less, those that the operator did not set shrink with what
//! is left beside [`FIXED_BYTES`], so that a node in a small memory cgroup is slowed down by its own limits and not ended by the
//! kernel.

use super::given::Given;
use super::settings::{optional_number, value};
use super::table;
use super::value::{Kind, Value};

/// The option.
pub(crate) const LIMIT: &str = "memory.limit.bytes";
/// With so much every budget has its default: measured under full load, with a store that does not keep up.
const FULL_BYTES: i64 = 1 << 30;
/// What a node takes beside its budgets: code, quorum, threads, and requests that are being read.
const FIXED_BYTES: i64 = 192 << 20;
const MIB: i64 = 1 << 20;

/// Budgets that shrink. Requests are not among them: a request of the largest size must fit.
const BUDGETS: [&str; 6] = [
    "wal.unoffloaded.max.bytes",
    "store.offload.bytes",
    "store.upload.bytes.in.flight",
    "store.download.bytes.in.flight",
    "cache.log.bytes",
    "cache.block.bytes",
];

/// Fits the budgets to `memory.limit.bytes`, or else to `found`, what the system allows this process. A value that is none is told
/// by who checks the options.
pub(crate) fn fit(given: &mut Given, found: Option<u64>) {
    let set: Option<i64> = optional_number(given, LIMIT).ok().flatten();
    let found = found.and_then(|bytes| i64::try_from(bytes).ok());
    let Some(limit) = set.or(found).filter(|limit| *limit < FULL_BYTES) else { return };
    let share = (limit - FIXED_BYTES).max(0) as f64 / (FULL_BYTES - FIXED_BYTES) as f64;
    let mut fitted = Vec::new();
    for name in BUDGETS {
        if given.get(name).is_some() {
            continue;
        }
        let Ok(Some(Value::Int(default))) = value(given, name) else { unreachable!("{name} has a default") };
        let bytes = at_least_its_bound(name, (default as f64 * share) as i64 / MIB * MIB);
        fitted.push(format!("{name}={bytes}"));
        given.fit(name, bytes.to_string());
    }
    let from = if set.is_some() { LIMIT } else { "what this process may use" };
    given.notice(format!("memory is limited to {} MiB ({from}): {}", limit / MIB, fitted.join(", ")));
}

/// What each of `nodes` nodes on this machine may use of what the system allows all of them together: the least that the option
/// takes, if that is less.
pub(crate) fn share(found: u64, nodes: u32) -> u64 {
    let share = i64::try_from(found / u64::from(nodes.max(1))).unwrap_or(i64::MAX);
    at_least_its_bound(LIMIT, share).unsigned_abs()
}

fn at_least_its_bound(name: &str, bytes: i64) -> i64 {
    let kind = table::find(name).expect("a budget is an option").kind;
    let Kind::Bytes { min, .. } = kind else { unreachable!("{name} is in bytes") };
    bytes.max(min)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOME: [&str; 2] = ["wal.unoffloaded.max.bytes", "cache.log.bytes"];

    fn budgets(sets: &[&str], found: Option<u64>) -> Vec<i64> {
        let mut given = Given::default();
        sets.iter().for_each(|set| given.set(set));
        fit(&mut given, found);
        let number = |name| optional_number(&given, name).expect("valid").expect("it has a value");
        SOME.map(number).into()
    }

    #[test]
    fn with_enough_memory_budgets_have_their_defaults() {
        assert_eq!(budgets(&[], None), [256 * MIB, 32 * MIB]);
        assert_eq!(budgets(&[], Some(1 << 30)), [256 * MIB, 32 * MIB]);
    }

    #[test]
    fn with_less_they_shrink_to_their_bounds_at_most() {
        assert_eq!(budgets(&[], Some(512 << 20)), [98 * MIB, 12 * MIB]);
        assert_eq!(budgets(&[], Some(100 << 20)), [16 * MIB, MIB]);
    }

    #[test]
    fn what_the_operator_set_stays() {
        let sets = ["wal.unoffloaded.max.bytes=200MiB"];
        assert_eq!(budgets(&sets, Some(512 << 20)), [200 * MIB, 12 * MIB]);
        let sets = ["memory.limit.bytes=512MiB"];
        assert_eq!(
            budgets(&sets, Some(8 << 30)),
            [98 * MIB, 12 * MIB],
            "the option goes before what was found"
        );
    }

    #[test]
    fn nodes_on_one_machine_share_its_memory() {
        assert_eq!(share(24 << 30, 3), 8 << 30);
        assert_eq!(share(1 << 30, 3), (1 << 30) / 3);
        assert_eq!(share(512 << 20, 3), 256 << 20, "less is no valid limit");
    }
}
