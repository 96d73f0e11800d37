//! Three empty Debian hosts become a cluster by the Ansible collection, and stay one through what operators do to them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use aquifer_deploy::{Hosts, Recap, in_own_namespaces, lint, play};
use aquifer_harness::{Script, aquifer, kcat};
use aquifer_services::{Artifact, or_skip};

/// Judges what clients saw; the compatibility tests have it too.
const LOAD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../compat/scripts/moves.py");
/// For one conversation with the clients' script.
const LIMIT: Duration = Duration::from_secs(120);
const SECRET: &str = r#"a"b\c$d`e'f"#;

/// The program without what a debugger wants: it goes to three hosts.
fn stripped(dir: &Path) -> PathBuf {
    let copy = dir.join("aquifer");
    let strip = Command::new("strip").arg("-o").arg(&copy).arg(aquifer()).status().expect("strip starts");
    assert!(strip.success(), "strip: {strip}");
    copy
}

fn variables(binary: &Path) -> String {
    format!(
        "aquifer_binary: {}\n\
         aquifer_user_id: 900\n\
         aquifer_gate_limit_seconds: 60\n\
         aquifer_options:\n  \
           store.url: file:///srv/store/cluster\n  \
           store.offload.interval.ms: 500\n  \
           wal.size: 256MiB\n  \
           wal.mirror.size: 128MiB\n  \
           offsets.topic.num.partitions: 5\n  \
           group.initial.rebalance.delay.ms: 0\n\
         aquifer_secret_options:\n  \
           store.s3.secret.key: '{}'\n",
        binary.display(),
        SECRET.replace('\'', "''"),
    )
}

fn played(inventory: &Path, name: &str, arguments: &[&str]) -> String {
    let output = play(inventory, name, arguments).unwrap_or_else(|output| panic!("{name} failed:\n{output}"));
    assert!(
        !output.contains("PRIVATE KEY") && !output.contains(r"b\c$d"),
        "{name} shows a secret:\n{output}"
    );
    output
}

fn changed(output: &str) -> Vec<u32> {
    Recap::all(output).iter().filter(|recap| recap.host != "localhost").map(|recap| recap.changed).collect()
}

/// One record through each host, read from the next one.
async fn each_host_writes_and_the_next_reads(hosts: &Hosts, topic: &str) -> Option<()> {
    let all: Vec<String> = hosts.iter().map(aquifer_deploy::Host::kafka).collect();
    for (index, here) in all.iter().enumerate() {
        let text = format!("through {here}");
        let mut produce = kcat()?;
        produce.args(["-P", "-b", here, "-t", topic, "-X", "message.timeout.ms=30000"]);
        produce.stdin(Stdio::piped());
        let mut child = produce.spawn().expect("kcat starts");
        let mut input = child.stdin.take().expect("its input is piped");
        tokio::io::AsyncWriteExt::write_all(&mut input, format!("{text}\n").as_bytes())
            .await
            .expect("written");
        drop(input);
        assert!(child.wait().await.expect("it ends").success(), "kcat cannot write through {here}");
        let next = &all[(index + 1) % all.len()];
        let output =
            kcat()?.args(["-C", "-e", "-q", "-b", next, "-t", topic]).output().await.expect("kcat ends");
        let read = String::from_utf8_lossy(&output.stdout);
        assert!(read.contains(&text), "'{text}' is not read from {next}: {read}");
    }
    Some(())
}

/// When each host's node began, in microseconds of the one clock that all hosts share.
fn starts(hosts: &Hosts) -> Vec<u64> {
    let ask = "systemctl show --property=ExecMainStartTimestampMonotonic --value aquifer.service";
    hosts.iter().map(|host| host.shell(ask).parse().expect("a number")).collect()
}

/// The index of the host that leads the quorum.
fn leader(hosts: &Hosts) -> usize {
    let ask = "python3 -c 'import urllib.request as r; print(r.urlopen(\"http://127.0.0.1:9644/metrics\").read().decode())'";
    hosts.iter().position(|host| host.shell(ask).contains("\naquifer_quorum_leader 1\n")).expect("one leads")
}

