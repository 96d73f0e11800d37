//! `aquifer certs`: a CA for the internal port, and a certificate for each node.
//!
//! ```text
//!   DIR/ca.pem  DIR/ca.key                        the cluster's CA; its key stays where it was made
//!   DIR/node-ID/keystore.pem  truststore.pem      to be copied to node ID
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use aquifer_peer::node_uri;
use aquifer_types::NodeId;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};

/// Certificates are replaced by an operator's decision, not by surprise.
const LAST_YEAR: i32 = 2126;

/// Why no certificates were made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertsError {
    #[error("{path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error(
        "{path} exists already; remove it first if node {node} should get a new certificate, or leave {node} out of --nodes"
    )]
    Exists { path: PathBuf, node: u32 },
    #[error("--nodes names {0} twice")]
    Twice(u32),
    #[error("--nodes names {0}: node ids go up to {max}", max = NodeId::MAX)]
    NoId(u32),
    #[error(
        "{there} is there without {missing}: bring it from where the CA was made, or begin another CA with --dir and an empty directory"
    )]
    HalfCa { there: PathBuf, missing: PathBuf },
    #[error("{path} is not the key of a CA that `aquifer certs` made: {source}")]
    Ca { path: PathBuf, source: rcgen::Error },
    #[error("a certificate could not be made: {0}")]
    Made(#[from] rcgen::Error),
}

/// Makes certificates for `nodes` below `dir`; the CA that is there is used again.
///
/// # Errors
/// Nothing that exists is overwritten.
pub(crate) fn make(dir: &Path, nodes: &[u32]) -> Result<(), CertsError> {
    check_nodes(dir, nodes)?;
    fs::create_dir_all(dir).map_err(file(dir))?;
    let (certificate, key) = (dir.join("ca.pem"), dir.join("ca.key"));
    match (certificate.exists(), key.exists()) {
        (true, true) => {}
        (false, false) => make_ca(&certificate, &key)?,
        (true, false) => return Err(CertsError::HalfCa { there: certificate, missing: key }),
        (false, true) => return Err(CertsError::HalfCa { there: key, missing: certificate }),
    }
    let ca = fs::read_to_string(&certificate).map_err(file(&certificate))?;
    let ca_key = fs::read_to_string(&key).map_err(file(&key))?;
    let unfit = |source| CertsError::Ca { path: key.clone(), source };
    // The CA was made here, so its name and its key are all that a signature needs of it.
    let issuer = Issuer::new(ca_params()?, KeyPair::from_pem(&ca_key).map_err(unfit)?);
    for &node in nodes {
        let keystore = keystore(dir, node);
        let place = dir.join(format!("node-{node}"));
        fs::create_dir_all(&place).map_err(file(&place))?;
        let key = KeyPair::generate()?;
        let signed = node_params(node)?.signed_by(&key, &issuer)?;
        write(&place.join("truststore.pem"), &ca, 0o644)?;
        write(&keystore, &format!("{}{}", key.serialize_pem(), signed.pem()), 0o600)?;
    }
    Ok(())
}

/// All of them can get one: none is made where another is refused.
fn check_nodes(dir: &Path, nodes: &[u32]) -> Result<(), CertsError> {
    for (at, &node) in nodes.iter().enumerate() {
        if NodeId(node) > NodeId::MAX {
            return Err(CertsError::NoId(node));
        }
        if nodes[..at].contains(&node) {
            return Err(CertsError::Twice(node));
        }
        let path = keystore(dir, node);
        if path.exists() {
            return Err(CertsError::Exists { path, node });
        }
    }
    Ok(())
}

fn keystore(dir: &Path, node: u32) -> PathBuf {
    dir.join(format!("node-{node}")).join("keystore.pem")
}

fn ca_params() -> Result<CertificateParams, CertsError> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, "Aquifer internal CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_after = date_time_ymd(LAST_YEAR, 1, 1);
    Ok(params)
}

