//! Measures one voter on a real directory: the time of a start, and proposals per second by 1 and 256 proposers.
//!
//! `cargo run --release -p aquifer-quorum --example proposals [DIR]`; the disk under DIR is what is measured.

use std::time::Duration;

use aquifer_image::{AlterConfigs, Command, ConfigResource};
use aquifer_quorum::{Quorum, QuorumConfig, Router};
use aquifer_runtime::{Random, TaskGroup};
use aquifer_types::NodeId;
use futures::future::join_all;
use tokio::time::Instant;

const RUN: Duration = Duration::from_secs(4);

#[tokio::main]
#[expect(clippy::print_stdout, reason = "an example that reports to a person")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::args().nth(1).unwrap_or_else(|| "aquifer-proposals".to_owned());
    let random = Random::from_os();
    let router = Router::new(random.clone());
    let config = QuorumConfig::single(NodeId(1), dir);
    let start = || async {
        let began = Instant::now();
        let network = router.endpoint(NodeId(1));
        let quorum = Quorum::start(config.clone(), network, &random, &TaskGroup::new()).await?;
        Ok::<_, Box<dyn std::error::Error>>((quorum, began.elapsed()))
    };

    let (quorum, took) = start().await?;
    println!("first start to leader with a cluster id: {took:?}");
    for proposers in [1, 16, 256] {
        let deadline = Instant::now() + RUN;
        let counts =
            join_all((0..proposers).map(|proposer| propose_until(&quorum, proposer, deadline))).await;
        let total: u64 = counts.into_iter().sum();
        println!("{proposers:4} proposers: {:8.0} proposals/s", total as f64 / RUN.as_secs_f64());
    }
    let log = quorum.status().last_log;
    quorum.shutdown().await;
    drop(quorum);
    let (quorum, took) = start().await?;
    println!("restart at entry {log} to leader: {took:?}");
    quorum.shutdown().await;
    Ok(())
}

async fn propose_until(quorum: &Quorum, proposer: usize, deadline: Instant) -> u64 {
    let mut count = 0;
    while Instant::now() < deadline {
        let changes = vec![(format!("name-{proposer}"), Some(format!("{count:064}")))];
        let command = AlterConfigs { resource: ConfigResource::Broker(None), changes };
        match quorum.propose(Command::from(command)).await {
            Ok((_, Ok(_))) => count += 1,
            failed => panic!("{failed:?}"),
        }
    }
    count
}
