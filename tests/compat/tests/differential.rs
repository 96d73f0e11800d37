//! One script of raw calls, most of them bad, against Apache Kafka and against Aquifer: the same answers.

use std::collections::BTreeMap;
use std::time::Duration;

use aquifer_compat::{Node, Target, run_script};
use aquifer_services::{Artifact, or_skip};

const LIMIT: Duration = Duration::from_secs(240);

/// Where Aquifer differs on purpose: the call, and why.
const ON_PURPOSE: &[(&str, &str)] = &[
    // ConfigAdminManager of Kafka means to say INVALID_REQUEST too; an exception that nobody catches comes before.
    (
        "alter an unknown operation",
        "UNKNOWN_SERVER_ERROR is an accident of Kafka's, INVALID_REQUEST its intent",
    ),
    // A new cluster of Kafka 4.1 or later has eligible leader replicas (KIP-966), for which its controller writes the
    // value into the cluster's dynamic configs. There are none here, so the default stays a default.
    ("config compacted min.insync.replicas", "only its source differs: a side effect of ELR"),
    ("config plain min.insync.replicas", "only its source differs: a side effect of ELR"),
    ("config small min.insync.replicas", "only its source differs: a side effect of ELR"),
    // Kafka fills the last bytes of a partition's limit with a batch that is cut off, because it sends a piece of a
    // file; every client drops it and fetches it again. The first batch is whole in both (KIP-74).
    ("fetch 100 bytes", "no batch is sent that no client can use"),
    // Kafka does not catch the IllegalArgumentException.
    (
        "produce an unknown codec",
        "UNSUPPORTED_COMPRESSION_TYPE names the fault, UNKNOWN_SERVER_ERROR hides it",
    ),
    // Opening every batch costs a broker more CPU than all the rest of Produce. The CRC proves that these are the
    // producer's bytes; topics that need a look inside (compacted, timestamp bounds, own compression) get it.
    ("produce garbage for gzip", "compressed records are not opened to be stored"),
];

/// What a broker said: answers by call, and the versions it advertises by key.
struct Answers {
    calls: BTreeMap<String, String>,
    versions: BTreeMap<u16, (u16, u16)>,
}

async fn ask(target: Target) -> Option<Answers> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut node = Node::start_as(target, dir.path(), &[]).await;
    let said = run_script("differential.py", &[&node.bootstrap()], "", LIMIT).await?;
    node.stop().await;
    assert_eq!(said.last().map(String::as_str), Some("done"), "{target:?} was asked everything");
    let calls = said
        .iter()
        .filter_map(|line| line.strip_prefix("answer ")?.split_once(" -> "))
        .map(|(call, answer)| (call.to_owned(), answer.to_owned()));
    let versions = said.iter().filter_map(|line| line.strip_prefix("advertises ")).map(|line| {
        let numbers: Vec<u16> = line.split(' ').map(|word| word.parse().expect("a number")).collect();
        (numbers[0], (numbers[1], numbers[2]))
    });
    Some(Answers { calls: calls.collect(), versions: versions.collect() })
}

#[tokio::test]
async fn raw_calls_are_answered_as_kafka_answers_them() {
    if or_skip(Artifact::Kafka.find()).is_none() {
        return;
    }
    let Some(ours) = ask(Target::chosen()).await else { return };
    let kafkas = ask(Target::Kafka).await.expect("it ran before");
    let mut differences = Vec::new();
    for (call, theirs) in &kafkas.calls {
        let our = ours.calls.get(call).map_or("nothing", String::as_str);
        if our != theirs && !ON_PURPOSE.iter().any(|(known, _)| known == call) {
            differences.push(format!("{call}\n    Kafka   {theirs}\n    Aquifer {our}"));
        }
    }
    let stale = ON_PURPOSE.iter().filter(|(known, _)| kafkas.calls.get(*known) == ours.calls.get(*known));
    differences.extend(stale.map(|(known, _)| format!("{known}\n    is the same now: take it off the list")));
    for (key, versions) in &ours.versions {
        let theirs = kafkas.versions.get(key);
        if theirs.is_none_or(|theirs| theirs.0 != versions.0 || theirs.1 < versions.1) {
            differences.push(format!("versions of {key}\n    Kafka   {theirs:?}\n    Aquifer {versions:?}"));
        }
    }
    let count = kafkas.calls.len();
    assert!(differences.is_empty(), "{} of {count} differ:\n{}", differences.len(), differences.join("\n"));
}
