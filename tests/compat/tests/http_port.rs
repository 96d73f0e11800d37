//! What an operator's machines ask: `/livez`, `/readyz`, `/metrics`.

use std::io::Write as _;
use std::process::{Command, Stdio};

use aquifer_compat::{LIMIT, Node, Target, http_get, run_script};
use aquifer_services::{Artifact, or_skip};

/// Status line and body of an answer.
fn parts(answer: &str) -> (&str, &str) {
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    (head.lines().next().unwrap_or_default(), body)
}

#[tokio::test]
async fn the_http_port_tells_life_readiness_and_metrics_that_prometheus_likes() {
    if Target::chosen().is_kafka() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut node = Node::start(dir.path(), &[("store.offload.interval.ms", "200")]).await;
    let get = async |path: &str| http_get(node.http_port(), path).await.expect("it answers");
    for path in ["/livez", "/readyz"] {
        assert_eq!(parts(&get(path).await).0, "HTTP/1.1 200 OK", "{path}");
    }
    assert_eq!(parts(&get("/").await).0, "HTTP/1.1 404 Not Found");

    // Records, so that every family has samples: of labels too.
    let write = ["write", &node.bootstrap(), "measured", "1000", "2000"];
    if run_script("fill.py", &write, "written", LIMIT).await.is_none() {
        return;
    }
    let page = get("/metrics").await;
    let (_, text) = parts(&page);
    for name in
        ["aquifer_wal_unoffloaded_bytes", "aquifer_store_request_seconds_bucket", "aquifer_quorum_voters"]
    {
        assert!(text.lines().any(|line| line.starts_with(name)), "no {name} in:\n{text}");
    }
    // Whatever is counted and measured has a type and a help text of its own name.
    let Some(promtool) = or_skip(Artifact::Promtool.find()) else { return };
    let mut check = Command::new(promtool);
    check.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut check = check.spawn().expect("promtool starts");
    check.stdin.take().expect("it is piped").write_all(text.as_bytes()).expect("promtool listens");
    let output = check.wait_with_output().expect("promtool ends");
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.is_empty(), "{said}");
    node.stop().await;
}
