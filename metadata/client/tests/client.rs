//! A broker's view over a real quorum.

#![expect(clippy::unwrap_used, reason = "a test: what fails here fails the test")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aquifer_client::{ClientConfig, MetadataClient, ProposeError};
use aquifer_image::{AlterConfigs, Command, ConfigResource, DeleteTopic, Image, Rejection, encode_snapshot};
use aquifer_quorum::{Effect, Formation, MemoryStorage, Quorum, QuorumConfig, Role, Router, Storage};
use aquifer_runtime::{Random, TaskGroup};
use aquifer_types::{NodeId, TopicId};

const PROPOSE_LIMIT: Duration = Duration::from_secs(4);

fn set(name: &str, value: &str) -> Command {
    let changes = vec![(name.to_owned(), Some(value.to_owned()))];
    AlterConfigs { resource: ConfigResource::Broker(None), changes }.into()
}

fn get(image: &Image, name: &str) -> Option<String> {
    image.configs(&ConfigResource::Broker(None))?.get(name).map(ToString::to_string)
}

struct Lab {
    router: Router,
    random: Random,
    tasks: TaskGroup,
}

impl Lab {
    fn new() -> Self {
        let random = Random::seeded(3);
        Self { router: Router::new(random.clone()), random, tasks: TaskGroup::new() }
    }

    async fn member(&self, node: u32, voters: u32) -> Quorum {
        let voters: BTreeMap<_, _> = (1..=voters).map(|node| (NodeId(node), String::new())).collect();
        let storage = Storage::Memory(MemoryStorage::new());
        let mut config = QuorumConfig::new(NodeId(node), storage, Formation::Bootstrap(voters));
        config.propose_limit = Duration::from_secs(1);
        let network = self.router.endpoint(NodeId(node));
        let quorum = Quorum::start(config, network, &self.random, &self.tasks).await.unwrap();
        self.router.attach(&quorum);
        quorum
    }

    async fn client(&self, quorum: &Quorum) -> MetadataClient {
        MetadataClient::start(
            quorum.clone(),
            ClientConfig { propose_limit: PROPOSE_LIMIT, ..ClientConfig::default() },
            &self.random,
            &self.tasks,
        )
        .await
        .unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_proposed_is_in_the_image_when_the_proposal_returns() {
    let lab = Lab::new();
    let quorum = lab.member(1, 1).await;
    let client = lab.client(&quorum).await;
    assert_eq!(client.image().cluster_id(), quorum.image().cluster_id());
    for n in 0..200 {
        let value = n.to_string();
        client.propose(set("n", &value)).await.unwrap();
        assert_eq!(get(&client.image(), "n"), Some(value));
    }
    quorum.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_is_told_as_such_and_the_image_covers_it() {
    let lab = Lab::new();
    let quorum = lab.member(1, 1).await;
    let client = lab.client(&quorum).await;
    let before = client.image().applied();
    let nobody = DeleteTopic { id: TopicId(lab.random.uuid()), now_ms: 0 };
    let error = client.propose(nobody).await.unwrap_err();
    assert!(matches!(error, ProposeError::Rejected(Rejection::UnknownTopicId { .. })), "{error}");
    assert!(client.image().applied() > before);
    quorum.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_wake_readers_and_skip_to_the_latest_state() {
    let lab = Lab::new();
    let quorum = lab.member(1, 1).await;
    let client = lab.client(&quorum).await;
    let mut changes = client.changes();
    let watching = changes.wait_for(|image| get(image, "n").as_deref() == Some("49"));
    let proposing = async {
        for n in 0..50 {
            client.propose(set("n", &n.to_string())).await.unwrap();
        }
    };
    let (seen, ()) = tokio::join!(watching, proposing);
    assert_eq!(get(&seen.unwrap(), "n").as_deref(), Some("49"));
    quorum.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clients_image_is_the_quorums_byte_for_byte() {
    let lab = Lab::new();
    let quorum = lab.member(1, 1).await;
    let (early, mut proposals) = (lab.client(&quorum).await, Vec::new());
    for n in 0..500 {
        let client = early.clone();
        proposals.push(async move {
            client.propose(set(&format!("name-{}", n % 7), &n.to_string())).await.unwrap()
        });
    }
    futures::future::join_all(proposals).await;
    let late = lab.client(&quorum).await;
    let image: Arc<Image> = early.image();
    assert_eq!(encode_snapshot(&image), encode_snapshot(&quorum.image()));
    let mut changes = late.changes();
    let caught_up =
        changes.wait_for(|image| image.applied() == quorum.image().applied()).await.unwrap().clone();
    assert_eq!(encode_snapshot(&caught_up), encode_snapshot(&image));
    quorum.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_member_stopped_the_image_stays_and_proposals_are_unavailable() {
    let lab = Lab::new();
    let quorum = lab.member(1, 1).await;
    let client = lab.client(&quorum).await;
    client.propose(set("a", "1")).await.unwrap();
    let mut changes = client.changes();
    quorum.shutdown().await;
    let error = client.propose(set("a", "2")).await.unwrap_err();
    assert!(matches!(error, ProposeError::Unavailable { .. }), "{error}");
    assert_eq!(error.effect(), Effect::None);
    assert_eq!(get(&client.image(), "a").as_deref(), Some("1"));
    // The end of the feed is seen by who waits for a change.
    while changes.changed().await.is_ok() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_leader_is_waited_out() {
    let lab = Lab::new();
    let mut members = Vec::new();
    for node in 1..=3 {
        members.push(lab.member(node, 3).await);
    }
    let mut clients = Vec::new();
    for member in &members {
        clients.push(lab.client(member).await);
    }
    for (n, client) in clients.iter().enumerate() {
        client.propose(set("before", &n.to_string())).await.unwrap();
    }
    let leader = members.iter().position(|member| member.status().role == Role::Leader).expect("one leads");
    lab.router.isolate(members[leader].node());
    let other = &clients[(leader + 1) % 3];
    // Some may be lost on their way to the old leader; in the end one gets through.
    other.propose_until_known(set("after", "x"), "a config").await.unwrap();
    assert_eq!(get(&other.image(), "after").as_deref(), Some("x"));
    let alone = clients[leader].propose(set("alone", "x")).await.unwrap_err();
    assert!(!matches!(alone, ProposeError::Rejected(_)), "{alone}");

    lab.router.heal();
    let mut changes = clients[leader].changes();
    changes.wait_for(|image| get(image, "after").is_some()).await.unwrap();
    assert_eq!(get(&clients[leader].image(), "alone"), None);
    for member in &members {
        member.shutdown().await;
    }
}