fn make_ca(certificate: &Path, key: &Path) -> Result<(), CertsError> {
    let issuer = CertifiedIssuer::self_signed(ca_params()?, KeyPair::generate()?)?;
    write(key, &issuer.key().serialize_pem(), 0o600)?;
    write(certificate, &issuer.pem(), 0o644)
}

fn node_params(node: u32) -> Result<CertificateParams, CertsError> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, format!("Aquifer node {node}"));
    let uri = node_uri(NodeId(node)).as_str().try_into()?;
    params.subject_alt_names.push(SanType::URI(uri));
    // Each node is a server to some and a client to others.
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.not_after = date_time_ymd(LAST_YEAR, 1, 1);
    Ok(params)
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), CertsError> {
    let create = || -> io::Result<File> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(text.as_bytes())?;
        Ok(file)
    };
    create().map(drop).map_err(file(path))
}

fn file(path: &Path) -> impl Fn(io::Error) -> CertsError {
    let path = path.to_owned();
    move |source| CertsError::File { path: path.clone(), source }
}

/// What to do with them.
pub(crate) fn advice(dir: &Path, nodes: &[u32]) -> String {
    let mut text = String::new();
    for node in nodes {
        text.push_str(&format!("Copy {}/node-{node}/ to node {node}.\n", dir.display()));
    }
    text.push_str(&format!(
        "\nIn each node's configuration, with DIR being where they were copied to:\n\n    \
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:SSL\n    \
         listener.name.controller.ssl.keystore.location=DIR/keystore.pem\n    \
         listener.name.controller.ssl.truststore.location=DIR/truststore.pem\n\n\
         Keep {} away from the nodes: whoever has it can make itself a node of the cluster.\n",
        dir.join("ca.key").display()
    ));
    text
}

#[cfg(test)]
mod tests {
    use aquifer_peer::{Security, TcpTransport, TlsFiles};

    use super::*;

    #[tokio::test]
    async fn what_is_made_opens_the_internal_port_of_its_node_and_of_no_other() {
        let dir = tempfile::tempdir().expect("a directory");
        make(dir.path(), &[1]).expect("made");
        make(dir.path(), &[2]).expect("made with the same CA");
        let files = |node: u32| {
            let keystore = dir.path().join(format!("node-{node}/keystore.pem"));
            let ca = dir.path().join(format!("node-{node}/truststore.pem"));
            Security::Tls(TlsFiles { certificate: keystore.clone(), key: keystore, ca })
        };
        for node in [1, 2] {
            TcpTransport::bind("127.0.0.1:0", NodeId(node), &files(node)).await.expect("fits");
        }
        assert!(TcpTransport::bind("127.0.0.1:0", NodeId(1), &files(2)).await.is_err());
    }

    #[test]
    fn nothing_is_overwritten() {
        let dir = tempfile::tempdir().expect("a directory");
        make(dir.path(), &[1]).expect("made");
        let error = make(dir.path(), &[1]).expect_err("refused").to_string();
        assert!(error.contains("node-1/keystore.pem exists already"), "{error}");
        make(dir.path(), &[2, 1]).expect_err("refused");
        assert!(!dir.path().join("node-2").exists(), "none is made where another is refused");
    }

    #[test]
    fn what_cannot_be_right_is_refused_with_a_remedy_and_leaves_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let refused = |nodes: &[u32]| make(dir.path(), nodes).expect_err("refused").to_string();
        assert_eq!(refused(&[3, 4, 3]), "--nodes names 3 twice");
        assert!(refused(&[u32::MAX]).contains("node ids go up to"));
        assert_eq!(fs::read_dir(dir.path()).expect("it is there").count(), 0);
        make(dir.path(), &[1]).expect("made");
        fs::remove_file(dir.path().join("ca.key")).expect("it was made");
        let error = refused(&[2]);
        assert!(error.contains("ca.key: bring it from where the CA was made"), "{error}");
    }
}
