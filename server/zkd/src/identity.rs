//! Who a connection is: the identities that its requests are checked against.
//!
//! A connection begins as the address it comes from; `auth` requests add to that. Identities belong to the connection,
//! not to the session: clients present them again after a reconnect. `world:anyone` is implied and never listed.
//! Passwords are digested here and go no further.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use sha1::{Digest as _, Sha1};
use zke_wire::Id;

/// Each identity travels with each write of its connection; real clients have one or two.
const MAX_IDENTITIES: usize = 64;

/// The identities of one connection.
#[derive(Debug)]
pub struct Identities(Vec<Id>);

/// The presented credentials name nobody here: answered with AuthFailed, then the connection is closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    #[error("cannot authenticate by scheme {0:?}: this server knows digest and ip")]
    UnknownScheme(String),
    #[error("cannot add another identity: a connection has at most {MAX_IDENTITIES}")]
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

    /// Adds what `auth` proves under `scheme`. `super_digest` is `user:digest` of the one who may do everything.
    ///
    /// # Errors
    /// [`AuthError`]; the identities are as before.
    pub fn add(&mut self, scheme: &str, auth: &Bytes, super_digest: Option<&str>) -> Result<(), AuthError> {
        match scheme {
            // The address was an identity from the first moment, and nothing in the request can change it.
            "ip" => Ok(()),
            "digest" => {
                let id = digest(auth);
                let superuser = super_digest == Some(id.as_str());
                self.insert(Id::new("digest", id))?;
                if superuser { self.insert(Id::new("super", "")) } else { Ok(()) }
            }
            other => Err(AuthError::UnknownScheme(other.to_owned())),
        }
    }

    fn insert(&mut self, id: Id) -> Result<(), AuthError> {
        if self.0.contains(&id) {
            return Ok(());
        }
        if self.0.len() == MAX_IDENTITIES {
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
            identities.add("digest", &Bytes::from_static(b"user:pass"), None).unwrap();
        }
        assert_eq!(
            identities.as_slice(),
            [Id::new("ip", "127.0.0.1"), Id::new("digest", "user:smGaoVKd/cQkjm7b88GyorAUz20=")]
        );
    }

    #[test]
    fn the_super_digest_makes_super() {
        let mut identities = identities();
        let super_digest = Some("super:lK75jTNcA+U9vtVEw5vB51mj/w4=");
        identities.add("digest", &Bytes::from_static(b"super:wrong"), super_digest).unwrap();
        assert!(!identities.as_slice().contains(&Id::new("super", "")));
        identities.add("digest", &Bytes::from_static(b"super:secret"), super_digest).unwrap();
        assert!(identities.as_slice().contains(&Id::new("super", "")));
    }

    #[test]
    fn unknown_schemes_and_endless_identities_are_refused() {
        let mut identities = identities();
        let auth = Bytes::from_static(b"x");
        assert_eq!(identities.add("sasl", &auth, None), Err(AuthError::UnknownScheme("sasl".to_owned())));
        let added = (0..MAX_IDENTITIES)
            .take_while(|n| identities.add("digest", &Bytes::from(format!("u{n}:p")), None).is_ok())
            .count();
        assert_eq!(added, MAX_IDENTITIES - 1);
    }
}
