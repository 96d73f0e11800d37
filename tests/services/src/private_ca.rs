use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

/// A certificate authority that no system trusts, as sites have one, and a certificate that it signed for `127.0.0.1`.
#[derive(Debug)]
pub struct PrivateCa {
    /// The authority's own certificate, PEM: what clients are given.
    pub ca: String,
    /// The server's certificate, PEM.
    pub certificate: String,
    /// The server's private key, PEM.
    pub key: String,
}

impl PrivateCa {
    /// Draws keys and signs.
    ///
    /// # Panics
    /// If the machine has no randomness.
    pub fn new() -> Self {
        Self::signed().expect("keys can be drawn and certificates be signed")
    }

    fn signed() -> Result<Self, rcgen::Error> {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_key = KeyPair::generate()?;
        let ca = authority.self_signed(&authority_key)?.pem();
        let issuer = Issuer::new(authority, authority_key);
        let key = KeyPair::generate()?;
        let server = CertificateParams::new(["127.0.0.1".to_owned()])?;
        let certificate = server.signed_by(&key, &issuer)?.pem();
        Ok(Self { ca, certificate, key: key.serialize_pem() })
    }
}

impl Default for PrivateCa {
    fn default() -> Self {
        Self::new()
    }
}
