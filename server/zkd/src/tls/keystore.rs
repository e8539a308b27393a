//! Certificates and keys from the files that ZooKeeper's `ssl.keyStore` and `ssl.trustStore` name.

use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::jks::{self, JksError};
use crate::config::{Secret, StoreKind};

/// A server's key with its certificate, leaf first.
#[derive(Debug)]
pub struct KeyPair {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
}

/// Says what is wrong with a file, and what to do about it; the caller names the file.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("it cannot be read as PEM")]
    Pem(#[source] pem::Error),
    #[error("there is no private key in it")]
    NoKey,
    #[error("there is no certificate in it")]
    NoCertificate,
    #[error(
        "its private key is encrypted: write it without a password (openssl pkcs8 -in FILE -out FILE.pem)"
    )]
    EncryptedKey,
    #[error("{}", ADVICE_PKCS12)]
    Pkcs12,
    #[error("it cannot be read as JKS")]
    Jks(#[source] JksError),
}

const ADVICE_PKCS12: &str = "PKCS12 is not read here: convert it with \
     openssl pkcs12 -in FILE -nodes -out FILE.pem, and name that with ssl.keyStore.type=PEM (or ssl.trustStore.type)";

/// The first key of a store with its chain. `key_file` holds the key, in PEM, if the store does not.
///
/// # Errors
/// [`StoreError`].
pub fn key_pair(
    kind: StoreKind,
    bytes: &[u8],
    password: Option<&Secret>,
    key_file: Option<&[u8]>,
) -> Result<KeyPair, StoreError> {
    if kind != StoreKind::Pem {
        let (key, chain) = java_store(kind, bytes, password)?.key.ok_or(StoreError::NoKey)?;
        let chain = chain.into_iter().map(CertificateDer::from).collect();
        return Ok(KeyPair { chain, key: key.into() });
    }
    let chain = pem_certificates(bytes)?;
    Ok(KeyPair { chain, key: pem_key(key_file.unwrap_or(bytes))? })
}

/// Every certificate that a store trusts.
///
/// # Errors
/// [`StoreError`]; there is at least one.
pub fn trusted(
    kind: StoreKind,
    bytes: &[u8],
    password: Option<&Secret>,
) -> Result<Vec<CertificateDer<'static>>, StoreError> {
    if kind == StoreKind::Pem {
        return pem_certificates(bytes);
    }
    let trusted = java_store(kind, bytes, password)?.trusted;
    if trusted.is_empty() {
        return Err(StoreError::NoCertificate);
    }
    Ok(trusted.into_iter().map(CertificateDer::from).collect())
}

/// Java reads either format whatever the store is said to be.
fn java_store(kind: StoreKind, bytes: &[u8], password: Option<&Secret>) -> Result<jks::KeyStore, StoreError> {
    // PKCS#12 begins as every DER sequence does.
    let is_der = bytes.first() == Some(&0x30);
    if is_der || (kind == StoreKind::Pkcs12 && !jks::is_jks(bytes)) {
        return Err(StoreError::Pkcs12);
    }
    jks::read(bytes, password.map(Secret::reveal)).map_err(StoreError::Jks)
}

fn pem_certificates(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, StoreError> {
    let certificates =
        CertificateDer::pem_slice_iter(bytes).collect::<Result<Vec<_>, _>>().map_err(StoreError::Pem)?;
    if certificates.is_empty() { Err(StoreError::NoCertificate) } else { Ok(certificates) }
}

fn pem_key(bytes: &[u8]) -> Result<PrivateKeyDer<'static>, StoreError> {
    match PrivateKeyDer::from_pem_slice(bytes) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) if is_encrypted(bytes) => Err(StoreError::EncryptedKey),
        Err(pem::Error::NoItemsFound) => Err(StoreError::NoKey),
        Err(error) => Err(StoreError::Pem(error)),
    }
}

fn is_encrypted(bytes: &[u8]) -> bool {
    bytes.windows(9).any(|window| window == b"ENCRYPTED")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_says_how_to_convert_it() {
        let message = |kind, bytes: &[u8]| key_pair(kind, bytes, None, None).unwrap_err().to_string();
        for kind in [StoreKind::Pkcs12, StoreKind::Jks] {
            assert!(message(kind, &[0x30, 0x82, 1, 1]).contains("openssl pkcs12 -in"), "{kind:?}");
        }
        assert_eq!(message(StoreKind::Jks, b""), "it cannot be read as JKS");
        assert_eq!(message(StoreKind::Pem, b""), "there is no certificate in it");
        let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        assert!(pem_key(encrypted.as_bytes()).unwrap_err().to_string().contains("openssl pkcs8"));
        assert!(matches!(pem_key(b"").unwrap_err(), StoreError::NoKey));
    }
}
