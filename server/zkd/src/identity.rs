//! Who a connection is: the identities that its requests are checked against.
//!
//! A connection begins as the address it comes from and, with TLS, as the subject of its certificate; `auth` and `sasl`
//! requests add to that. Identities belong to the connection, not to the session: clients present them again after a
//! reconnect. `world:anyone` is implied and never listed. Passwords are digested here and go no further, and what is
//! compared with a secret is compared in constant time.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use sha1::{Digest as _, Sha1};
use subtle::{Choice, ConstantTimeEq as _};
use zke_wire::Id;

use crate::access::Known;
use crate::config::Switch;

/// Each identity travels with each write of its connection; real clients have one or two.
const MAX_IDENTITIES: usize = 64;
/// Of all of them together. Else a client that authenticates with names as long as a message may be would make log
/// entries that no member can be sent. The longest real ones, subjects of certificates, have some hundred bytes.
const MAX_IDENTITY_BYTES: usize = 32 << 10;

/// The identities of one connection.
#[derive(Debug)]
pub struct Identities(Vec<Id>);

/// The presented credentials name nobody here: answered with AuthFailed, then the connection is closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// Which one is not said: whoever takes the one field for the other sends a password there.
    #[error(
        "cannot authenticate by a scheme of this name: digest, ip and, with a certificate, x509 are known here"
    )]
    UnknownScheme,
    #[error("cannot authenticate by digest: DigestAuthenticationProvider.enabled=false has switched it off")]
    DigestOff,
    #[error("cannot authenticate by x509: the client has shown no certificate")]
    NoCertificate,
    #[error(
        "cannot add another identity: a connection has at most {MAX_IDENTITIES}, of {MAX_IDENTITY_BYTES} bytes together"
    )]
    TooMany,
}

impl Identities {
    /// What a connection from `address` is before it has presented anything.
    pub fn of(address: IpAddr) -> Self {
        Self(vec![Id::new("ip", address.to_string())])
    }

    pub fn as_slice(&self) -> &[Id] {
        &self.0
    }

    /// Whether one of them is of one of these schemes.
    pub fn has_any(&self, schemes: &[String]) -> bool {
        self.0.iter().any(|id| schemes.contains(&id.scheme))
    }

    /// Adds what an `auth` request proves under `scheme`.
    ///
    /// # Errors
    /// [`AuthError`]; the identities are as before.
    pub fn add(&mut self, scheme: &str, auth: &Bytes, known: &Known) -> Result<(), AuthError> {
        match scheme {
            // The address was an identity from the first moment, and nothing in the request can change it.
            "ip" => Ok(()),
            // Likewise the certificate.
            "x509" if self.0.iter().any(|id| id.scheme == "x509") => Ok(()),
            "x509" => Err(AuthError::NoCertificate),
            "digest" if known.digest == Switch::Off => Err(AuthError::DigestOff),
            "digest" => {
                let id = digest(auth);
                // Each is compared, so that the time tells nothing of which one it was.
                let mut superuser = Choice::from(0);
                for digest in &known.super_digests {
                    superuser |= digest.reveal().as_bytes().ct_eq(id.as_bytes());
                }
                self.insert(Id::new("digest", id))?;
                if superuser.into() { self.insert(Id::new("super", "")) } else { Ok(()) }
            }
            _ => Err(AuthError::UnknownScheme),
        }
    }

    /// Adds the subject of the certificate that the client has shown and we trust.
    ///
    /// # Errors
    /// [`AuthError::TooMany`]: no real subject is as long.
    pub fn add_certificate(&mut self, subject: String, known: &Known) -> Result<(), AuthError> {
        if known.x509_super_user.as_ref() == Some(&subject) {
            self.insert(Id::new("super", subject.clone()))?;
        }
        self.insert(Id::new("x509", subject))
    }

    /// Adds a user of SASL, and `super` if that is one.
    ///
    /// # Errors
    /// [`AuthError::TooMany`].
    pub fn add_sasl(&mut self, user: String, super_users: &[String]) -> Result<(), AuthError> {
        let superuser = super_users.contains(&user);
        self.insert(Id::new("sasl", user))?;
        if superuser { self.insert(Id::new("super", "")) } else { Ok(()) }
    }

    fn insert(&mut self, id: Id) -> Result<(), AuthError> {
        if self.0.contains(&id) {
            return Ok(());
        }
        let bytes = |id: &Id| id.scheme.len() + id.id.len();
        let together = self.0.iter().map(bytes).sum::<usize>() + bytes(&id);
        if self.0.len() == MAX_IDENTITIES || together > MAX_IDENTITY_BYTES {
            return Err(AuthError::TooMany);
        }
        self.0.push(id);
        Ok(())
    }
}