fn nobody_else_reads_the_secrets(hosts: &Hosts) {
    for host in hosts.iter() {
        let modes = host
            .shell("stat -c '%a %U %G' /etc/aquifer/secrets.env /etc/aquifer/keystore.pem /var/lib/aquifer");
        assert_eq!(modes, "600 root root\n640 root aquifer\n750 aquifer aquifer");
        // As systemd reads it.
        let read = host.shell(
            "systemd-run --quiet --wait --pipe --property=EnvironmentFile=/etc/aquifer/secrets.env \
             printenv AQUIFER_CONFIG_STORE_S3_SECRET_KEY",
        );
        assert_eq!(read, SECRET);
    }
}

#[tokio::test]
async fn three_empty_hosts_become_a_cluster_that_outlives_its_operators() {
    let Some(dir) = in_own_namespaces("three_empty_hosts_become_a_cluster_that_outlives_its_operators")
    else {
        return;
    };
    let mut hosts = Hosts::boot(&dir, 3).await;
    let inventory = hosts.inventory(&variables(&stripped(&dir)));

    played(&inventory, "site", &[]);
    nobody_else_reads_the_secrets(&hosts);
    if each_host_writes_and_the_next_reads(&hosts, "first").await.is_none() {
        return;
    }

    let began = starts(&hosts);
    let again = played(&inventory, "site", &[]);
    assert_eq!(changed(&again), [0, 0, 0], "a second run changes nothing:\n{again}");
    assert_eq!(starts(&hosts), began, "and restarts nothing");

    let bootstrap = hosts.bootstrap();
    let Some(mut load) = Script::start(LOAD, &[&bootstrap, "load", "6", "0.005"]).await else { return };
    load.expect("going", LIMIT).await;
    let led = leader(&hosts);
    played(&inventory, "rolling_restart", &[]);
    load.tell("enough").await;
    load.finish(LIMIT).await;
    let restarted = starts(&hosts);
    assert!(restarted.iter().zip(&began).all(|(now, before)| now > before), "all began anew: {restarted:?}");
    assert_eq!(restarted.iter().max(), Some(&restarted[led]), "who led, h{}, last: {restarted:?}", led + 1);

    hosts.host(3).wipe().await;
    let red = play(&inventory, "rolling_restart", &["-e", "aquifer_gate_limit_seconds=5"]);
    let red = red.expect_err("a rolling restart with a host away is red");
    assert!(red.contains("Every node is ready"), "{red}");
    let two = |hosts: &Hosts| {
        hosts.iter().take(2).map(|host| host.shell("systemctl show -P MainPID aquifer")).collect::<Vec<_>>()
    };
    let before = two(&hosts);
    played(&inventory, "replace", &["-e", "aquifer_host=h3"]);
    assert_eq!(two(&hosts), before, "the others were left alone");
    each_host_writes_and_the_next_reads(&hosts, "first").await;
}

#[test]
fn the_collection_passes_ansible_lint() {
    let Some(_) = or_skip(Artifact::Ansible.find()) else { return };
    let scratch = tempfile::tempdir().expect("a temporary directory");
    if let Err(findings) = lint(scratch.path()) {
        panic!("{findings}");
    }
}

#[test]
fn the_unit_is_clean_and_keeps_the_node_in() {
    let unit = aquifer_deploy::collection().join("roles/install/files/aquifer.service");
    let scratch = tempfile::tempdir().expect("a temporary directory");
    // The program need not be installed here.
    let text = fs::read_to_string(&unit).expect("the unit").replace("/usr/bin/aquifer", "/bin/true");
    let copy = scratch.path().join("aquifer.service");
    fs::write(&copy, text).expect("written");
    let analyze = |arguments: &[&str]| Command::new("systemd-analyze").args(arguments).arg(&copy).output();
    let Ok(verified) = analyze(&["verify"]) else {
        return aquifer_services::skip("systemd-analyze is not there");
    };
    // Unknown keys are warnings: anything said is too much.
    let said = String::from_utf8_lossy(&verified.stderr);
    assert!(verified.status.success() && said.is_empty(), "{said}");
    let secure = analyze(&["security", "--offline=true", "--threshold=15"]).expect("as before");
    assert!(secure.status.success(), "exposure is over 1.5:\n{}", String::from_utf8_lossy(&secure.stdout));
}
