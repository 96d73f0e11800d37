//! A CA and what it signs, as files.

use std::fs;
use std::path::PathBuf;

use aquifer_peer::{TlsFiles, node_uri};
use aquifer_types::NodeId;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use tempfile::TempDir;

pub(crate) struct Authority {
    dir: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("ca.pem"), issuer.pem()).expect("written");
        Self { dir, issuer }
    }

    /// A certificate with these URI names.
    pub(crate) fn sign(&self, name: &str, uris: &[String]) -> TlsFiles {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a legal name");
        for uri in uris {
            params.subject_alt_names.push(SanType::URI(uri.as_str().try_into().expect("ASCII")));
        }
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        let files = TlsFiles {
            certificate: self.path(&format!("{name}.pem")),
            key: self.path(&format!("{name}.key")),
            ca: self.path("ca.pem"),
        };
        fs::write(&files.certificate, certificate.pem()).expect("written");
        fs::write(&files.key, key.serialize_pem()).expect("written");
        files
    }

    pub(crate) fn node(&self, node: u32) -> TlsFiles {
        self.sign(&format!("node-{node}"), &[node_uri(NodeId(node))])
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}
