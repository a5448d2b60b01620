//! The bed's own public-key infrastructure: one authority, one server certificate, a client certificate a program.

use std::net::{IpAddr, Ipv4Addr};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};

/// A certificate could not be made.
#[derive(Debug, thiserror::Error)]
#[error("could not make a certificate for {subject}")]
pub struct Error {
    subject: String,
    source: rcgen::Error,
}

/// A certificate and its private key, both PEM.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// Its private key (PKCS#8).
    pub key: String,
}

/// The authority that every certificate of one bed is signed by.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// A new authority with a new key.
    pub fn new() -> Result<Self, Error> {
        let subject = "quality-officer-bed";
        let make = || {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, subject);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            CertifiedIssuer::self_signed(params, KeyPair::generate()?)
        };
        make().map(Self).map_err(|source| Error {
            subject: subject.to_owned(),
            source,
        })
    }

    /// Its own certificate and key.
    pub fn identity(&self) -> Identity {
        Identity {
            certificate: self.0.pem(),
            key: self.0.key().serialize_pem(),
        }
    }

    /// A certificate for the servers on this machine.
    pub fn server(&self) -> Result<Identity, Error> {
        self.issue("kube-apiserver", None, ExtendedKeyUsagePurpose::ServerAuth, |params| {
            let names = [
                "localhost",
                "kubernetes",
                "kubernetes.default",
                "kubernetes.default.svc",
                "kubernetes.default.svc.cluster.local",
            ];
            for name in names {
                params.subject_alt_names.push(SanType::DnsName(name.try_into()?));
            }
            // 10.0.0.1 is the first address of the service range: the `kubernetes` Service.
            for address in [Ipv4Addr::LOCALHOST, Ipv4Addr::new(10, 0, 0, 1)] {
                params.subject_alt_names.push(SanType::IpAddress(IpAddr::V4(address)));
            }
            Ok(())
        })
    }

    /// A certificate by which the API server knows its holder as `user`, in `group` if one is given.
    pub fn client(&self, user: &str, group: Option<&str>) -> Result<Identity, Error> {
        self.issue(user, group, ExtendedKeyUsagePurpose::ClientAuth, |_| Ok(()))
    }

    fn issue(
        &self,
        name: &str,
        organization: Option<&str>,
        purpose: ExtendedKeyUsagePurpose,
        finish: impl FnOnce(&mut CertificateParams) -> Result<(), rcgen::Error>,
    ) -> Result<Identity, Error> {
        let make = || {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, name);
            if let Some(organization) = organization {
                params.distinguished_name.push(DnType::OrganizationName, organization);
            }
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.extended_key_usages = vec![purpose];
            params.use_authority_key_identifier_extension = true;
            finish(&mut params)?;
            let key = KeyPair::generate()?;
            let certificate = params.signed_by(&key, &self.0)?;
            Ok(Identity {
                certificate: certificate.pem(),
                key: key.serialize_pem(),
            })
        };
        make().map_err(|source| Error {
            subject: name.to_owned(),
            source,
        })
    }
}

/// A key pair for signing service-account tokens: private (PKCS#8) and public, both PEM.
pub fn token_keys() -> Result<(String, String), Error> {
    let key = KeyPair::generate().map_err(|source| Error {
        subject: "service accounts".to_owned(),
        source,
    })?;
    Ok((key.serialize_pem(), key.public_key_pem()))
}
