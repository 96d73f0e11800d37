//! A process that is about to end: the system may still let somebody connect to it.

use aquifer_peer::Probe;
use aquifer_types::NodeId;
use tokio::net::TcpListener;

use crate::support::{LONG, Net};

#[tokio::test]
async fn a_probe_asks_again_when_the_process_ends_while_it_connects() {
    let one = Net::Plain.node(1).await;
    let dying = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = dying.local_addr().expect("bound").to_string();
    let ending = async {
        let (connection, _) = dying.accept().await.expect("a probe");
        drop((connection, dying));
    };
    let (probed, ()) = tokio::join!(one.peers.probe(NodeId(2), &address, LONG), ending);
    assert_eq!(probed, Probe::Refused);
}
