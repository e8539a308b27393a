//! Java's own key store format, JKS: read, as ZooKeeper's users have it.
//!
//! A store is a list of entries, each a private key with its chain or a trusted certificate, closed by a SHA-1 over a
//! password and everything before. Keys are hidden under a chain of SHA-1 that begins with the password and a salt.
//! That is how Java made it in 1998: it keeps a store from accidents, not from who has the file.

use rustls_pki_types::PrivatePkcs8KeyDer;
use sha1::{Digest as _, Sha1};

use super::der::Der;

const MAGIC: u32 = 0xfeed_feed;
/// 1.3.6.1.4.1.42.2.17.1.1, Sun's algorithm for keys in this format.
const KEY_PROTECTOR: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x2a, 0x02, 0x11, 0x01, 0x01];
const DIGEST_LEN: usize = 20;

/// What a store holds, in DER. The key's type does not show it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct KeyStore {
    /// Of the first key entry: the key, and its chain, leaf first.
    pub key: Option<(PrivatePkcs8KeyDer<'static>, Vec<Vec<u8>>)>,
    pub trusted: Vec<Vec<u8>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JksError {
    #[error("it is no JKS file, or is cut short")]
    Malformed,
    #[error("its password does not fit, or its bytes are damaged")]
    Password,
    #[error("its key is protected in a way that is not known here: store it anew with keytool")]
    Protection,
}

/// Whether these bytes begin as a store of this format does.
pub fn is_jks(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC.to_be_bytes())
}

/// Reads a store. Without a password its integrity is not checked, as in Java, and it cannot give keys.
///
/// # Errors
/// [`JksError`].
pub fn read(bytes: &[u8], password: Option<&str>) -> Result<KeyStore, JksError> {
    let password: Option<Vec<u8>> =
        password.map(|text| text.encode_utf16().flat_map(u16::to_be_bytes).collect());
    let (body, digest) =
        bytes.split_at_checked(bytes.len().wrapping_sub(DIGEST_LEN)).ok_or(JksError::Malformed)?;
    if !is_jks(body) {
        return Err(JksError::Malformed);
    }
    if let Some(password) = &password {
        let whole = Sha1::new().chain_update(password).chain_update("Mighty Aphrodite").chain_update(body);
        if whole.finalize().as_slice() != digest {
            return Err(JksError::Password);
        }
    }
    let mut from = Bytes(&body[4..]);
    let version = from.int()?;
    let mut store = KeyStore::default();
    for _ in 0..from.int()? {
        match from.int()? {
            1 => {
                skip_alias_and_date(&mut from)?;
                let protected = from.long_field()?;
                let chain =
                    (0..from.int()?).map(|_| certificate(&mut from, version)).collect::<Result<_, _>>()?;
                if store.key.is_none() {
                    let password = password.as_ref().ok_or(JksError::Password)?;
                    store.key = Some((unprotect(protected, password)?, chain));
                }
            }
            2 => {
                skip_alias_and_date(&mut from)?;
                store.trusted.push(certificate(&mut from, version)?);
            }
            _ => return Err(JksError::Malformed),
        }
    }
    Ok(store)
}

fn skip_alias_and_date(from: &mut Bytes<'_>) -> Result<(), JksError> {
    from.short_field()?;
    from.take(8).map(|_| ())
}

fn certificate(from: &mut Bytes<'_>, version: u32) -> Result<Vec<u8>, JksError> {
    if version == 2 {
        // "X.509", the only type there ever was.
        from.short_field()?;
    }
    from.long_field().map(<[u8]>::to_vec)
}

/// From an EncryptedPrivateKeyInfo to the PKCS#8 within.
fn unprotect(der: &[u8], password: &[u8]) -> Result<PrivatePkcs8KeyDer<'static>, JksError> {
    let (algorithm, hidden) = protected_key(der).ok_or(JksError::Malformed)?;
    if algorithm != KEY_PROTECTOR {
        return Err(JksError::Protection);
    }
    let mut hidden = Bytes(hidden);
    let salt = hidden.take(DIGEST_LEN)?;
    let key_len = hidden.0.len().checked_sub(DIGEST_LEN).ok_or(JksError::Malformed)?;
    let (key, check) = (hidden.take(key_len)?, hidden.0);
    let mut pad = salt.to_vec();
    let mut plain = Vec::with_capacity(key_len);
    for block in key.chunks(DIGEST_LEN) {
        pad = Sha1::new().chain_update(password).chain_update(&pad).finalize().to_vec();
        plain.extend(block.iter().zip(&pad).map(|(byte, pad)| byte ^ pad));
    }
    let fits = Sha1::new().chain_update(password).chain_update(&plain).finalize();
    if fits.as_slice() == check { Ok(plain.into()) } else { Err(JksError::Password) }
}

/// The OID of the algorithm, and what it has made.
fn protected_key(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut info = Der(Der(der).take(0x30)?);
    let algorithm = Der(info.take(0x30)?).take(0x06)?;
    Some((algorithm, info.take(0x04)?))
}

/// What is left to read.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], JksError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(JksError::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn int(&mut self) -> Result<u32, JksError> {
        let bytes = self.take(4)?.try_into().map_err(|_| JksError::Malformed)?;
        Ok(u32::from_be_bytes(bytes))
    }

    /// Bytes behind a length of two bytes.
    fn short_field(&mut self) -> Result<&'a [u8], JksError> {
        let len: [u8; 2] = self.take(2)?.try_into().map_err(|_| JksError::Malformed)?;
        self.take(usize::from(u16::from_be_bytes(len)))
    }

    /// Bytes behind a length of four bytes.
    fn long_field(&mut self) -> Result<&'a [u8], JksError> {
        let len = usize::try_from(self.int()?).map_err(|_| JksError::Malformed)?;
        self.take(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by keytool of Java 17: an EC key with a certificate of its own, and a trusted certificate.
    const STORE: &[u8] = include_bytes!("testdata/keytool.jks");
    const PASSWORD: &str = "apassword";

    #[test]
    fn keytool_s_store_is_read() {
        let store = read(STORE, Some(PASSWORD)).unwrap();
        assert!(format!("{store:?}").contains("key: Some((PrivatePkcs8KeyDer(\"[secret key elided]\")"));
        let (key, chain) = store.key.unwrap();
        // An unencrypted PKCS#8 of version 0 with the OID of elliptic curves.
        assert_eq!(key.secret_pkcs8_der()[..2], [0x30, 0x41]);
        assert_eq!(chain.len(), 1);
        assert_eq!(store.trusted.len(), 1);
        assert!(chain[0].starts_with(&[0x30, 0x82]) && store.trusted[0].starts_with(&[0x30, 0x82]));
    }

    #[test]
    fn certificates_need_no_password_but_keys_do() {
        assert_eq!(read(STORE, Some("another")), Err(JksError::Password));
        assert_eq!(read(STORE, None), Err(JksError::Password));
    }

    #[test]
    fn a_store_cut_short_anywhere_is_refused() {
        for len in 0..STORE.len() {
            read(&STORE[..len], Some(PASSWORD)).unwrap_err();
            // Without the password nothing but the form is checked.
            read(&STORE[..len], None).unwrap_err();
        }
    }

    #[test]
    fn a_store_with_a_flipped_bit_is_refused() {
        for at in 0..STORE.len() {
            let mut bytes = STORE.to_vec();
            bytes[at] ^= 0x10;
            read(&bytes, Some(PASSWORD)).unwrap_err();
        }
    }
}
