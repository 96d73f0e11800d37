//! `aquifer store probe`, and a node, on stores as sites have them: with Kerberos too.

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use aquifer_compat::{LIMIT, Node, Target, aquifer, run_script};
use aquifer_services::{Hdfs, Kdc, Minio, Protection, or_skip};

/// Runs the probe with `--set` options and an environment.
async fn probe(url: &str, sets: &[(&str, &str)], environment: &[(&str, &Path)]) -> Output {
    let mut command = tokio::process::Command::new(aquifer());
    command.args(["store", "probe", url]).envs(environment.iter().copied()).kill_on_drop(true);
    for (name, value) in sets {
        command.args(["--set", &format!("{name}={value}")]);
    }
    tokio::time::timeout(LIMIT, command.output()).await.expect("it ends").expect("it starts")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn assert_usable(output: &Output) {
    let said = said(output);
    assert!(output.status.success() && said.contains("Aquifer can use this store."), "{said}");
    assert!(said.contains("MB/s") && !said.contains("FAILS"), "{said}");
}

#[tokio::test]
async fn a_directory_and_minio_are_probed_and_a_bad_store_is_an_exit_code() {
    if Target::chosen().is_kafka() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    assert_usable(&probe(&format!("file://{}/new", dir.path().display()), &[], &[]).await);

    let Some(minio) = or_skip(Minio::start().await) else { return };
    minio.create_bucket("bucket");
    let endpoint = minio.endpoint();
    let key = Minio::ACCESS_KEY;
    let sets = [
        ("store.s3.endpoint", endpoint.as_str()),
        ("store.s3.access.key", key),
        ("store.s3.secret.key", key),
    ];
    let output = probe("s3://bucket/prefix", &sets, &[]).await;
    assert_usable(&output);
    assert!(said(&output).contains("If-Match is ignored"), "{}", said(&output));

    for (url, reason) in [("s3://no-such-bucket", "NoSuchBucket"), ("ftp://host/path", "file:///path")] {
        let output = probe(url, &sets, &[]).await;
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains(reason), "{}", said(&output));
    }
}

#[tokio::test]
async fn hdfs_with_kerberos_is_probed_by_keytab_and_by_ticket_and_serves_a_node() {
    if Target::chosen().is_kafka() {
        return;
    }
    let Some(kdc) = or_skip(Kdc::start().await) else { return };
    let started = Hdfs::start_with_kerberos(1, &kdc, Protection::Privacy).await;
    let Some(hdfs) = or_skip(started) else { return };
    let url = format!("hdfs://{}/aquifer", hdfs.address());
    let (config, keytab) = (hdfs.config_dir().display().to_string(), kdc.keytab().display().to_string());
    let environment = [("KRB5_CONFIG", kdc.config())];
    let of_keytab = [
        ("store.hdfs.config.dir", config.as_str()),
        ("store.hdfs.principal", Kdc::USER),
        ("store.hdfs.keytab", &keytab),
    ];
    assert_usable(&probe(&url, &of_keytab, &environment).await);

    // Without a ticket nobody gets in, and is told why.
    let output = probe(&url, &[("store.hdfs.config.dir", &config)], &environment).await;
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("store.hdfs.keytab"), "{}", said(&output));

    let cache = kdc.ticket_cache(30).expect("it can be had");
    let of_cache = [
        ("store.hdfs.config.dir", config.as_str()),
        ("store.hdfs.principal", Kdc::USER),
        ("store.hdfs.ticket.cache", &cache),
    ];
    let output = probe(&url, &of_cache, &environment).await;
    assert_usable(&output);
    assert!(said(&output).contains("it ends at 20"), "{}", said(&output));
    tokio::time::sleep(Duration::from_secs(32)).await; // the life of the ticket, and the skew
    let output = probe(&url, &of_cache, &environment).await;
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("it has expired at 20"), "{}", said(&output));

    let dir = tempfile::tempdir().expect("a temporary directory");
    let settings = [&[("store.url", url.as_str())], of_keytab.as_slice()].concat();
    let mut node = Node::prepare(dir.path(), &settings);
    for (name, path) in environment {
        node.set_environment(name, path.to_str().expect("a path of letters"));
    }
    node.start_again().await;
    let write = ["write", &node.bootstrap(), "kerberos", "1000", "2000"];
    if run_script("fill.py", &write, "written", LIMIT).await.is_none() {
        return;
    }
    node.stop().await;
    node.start_again().await;
    let read = run_script("fill.py", &["read", &node.bootstrap(), "kerberos", "0"], "", LIMIT).await;
    assert_eq!(read.expect("it ran before"), ["read 1000"]);
    node.stop().await;
}
