//! One run: everything starts, goes wrong, is mended, and is looked at.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aquifer_image::CreateTopic;
use aquifer_types::{NodeId, TopicId};
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::checkers::{Observation, check_orphans};
use crate::clients::{Consumer, Member, Producer, TOPIC, offsets_topic, read_all, read_offsets};
use crate::event;
use crate::machine::{Machine, Order};
use crate::nemesis;
use crate::operator::{self, until};
use crate::scenario::Scenario;
use crate::trace::Trace;
use crate::world::{NOON_MS, World};

/// How long a cluster may take to form.
const FORMING_LIMIT: Duration = Duration::from_secs(60);
/// How long after everything was mended every producer may take to end.
const HEALING_LIMIT: Duration = Duration::from_secs(90);
/// How long a partition may take to be read then.
const READING_LIMIT: Duration = Duration::from_secs(60);
/// An upload's time limit, the delay of removals, and some rounds.
const SWEEPING_TIME: Duration = Duration::from_secs(20);
/// How much longer it may take until left-overs are collected.
const SWEEPING_LIMIT: Duration = Duration::from_secs(40);
/// How often metadata and store are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(700);
/// How often it is tried to create a topic.
const TRY_EVERY: Duration = Duration::from_millis(100);

/// What became of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Over every line of the trace.
    pub hash: u64,
    /// Lines of the trace.
    pub events: u64,
    /// How much time passed in it.
    pub simulated: Duration,
    /// The first invariant that was broken.
    pub violation: Option<String>,
}

/// Runs a scenario. The runtime must be of one thread, with its clock paused.
pub async fn run(scenario: Scenario, trace: Trace) -> Outcome {
    event!(trace, "{scenario:?}");
    let world = World::start(scenario, trace.clone());
    tokio::select! {
        biased;
        () = trace.violated().cancelled() => {}
        () = phases(&world) => {}
    }
    if let Some(failure) = world.tasks.failure() {
        trace.violation("the simulation itself", format_args!("{failure}"));
    }
    Outcome {
        hash: trace.hash(),
        events: trace.events(),
        simulated: trace.elapsed(),
        violation: trace.first_violation(),
    }
}

async fn phases(world: &Arc<World>) {
    if !create_topics(world).await {
        return served_not(world, "no cluster was formed");
    }
    let (enough, told) = watch::channel(false);
    world.spawn("looks", looks(world.clone()));
    let clients = start_clients(world, &told);
    world.spawn("nemesis", nemesis::run(world.clone(), told));
    sleep(world.scenario.chaos).await;
    event!(world.trace, "enough");
    enough.send_replace(true);
    nemesis::mend(world);
    if !until(HEALING_LIMIT, || clients.receiver_count() == 0).await {
        return served_not(world, "clients still wait for their last answer");
    }
    event!(world.trace, "all clients have ended");
    if !until(HEALING_LIMIT, || operator::is_done(world)).await {
        return served_not(world, "an operator is still at work");
    }
    operator::in_calm(world).await;
    if world.scenario.last_blackout {
        for machine in world.machines.values() {
            let _ = machine.order(Order::CutPower { down: Duration::from_millis(200) });
        }
        yield_now().await;
    }
    for partition in 0..world.scenario.partitions {
        match read_all(world, partition, READING_LIMIT).await {
            Some(high_watermark) => {
                event!(world.trace, "{TOPIC}-{partition} is read up to {high_watermark}");
                world.observe(&Observation::End { partition, high_watermark });
            }
            None => return served_not(world, &format!("partition {partition} cannot be read")),
        }
    }
    if world.scenario.members > 0 && !read_offsets(world, READING_LIMIT).await {
        return served_not(world, "committed offsets cannot be read");
    }
    collected(world).await;
    if !until(HEALING_LIMIT, || agree(world)).await {
        served_not(world, "the nodes do not come to the same metadata, each controller with a vote");
    }
    look(world);
}

fn served_not(world: &World, what: &str) {
    let state = |(node, machine): (&NodeId, &Arc<Machine>)| match machine.process() {
        Some(_) => format!("node {node} serves"),
        None => format!("node {node} does not, after {}", machine.last_end()),
    };
    let states: Vec<String> = world.machines.iter().map(state).collect();
    world.trace.violation("everything is served again", format_args!("{what}; {}", states.join("; ")));
}

