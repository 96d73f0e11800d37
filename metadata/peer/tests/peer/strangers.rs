//! Who is turned away by certificate or address.

use aquifer_peer::{
    CallError, DialError, Listener, Peers, Security, SetupError, TcpTransport, TlsFiles, node_uri,
};
use aquifer_runtime::TaskGroup;
use aquifer_types::NodeId;
use bytes::Bytes;
use std::sync::Arc;

use crate::certificates::Authority;
use crate::support::{BULK, CONTROL, LONG, Node, STREAM};

async fn bind(node: u32, files: TlsFiles) -> Result<TcpTransport, SetupError> {
    TcpTransport::bind("127.0.0.1:0", NodeId(node), &Security::Tls(files)).await
}

async fn node(node: u32, files: TlsFiles) -> Node {
    let transport = bind(node, files).await.expect("bound");
    let address = transport.local_address().expect("bound").to_string();
    let tasks = TaskGroup::new();
    let channels = [CONTROL, BULK, STREAM];
    let peers = Peers::new(NodeId(node), 1, &channels, Arc::new(transport), &tasks);
    let listener = Listener::start(&peers);
    Node { peers, listener, tasks, address }
}

#[tokio::test]
async fn a_node_does_not_start_with_a_certificate_that_is_not_its_own() {
    let authority = Authority::new();
    let error = bind(2, authority.node(1)).await.err().expect("refused").to_string();
    assert!(error.contains("the certificate is node 1's, but this is node 2"), "{error}");
    let client = authority.sign("client", &[]);
    let error = bind(2, client).await.err().expect("refused").to_string();
    assert!(error.contains("names no node"), "{error}");
    let both = authority.sign("both", &[node_uri(NodeId(1)), node_uri(NodeId(2))]);
    let error = bind(2, both).await.err().expect("refused").to_string();
    assert!(error.contains("names several nodes"), "{error}");
}

#[tokio::test]
async fn a_missing_file_is_named() {
    let authority = Authority::new();
    let files = TlsFiles { key: "/nowhere/node.key".into(), ..authority.node(1) };
    let error = bind(1, files).await.err().expect("refused").to_string();
    assert!(error.starts_with("/nowhere/node.key: ") && error.contains("aquifer certs"), "{error}");
}

#[tokio::test]
async fn a_client_certificate_of_the_same_ca_opens_nothing() {
    let authority = Authority::new();
    let two = node(2, authority.node(2)).await;
    let client = authority.sign("client", &[]);
    let mut roots = rustls::RootCertStore::empty();
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    roots.add(CertificateDer::from_pem_file(&client.ca).expect("a CA")).expect("a CA");
    let chain = vec![CertificateDer::from_pem_file(&client.certificate).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_file(&client.key).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .expect("a client");
    let socket = tokio::net::TcpStream::connect(&two.address).await.expect("accepted");
    let name = rustls::pki_types::ServerName::try_from("localhost").expect("a name");
    let mut stream =
        tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, socket).await.expect("a chain");
    use tokio::io::AsyncReadExt as _;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert_eq!(answer, [0; 0], "closed without a word");
    two.stop().await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_connection_that_says_nothing() {
    let node = node(2, Authority::new().node(2)).await;
    let silent = tokio::net::TcpStream::connect(&node.address).await.expect("accepted");
    // Taken up by now.
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    // Less than it has to say who it is.
    let stopped = node.tasks.shutdown(std::time::Duration::from_millis(1_500)).await;
    assert_eq!(stopped, Ok(()), "tasks that still ran");
    drop(silent);
}

#[tokio::test]
async fn a_node_of_another_ca_is_not_talked_to() {
    let (one, two) = (node(1, Authority::new().node(1)).await, node(2, Authority::new().node(2)).await);
    let found = one.peers.discover(&two.address, LONG).await;
    assert!(matches!(found, Err(DialError::Stranger { .. })), "{found:?}");
    one.peers.set_address(NodeId(2), &two.address);
    let answer = one.peers.call(NodeId(2), &CONTROL, Bytes::new(), LONG).await;
    assert!(matches!(answer, Err(CallError::NotDelivered(_))), "{answer:?}");
}

#[tokio::test]
async fn two_processes_with_one_id_are_told() {
    let authority = Authority::new();
    let (one, other) = (node(1, authority.node(1)).await, node(1, authority.node(1)).await);
    // Same id, other process.
    let peers = {
        let transport = bind(1, authority.node(1)).await.expect("bound");
        Peers::new(NodeId(1), 2, &[CONTROL], Arc::new(transport), &one.tasks)
    };
    let found = peers.discover(&other.address, LONG).await;
    let Err(DialError::Stranger { reason, .. }) = found else { panic!("{found:?}") };
    assert!(reason.contains("node.id must be different on each node"), "{reason}");
}

#[tokio::test]
async fn plain_connections_stay_on_the_machine() {
    let bound = TcpTransport::bind("0.0.0.0:0", NodeId(1), &Security::Plain).await;
    assert!(matches!(bound, Err(SetupError::PlainBeyondLoopback { .. })));
}
