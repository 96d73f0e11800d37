//! A member killed at any moment has everything that it acknowledged.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use aquifer_quorum::{Quorum, QuorumConfig};
use futures::future::join_all;

use crate::support::{Lab, get, set, single};

const CHILD: &str = "AQUIFER_QUORUM_TEST_DIR";
const PROPOSERS: usize = 16;
const ROUNDS: u64 = 8;

fn config(dir: &Path) -> QuorumConfig {
    let mut config = single(dir);
    // Snapshots and purges all the time, so that many kills hit one.
    (config.snapshot_every, config.log_keep) = (40, 5);
    config
}

/// Not a test by itself: the process that is killed.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let lab = Lab::new();
        let quorum = lab.start(config(dir.as_ref())).await.unwrap();
        join_all((0..PROPOSERS).map(|proposer| count_up(&quorum, proposer))).await;
    });
}

async fn count_up(quorum: &Quorum, proposer: usize) {
    let name = format!("p{proposer}");
    let mut next = get(quorum, &name).map_or(0, |value| value.parse::<u64>().unwrap()) + 1;
    loop {
        quorum.propose(set(&name, &next.to_string())).await.unwrap().1.unwrap();
        // One write per line: a kill may cut only the last one.
        let line = format!("acked {name} {next}\n");
        std::io::stdout().write_all(line.as_bytes()).unwrap();
        next += 1;
    }
}

#[test]
fn a_member_killed_at_any_moment_has_what_it_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let random = aquifer_runtime::Random::from_os();
    let mut acked = [0u64; PROPOSERS];
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["killed::child", "--exact", "--nocapture", "--test-threads=1"])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let limit = 1 + random.below(2_500);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut note = |line: &str| {
            let mut words = line.split_once("acked p").map(|(_, rest)| rest.split(' ')).into_iter().flatten();
            let (Some(proposer), Some(value)) = (words.next(), words.next()) else { return false };
            let proposer: usize = proposer.parse().unwrap();
            acked[proposer] = acked[proposer].max(value.parse().unwrap());
            true
        };
        let mut seen = 0;
        while seen < limit {
            let line =
                lines.next().unwrap_or_else(|| panic!("round {round}: the child ended by itself")).unwrap();
            seen += u64::from(note(&line));
        }
        child.kill().unwrap();
        // What was still in the pipe was acknowledged too, but for a last line that was cut.
        let rest: Vec<String> = lines.map_while(Result::ok).collect();
        for line in rest.iter().take(rest.len().saturating_sub(1)) {
            note(line);
        }
        child.wait().unwrap();

        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let lab = Lab::new();
            let quorum =
                lab.start(config(dir.path())).await.unwrap_or_else(|error| panic!("round {round}: {error}"));
            for (proposer, &value) in acked.iter().enumerate() {
                let found = get(&quorum, &format!("p{proposer}")).map_or(0, |value| value.parse().unwrap());
                assert!(
                    found >= value,
                    "round {round}: proposer {proposer} had {value} acknowledged, found {found}"
                );
            }
            quorum.shutdown().await;
        });
    }
}