/// `user:` and base64 of SHA-1 over `user:password`, as ZooKeeper's DigestAuthenticationProvider has it.
fn digest(user_and_password: &[u8]) -> String {
    let text = String::from_utf8_lossy(user_and_password);
    let user = text.split(':').next().unwrap_or_default();
    format!("{user}:{}", BASE64.encode(Sha1::digest(text.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn identities() -> Identities {
        Identities::of("127.0.0.1".parse().unwrap())
    }

    #[test]
    fn digests_are_those_of_zookeeper() {
        assert_eq!(digest(b"user:pass"), "user:smGaoVKd/cQkjm7b88GyorAUz20=");
        assert_eq!(digest(b"super:secret"), "super:lK75jTNcA+U9vtVEw5vB51mj/w4=");
    }

    #[test]
    fn authenticating_twice_adds_one_identity() {
        let mut identities = identities();
        for _ in 0..2 {
            identities.add("digest", &Bytes::from_static(b"user:pass"), &Known::default()).unwrap();
        }
        assert_eq!(
            identities.as_slice(),
            [Id::new("ip", "127.0.0.1"), Id::new("digest", "user:smGaoVKd/cQkjm7b88GyorAUz20=")]
        );
    }

    #[test]
    fn the_super_digest_makes_super() {
        let mut identities = identities();
        let super_digests = vec![Secret::new("root:x"), Secret::new("super:lK75jTNcA+U9vtVEw5vB51mj/w4=")];
        let known = Known { super_digests, ..Known::default() };
        identities.add("digest", &Bytes::from_static(b"super:wrong"), &known).unwrap();
        assert!(!identities.as_slice().contains(&Id::new("super", "")));
        identities.add("digest", &Bytes::from_static(b"super:secret"), &known).unwrap();
        assert!(identities.as_slice().contains(&Id::new("super", "")));
    }

    #[test]
    fn unknown_schemes_and_endless_identities_are_refused() {
        let mut identities = identities();
        let auth = Bytes::from_static(b"x");
        let known = Known::default();
        assert_eq!(identities.add("sasl", &auth, &known), Err(AuthError::UnknownScheme));
        assert_eq!(identities.add("x509", &auth, &known), Err(AuthError::NoCertificate));
        let added = (0..MAX_IDENTITIES)
            .take_while(|n| identities.add("digest", &Bytes::from(format!("u{n}:p")), &known).is_ok())
            .count();
        assert_eq!(added, MAX_IDENTITIES - 1);
    }

    #[test]
    fn identities_stay_small_enough_to_travel_with_each_write() {
        let user = |len: usize| Bytes::from([vec![b'u'; len], b":p".to_vec()].concat());
        let (mut digest, known) = (identities(), Known::default());
        assert_eq!(digest.add("digest", &user(MAX_IDENTITY_BYTES), &known), Err(AuthError::TooMany));
        let half = MAX_IDENTITY_BYTES / 2;
        digest.add("digest", &user(half), &known).unwrap();
        assert_eq!(digest.add("digest", &user(half - 1), &known), Err(AuthError::TooMany));
        assert_eq!(identities().add_sasl("u".repeat(MAX_IDENTITY_BYTES), &[]), Err(AuthError::TooMany));
        let subject = "CN=".to_owned() + &"u".repeat(MAX_IDENTITY_BYTES);
        assert_eq!(identities().add_certificate(subject, &known), Err(AuthError::TooMany));
    }

    #[test]
    fn digest_can_be_switched_off() {
        let known = Known { digest: Switch::Off, ..Known::default() };
        let refused = identities().add("digest", &Bytes::from_static(b"user:pass"), &known);
        assert_eq!(refused, Err(AuthError::DigestOff));
    }

    #[test]
    fn certificates_and_sasl_users_can_be_super() {
        let known = Known { x509_super_user: Some("CN=root".to_owned()), ..Known::default() };
        let mut root = identities();
        root.add_certificate("CN=root".to_owned(), &known).unwrap();
        assert_eq!(root.as_slice()[1..], [Id::new("super", "CN=root"), Id::new("x509", "CN=root")]);
        assert_eq!(root.add("x509", &Bytes::new(), &known), Ok(()));
        let mut other = identities();
        other.add_certificate("CN=roof".to_owned(), &known).unwrap();
        assert_eq!(other.as_slice()[1..], [Id::new("x509", "CN=roof")]);
        other.add_sasl("al".to_owned(), &["al".to_owned()]).unwrap();
        assert_eq!(other.as_slice()[2..], [Id::new("sasl", "al"), Id::new("super", "")]);
        assert!(other.has_any(&["sasl".to_owned()]) && !other.has_any(&["digest".to_owned()]));
    }
}
