//! Mutual TLS in which a node's name is its id.
//!
//! Both ends verify the other's certificate against the cluster's CA, at any address: what counts is the URI name
//! `aquifer://node/ID`. A certificate of the same CA without it, such as a client's, opens nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use aquifer_types::NodeId;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};

use crate::error::SetupError;

const SCHEME: &str = "aquifer://node/";

/// The PEM files of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The node's certificate, and those between it and the CA.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The cluster's CA. Others that it signs are believed to be who their certificate says.
    pub ca: PathBuf,
}

/// The URI name that a node's certificate carries.
pub fn node_uri(node: NodeId) -> String {
    format!("{SCHEME}{node}")
}

/// The configurations of both ends, for node `node`.
pub(crate) fn load(files: &TlsFiles, node: NodeId) -> Result<(ClientConfig, ServerConfig), SetupError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = certificates(&files.certificate)?;
    match node_of(&chain[0]) {
        Ok(found) if found == node => {}
        Ok(found) => return Err(not_this_node(files, format!("is node {found}'s"), node)),
        Err(reason) => return Err(not_this_node(files, reason, node)),
    }
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&files.ca)? {
        roots.add(certificate).map_err(|error| pem(&files.ca, error.to_string()))?;
    }
    let roots = Arc::new(roots);
    let key = || {
        PrivateKeyDer::from_pem_file(&files.key)
            .map_err(|error| pem(&files.key, format!("no private key: {error}")))
    };
    let unfit = |error: rustls::Error| pem(&files.certificate, error.to_string());

    let verifier = Arc::new(AnyNode { roots: roots.clone(), provider: provider.clone() });
    let client = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(unfit)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_auth_cert(chain.clone(), key()?)
        .map_err(unfit)?;
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone())
        .build()
        .map_err(|error| pem(&files.ca, error.to_string()))?;
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(unfit)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key()?)
        .map_err(unfit)?;
    // Connections live long: resuming sessions would only keep old proofs alive.
    server.send_tls13_tickets = 0;
    Ok((client, server))
}

/// Whose certificate this is, or what is wrong with it.
pub(crate) fn node_of(certificate: &CertificateDer<'_>) -> Result<NodeId, String> {
    let certificate =
        webpki::EndEntityCert::try_from(certificate).map_err(|error| format!("is damaged: {error}"))?;
    let mut nodes = certificate.valid_uri_names().filter_map(|name| name.strip_prefix(SCHEME)?.parse().ok());
    match (nodes.next(), nodes.next()) {
        (Some(node), None) => Ok(NodeId(node)),
        (None, _) => Err("names no node".to_owned()),
        (Some(_), Some(_)) => Err("names several nodes".to_owned()),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, SetupError> {
    let found = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match found {
        Ok(found) if found.is_empty() => Err(pem(path, "it holds no certificate".to_owned())),
        Ok(found) => Ok(found),
        Err(error) => Err(pem(path, error.to_string())),
    }
}

fn pem(path: &Path, reason: String) -> SetupError {
    SetupError::Pem { path: path.to_owned(), reason }
}

fn not_this_node(files: &TlsFiles, found: String, node: NodeId) -> SetupError {
    SetupError::NotThisNode { path: files.certificate.clone(), found, node }
}

/// Verifies that a server's certificate comes from the cluster's CA. Which node it is, the caller checks: nodes
/// are known by id, not by the address under which they were reached.
#[derive(Debug)]
struct AnyNode {
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AnyNode {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let parsed = ParsedCertificate::try_from(certificate)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, intermediates, now, algorithms)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("only TLS 1.3 is spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
