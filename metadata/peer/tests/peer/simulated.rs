//! What only a simulated network can do.

use std::time::Duration;

use aquifer_peer::{CallError, DialError, End, Probe, SimulatedNetwork};
use aquifer_runtime::Random;
use aquifer_types::NodeId;
use bytes::Bytes;
use tokio::time::Instant;

use crate::support::{CONTROL, LONG, Net, STREAM, news};

const SHORT: Duration = Duration::from_millis(200);

fn network(seed: u64) -> SimulatedNetwork {
    SimulatedNetwork::new(Random::seeded(seed))
}

#[tokio::test(start_paused = true)]
async fn a_cut_link_is_silent_until_it_is_mended() {
    let network = network(1);
    let (one, two) = Net::Simulated(network.clone()).pair().await;
    let call = || one.peers.call(NodeId(2), &CONTROL, Bytes::new(), SHORT);
    call().await.expect("answered");
    network.set_cut(NodeId(2), NodeId(1), true);
    let answer = call().await;
    assert!(matches!(answer, Err(CallError::NoAnswer(_))), "it may have been acted upon: {answer:?}");
    assert_eq!(one.peers.probe(NodeId(2), &two.address, SHORT).await, Probe::Silent);
    network.heal();
    call().await.expect("the connection lived on");
}

#[tokio::test(start_paused = true)]
async fn a_connection_goes_on_being_made_when_those_who_waited_have_given_up() {
    let network = network(4);
    network.set_delay(Duration::from_millis(80), Duration::from_millis(81));
    let (one, _two) = Net::Simulated(network.clone()).pair().await;
    let call = || one.peers.call(NodeId(2), &CONTROL, Bytes::new(), SHORT);
    network.set_cut(NodeId(1), NodeId(2), true);
    let answer = call().await;
    assert!(matches!(answer, Err(CallError::NotDelivered(_))), "{answer:?}");
    tokio::time::sleep(SHORT).await;
    network.heal();
    tokio::time::sleep(3 * SHORT).await;
    // There and back fits the limit once, not twice.
    call().await.expect("the connection is there");
}

#[tokio::test(start_paused = true)]
async fn a_silent_node_is_told_in_the_end() {
    let network = network(2);
    let (one, _two) = Net::Simulated(network.clone()).pair().await;
    one.peers.call(NodeId(2), &CONTROL, Bytes::new(), LONG).await.expect("answered");
    let mut gone = one.peers.gone();
    network.set_cut(NodeId(1), NodeId(2), true);
    network.set_cut(NodeId(2), NodeId(1), true);
    assert_eq!(news(&mut gone, 2).await.end, End::Silent);
    let found = one.peers.discover("host-2:1", SHORT).await;
    assert!(matches!(found, Err(DialError::Unreachable { .. })), "{found:?}");
}

#[tokio::test(start_paused = true)]
async fn a_reset_breaks_every_connection_at_once() {
    let network = network(3);
    let (one, _two) = Net::Simulated(network.clone()).pair().await;
    one.peers.call(NodeId(2), &CONTROL, Bytes::new(), LONG).await.expect("answered");
    let (_frames, mut acks) = one.peers.open(NodeId(2), &STREAM, Bytes::new(), LONG).await.expect("opened");
    let mut gone = one.peers.gone();
    let before = Instant::now();
    network.reset(NodeId(2));
    acks.receive().await.expect_err("broken");
    assert_eq!(news(&mut gone, 2).await.end, End::Reset);
    assert_eq!(before.elapsed(), Duration::ZERO, "nothing had to time out");
}

/// Calls over a network that delays and breaks, as a list of what became of them and when.
async fn run(seed: u64) -> Vec<(Duration, bool)> {
    let network = network(seed);
    network.set_delay(Duration::from_micros(100), Duration::from_millis(20));
    network.break_one_in(20);
    let (one, _two) = Net::Simulated(network).pair().await;
    let begun = Instant::now();
    let mut history = Vec::new();
    for _ in 0..200 {
        let answer = one.peers.call(NodeId(2), &CONTROL, Bytes::from_static(b"x"), SHORT).await;
        history.push((begun.elapsed(), answer.is_ok()));
    }
    history
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_history() {
    let history = run(11).await;
    assert_eq!(history, run(11).await);
    assert_ne!(history, run(12).await);
    let answered = history.iter().filter(|(_, answered)| *answered).count();
    assert!((1..200).contains(&answered), "{answered} of 200");
}