/// Creates the topics as soon as every broker is registered.
async fn create_topics(world: &Arc<World>) -> bool {
    let all = usize::try_from(world.scenario.nodes()).expect("a few");
    if !until(FORMING_LIMIT, || world.processes().count() == all).await {
        return false;
    }
    let orders = CreateTopic {
        name: TOPIC.to_owned(),
        id: TopicId(Uuid::from_u128(world.scenario.seed.into())),
        replication_factor: 1,
        configs: Vec::new(),
        leaders: (0..world.scenario.partitions).map(|_| world.first_node()).collect(),
    };
    create_topic(world, orders).await
        && (world.scenario.members == 0 || create_topic(world, offsets_topic(world)).await)
}

async fn create_topic(world: &World, topic: CreateTopic) -> bool {
    let deadline = Instant::now() + FORMING_LIMIT;
    while Instant::now() < deadline {
        if let Some(process) = world.process(world.first_node())
            && process.metadata.propose(topic.clone()).await.is_ok()
        {
            return true;
        }
        sleep(TRY_EVERY).await;
    }
    false
}

/// Starts producers, consumers and the members of the group. Each but the consumers keeps a receiver of what is returned until it
/// has ended.
fn start_clients(world: &Arc<World>, enough: &watch::Receiver<bool>) -> watch::Sender<()> {
    let (ends, at_work) = watch::channel(());
    let mut number = 0;
    for partition in 0..world.scenario.partitions {
        for _ in 0..world.scenario.producers {
            let (producer, enough, at_work) =
                (Producer::new(world, number, partition), enough.clone(), at_work.clone());
            number += 1;
            world.spawn("producer", async move {
                producer.run(enough).await;
                drop(at_work);
            });
        }
        world.spawn("consumer", Consumer::new(world, number, partition).run());
        number += 1;
    }
    for number in 0..world.scenario.members {
        let (member, enough, at_work) = (Member::new(world, number), enough.clone(), at_work.clone());
        world.spawn("member", async move {
            member.run(enough).await;
            drop(at_work);
        });
    }
    ends
}

/// Looks at metadata and store from time to time.
async fn looks(world: Arc<World>) {
    loop {
        look(&world);
        sleep(LOOK_EVERY).await;
    }
}

fn look(world: &World) {
    for process in world.processes() {
        let image = process.metadata.image();
        world.observe(&Observation::Image { node: process.node, image: &image });
        if let Some(quorum) = &process.quorum {
            world.observe(&Observation::Image { node: process.node, image: &quorum.image() });
        }
    }
    if let Some(image) = world.newest_image() {
        world.observe(&Observation::Store { image: &image, stored: &world.store.objects() });
    }
}

/// Whether all nodes serve and have the same entries, and each controller votes.
fn agree(world: &World) -> bool {
    let applied: BTreeMap<NodeId, _> =
        world.processes().map(|process| (process.node, process.metadata.image().applied())).collect();
    let mut indexes = applied.values();
    let first = indexes.next();
    let vote = world.processes().filter_map(|process| process.quorum.clone()).all(|member| member.is_voter());
    vote && applied.len() == world.machines.len() && indexes.all(|other| Some(other) == first)
}

/// Waits until nothing is in the store that nobody needs.
async fn collected(world: &Arc<World>) {
    let mut last = Ok(());
    // What was given up in the last moments is due by then. Idle time is not free: some runs wait for it.
    if world.scenario.seed.is_multiple_of(4) {
        sleep(SWEEPING_TIME).await;
    }
    let collected = until(SWEEPING_LIMIT, || {
        let now_ms = NOON_MS + i64::try_from(world.trace.elapsed().as_millis()).expect("minutes");
        last = match world.newest_image() {
            Some(image) => check_orphans(&image, &world.store.objects(), now_ms),
            None => Err("no node serves".to_owned()),
        };
        last.is_ok()
    });
    if !collected.await
        && let Err(text) = last
    {
        world.trace.violation("left-overs are collected", format_args!("{text}"));
    }
}
