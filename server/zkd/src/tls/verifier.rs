//! Whose certificates are taken: rustls' own check of a chain, and beside it one for certificates of X.509 version 1.
//!
//! Version 1 has no extensions, so rustls refuses it; Java and OpenSSL take it, and ZooKeeper's users still have such
//! certificates from old scripts. Here one is taken only from a client, only directly under a certificate of the trust
//! store that may sign others, and only within both validities. It never signs anything itself.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerMisbehaved, RootCertStore,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::TlsError;
use super::der::Der;
use crate::config::ClientAuth;

#[derive(Debug)]
pub struct ClientVerifier {
    chains: Arc<dyn ClientCertVerifier>,
    anchors: Vec<CertificateDer<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientVerifier {
    /// Takes what `anchors` have signed.
    ///
    /// # Errors
    /// [`TlsError::Setup`] if one of them is no certificate.
    pub fn new(
        anchors: Vec<CertificateDer<'static>>,
        client_auth: ClientAuth,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        for anchor in &anchors {
            roots.add(anchor.clone()).map_err(|error| TlsError::Setup(Box::new(error)))?;
        }
        let chains = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        let chains =
            if client_auth == ClientAuth::Want { chains.allow_unauthenticated() } else { chains }.build();
        Ok(Self {
            chains: chains.map_err(|error| TlsError::Setup(Box::new(error)))?,
            anchors,
            algorithms: provider.signature_verification_algorithms,
        })
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.chains.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chains.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let Some(version1) = Version1::parse(end_entity) else {
            return self.chains.verify_client_cert(end_entity, intermediates, now);
        };
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        version1.verify(&self.anchors, now, &self.algorithms)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let Some(version1) = Version1::parse(cert) else {
            return self.chains.verify_tls12_signature(message, cert, dss);
        };
        let of_scheme = self.algorithms.mapping.iter().find(|(scheme, _)| *scheme == dss.scheme);
        let (_, candidates) = of_scheme.ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
        let (key_algorithm, key) = key_of(version1.spki).ok_or(CertificateError::BadEncoding)?;
        let mut candidates = candidates.iter().filter(|it| it.public_key_alg_id().as_ref() == key_algorithm);
        if candidates.any(|it| it.verify_signature(key, message, dss.signature()).is_ok()) {
            Ok(HandshakeSignatureValid::assertion())
        } else {
            Err(CertificateError::BadSignature.into())
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let Some(version1) = Version1::parse(cert) else {
            return self.chains.verify_tls13_signature(message, cert, dss);
        };
        let key = SubjectPublicKeyInfoDer::from(version1.spki);
        verify_tls13_signature_with_raw_key(message, &key, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}

/// The parts of a certificate of version 1, each whole or as its content.
struct Version1<'a> {
    /// What is signed, whole.
    signed: &'a [u8],
    /// Content of the AlgorithmIdentifier, as webpki compares it.
    algorithm: &'a [u8],
    signature: &'a [u8],
    issuer: &'a [u8],
    /// Whole.
    spki: &'a [u8],
    der: &'a [u8],
}

impl<'a> Version1<'a> {
    /// `None` for every other version, and for what is no certificate.
    fn parse(der: &'a [u8]) -> Option<Self> {
        let mut certificate = Der(Der(der).take(0x30)?);
        let (signed, content) = certificate.take_whole(0x30)?;
        let algorithm = certificate.take(0x30)?;
        let signature = certificate.take(0x03)?.strip_prefix(&[0])?;
        let mut tbs = Der(content);
        // Any later version begins with its number, and the serial number has another tag.
        tbs.take(0x02)?;
        if tbs.take(0x30)? != algorithm {
            return None;
        }
        let issuer = tbs.take(0x30)?;
        tbs.take(0x30)?;
        tbs.take(0x30)?;
        let (spki, _) = tbs.take_whole(0x30)?;
        Some(Self { signed, algorithm, signature, issuer, spki, der })
    }

    fn verify(
        &self,
        anchors: &[CertificateDer<'_>],
        now: i64,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<(), CertificateError> {
        let (_, own) = X509Certificate::from_der(self.der).map_err(|_| CertificateError::BadEncoding)?;
        check_validity(&own, now)?;
        let mut failure = CertificateError::UnknownIssuer;
        for anchor in anchors {
            let Ok((_, anchor)) = X509Certificate::from_der(anchor) else { continue };
            let Some(name) = Der(anchor.subject().as_raw()).take(0x30) else { continue };
            if name != self.issuer || !may_sign(&anchor) {
                continue;
            }
            failure = match check_validity(&anchor, now) {
                Ok(()) if self.is_signed_with(anchor.public_key().raw, algorithms) => return Ok(()),
                Ok(()) => CertificateError::BadSignature,
                Err(error) => error,
            };
        }
        Err(failure)
    }

    fn is_signed_with(&self, spki: &[u8], algorithms: &WebPkiSupportedAlgorithms) -> bool {
        let Some((key_algorithm, key)) = key_of(spki) else { return false };
        algorithms.all.iter().any(|it| {
            it.signature_alg_id().as_ref() == self.algorithm
                && it.public_key_alg_id().as_ref() == key_algorithm
                && it.verify_signature(key, self.signed, self.signature).is_ok()
        })
    }
}

/// Content of the AlgorithmIdentifier of a SubjectPublicKeyInfo, and the key.
fn key_of(spki: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut spki = Der(Der(spki).take(0x30)?);
    let algorithm = spki.take(0x30)?;
    Some((algorithm, spki.take(0x03)?.strip_prefix(&[0])?))
}

fn may_sign(anchor: &X509Certificate<'_>) -> bool {
    let usage = anchor.key_usage().map(|usage| usage.is_none_or(|usage| usage.value.key_cert_sign()));
    anchor.is_ca() && usage.unwrap_or(false)
}

fn check_validity(certificate: &X509Certificate<'_>, now: i64) -> Result<(), CertificateError> {
    let validity = certificate.validity();
    if now < validity.not_before.timestamp() {
        Err(CertificateError::NotValidYet)
    } else if now > validity.not_after.timestamp() {
        Err(CertificateError::Expired)
    } else {
        Ok(())
    }
}
